//! Puts a signature together.

use der::asn1::{AnyRef, OctetStringRef, SetOfVec};
use der::{Decode, Encode, Tag};

use super::structure::{
    AlgorithmIdentifier, ContentInfo, DATA, EncapsulatedContentInfo, IssuerAndSerialNumber,
    SIGNED_DATA, SignedData, SignerInfo,
};
use crate::certificate::Certificate;
use crate::signer::SignatureAlgorithm;

/// Puts `signature`, which the key of `certificate` made over the content's bytes, into a PKCS#7
/// message in DER.
///
/// Nothing is verified here; who calls this with a signature from elsewhere verifies the message.
pub fn assemble(
    content: Content<'_>,
    certificate: &Certificate,
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    embedding: Embedding<'_>,
) -> Result<Vec<u8>, AssembleError> {
    let digest_algorithm =
        AlgorithmIdentifier { algorithm: algorithm.hash().oid(), parameters: Some(AnyRef::NULL) };
    let parameters = algorithm.has_null_parameters().then_some(AnyRef::NULL);
    let signer_info = SignerInfo {
        version: VERSION,
        identifier: IssuerAndSerialNumber {
            issuer: AnyRef::from_der(certificate.issuer_encoding())?,
            serial_number: AnyRef::new(Tag::Integer, certificate.serial_contents())?,
        },
        digest_algorithm: digest_algorithm.clone(),
        signature_algorithm: AlgorithmIdentifier { algorithm: algorithm.signer_oid(), parameters },
        signature: OctetStringRef::new(signature)?,
    };
    let encapsulated_content = EncapsulatedContentInfo {
        content_type: DATA,
        content: match content {
            Content::Attached(bytes) => Some(OctetStringRef::new(bytes)?),
            Content::Detached => None,
        },
    };
    let message = ContentInfo {
        content_type: SIGNED_DATA,
        content: SignedData {
            version: VERSION,
            digest_algorithms: SetOfVec::try_from(vec![digest_algorithm])?,
            encapsulated_content,
            certificates: certificates(certificate, embedding)?,
            signer_infos: SetOfVec::try_from(vec![signer_info])?,
        },
    };
    Ok(message.to_der()?)
}

/// Is where the signed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// They are inside the message, as a policy's are.
    Attached(&'a [u8]),
    /// They are elsewhere, as a root hash is.
    Detached,
}

/// Is what goes into a message besides the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embedding<'a> {
    /// The signer's certificate with its intermediates, so that a trusted issuer is enough.
    #[default]
    Certificate,
    /// The signer's certificate and those between it and a trusted one.
    Chain(&'a [Certificate]),
    /// Nothing: the signer's certificate itself has to be trusted. The smallest form.
    Nothing,
}

/// Says that the parts of a signature cannot be encoded, because one is too long or malformed.
#[derive(Debug, thiserror::Error)]
#[error("the signature cannot be encoded: {source}")]
pub struct AssembleError {
    /// What is wrong.
    #[from]
    source: der::Error,
}

fn certificates<'a>(
    signer: &'a Certificate,
    embedding: Embedding<'a>,
) -> der::Result<Option<SetOfVec<AnyRef<'a>>>> {
    let others = match embedding {
        Embedding::Nothing => return Ok(None),
        Embedding::Certificate => &[],
        Embedding::Chain(others) => others,
    };
    let mut encodings = vec![AnyRef::from_der(signer.as_der())?];
    for other in others {
        let encoding = AnyRef::from_der(other.as_der())?;
        if !encodings.contains(&encoding) {
            encodings.push(encoding);
        }
    }
    SetOfVec::try_from(encodings).map(Some)
}

/// The version of a SignedData and a SignerInfo that name the signer by issuer and serial number.
const VERSION: u8 = 1;
