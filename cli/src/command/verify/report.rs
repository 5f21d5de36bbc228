//! What `osguard verify` prints.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use osguard_admission::judgement::{JudgedImage, name};
use osguard_policy::trust::{Finding, Judge, LayerVerdict, SignatureVerdict};
use osguard_registry::image::Image;
use osguard_registry::verification::{Content, ExaminedLayer, ExaminedSignature};
use serde::Serialize;

use crate::image::short;
use crate::origin::OriginReport;
use crate::output::Report;
use crate::root_hash::How;
use crate::trust::Trust;

#[derive(Serialize)]
pub(super) struct VerifyReport {
    pub(super) image: String,
    pub(super) trust: TrustReport,
    pub(super) root_hashes: How,
    pub(super) verdict: &'static str,
    pub(super) manifests: Vec<ManifestReport>,
}

/// Tells by whose word the image was judged.
#[derive(Serialize)]
pub(super) struct TrustReport {
    source: PathBuf,
    scope: String,
    requirement: String,
    /// Whether dates and revocations were checked, for which the kernel does not ask.
    #[serde(skip)]
    is_from_file: bool,
}

#[derive(Serialize)]
pub(super) struct ManifestReport {
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
    /// What is lacking in number.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
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
    /// The subject key identifier of the signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The trust stores to which the signer leads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stores: Vec<String>,
    /// Whether a certificate is out of its validity, for which the kernel does not care.
    expired: bool,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// What was found besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
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
        if self.trust.is_from_file {
            let TrustReport { source, scope, requirement, .. } = &self.trust;
            let source = source.display();
            writeln!(out, "Trust {source}, scope {scope:?}, signatures needed: {requirement}")?;
            writeln!(out, "Dates and revocations are checked here; the kernel asks for neither.")?;
        }
        for manifest in &self.manifests {
            writeln!(out, "\nManifest {} ({})", manifest.digest, manifest.platform)?;
            for layer in &manifest.layers {
                layer.text(out)?;
            }
            for unusable in &manifest.unusable {
                writeln!(out, "  {} is unusable: {}", unusable.origin, unusable.reason)?;
            }
        }
        writeln!(out, "\nVerdict: {}", self.verdict)
    }
}

impl TrustReport {
    pub(super) fn of(trust: &Trust, judge: &Judge<'_>) -> Self {
        Self {
            source: trust.configuration.source.clone(),
            scope: judge.scope().name.clone(),
            requirement: judge.scope().requirement.to_string(),
            is_from_file: trust.is_from_file,
        }
    }
}

impl ManifestReport {
    pub(super) fn of(image: &Image, judged: &JudgedImage, judge: &Judge<'_>) -> Self {
        let layers = judged.examined.layers.iter().zip(&judged.verdicts);
        let unusable = judged.examined.unusable.iter();
        Self {
            digest: image.manifest.digest(),
            platform: image.platform.to_string(),
            verdict: name(judged.standing()),
            layers: layers.map(|(layer, verdict)| LayerReport::of(layer, verdict, judge)).collect(),
            unusable: unusable
                .map(|(origin, error)| UnusableReport {
                    origin: OriginReport::of(origin),
                    reason: error.to_string(),
                })
                .collect(),
        }
    }
}

impl LayerReport {
    fn of(layer: &ExaminedLayer, verdict: &LayerVerdict, judge: &Judge<'_>) -> Self {
        // Where no signature counts, their own reasons say more.
        let unmet = verdict.unmet.filter(|unmet| unmet.found > 0 || unmet.needed > 1);
        let signatures = layer.signatures.iter().zip(&verdict.signatures);
        Self {
            digest: layer.descriptor.digest,
            verdict: name(verdict.standing),
            reason: unmet.map(|unmet| unmet.to_string()),
            signatures: signatures
                .map(|(found, verdict)| SignatureReport::of(found, verdict, judge))
                .collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  layer {}  {}", short(self.digest), self.verdict)?;
        match &self.reason {
            Some(reason) => writeln!(out, ": {reason}")?,
            None => writeln!(out)?,
        }
        self.signatures.iter().try_for_each(|signature| signature.text(out))
    }
}

impl SignatureReport {
    fn of(found: &ExaminedSignature, verdict: &SignatureVerdict, judge: &Judge<'_>) -> Self {
        let certificate = verdict.signer.as_ref().map(|signer| &signer.certificate);
        let errno = verdict.findings.iter().find_map(|finding| match finding {
            Finding::Refused(refusal) => refusal.errno(),
            _ => None,
        });
        let texts = |findings: &[Finding]| findings.iter().map(Finding::to_string).collect();
        let stores = verdict.stores.iter().map(|&store| judge.scope().stores[store].name.clone());
        Self {
            verdict: name(verdict.standing),
            origin: OriginReport::of(&found.origin),
            root_hash: found.claim.root_hash.clone(),
            profile: match found.content {
                Content::Has(profile) => Some(profile),
                Content::Differs | Content::Skipped => None,
            },
            signer: certificate.map(|certificate| certificate.subject()),
            key: certificate.map(|certificate| {
                let identifier = certificate.subject_key_identifier();
                identifier.unwrap_or_else(|| certificate.derived_key_identifier())
            }),
            stores: stores.collect(),
            expired: verdict
                .signer
                .as_ref()
                .is_some_and(|signer| signer.is_expired_at(SystemTime::now())),
            reasons: texts(&verdict.findings),
            remarks: texts(&verdict.remarks),
            errno: errno.map(|errno| errno.to_string()),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "    {}: root hash {}", self.verdict, self.root_hash)?;
        if let Some(profile) = self.profile {
            write!(out, " ({profile})")?;
        }
        if let Some(signer) = &self.signer {
            write!(out, ", by {signer}")?;
        }
        writeln!(out, ", in {}", self.origin)?;
        for (number, reason) in self.reasons.iter().enumerate() {
            let errno = self.errno.as_deref().filter(|_| number == 0);
            let errno = errno.map(|errno| format!(" (the kernel: {errno})")).unwrap_or_default();
            writeln!(out, "      because {reason}{errno}")?;
        }
        for remark in &self.remarks {
            writeln!(out, "      although {remark}")?;
        }
        Ok(())
    }
}
