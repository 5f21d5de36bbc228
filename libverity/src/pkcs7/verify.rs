//! The kernel's rules for accepting a signature.
//!
//! Source: `certs/system_keyring.c` (`verify_pkcs7_signature`) and, beneath it,
//! `crypto/asymmetric_keys/pkcs7_verify.c` and `pkcs7_trust.c`. First the message has to agree with
//! itself: with the content, with the certificates in it. Then one of its signers has to lead to a
//! trusted certificate. Neither time, key usage nor the name of an issuer counts for anything.

use std::time::SystemTime;

use super::keyrings::Keyrings;
use super::message::{Message, SignerInfo};
use super::refusal::Refusal;
use crate::asn1::Asn1Error;
use crate::certificate::{Certificate, KeyId, PublicKey, SignatureError};
use crate::digest::RootHash;
use crate::errno::Errno;

/// Verifies a detached signature of a root hash, as `dm-verity` does when a table is loaded.
///
/// `keyrings` are the kernel's: the certificates that it trusts will do, if nothing is revoked.
///
/// Source: `drivers/md/dm-verity-verify-sig.c`.
pub fn verify_root_hash<'k>(
    root_hash: &RootHash,
    signature: &[u8],
    keyrings: impl Into<Keyrings<'k>>,
) -> Result<Accepted, Refusal> {
    check_size(signature, MAX_ROOT_HASH_SIGNATURE_BYTES)?;
    let keyrings = keyrings.into();
    // Messages in BER are those of programs that stream, and hold their content.
    let message = Message::parse(signature, keyrings.trusted())
        .map_err(|refusal| in_ber(refusal, Errno::EBADMSG))?;
    if message.content.is_some() {
        return Err(Refusal::ContentAttached);
    }
    accept(&message, root_hash.signed_text().as_bytes(), keyrings)
}

/// Verifies a signed policy, as IPE does when it is loaded, and returns its text with the verdict.
///
/// Source: `security/ipe/policy.c`, `ipe_new_policy`.
pub fn verify_policy<'a, 'k>(
    signed_policy: &'a [u8],
    keyrings: impl Into<Keyrings<'k>>,
) -> Result<(Accepted, &'a [u8]), Refusal> {
    let keyrings = keyrings.into();
    let message = read_policy(signed_policy, keyrings.trusted())?;
    match message.content {
        Some(content) => accept(&message, content, keyrings).map(|accepted| (accepted, content)),
        // The kernel verifies such a message over nothing.
        None => Err(match accept(&message, b"", keyrings) {
            Ok(_) | Err(Refusal::SignatureMismatch { .. } | Refusal::DigestMismatch) => {
                Refusal::ContentMissing
            }
            Err(refusal) => refusal,
        }),
    }
}

/// Returns the text of a signed policy, without a look at who signed it.
pub fn policy_text(signed_policy: &[u8]) -> Result<&[u8], Refusal> {
    read_policy(signed_policy, &[])?.content.ok_or(Refusal::ContentMissing)
}

/// Says who signed a message that the kernel accepts, and why it is trusted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// How the signature names its signer.
    pub signer: SignerIdentifier,
    /// The signer's certificate, from the message or, if it is not in there, from the trusted ones.
    pub certificate: Certificate,
    /// The certificates between the signer's and the trusted one, as far as they are in the message.
    pub intermediates: Vec<Certificate>,
    /// The trusted certificate that the signer leads to; the signer's own, if that is trusted.
    pub anchor: Certificate,
}

impl Accepted {
    /// Returns the certificates from the signer's to the trusted one, each once.
    pub fn chain(&self) -> impl Iterator<Item = &Certificate> {
        let anchor = Some(&self.anchor).filter(|anchor| **anchor != self.certificate);
        std::iter::once(&self.certificate).chain(&self.intermediates).chain(anchor)
    }

    /// Tells whether a certificate between the signer and the trusted one, both included, is not
    /// valid at `now`. The kernel does not ask.
    pub fn is_expired_at(&self, now: SystemTime) -> bool {
        self.chain().any(|certificate| certificate.is_expired_at(now))
    }
}

/// Names a signer, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerIdentifier(pub(super) String);

impl std::fmt::Display for SignerIdentifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The most bytes that a PKCS#7 message may have, a signed policy with its text among them.
///
/// Source: `lib/asn1_decoder.c`, `asn1_ber_decoder`.
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// The most bytes that the signature of a root hash may have: what a key of the type `user` holds.
///
/// Source: `security/keys/user_defined.c`, `user_preparse`.
pub const MAX_ROOT_HASH_SIGNATURE_BYTES: usize = 32_767;

fn check_size(message: &[u8], limit: usize) -> Result<(), Refusal> {
    if message.len() > limit {
        return Err(Refusal::TooLarge { bytes: message.len(), limit });
    }
    Ok(())
}

fn read_policy<'a>(signed_policy: &'a [u8], known: &[Certificate]) -> Result<Message<'a>, Refusal> {
    check_size(signed_policy, MAX_MESSAGE_BYTES)?;
    Message::parse(signed_policy, known).map_err(|refusal| in_ber(refusal, Errno::EKEYREJECTED))
}

/// Says what the kernel makes of elements of indefinite length: `errno`.
fn in_ber(refusal: Refusal, errno: Errno) -> Refusal {
    match refusal {
        Refusal::Encoding { source: Asn1Error::IndefiniteLength } => {
            Refusal::IndefiniteLength { errno }
        }
        other => other,
    }
}

/// Source: `pkcs7_verify`, then `is_key_on_revocation_list` and `pkcs7_validate_trust`: the first signer
/// with a wrong signature ends it. One whose chain is revoked only fails if there is no other, and so does
/// one without a trusted certificate.
fn accept(
    message: &Message<'_>,
    content: &[u8],
    keyrings: Keyrings<'_>,
) -> Result<Accepted, Refusal> {
    let chains = message
        .signers
        .iter()
        .map(|signer| verify_one(message, signer, content, keyrings))
        .collect::<Result<Vec<_>, _>>()?;
    let signers = || {
        let names = message.signers.iter().map(|signer| signer.identifier.describe());
        names.collect::<Vec<_>>().join(" and by ")
    };
    if !chains.is_empty() && chains.iter().all(|chain| chain.is_revoked) {
        return Err(Refusal::Revoked { signers: signers() });
    }
    // A message that the revoked certificates vouch for; what else is wrong with it there does not count.
    if let Ok(Some(_)) = trust(message, &chains, content, keyrings.revoked()) {
        return Err(Refusal::Revoked { signers: signers() });
    }
    trust(message, &chains, content, keyrings.trusted())?
        .ok_or_else(|| Refusal::UnknownSigner { signers: signers() })
}

/// Source: `pkcs7_validate_trust`.
fn trust(
    message: &Message<'_>,
    chains: &[Chain],
    content: &[u8],
    keyring: &[Certificate],
) -> Result<Option<Accepted>, Refusal> {
    let keyring: Vec<&Certificate> =
        keyring.iter().filter(|anchor| anchor.loadable().is_ok()).collect();
    let mut accepted = None;
    for (signer, chain) in message.signers.iter().zip(chains) {
        let found = trust_one(message, signer, &chain.places, content, &keyring)?;
        accepted = accepted.or(found);
    }
    Ok(accepted)
}

/// Is a signer's certificate, its issuer's and so on, as far as they are in the message.
#[derive(Default)]
struct Chain {
    /// The places of the certificates in the message.
    places: Vec<usize>,
    /// Whether the last of them is revoked, and those below with it.
    is_revoked: bool,
}

/// Checks one signer against the message, and returns its chain.
///
/// Source: `pkcs7_verify_one`.
fn verify_one(
    message: &Message<'_>,
    signer: &SignerInfo<'_>,
    content: &[u8],
    keyrings: Keyrings<'_>,
) -> Result<Chain, Refusal> {
    check_message_digest(signer, content)?;
    let Some(place) = signer
        .identifier
        .key_id()
        .and_then(|id| message.certificates.iter().position(|certificate| *certificate.id() == id))
    else {
        return Ok(Chain::default());
    };
    let certificate = &message.certificates[place];
    if signer.signing_time.is_some_and(|time| certificate.is_expired_at(time)) {
        return Err(Refusal::SigningTime { signer: certificate.subject() });
    }
    verify_signature(signer, content, certificate)?;
    chain(message, place, keyrings)
}

/// Source: `pkcs7_digest`.
fn check_message_digest(signer: &SignerInfo<'_>, content: &[u8]) -> Result<(), Refusal> {
    let Some(attributes) = &signer.attributes else {
        return Ok(());
    };
    let digest = signer.hash.digest(content).ok_or_else(|| Refusal::UnsupportedHere {
        algorithm: format!("a digest with {}", signer.hash),
    })?;
    if attributes.message_digest.len() != digest.len() {
        return Err(Refusal::AttributeValue { attribute: "messageDigest" });
    }
    if attributes.message_digest != digest {
        return Err(Refusal::DigestMismatch);
    }
    Ok(())
}

fn verify_signature(
    signer: &SignerInfo<'_>,
    content: &[u8],
    certificate: &Certificate,
) -> Result<(), Refusal> {
    let signed = match &signer.attributes {
        Some(attributes) => &attributes.encoding,
        None => content,
    };
    certificate.public_key().verify(signer.scheme, signer.hash, signed, signer.signature).map_err(
        |error| match error {
            SignatureError::Mismatch(errno) => {
                Refusal::SignatureMismatch { signer: signer.identifier.describe(), errno }
            }
            SignatureError::OtherKind => Refusal::SignerKeyKind {
                scheme: signer.scheme,
                signer: signer.identifier.describe(),
            },
            SignatureError::UnsupportedHere { algorithm } => Refusal::UnsupportedHere { algorithm },
        },
    )
}

/// Follows the issuers through the certificates in the message.
///
/// Source: `pkcs7_verify_sig_chain`.
fn chain(message: &Message<'_>, leaf: usize, keyrings: Keyrings<'_>) -> Result<Chain, Refusal> {
    let certificates = &message.certificates;
    let mut places = vec![leaf];
    let mut top = &certificates[leaf];
    loop {
        if keyrings.names(top) {
            return Ok(Chain { places, is_revoked: true });
        }
        if top.is_self_signed() {
            break;
        }
        let authority = top.authority();
        let issuer = match (&authority.issuer_and_serial, &authority.key_identifier) {
            (Some(id), key) => {
                let found = certificates.iter().position(|candidate| candidate.id() == id);
                let keys_differ = |place: &usize| {
                    key.is_some() && certificates[*place].key_identifier() != key.as_ref()
                };
                if found.as_ref().is_some_and(keys_differ) {
                    let errno = Errno::EKEYREJECTED;
                    return Err(Refusal::ChainBroken { subject: top.subject(), errno });
                }
                found
            }
            (None, Some(key)) => {
                certificates.iter().position(|candidate| candidate.key_identifier() == Some(key))
            }
            (None, None) => None,
        };
        let Some(place) = issuer.filter(|place| !places.contains(place)) else {
            break;
        };
        check_issued(top, certificates[place].public_key())?;
        places.push(place);
        top = &certificates[place];
    }
    Ok(Chain { places, is_revoked: false })
}

fn check_issued(certificate: &Certificate, issuer: &PublicKey) -> Result<(), Refusal> {
    certificate.verify_issued_by(issuer).map_err(|error| match error {
        SignatureError::Mismatch(errno) => {
            Refusal::ChainBroken { subject: certificate.subject(), errno }
        }
        SignatureError::OtherKind => {
            Refusal::ChainBroken { subject: certificate.subject(), errno: Errno::EKEYREJECTED }
        }
        SignatureError::UnsupportedHere { algorithm } => Refusal::UnsupportedHere { algorithm },
    })
}

/// Looks for a trusted certificate that vouches for a signer, `None` if there is none.
///
/// Source: `pkcs7_validate_trust_one`.
fn trust_one(
    message: &Message<'_>,
    signer: &SignerInfo<'_>,
    chain: &[usize],
    content: &[u8],
    keyring: &[&Certificate],
) -> Result<Option<Accepted>, Refusal> {
    let certificates = || chain.iter().map(|&place| &message.certificates[place]);
    let accepted = |anchor: &Certificate, below: usize| {
        Some(Accepted {
            signer: signer.identifier.name(),
            certificate: certificates().next().unwrap_or(anchor).clone(),
            intermediates: certificates().take(below).skip(1).cloned().collect(),
            anchor: anchor.clone(),
        })
    };
    // One of the certificates in the message may be trusted itself. The trusted copy of it then has
    // to vouch for what the one in the message vouched for.
    let mut below: Option<&Certificate> = None;
    for (number, certificate) in certificates().enumerate() {
        let key_identifier = certificate.key_identifier();
        if let Ok(Some(anchor)) = find(keyring, certificate, Some(certificate.id()), key_identifier)
        {
            match below {
                // The one in the message has vouched already.
                _ if anchor == certificate => {}
                None => verify_signature(signer, content, anchor).map_err(untrusted)?,
                Some(below) => check_issued(below, anchor.public_key()).map_err(untrusted)?,
            }
            return Ok(accepted(anchor, number));
        }
        if certificate.is_self_signed() {
            return Ok(None);
        }
        below = Some(certificate);
    }
    // Or the last of them was issued by a trusted one.
    if let Some(last) = below {
        let authority = last.authority();
        let by_serial = authority.issuer_and_serial.as_ref();
        let by_key = authority.key_identifier.as_ref();
        if let Some(anchor) = find(keyring, last, by_serial, by_key)? {
            check_issued(last, anchor.public_key()).map_err(untrusted)?;
            return Ok(accepted(anchor, chain.len()));
        }
    }
    // Or the signer's certificate, of which the message has only the name, is trusted.
    let id = signer.identifier.key_id().ok_or(Refusal::IdentifierKind)?;
    let Some(anchor) = keyring.iter().find(|anchor| has_name(anchor, &id)) else {
        return Ok(None);
    };
    verify_signature(signer, content, anchor).map_err(untrusted)?;
    Ok(accepted(anchor, chain.len()))
}

/// Forgets in which step a trusted key did not verify something, as the kernel does.
fn untrusted(refusal: Refusal) -> Refusal {
    let errno = Errno::EKEYREJECTED;
    match refusal {
        Refusal::ChainBroken { subject, .. } => Refusal::ChainBroken { subject, errno },
        Refusal::SignatureMismatch { signer, .. } => Refusal::SignatureMismatch { signer, errno },
        other => other,
    }
}

/// Finds a key by its first name, which then has to have the second one as well; or by the second
/// alone.
///
/// Source: `crypto/asymmetric_keys/asymmetric_type.c`, `find_asymmetric_key`.
fn find<'a>(
    keyring: &[&'a Certificate],
    wanted_for: &Certificate,
    first: Option<&KeyId>,
    second: Option<&KeyId>,
) -> Result<Option<&'a Certificate>, Refusal> {
    let Some(name) = first.or(second) else {
        return Ok(None);
    };
    let Some(anchor) = keyring.iter().find(|anchor| has_name(anchor, name)) else {
        return Ok(None);
    };
    if first.is_some() && second.is_some() && anchor.key_identifier() != second {
        return Err(Refusal::KeyIdentifierMismatch { subject: wanted_for.subject() });
    }
    Ok(Some(anchor))
}

fn has_name(anchor: &Certificate, name: &KeyId) -> bool {
    anchor.id() == name || anchor.key_identifier() == Some(name)
}
