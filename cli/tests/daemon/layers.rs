//! Layers to unpack.

use libverity::digest::Digest;
use libverity::layer::{Discard, ExpectedLayer, Profile, convert};
use osguard_containerd_api::types::Descriptor;
use osguard_testkit::image::{Compression, LayerSource, TarMaker};

/// Is a layer, and what is to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) root_hash: String,
    pub(crate) annotations: Vec<(String, String)>,
}

impl Layer {
    /// Makes a layer with a file that holds `text`, compressed.
    pub(crate) fn new(text: &str) -> Self {
        Self::of(Self::source(text).blob)
    }

    /// Makes the same for an image.
    pub(crate) fn source(text: &str) -> LayerSource {
        let tar =
            TarMaker::new().directory("bin", 0o755).file("bin/program", text.as_bytes()).finish();
        LayerSource::new(tar, Compression::Gzip).unwrap()
    }

    /// Takes a blob that is a layer.
    pub(crate) fn of(blob: Vec<u8>) -> Self {
        let profiles = [Profile::ContainerdFullV1];
        let converted =
            convert(&blob[..], &ExpectedLayer::default(), &profiles, &mut Discard).unwrap();
        Self {
            blob,
            digest: converted.layer_digest,
            diff_id: converted.diff_id,
            root_hash: converted.images[0].root_hash.to_string(),
            annotations: Vec::new(),
        }
    }

    /// Annotates the layer with a signature of a root hash. Nobody but the kernel can tell whether it is one.
    pub(crate) fn signed_over(mut self, root_hash: &str) -> Self {
        self.annotations = vec![
            ("org.osguard.root-hash".to_owned(), root_hash.to_owned()),
            ("org.osguard.signature".to_owned(), "MAE=".to_owned()),
        ];
        self
    }

    pub(crate) fn signed(self) -> Self {
        let root_hash = self.root_hash.clone();
        self.signed_over(&root_hash)
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            digest: self.digest.to_string(),
            size: self.blob.len() as i64,
            annotations: self.annotations.iter().cloned().collect(),
        }
    }
}

/// Returns the chainID of a layer upon a parent's.
pub(crate) fn chain(parent: Option<Digest>, diff_id: Digest) -> Digest {
    match parent {
        None => diff_id,
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
    }
}
