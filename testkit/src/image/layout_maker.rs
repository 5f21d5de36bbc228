//! Small images in an `oci:` directory, also such as no builder would write.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cache::{create_directories, write};
use crate::command::{command, run_with_input};
use crate::digest::sha256;
use crate::error::Result;

/// Writes images into a layout directory (OCI image specification, `image-layout.md`).
///
/// ```no_run
/// use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarMaker};
///
/// let tar = TarMaker::new().file("hello", b"world").finish();
/// let mut layout = LayoutMaker::new("/tmp/layout").unwrap();
/// let good = LayerSource::new(tar, Compression::Gzip).unwrap();
/// let broken = LayerSource { diff_id: format!("sha256:{}", "0".repeat(64)), ..good.clone() };
/// layout.image("good", &[good]).unwrap();
/// layout.image("broken", &[broken]).unwrap();
/// ```
#[derive(Debug)]
pub struct LayoutMaker {
    directory: PathBuf,
    manifests: Vec<Value>,
}

/// Is how the blob of a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By `gzip`.
    Gzip,
    /// Not at all.
    Plain,
    /// By `zstd`.
    Zstd,
}

/// Is a layer and what image and manifest say about it, true or not.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// The bytes of the blob.
    pub blob: Vec<u8>,
    /// The digest in the descriptor; the blob is filed under it.
    pub digest: String,
    /// The size in the descriptor, in bytes.
    pub size_bytes: usize,
    /// The media type in the descriptor.
    pub media_type: String,
    /// The diffID in the image's configuration.
    pub diff_id: String,
}

impl LayerSource {
    /// Compresses a tar and describes it truthfully.
    pub fn new(tar: Vec<u8>, compression: Compression) -> Result<Self> {
        let diff_id = sha256(&tar);
        let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
        let (blob, media_type) = match compression {
            Compression::Gzip => {
                (run_with_input(command("gzip")?.arg("-n"), &tar)?, media_type + "+gzip")
            }
            Compression::Plain => (tar, media_type),
            Compression::Zstd => {
                (run_with_input(&mut command("zstd")?, &tar)?, media_type + "+zstd")
            }
        };
        Ok(Self { digest: sha256(&blob), size_bytes: blob.len(), media_type, diff_id, blob })
    }
}

impl LayoutMaker {
    /// Begins a layout with no image.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        create_directories(&directory.join("blobs/sha256"))?;
        write(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let layout = Self { directory, manifests: Vec::new() };
        layout.write_index()?;
        Ok(layout)
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the file of the blob with this digest.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// Writes an image for linux/amd64, tags it, and returns the digest of its manifest.
    pub fn image(&mut self, tag: &str, layers: &[LayerSource]) -> Result<String> {
        self.image_for(("linux", "amd64"), tag, layers)
    }

    /// Writes an image for a platform, tags it, and returns the digest of its manifest.
    pub fn image_for(
        &mut self,
        platform: (&str, &str),
        tag: &str,
        layers: &[LayerSource],
    ) -> Result<String> {
        self.image_with(platform, tag, layers, &json!({}))
    }

    /// Writes an image for a platform that starts what `config` says, tags it, and returns the digest of its manifest.
    pub fn image_with(
        &mut self,
        (os, architecture): (&str, &str),
        tag: &str,
        layers: &[LayerSource],
        config: &Value,
    ) -> Result<String> {
        let mut descriptors = Vec::new();
        for layer in layers {
            let path = self.blob_path(&layer.digest);
            fs::write(&path, &layer.blob).map_err(crate::Error::io(&path))?;
            descriptors.push(json!({
                "mediaType": layer.media_type,
                "digest": layer.digest,
                "size": layer.size_bytes,
            }));
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let configuration = self.blob(
            CONFIGURATION,
            &json!({
                "architecture": architecture,
                "os": os,
                "config": config,
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            }),
        )?;
        self.manifest(
            tag,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": configuration,
                "layers": descriptors,
            }),
        )
    }

    /// Writes any manifest, tags it, and returns its digest.
    pub fn manifest(&mut self, tag: &str, manifest: &Value) -> Result<String> {
        self.tagged(tag, MANIFEST, manifest)
    }

    /// Writes an index of images for these platforms, such as `("linux", "amd64")`, tags it, and
    /// returns its digest. What is for `("unknown", "unknown")` is listed as a statement about an
    /// image, as BuildKit does it.
    pub fn index(&mut self, tag: &str, images: &[((&str, &str), &str)]) -> Result<String> {
        let mut manifests = Vec::new();
        for ((os, architecture), digest) in images {
            let path = self.blob_path(digest);
            let size = fs::metadata(&path).map_err(crate::Error::io(&path))?.len();
            let mut entry = json!({
                "mediaType": MANIFEST,
                "digest": digest,
                "size": size,
                "platform": { "os": os, "architecture": architecture },
            });
            if *os == "unknown" {
                entry["annotations"] =
                    json!({ "vnd.docker.reference.type": "attestation-manifest" });
            }
            manifests.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        self.tagged(tag, INDEX, &index)
    }

    fn tagged(&mut self, tag: &str, media_type: &str, value: &Value) -> Result<String> {
        let mut descriptor = self.blob(media_type, value)?;
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.manifests.push(descriptor);
        self.write_index()?;
        Ok(digest)
    }

    /// Writes a blob and returns its descriptor.
    fn blob(&self, media_type: &str, value: &Value) -> Result<Value> {
        let bytes = value.to_string().into_bytes();
        let digest = sha256(&bytes);
        write(&self.blob_path(&digest), &bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn write_index(&self) -> Result<()> {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests });
        write(&self.directory.join("index.json"), index.to_string().as_bytes())
    }
}

const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run;
    use crate::image::TarMaker;
    use crate::or_skip;

    /// umoci checks digests and diffIDs.
    fn umoci_unpacks(layout: &LayoutMaker, tag: &str) -> Option<bool> {
        let target = tempfile::tempdir().unwrap();
        let mut unpack = or_skip(command("umoci"))?;
        unpack
            .args(["unpack", "--rootless", "--image"])
            .arg(format!("{}:{tag}", layout.directory().display()))
            .arg(target.path().join("bundle"));
        Some(run(&mut unpack).is_ok())
    }

    /// skopeo knows zstd, and checks digests.
    fn skopeo_copies(layout: &LayoutMaker, tag: &str) -> Option<bool> {
        let target = tempfile::tempdir().unwrap();
        let mut copy = or_skip(command("skopeo"))?;
        copy.args(["copy", "--insecure-policy"])
            .arg(format!("oci:{}:{tag}", layout.directory().display()))
            .arg(format!("oci:{}", target.path().join("copy").display()));
        Some(run(&mut copy).is_ok())
    }

    #[test]
    fn other_tools_accept_what_is_true_and_refuse_what_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut layout = LayoutMaker::new(directory.path()).unwrap();
        let tar = TarMaker::new().file("hello", b"world").finish();
        let [gzip, plain, zstd] = [Compression::Gzip, Compression::Plain, Compression::Zstd]
            .map(|kind| LayerSource::new(tar.clone(), kind).unwrap());
        let image = layout.image("gzip", &[gzip.clone(), plain]).unwrap();
        layout.index("index", &[(("linux", "amd64"), &image)]).unwrap();
        layout.image("zstd", &[zstd]).unwrap();
        let diff_id = sha256(b"another tar");
        layout.image("diff_id", &[LayerSource { diff_id, ..gzip.clone() }]).unwrap();
        let blob = [&gzip.blob[..4], b"?", &gzip.blob[5..]].concat();
        let digest = sha256(b"another blob");
        layout.image("digest", &[LayerSource { blob, digest, ..gzip }]).unwrap();
        for (tag, accepted) in [("gzip", true), ("diff_id", false), ("digest", false)] {
            match umoci_unpacks(&layout, tag) {
                None => return,
                unpacked => assert_eq!(unpacked, Some(accepted), "{tag}"),
            }
        }
        for (tag, accepted) in [("index", true), ("zstd", true), ("digest", false)] {
            match skopeo_copies(&layout, tag) {
                None => return,
                copied => assert_eq!(copied, Some(accepted), "{tag}"),
            }
        }
    }
}
