//! `osguard verify`.

use std::io::{self, Write};
use std::time::SystemTime;

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use osguard_registry::image::Image;
use osguard_registry::verification::{self, JudgedLayer, JudgedSignature, Standing, Verdict};
use serde::Serialize;

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{ImageArguments, short};
use crate::origin::OriginReport;
use crate::output::{Output, Report};
use crate::trust::TrustArguments;

/// Verify that every layer of an image is signed by somebody trusted
///
/// The root hash of each layer is computed anew, and each signature judged by the kernel's own rules. One good signature
/// for each layer is enough; all others are shown with what is wrong with them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    #[command(flatten)]
    trust: TrustArguments,
}

#[derive(Serialize)]
struct VerifyReport {
    image: String,
    verdict: &'static str,
    manifests: Vec<ManifestReport>,
}

#[derive(Serialize)]
struct ManifestReport {
    digest: Digest,
    platform: String,
    verdict: &'static str,
    layers: Vec<LayerReport>,
    unusable: Vec<UnusableReport>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    verdict: &'static str,
    signatures: Vec<SignatureReport>,
}

#[derive(Serialize)]
struct SignatureReport {
    verdict: &'static str,
    #[serde(flatten)]
    origin: OriginReport,
    root_hash: RootHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    /// Whether the signer's certificate is out of its validity, for which the kernel does not care.
    expired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What the kernel would answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
}

#[derive(Serialize)]
struct UnusableReport {
    #[serde(flatten)]
    origin: OriginReport,
    reason: String,
}

impl Report for VerifyReport {
    const SCHEMA: &'static str = "osguard.verify.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        for manifest in &self.manifests {
            writeln!(out, "\nManifest {} ({})", manifest.digest, manifest.platform)?;
            for layer in &manifest.layers {
                writeln!(out, "  layer {}  {}", short(layer.digest), layer.verdict)?;
                for signature in &layer.signatures {
                    signature.text(out)?;
                }
            }
            for unusable in &manifest.unusable {
                writeln!(out, "  {} is unusable: {}", unusable.origin, unusable.reason)?;
            }
        }
        writeln!(out, "\nVerdict: {}", self.verdict)
    }
}

impl SignatureReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "    {}: root hash {}", self.verdict, self.root_hash)?;
        if let Some(profile) = self.profile {
            write!(out, " ({profile})")?;
        }
        if let Some(signer) = &self.signer {
            write!(out, ", by {signer}")?;
        }
        if self.expired {
            write!(out, ", whose certificate has expired (the kernel does not care)")?;
        }
        writeln!(out, ", in {}", self.origin)?;
        if let Some(reason) = &self.reason {
            let errno = self.errno.as_deref().map(|errno| format!(" (the kernel: {errno})"));
            writeln!(out, "      because {reason}{}", errno.unwrap_or_default())?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let anchors = arguments.trust.anchors(output)?;
    let found = arguments.image.find()?;
    let mut worst = Standing::Signed;
    let mut manifests = Vec::new();
    for image in arguments.image.images(&found)? {
        let progress = output.progress();
        let verdict = verification::verify(&*found.place, &image, &anchors, &watch(&progress))?;
        worst = worst.max(verdict.standing());
        manifests.push(describe(&image, &verdict));
    }
    let image = found.reference.to_string();
    output.report(&VerifyReport { image: image.clone(), verdict: name(worst), manifests })?;
    match worst {
        Standing::Signed => Ok(ExitStatus::Done),
        Standing::ContentDiffers => Err(Failure::new(
            ExitStatus::ContentDiffers,
            format!("{image} is not what was signed: a root hash differs"),
        )
        .hint("Sign it again if you know why it changed; if not, do not run it.")),
        Standing::NotTrusted => Err(Failure::new(
            ExitStatus::NotTrusted,
            format!("{image} has signatures, but none that is valid and trusted for every layer"),
        )
        .hint("--trust names the certificates of the signers that you trust.")),
        Standing::NotSigned => Err(Failure::new(
            ExitStatus::NotSigned,
            format!("{image} has layers without a signature"),
        )
        .hint("`osguard sign` signs every layer of an image.")),
    }
}

fn describe(image: &Image, verdict: &Verdict) -> ManifestReport {
    ManifestReport {
        digest: image.manifest.digest(),
        platform: image.platform.to_string(),
        verdict: name(verdict.standing()),
        layers: verdict.layers.iter().map(describe_layer).collect(),
        unusable: verdict
            .unusable
            .iter()
            .map(|(origin, error)| UnusableReport {
                origin: OriginReport::of(origin),
                reason: error.to_string(),
            })
            .collect(),
    }
}

fn describe_layer(layer: &JudgedLayer) -> LayerReport {
    LayerReport {
        digest: layer.descriptor.digest,
        verdict: name(layer.standing()),
        signatures: layer.candidates.iter().map(describe_signature).collect(),
    }
}

fn describe_signature(judged: &JudgedSignature) -> SignatureReport {
    let refusal = judged.signer.as_ref().err();
    let reason = match (&judged.signer, judged.profile) {
        (Err(refusal), _) => Some(refusal.to_string()),
        (Ok(_), None) => Some("the layer has another root hash by every profile".to_owned()),
        (Ok(_), Some(_)) => None,
    };
    let accepted = judged.signer.as_ref().ok();
    SignatureReport {
        verdict: name(judged.standing()),
        origin: OriginReport::of(&judged.origin),
        root_hash: judged.claim.root_hash.clone(),
        profile: judged.profile,
        signer: accepted.map(|accepted| accepted.certificate.subject()),
        expired: accepted.is_some_and(|accepted| accepted.is_expired_at(SystemTime::now())),
        reason,
        errno: refusal.and_then(|refusal| refusal.errno()).map(|errno| errno.to_string()),
    }
}

fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Signed => "signed",
        Standing::ContentDiffers => "content differs",
        Standing::NotTrusted => "not trusted",
        Standing::NotSigned => "not signed",
    }
}
