//! X.509 certificates as the kernel reads them.
//!
//! A certificate that the kernel does not load can neither be a trust anchor nor stand in a
//! signature, so certificates are read here with the kernel's rules
//! (`crypto/asymmetric_keys/x509_cert_parser.c`), not with those of RFC 5280: validity, key usage
//! and most extensions count for nothing.

mod algorithm;
mod distinguished_name;
mod generate;
mod issue;
mod parse;
mod public_key;
mod signature_list;
mod validity;
mod verification;

use std::fmt;
use std::time::SystemTime;

use der::Decode;
use der::pem::PemLabel;
use x509_cert::name::Name;

pub(crate) use algorithm::{
    EC_PUBLIC_KEY, ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ECDSA_WITH_SHA512, RSA_ENCRYPTION,
    SHA256_WITH_RSA, describe_oid,
};
pub use algorithm::{HashAlgorithm, SignatureScheme};
pub use distinguished_name::{DistinguishedName, DistinguishedNameError};
pub use generate::{GenerateError, GeneratedKey, KeyKind, Role, generate, generate_as};
pub(crate) use parse::{name as parse_name, parse_time};
pub(crate) use public_key::bit_length;
pub use public_key::{Curve, PublicKey};
pub use signature_list::{SignatureListEntry, SignatureListError, read_signature_lists};
pub use validity::Validity;
pub(crate) use verification::{SignatureError, digest_info_prefix};

use crate::asn1::Asn1Error;
use crate::errno::Errno;

/// Is an X.509 certificate, with what decides whether and when the kernel trusts its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    to_be_signed: Vec<u8>,
    /// The contents of the serial number's INTEGER.
    serial: Vec<u8>,
    /// The encoding of the issuer's Name, header included.
    issuer: Vec<u8>,
    /// The encoding of the subject's Name, header included.
    subject: Vec<u8>,
    id: KeyId,
    subject_key_identifier: Option<KeyId>,
    authority: Authority,
    public_key: PublicKey,
    /// The contents of the key's BIT STRING.
    public_key_bits: Vec<u8>,
    signature_algorithm: Result<(SignatureScheme, HashAlgorithm), String>,
    signature: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
    self_signed: Result<bool, NotLoadable>,
}

impl Certificate {
    /// Reads the certificate at the start of `der`; like the kernel it does not look at what
    /// follows.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        parse::parse(der)
    }

    /// Reads the first certificate of a file in PEM or DER.
    pub fn from_file_contents(contents: &[u8]) -> Result<Self, CertificateError> {
        Self::all_from_file_contents(contents).map(|mut certificates| certificates.swap_remove(0))
    }

    /// Reads every certificate of a file: one in DER, or any number in PEM with other text around
    /// them. There is at least one.
    pub fn all_from_file_contents(contents: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let Some(text) = pem_text(contents) else {
            return Self::from_der(contents).map(|certificate| vec![certificate]);
        };
        let mut certificates = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(PEM_BEGIN) {
            let block = &rest[start..];
            let end = block.find(PEM_END).ok_or(CertificateError::PemUnfinished)? + PEM_END.len();
            // Whether the bytes in it are a certificate is for the kernel's rules to say, not for DER's.
            let (_, bytes) = der::pem::decode_vec(&block.as_bytes()[..end])
                .map_err(|error| CertificateError::Pem { source: error.into() })?;
            certificates.push(Self::from_der(&bytes)?);
            rest = &block[end..];
        }
        if certificates.is_empty() { Err(CertificateError::Absent) } else { Ok(certificates) }
    }

    /// Returns the encoding.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Writes the certificate in PEM, with lines of 64 characters.
    pub fn to_pem(&self) -> String {
        let lines = der::pem::LineEnding::LF;
        der::pem::encode_string(x509_cert::Certificate::PEM_LABEL, lines, &self.der)
            .unwrap_or_else(|error| unreachable!("certificates have a length that fits: {error}"))
    }

    /// Returns the subject as RFC 4514 writes names.
    pub fn subject(&self) -> String {
        display_name(&self.subject)
    }

    /// Returns the issuer as RFC 4514 writes names.
    pub fn issuer(&self) -> String {
        display_name(&self.issuer)
    }

    /// Returns the serial number in hexadecimal.
    pub fn serial(&self) -> String {
        hex::encode(&self.serial)
    }

    /// Returns the subject key identifier in hexadecimal, by which `/proc/keys` names a key.
    pub fn subject_key_identifier(&self) -> Option<String> {
        self.subject_key_identifier.as_ref().map(|identifier| hex::encode(&identifier.0))
    }

    /// Returns what the kernel calls the certificate besides its subject: the subject key identifier, or the serial number
    /// where there is none, in hexadecimal.
    ///
    /// Source: `crypto/asymmetric_keys/x509_public_key.c`, `x509_key_preparse`.
    pub fn kernel_identifier(&self) -> String {
        self.subject_key_identifier().unwrap_or_else(|| self.serial())
    }

    /// Returns the subject key identifier that RFC 5280 derives from the key, in hexadecimal, whatever
    /// the certificate says: certificates of one key have one.
    ///
    /// Source: RFC 5280, section 4.2.1.2, method 1.
    pub fn derived_key_identifier(&self) -> String {
        hex::encode(HashAlgorithm::Sha1.digest(&self.public_key_bits).unwrap_or_default())
    }

    /// Returns the attributes of the subject, or `None` if it is no name of RFC 5280.
    pub fn subject_name(&self) -> Option<DistinguishedName> {
        DistinguishedName::from_der(&self.subject)
    }

    /// Returns the attributes of the issuer, or `None` if it is no name of RFC 5280.
    pub fn issuer_name(&self) -> Option<DistinguishedName> {
        DistinguishedName::from_der(&self.issuer)
    }

    /// Returns the authority key identifier in hexadecimal.
    ///
    /// Without it the kernel cannot find the issuer among its keys.
    pub fn authority_key_identifier(&self) -> Option<String> {
        self.authority.key_identifier.as_ref().map(|identifier| hex::encode(&identifier.0))
    }

    /// Returns the part that is signed (RFC 5280, section 4.1.1.1).
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// Returns the digest of the part that is signed, by the algorithm with which it is signed: the
    /// name of a revoked certificate in the kernel's `.blacklist` keyring (`tbs:`). `None` where the
    /// kernel, or this library, has no such algorithm.
    pub fn to_be_signed_digest(&self) -> Option<Vec<u8>> {
        let (_, hash) = self.signature_algorithm.as_ref().ok()?;
        hash.digest(&self.to_be_signed)
    }

    /// Returns the key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns the time from which the certificate is valid; the kernel ignores it.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Returns the last time at which the certificate is valid; the kernel ignores it.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Tells whether `now` lies outside the certificate's validity; the kernel does not care.
    pub fn is_expired_at(&self, now: SystemTime) -> bool {
        self.validity_at(now) != Validity::Valid
    }

    /// Tells whether the kernel would load this certificate into a keyring, and if not, why.
    pub fn loadable(&self) -> Result<(), NotLoadable> {
        self.self_signed.clone().map(|_| ())
    }

    /// Tells whether the certificate is signed by its own key.
    pub fn is_self_signed(&self) -> bool {
        self.self_signed == Ok(true)
    }

    /// Returns issuer and serial number in one, the first name of the key in the kernel.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the subject key identifier, the second name of the key in the kernel.
    pub(crate) fn key_identifier(&self) -> Option<&KeyId> {
        self.subject_key_identifier.as_ref()
    }

    /// Returns how the certificate names the key that signed it.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the encoding of the issuer's name.
    pub(crate) fn issuer_encoding(&self) -> &[u8] {
        &self.issuer
    }

    /// Returns the contents of the serial number.
    pub(crate) fn serial_contents(&self) -> &[u8] {
        &self.serial
    }

    /// Returns those of `others` that lead from this certificate towards a trusted one: its issuer,
    /// the issuer's and so on, up to one that signs itself, which is left out.
    pub fn intermediates_among(&self, others: &[Self]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::new();
        loop {
            let last = chain.last().unwrap_or(self);
            let issuer = others.iter().find(|other| {
                other.subject == last.issuer
                    && !other.is_self_signed()
                    && !chain.contains(other)
                    && last.verify_issued_by(&other.public_key).is_ok()
            });
            match issuer {
                Some(issuer) => chain.push(issuer.clone()),
                None => return chain,
            }
        }
    }

    /// Checks that `issuer` signed this certificate.
    pub(crate) fn verify_issued_by(&self, issuer: &PublicKey) -> Result<(), SignatureError> {
        let Ok((scheme, hash)) = self.signature_algorithm else {
            return Err(SignatureError::OtherKind);
        };
        issuer.verify(scheme, hash, &self.to_be_signed, &self.signature)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("issuer", &self.issuer())
            .field("serial", &self.serial())
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// Is a name under which the kernel looks for keys: issuer and serial number in one, or a subject
/// key identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(Vec<u8>);

impl KeyId {
    /// Joins the contents of a serial number and of a Name, in the kernel's order.
    pub(crate) fn of_issuer_and_serial(issuer: &[u8], serial: &[u8]) -> Self {
        Self([serial, issuer].concat())
    }

    pub(crate) fn of_key_identifier(identifier: &[u8]) -> Self {
        Self(identifier.to_vec())
    }
}

/// Is what a certificate says about the key that signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) issuer_and_serial: Option<KeyId>,
    pub(crate) key_identifier: Option<KeyId>,
}

/// Says why bytes are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no certificate in a PEM file.
    #[error("there is no certificate in it, only other PEM blocks")]
    Absent,
    /// The encoding is broken.
    #[error("it is not an X.509 certificate in DER: {source}")]
    Encoding {
        /// What is broken.
        #[from]
        source: Asn1Error,
    },
    /// An extension is not what it should be, or is there twice.
    #[error("its extension {extension} is malformed or repeated")]
    Extension {
        /// The name of the extension.
        extension: &'static str,
    },
    /// The PEM armour is broken.
    #[error("its PEM text is broken: {source}")]
    Pem {
        /// What is broken.
        source: der::Error,
    },
    /// A PEM block has no end.
    #[error("its PEM text has a certificate that does not end")]
    PemUnfinished,
    /// The signature's algorithm is named twice, differently.
    #[error("it names its signature algorithm twice, and differently")]
    SignatureAlgorithms,
    /// A time of the validity cannot be read.
    #[error("its validity has a time that is not one of RFC 5280")]
    Time,
    /// It has more bytes than the kernel reads.
    #[error("it has {bytes} bytes, more than the {MAX_CERTIFICATE_BYTES} that the kernel reads")]
    TooLarge {
        /// The size.
        bytes: usize,
    },
}

impl CertificateError {
    /// Returns the error that the kernel gives for such a certificate.
    pub fn errno(&self) -> Errno {
        match self {
            Self::SignatureAlgorithms => Errno::EINVAL,
            Self::TooLarge { .. } => Errno::EMSGSIZE,
            _ => Errno::EBADMSG,
        }
    }
}

/// Says why the kernel does not load a certificate that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotLoadable {
    /// It says that it is its own issuer, and is not.
    #[error("it names itself as its issuer, but its own key did not sign it")]
    SelfSignature {
        /// The error that the kernel gives.
        errno: Errno,
    },
    /// The key's algorithm or curve is unknown to the kernel.
    #[error("the kernel has no {algorithm} keys")]
    UnsupportedKey {
        /// Name and number of the algorithm.
        algorithm: String,
    },
    /// The algorithm of the certificate's own signature is unknown to the kernel.
    #[error("the kernel does not know its signature algorithm {algorithm}")]
    UnsupportedSignature {
        /// Name and number of the algorithm.
        algorithm: String,
    },
}

impl NotLoadable {
    /// Returns the error that the kernel gives for such a certificate.
    pub fn errno(&self) -> Errno {
        match self {
            Self::SelfSignature { errno } => *errno,
            Self::UnsupportedKey { .. } | Self::UnsupportedSignature { .. } => Errno::ENOPKG,
        }
    }
}

/// The most bytes that the kernel's decoder takes.
///
/// Source: `lib/asn1_decoder.c`, `asn1_ber_decoder`.
pub const MAX_CERTIFICATE_BYTES: usize = 65_535;

/// Writes a name for people; one that RFC 5280 does not allow is written in hexadecimal.
pub(crate) fn display_name(encoding: &[u8]) -> String {
    match Name::from_der(encoding) {
        Ok(name) => name.to_string(),
        Err(_) => format!("#{}", hex::encode(encoding)),
    }
}

/// Tells PEM from DER: DER starts with a SEQUENCE, whose tag no PEM file starts with.
fn pem_text(contents: &[u8]) -> Option<&str> {
    std::str::from_utf8(contents).ok().filter(|text| text.contains("-----BEGIN "))
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";
