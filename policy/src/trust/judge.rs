//! What the signatures of a layer are worth.

use std::time::SystemTime;

use libverity::certificate::{Certificate, Validity};
use libverity::digest::RootHash;
use libverity::pkcs7::{self, Accepted, Refusal, verify_root_hash};

use super::finding::Finding;
use super::requirement::Unmet;
use super::revocation::{Revocation, RevocationList, Revoked};
use super::scope::{Enforcement, Scope};

/// Judges the signatures of layers in the images of one scope.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    pub(super) scope: &'a Scope,
    pub(super) revocations: &'a RevocationList,
    pub(super) now: SystemTime,
}

/// Is a signature of a layer, whatever it is worth.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The root hash that is said to be signed.
    pub root_hash: &'a RootHash,
    /// The PKCS#7 message.
    pub signature: &'a [u8],
    /// Whether the layer has this root hash.
    pub comparison: Comparison,
}

/// Says whether a layer has a root hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It has another one.
    Differs,
    /// It has this one.
    Equal,
    /// Nobody has looked; the kernel will.
    Skipped,
}

impl<'a> Judge<'a> {
    /// Returns the scope.
    pub fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// Tells whether everything passes unseen, signed or not.
    pub fn skips(&self) -> bool {
        self.scope.authenticity == Enforcement::Skip
    }

    /// Tells whether a signature is by somebody trusted, so that it is worth the work to hold it
    /// against its layer.
    pub fn trusts(&self, root_hash: &RootHash, signature: &[u8]) -> bool {
        let candidate = Candidate { root_hash, signature, comparison: Comparison::Skipped };
        self.signer(&candidate, &mut SignatureVerdict::new()).is_ok()
    }

    /// Judges the signatures of one layer.
    pub fn layer(&self, candidates: &[Candidate<'_>]) -> LayerVerdict {
        if self.skips() {
            return LayerVerdict {
                standing: Standing::Skipped,
                signatures: Vec::new(),
                unmet: None,
            };
        }
        let signatures: Vec<_> =
            candidates.iter().map(|candidate| self.signature(candidate)).collect();
        let good = |signature: &&SignatureVerdict| signature.standing == Standing::Signed;
        let signers: Vec<_> = signatures
            .iter()
            .filter(good)
            .filter_map(|signature| {
                let key = signature.signer.as_ref()?.certificate.derived_key_identifier();
                Some((key, signature.stores.clone()))
            })
            .collect();
        let best = signatures.iter().map(|signature| signature.standing).min();
        let unmet = self.scope.requirement.unmet(&signers, self.scope.stores.len());
        let standing = match best {
            None => Standing::NotSigned,
            Some(Standing::Signed) if unmet.is_some() => Standing::Refused,
            Some(best) => best,
        };
        LayerVerdict { standing, signatures, unmet }
    }

    fn signature(&self, candidate: &Candidate<'_>) -> SignatureVerdict {
        let mut verdict = SignatureVerdict::new();
        match self.signer(candidate, &mut verdict) {
            Ok(accepted) => verdict.signer = Some(accepted),
            Err(finding) => verdict.object(Standing::NotTrusted, finding),
        }
        if candidate.comparison == Comparison::Differs {
            verdict.object(Standing::ContentDiffers, Finding::ContentDiffers);
        }
        self.revocations(candidate, &mut verdict);
        self.validity(&mut verdict);
        verdict
    }

    /// Finds who signed, and to which stores he leads.
    fn signer(
        &self,
        candidate: &Candidate<'_>,
        verdict: &mut SignatureVerdict,
    ) -> Result<Accepted, Finding> {
        let verify = |anchors: &[Certificate]| {
            verify_root_hash(candidate.root_hash, candidate.signature, anchors)
        };
        let stores = &self.scope.stores;
        let mut trusted = Vec::new();
        let mut refusal = None;
        for (number, store) in stores.iter().enumerate() {
            match verify(&store.anchors) {
                Ok(accepted) => trusted.push((number, accepted)),
                Err(error) => refusal = more_telling(refusal, error),
            }
        }
        let meant =
            |(number, accepted): &&(usize, Accepted)| stores[*number].takes(&accepted.certificate);
        verdict.stores = trusted.iter().filter(meant).map(|(number, _)| *number).collect();
        if let Some((_, accepted)) = trusted.iter().find(meant) {
            return Ok(accepted.clone());
        }
        if self.scope.authenticity != Enforcement::Enforce
            && let Ok(message) = pkcs7::inspect(candidate.signature)
            && let Ok(accepted) = verify(&message.certificates)
        {
            let subject = accepted.certificate.subject();
            verdict.remarks.push(Finding::Untrusted { subject });
            return Ok(accepted);
        }
        match trusted.into_iter().next() {
            Some((number, accepted)) => Err(Finding::SubjectNotTrusted {
                subject: accepted.certificate.subject(),
                stores: stores[number].name.clone(),
            }),
            None => Err(Finding::Refused(refusal.unwrap_or_else(|| {
                // Without a store nobody is trusted, and the message may be broken besides.
                verify(&[]).err().unwrap_or(Refusal::NoSigner)
            }))),
        }
    }

    fn revocations(&self, candidate: &Candidate<'_>, verdict: &mut SignatureVerdict) {
        let mut findings = Vec::new();
        if let Some(revocation) = self.revocations.of_root_hash(candidate.root_hash) {
            findings.push(Finding::RevokedRootHash { reason: revocation.reason.clone() });
        }
        for certificate in verdict.signer.iter().flat_map(Accepted::chain) {
            if let Some(revocation) = self.revocations.of_certificate(certificate) {
                findings.push(revoked_signer(revocation, certificate));
            }
        }
        verdict.weigh(self.scope.revocation, findings);
    }

    fn validity(&self, verdict: &mut SignatureVerdict) {
        let chain = verdict.signer.iter().flat_map(Accepted::chain);
        let findings = chain.filter_map(|certificate| match certificate.validity_at(self.now) {
            Validity::Valid => None,
            validity => Some(Finding::Invalid { subject: certificate.subject(), validity }),
        });
        let findings = findings.collect();
        verdict.weigh(self.scope.validity, findings);
    }
}

/// Says what is known of the signatures of a layer.
#[derive(Clone, Debug)]
pub struct LayerVerdict {
    /// Where the layer stands.
    pub standing: Standing,
    /// The verdict on each signature, in the order in which they were given.
    pub signatures: Vec<SignatureVerdict>,
    /// What is lacking in number.
    pub unmet: Option<Unmet>,
}

/// Says what a signature is worth.
#[derive(Clone, Debug)]
pub struct SignatureVerdict {
    /// Where the signature stands.
    pub standing: Standing,
    /// Who signed, if he leads to a trusted certificate.
    pub signer: Option<Accepted>,
    /// The trust stores to which he leads, by their places in the scope.
    pub stores: Vec<usize>,
    /// Why the signature does not count.
    pub findings: Vec<Finding>,
    /// What was found, and only reported.
    pub remarks: Vec<Finding>,
}

impl SignatureVerdict {
    fn new() -> Self {
        Self {
            standing: Standing::Signed,
            signer: None,
            stores: Vec::new(),
            findings: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Refuses the signature; the worst reason decides where it stands.
    fn object(&mut self, standing: Standing, finding: Finding) {
        self.standing = self.standing.max(standing);
        self.findings.push(finding);
    }

    fn weigh(&mut self, enforcement: Enforcement, findings: Vec<Finding>) {
        match enforcement {
            Enforcement::Enforce => {
                findings.into_iter().for_each(|finding| self.object(Standing::Refused, finding));
            }
            Enforcement::Log => self.remarks.extend(findings),
            Enforcement::Skip => {}
        }
    }
}

/// Says where a signature, a layer or an image stands; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Those who are trusted signed just this content.
    Signed,
    /// The configuration says that nothing is to be verified.
    Skipped,
    /// The kernel would take it, but the configuration does not: expired, revoked, or too few.
    Refused,
    /// A trusted signer signed other content.
    ContentDiffers,
    /// There are signatures, and none is valid and by a trusted signer.
    NotTrusted,
    /// There is no signature.
    NotSigned,
}

fn revoked_signer(revocation: &Revocation, certificate: &Certificate) -> Finding {
    if let Revoked::SignedPart(_) = revocation.revoked {
        return Finding::RevokedByFirmware { subject: certificate.subject() };
    }
    Finding::RevokedSigner {
        what: match revocation.revoked {
            Revoked::Key(_) => "key",
            _ => "certificate",
        },
        subject: certificate.subject(),
        reason: revocation.reason.clone(),
    }
}

/// Keeps the refusal that says more than that nobody is known.
fn more_telling(one: Option<Refusal>, other: Refusal) -> Option<Refusal> {
    match one {
        None | Some(Refusal::UnknownSigner { .. }) => Some(other),
        one => one,
    }
}
