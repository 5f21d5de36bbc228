//! Images judged by the trust configuration: the one answer that every command gives.

use std::time::SystemTime;

use libverity::certificate::Certificate;
use libverity::digest::Digest;
use libverity::layer::Profile;
use libverity::pkcs7::Accepted;
use osguard_policy::trust::{
    Candidate, Comparison, Finding, Judge, LayerVerdict, SignatureVerdict, Standing,
};
use osguard_registry::artifact::LayerSignature;
use osguard_registry::conversion::{ConversionError, Watch};
use osguard_registry::image::Image;
use osguard_registry::place::Place;
use osguard_registry::verification::{
    Content, Examined, ExaminedLayer, ExaminedSignature, RootHashes, examine,
};

use crate::nodes::Facts;

/// Is an image with the verdict on each of its layers.
#[derive(Debug)]
pub struct JudgedImage {
    /// What was found.
    pub examined: Examined,
    /// The verdicts, in the order of the layers.
    pub verdicts: Vec<LayerVerdict>,
}

impl JudgedImage {
    /// Finds the signatures of an image and judges them.
    ///
    /// # Errors
    ///
    /// Returns why a layer or the signatures cannot be read. That is never the same as an image
    /// without signatures.
    pub fn new(
        place: &dyn Place,
        image: &Image,
        root_hashes: RootHashes<'_>,
        judge: &Judge<'_>,
        watch: Watch<'_>,
    ) -> Result<Self, ConversionError> {
        let examined = examine_for(place, image, root_hashes, judge, watch)?;
        let verdicts = examined.layers.iter().map(|layer| {
            let candidates: Vec<_> = layer.signatures.iter().map(candidate).collect();
            judge.layer(&candidates)
        });
        let verdicts = verdicts.collect();
        Ok(Self { examined, verdicts })
    }

    /// Returns the standing of the image: that of its worst layer.
    ///
    /// Where a signature is missing that may have been in something unusable, there are signatures
    /// and none is valid.
    pub fn standing(&self) -> Standing {
        let worst = self.verdicts.iter().map(|verdict| verdict.standing).max();
        match worst {
            None | Some(Standing::NotSigned) if !self.examined.unusable.is_empty() => {
                Standing::NotTrusted
            }
            None => Standing::NotSigned,
            Some(worst) => worst,
        }
    }

    /// Returns what speaks against a layer that the kernel would take and the configuration
    /// refuses: a finding on one of its signatures, or what is lacking in number.
    pub fn refusal(&self) -> Option<Refusal<'_>> {
        let refused = self.verdicts.iter().find(|verdict| verdict.standing == Standing::Refused)?;
        let mut signatures = refused.signatures.iter();
        let finding = signatures
            .find(|signature| signature.standing == Standing::Refused)
            .and_then(|signature| signature.findings.last());
        let reason = match (finding, refused.unmet) {
            (Some(finding), _) => finding.to_string(),
            (None, Some(unmet)) => unmet.to_string(),
            (None, None) => "a layer has no good signature".to_owned(),
        };
        Some(Refusal { finding, reason })
    }

    /// Says of each layer that does not pass what is wrong with it, at most `limit` of them.
    pub fn objections(&self, limit: usize) -> Vec<String> {
        let layers = self.examined.layers.iter().zip(&self.verdicts);
        let mut objections: Vec<String> = layers
            .filter(|(_, verdict)| !passes(verdict.standing))
            .take(limit)
            .map(|(layer, verdict)| {
                let digest = &layer.descriptor.digest.hex()[..12];
                let reasons = reasons(verdict);
                format!("layer {digest} is {}{reasons}", name(verdict.standing))
            })
            .collect();
        let unusable = self.examined.unusable.iter();
        let room = limit.saturating_sub(objections.len());
        objections.extend(unusable.take(room).map(|(_, error)| error.to_string()));
        if objections.is_empty() && self.examined.layers.is_empty() {
            objections.push("it has no layer that could be signed".to_owned());
        }
        objections
    }

    /// Returns the layers whose good signatures are all over root hashes by other profiles than
    /// `profiles`: a node that converts by these computes another root hash, and its kernel refuses
    /// the layer.
    ///
    /// Where the layers were not read, what a signature says of its profile counts, and one that
    /// says nothing is given the benefit: the kernel will find out.
    pub fn by_other_profiles(&self, profiles: &[Profile]) -> Vec<Digest> {
        let layers = self.examined.layers.iter().zip(&self.verdicts);
        let is_by_other = |(layer, verdict): &(&ExaminedLayer, &LayerVerdict)| {
            let mut signatures = layer.signatures.iter().zip(&verdict.signatures);
            verdict.standing == Standing::Signed
                && !signatures.any(|(found, verdict)| {
                    verdict.standing == Standing::Signed && fits(found, profiles)
                })
        };
        layers.filter(is_by_other).map(|(layer, _)| layer.descriptor.digest).collect()
    }

    /// Returns the first layer that a node would not take, and why: it has another root hash for the layer, or its kernel
    /// does not know a certificate behind the signature.
    pub fn refused_by(&self, node: &Facts) -> Option<(Digest, &'static str)> {
        let layers = self.examined.layers.iter().zip(&self.verdicts);
        let mut signed = layers.filter(|(_, verdict)| verdict.standing == Standing::Signed);
        signed.find_map(|(layer, verdict)| {
            let signatures = layer.signatures.iter().zip(&verdict.signatures);
            let mut computed = signatures
                .filter(|(_, verdict)| verdict.standing == Standing::Signed)
                .filter(|(found, _)| fits(found, &node.profiles))
                .peekable();
            let reason = match computed.peek() {
                None => "it converts layers by another profile",
                Some(_) => "its kernel has none of the certificates behind the signature",
            };
            let is_known = |verdict: &SignatureVerdict| {
                let chain = verdict.signer.iter().flat_map(Accepted::chain);
                chain.map(Certificate::kernel_identifier).any(|id| node.certificates.contains(&id))
            };
            let is_taken = computed.any(|(_, verdict)| is_known(verdict));
            (!is_taken).then_some((layer.descriptor.digest, reason))
        })
    }

    /// Returns until when the verdict can be relied on: the next time at which a certificate behind
    /// a signature becomes valid or expires; `None` if that is never.
    pub fn good_until(&self, now: SystemTime) -> Option<SystemTime> {
        let signatures = self.verdicts.iter().flat_map(|verdict| &verdict.signatures);
        let signers = signatures.filter_map(|signature| signature.signer.as_ref());
        signers
            .flat_map(Accepted::chain)
            .flat_map(|certificate| [certificate.not_before(), certificate.not_after()])
            .filter(|time| *time > now)
            .min()
    }
}

/// Says why an image is refused that the kernel would take.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// What speaks against a signature, if it is not the number of them.
    pub finding: Option<&'a Finding>,
    /// The same in words, or what is lacking in number.
    pub reason: String,
}

/// Tells whether a layer or image may be used.
pub fn passes(standing: Standing) -> bool {
    matches!(standing, Standing::Signed | Standing::Skipped)
}

fn fits(found: &ExaminedSignature, profiles: &[Profile]) -> bool {
    match (found.content, found.claim.profile.as_deref()) {
        (Content::Has(profile), _) => profiles.contains(&profile),
        (_, Some(claimed)) => claimed.parse().is_ok_and(|claimed| profiles.contains(&claimed)),
        (_, None) => true,
    }
}

/// Lists what was found against the signatures of a layer, each reason once.
fn reasons(verdict: &LayerVerdict) -> String {
    let mut reasons: Vec<String> = Vec::new();
    if let Some(unmet) = verdict.unmet.filter(|unmet| unmet.found > 0 || unmet.needed > 1) {
        reasons.push(unmet.to_string());
    }
    let findings = verdict.signatures.iter().flat_map(|SignatureVerdict { findings, .. }| findings);
    for finding in findings.map(ToString::to_string) {
        if reasons.len() < MAX_REASONS && !reasons.contains(&finding) {
            reasons.push(finding);
        }
    }
    match reasons.is_empty() {
        true => String::new(),
        false => format!(": {}", reasons.join("; ")),
    }
}

/// Finds the signatures of an image; layers are read for those by somebody trusted.
///
/// # Errors
///
/// As [`JudgedImage::new`].
pub fn examine_for(
    place: &dyn Place,
    image: &Image,
    root_hashes: RootHashes<'_>,
    judge: &Judge<'_>,
    watch: Watch<'_>,
) -> Result<Examined, ConversionError> {
    let counts = |found: &LayerSignature| judge.trusts(&found.claim.root_hash, &found.signature);
    examine(place, image, root_hashes, &counts, watch)
}

/// Returns a signature as the trust configuration takes it.
pub fn candidate(found: &ExaminedSignature) -> Candidate<'_> {
    Candidate {
        root_hash: &found.claim.root_hash,
        signature: &found.signature,
        comparison: match found.content {
            Content::Differs => Comparison::Differs,
            Content::Has(_) => Comparison::Equal,
            Content::Skipped => Comparison::Skipped,
        },
    }
}

/// Returns how a standing is called in reports.
pub fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Signed => "signed",
        Standing::Skipped => "skipped",
        Standing::Refused => "refused",
        Standing::ContentDiffers => "content differs",
        Standing::NotTrusted => "not trusted",
        Standing::NotSigned => "not signed",
    }
}

/// How many reasons are given for one layer; a layer may have hundreds of signatures.
const MAX_REASONS: usize = 3;
