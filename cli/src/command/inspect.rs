//! `osguard inspect`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use osguard_registry::image::Image;
use osguard_registry::place::Place;
use osguard_registry::signatures;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{ImageArguments, short};
use crate::origin::OriginReport;
use crate::output::{Output, Report};

/// Show an image's layers and the signatures attached to it; nothing is verified
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
}

#[derive(Serialize)]
struct InspectReport {
    image: String,
    manifests: Vec<ManifestReport>,
}

#[derive(Serialize)]
struct ManifestReport {
    digest: Digest,
    platform: String,
    layers: Vec<LayerReport>,
    artifacts: Vec<ArtifactReport>,
    /// What the manifest's own annotations hold.
    annotations: Vec<AnnotationsReport>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    diff_id: Digest,
    media_type: String,
    size_bytes: u64,
    signatures: Vec<SignatureReport>,
}

#[derive(Clone, Serialize)]
struct SignatureReport {
    #[serde(flatten)]
    origin: OriginReport,
    root_hash: RootHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
}

#[derive(Serialize)]
struct ArtifactReport {
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    /// Why it cannot be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
}

#[derive(Serialize)]
struct AnnotationsReport {
    form: &'static str,
    /// Why they cannot be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
}

impl Report for InspectReport {
    const SCHEMA: &'static str = "osguard.inspect.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        for manifest in &self.manifests {
            writeln!(out, "\nManifest {} ({})", manifest.digest, manifest.platform)?;
            for layer in &manifest.layers {
                let LayerReport { digest, media_type, size_bytes, .. } = layer;
                writeln!(out, "  layer {}  {size_bytes} bytes  {media_type}", short(*digest))?;
                for signature in &layer.signatures {
                    let profile = signature.profile.as_deref().unwrap_or("profile not named");
                    let signer = signature.signer.as_deref().unwrap_or("not named");
                    writeln!(out, "    root hash {}  {profile}", signature.root_hash)?;
                    writeln!(out, "    signer    {signer}")?;
                    writeln!(out, "    in        {}", signature.origin)?;
                }
            }
            for artifact in &manifest.artifacts {
                write!(out, "  artifact {}", artifact.digest)?;
                match (&artifact.unusable, artifact.form) {
                    (Some(reason), _) => writeln!(out, " is unusable: {reason}")?,
                    (None, Some(form)) => writeln!(out, " ({form})")?,
                    (None, None) => writeln!(out)?,
                }
            }
            for annotations in &manifest.annotations {
                write!(out, "  {} annotations", annotations.form)?;
                match &annotations.unusable {
                    Some(reason) => writeln!(out, " are unusable: {reason}")?,
                    None => writeln!(out, " in the manifest")?,
                }
            }
            if manifest.artifacts.is_empty() && manifest.annotations.is_empty() {
                writeln!(out, "  no signatures")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let found = arguments.image.find()?;
    let images = arguments.image.images(&found)?;
    let manifests = images
        .iter()
        .map(|image| describe(&*found.place, image))
        .collect::<Result<_, Failure>>()?;
    output.report(&InspectReport { image: found.reference.to_string(), manifests })?;
    Ok(ExitStatus::Done)
}

fn describe(place: &dyn Place, image: &Image) -> Result<ManifestReport, Failure> {
    let mut by_layer: BTreeMap<Digest, Vec<SignatureReport>> = BTreeMap::new();
    let (mut artifacts, mut annotations) = (Vec::new(), Vec::new());
    for candidate in signatures::find(place, &image.manifest)? {
        let unusable = candidate.outcome.as_ref().err().map(ToString::to_string);
        let origin = OriginReport::of(&candidate.origin);
        match origin {
            OriginReport::Artifact { artifact: digest, form } => {
                artifacts.push(ArtifactReport { digest, form, unusable });
            }
            OriginReport::Manifest { form } => {
                annotations.push(AnnotationsReport { form, unusable });
            }
        }
        for signature in candidate.outcome.into_iter().flat_map(|artifact| artifact.signatures) {
            let claim = signature.claim;
            by_layer.entry(claim.layer_digest).or_default().push(SignatureReport {
                origin: origin.clone(),
                root_hash: claim.root_hash,
                profile: claim.profile,
                signer: claim.signer,
            });
        }
    }
    let layers = image.layers.iter().map(|layer| LayerReport {
        digest: layer.descriptor.digest,
        diff_id: layer.diff_id,
        media_type: layer.descriptor.media_type.to_string(),
        size_bytes: layer.descriptor.size,
        signatures: by_layer.get(&layer.descriptor.digest).cloned().unwrap_or_default(),
    });
    Ok(ManifestReport {
        digest: image.manifest.digest(),
        platform: image.platform.to_string(),
        layers: layers.collect(),
        artifacts,
        annotations,
    })
}
