//! What has become of an image that was patched.

use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use libverity::signer::Signer;
use osguard_registry::manifest::Manifest;
use osguard_registry::publication::PublishedImages;
use osguard_registry::signatures::Published;
use serde::Serialize;

use super::Patched;
use super::publishing::{Origin, artifacts};
use crate::image::short;
use crate::output::Report;
use crate::transfer::{in_words, way_name};

#[derive(Serialize)]
pub(super) struct PatchReport {
    /// The image that was patched.
    image: String,
    patched: String,
    digest: Digest,
    tag: String,
    /// What had the tag before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    /// How many blobs were stored, without signatures and manifests.
    stored: usize,
    stored_bytes: u64,
    /// How the registry lists the signatures: by its `api` or by a `tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers_by: Option<&'static str>,
    manifests: Vec<ManifestReport>,
}

#[derive(Serialize)]
struct ManifestReport {
    platform: String,
    origin: Digest,
    digest: Digest,
    layer: LayerReport,
    /// The former patch whose place the layer has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_patch: Option<Digest>,
    /// The layers whose signatures were carried over.
    carried: Vec<Digest>,
    /// The layers that were signed again.
    resigned: Vec<Digest>,
    /// The manifests of the artifacts that hold the signatures.
    artifacts: Vec<Digest>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    diff_id: Digest,
    size_bytes: u64,
    root_hashes: Vec<RootHashReport>,
}

#[derive(Serialize)]
struct RootHashReport {
    profile: Profile,
    root_hash: RootHash,
}

impl PatchReport {
    pub(super) fn of(
        origin: &Origin,
        patched: &[Patched],
        index: Option<&Manifest>,
        signer: Option<&dyn Signer>,
        published: &PublishedImages,
    ) -> Self {
        let first = patched.first().map(|one| &one.draft.manifest);
        let digest = index.or(first).map_or(origin.found.descriptor.digest, Manifest::digest);
        Self {
            image: origin.found.reference.to_string(),
            patched: origin.at(digest),
            digest,
            tag: origin.tag(),
            replaced: origin.replaced_by(digest),
            signer: signer.map(|signer| signer.certificate().subject()),
            stored: published.stored,
            stored_bytes: published.stored_bytes,
            referrers_by: origin.found.place.referrers_way().map(way_name),
            manifests: patched
                .iter()
                .zip(&published.signatures)
                .map(|(one, signatures)| ManifestReport::of(one, signatures.as_ref()))
                .collect(),
        }
    }
}

impl ManifestReport {
    fn of(patched: &Patched, published: Option<&Published>) -> Self {
        let layer = patched.layer.layer();
        let root_hashes = patched.converted.images.iter().map(|image| RootHashReport {
            profile: image.profile,
            root_hash: image.root_hash.clone(),
        });
        Self {
            platform: patched.image.platform.to_string(),
            origin: patched.draft.origin,
            digest: patched.draft.manifest.digest(),
            layer: LayerReport {
                digest: layer.descriptor.digest,
                diff_id: layer.diff_id,
                size_bytes: layer.descriptor.size,
                root_hashes: root_hashes.collect(),
            },
            former_patch: patched.former,
            carried: patched.signatures.carried.clone(),
            resigned: patched.signatures.resigned.clone(),
            artifacts: artifacts(published),
        }
    }
}

impl Report for PatchReport {
    const SCHEMA: &'static str = "osguard.patch.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        write!(out, "Patched to {} as {}", self.patched, self.tag)?;
        match &self.replaced {
            Some(replaced) => writeln!(out, ", which replaces {replaced}")?,
            None => writeln!(out)?,
        }
        if let Some(signer) = &self.signer {
            writeln!(out, "Signer {signer}")?;
        }
        for manifest in &self.manifests {
            manifest.text(out)?;
        }
        writeln!(out)?;
        if let Some(way) = self.referrers_by {
            writeln!(out, "Signatures are listed by {}", in_words(way))?;
        }
        let blobs = if self.stored == 1 { "blob" } else { "blobs" };
        writeln!(out, "Stored {} {blobs} of {} bytes", self.stored, self.stored_bytes)
    }
}

impl ManifestReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nManifest {} ({})", self.digest, self.platform)?;
        writeln!(out, "  of {}", self.origin)?;
        for layer in &self.carried {
            writeln!(out, "  layer {}  signatures carried over", short(*layer))?;
        }
        for layer in &self.resigned {
            writeln!(out, "  layer {}  signed again", short(*layer))?;
        }
        let digest = short(self.layer.digest);
        for made in &self.layer.root_hashes {
            writeln!(out, "  layer {digest}  root hash {}  {}", made.root_hash, made.profile)?;
        }
        if let Some(former) = self.former_patch {
            writeln!(out, "  in the place of the former patch {}", short(former))?;
        }
        for artifact in &self.artifacts {
            writeln!(out, "The signatures are in {artifact}")?;
        }
        Ok(())
    }
}
