//! New keys, each with a certificate signed by itself.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::asn1::{Any, BitString, Null, OctetString, Uint, Utf8StringRef};
use der::flagset::FlagSet;
use der::oid::{AssociatedOid, ObjectIdentifier};
use der::pem::LineEnding;
use der::{Decode, Encode, SecretDocument, Sequence};
use getrandom::SysRng;
use pkcs8::PrivateKeyInfoRef;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair};
use rsa::pkcs8::EncodePrivateKey;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

use super::algorithm::{PRIME256V1, SECP384R1};
use super::{Certificate, CertificateError};
use crate::signer::{PrivateKey, PrivateKeyError, SignatureAlgorithm};

/// Makes a key of the given kind and a certificate for it, signed by itself.
///
/// `common_name` becomes the subject, 1 to 64 characters. The certificate has what the kernel and
/// UEFI look for (subject and authority key identifier, key usage digitalSignature) and is valid
/// from `now` for `validity`, which other tools than the kernel may check.
pub fn generate(
    kind: KeyKind,
    common_name: &str,
    now: SystemTime,
    validity: Duration,
) -> Result<GeneratedKey, GenerateError> {
    let name = name(common_name)?;
    let (pkcs8, key) = generate_key(kind)?;
    let validity = validity_from(now, validity)?;
    let certificate = certificate(&key, kind, name, validity)?;
    certificate.loadable().map_err(|_| GenerateError::Unverified)?;
    Ok(GeneratedKey { certificate, pkcs8 })
}

/// Is a kind of key that osguard makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA over P-256.
    EcP256,
    /// ECDSA over P-384.
    EcP384,
    /// RSA with 2048 bits, which every firmware and every kernel takes.
    #[default]
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        })
    }
}

/// Is a new key with its certificate; the key is wiped from memory when it is dropped.
pub struct GeneratedKey {
    certificate: Certificate,
    pkcs8: SecretDocument,
}

impl GeneratedKey {
    /// Returns the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Writes the private key as PKCS#8 in PEM, encrypted (PBES2 with scrypt and AES-256) if there
    /// is a passphrase.
    pub fn private_key_pem(
        &self,
        passphrase: Option<&[u8]>,
    ) -> Result<Zeroizing<String>, GenerateError> {
        let unencodable = |_| GenerateError::Encode;
        let Some(passphrase) = passphrase else {
            return self.pkcs8.to_pem("PRIVATE KEY", LineEnding::LF).map_err(unencodable);
        };
        let info = PrivateKeyInfoRef::from_der(self.pkcs8.as_bytes()).map_err(unencodable)?;
        info.encrypt_with_rng(&mut SysRng, passphrase)
            .map_err(|_| GenerateError::Encode)?
            .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
            .map_err(unencodable)
    }

    /// Writes private key and certificate into two new files.
    ///
    /// Only the owner can read the key (mode 0600). A file that exists already is left alone, and
    /// then neither is written.
    pub fn write(
        &self,
        key: &Path,
        certificate: &Path,
        passphrase: Option<&[u8]>,
    ) -> Result<(), GenerateError> {
        let key_pem = self.private_key_pem(passphrase)?;
        let key_file = create_new(key, 0o600)?;
        let written = create_new(certificate, 0o644).and_then(|certificate_file| {
            write_all(key_file, key, key_pem.as_bytes())
                .and_then(|()| {
                    let pem = self.certificate.to_pem();
                    write_all(certificate_file, certificate, pem.as_bytes())
                })
                .inspect_err(|_| _ = fs::remove_file(certificate))
        });
        written.inspect_err(|_| _ = fs::remove_file(key))
    }
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GeneratedKey")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Says why there is no new key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The name does not fit into a certificate.
    #[error("{name:?} cannot be a common name: it needs 1 to 64 characters")]
    CommonName {
        /// The name.
        name: String,
    },
    /// The parts could not be put together.
    #[error("the key or the certificate could not be encoded")]
    Encode,
    /// A file could not be created; it may be there already.
    #[error("{}: it could not be created: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A new key was not usable.
    #[error("the new key is not usable: {0}")]
    Key(#[from] PrivateKeyError),
    /// The system gave no random numbers, or none that made a key.
    #[error("no key could be made from the system's random numbers")]
    Random,
    /// The new certificate cannot be read.
    #[error("the new certificate is malformed: {0}")]
    Unreadable(#[from] CertificateError),
    /// The new certificate does not verify with its own key.
    #[error("the new certificate does not verify with its own key")]
    Unverified,
    /// The validity lies outside the years 1970 to 9999.
    #[error("the validity lies outside the years 1970 to 9999")]
    Validity,
    /// A file could not be written.
    #[error("{}: it could not be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// RFC 5280, section 4.1.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0")]
    version: u8,
    serial_number: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3")]
    extensions: Vec<Extension>,
}

/// RFC 5280, section 4.1.
#[derive(Sequence)]
struct SignedCertificate {
    to_be_signed: ToBeSigned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

fn generate_key(kind: KeyKind) -> Result<(SecretDocument, PrivateKey), GenerateError> {
    match kind {
        KeyKind::EcP256 => generate_ec(SignatureAlgorithm::EcdsaP256Sha256),
        KeyKind::EcP384 => generate_ec(SignatureAlgorithm::EcdsaP384Sha384),
        KeyKind::Rsa2048 => generate_rsa(2048),
        KeyKind::Rsa3072 => generate_rsa(3072),
        KeyKind::Rsa4096 => generate_rsa(4096),
    }
}

fn generate_ec(
    algorithm: SignatureAlgorithm,
) -> Result<(SecretDocument, PrivateKey), GenerateError> {
    let curve = match algorithm {
        SignatureAlgorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    };
    let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new())
        .map_err(|_| GenerateError::Random)?;
    let pkcs8 = SecretDocument::try_from(document.as_ref()).map_err(|_| GenerateError::Encode)?;
    let key = PrivateKey::from_generated_ec(pkcs8.as_bytes(), algorithm)?;
    Ok((pkcs8, key))
}

/// Makes an RSA key with the one library that can, and has ring check it, which does all the
/// signing.
fn generate_rsa(bits: usize) -> Result<(SecretDocument, PrivateKey), GenerateError> {
    let generated = rsa::PrivateKey::new(&mut SysRng, bits).map_err(|_| GenerateError::Random)?;
    let pkcs8 = generated.to_pkcs8_der().map_err(|_| GenerateError::Encode)?;
    let key = PrivateKey::from_generated_rsa(pkcs8.as_bytes())?;
    Ok((pkcs8, key))
}

fn name(common_name: &str) -> Result<Name, GenerateError> {
    let error = || GenerateError::CommonName { name: common_name.to_owned() };
    if !(1..=64).contains(&common_name.chars().count()) || common_name.contains(char::is_control) {
        return Err(error());
    }
    let name = || -> der::Result<Name> {
        let value = Any::encode_from(&Utf8StringRef::new(common_name)?)?;
        let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value };
        let relative = RelativeDistinguishedName::try_from(vec![attribute])?;
        let names = RdnSequence::from(vec![relative]);
        Name::from_der(&names.to_der()?)
    };
    name().map_err(|_| error())
}

fn validity_from(now: SystemTime, validity: Duration) -> Result<Validity, GenerateError> {
    let end = now.checked_add(validity).ok_or(GenerateError::Validity)?;
    let time = |time| Time::try_from(time).map_err(|_| GenerateError::Validity);
    Ok(Validity::new(time(now)?, time(end)?))
}

fn certificate(
    key: &PrivateKey,
    kind: KeyKind,
    name: Name,
    validity: Validity,
) -> Result<Certificate, GenerateError> {
    let to_be_signed =
        to_be_signed(key, kind, name, validity).map_err(|_| GenerateError::Encode)?;
    let message = to_be_signed.to_der().map_err(|_| GenerateError::Encode)?;
    let signature = key.sign(&message).map_err(|_| GenerateError::Random)?;
    let encode = || -> der::Result<Vec<u8>> {
        SignedCertificate {
            signature_algorithm: to_be_signed.signature.clone(),
            signature: BitString::from_bytes(&signature)?,
            to_be_signed,
        }
        .to_der()
    };
    let der = encode().map_err(|_| GenerateError::Encode)?;
    Ok(Certificate::from_der(&der)?)
}

fn to_be_signed(
    key: &PrivateKey,
    kind: KeyKind,
    name: Name,
    validity: Validity,
) -> der::Result<ToBeSigned> {
    let algorithm = key.algorithm();
    let parameters = algorithm.has_null_parameters().then(|| Any::from(Null));
    let signature = AlgorithmIdentifierOwned { oid: algorithm.certificate_oid(), parameters };
    let key_parameters = match kind {
        KeyKind::EcP256 => Any::encode_from(&PRIME256V1)?,
        KeyKind::EcP384 => Any::encode_from(&SECP384R1)?,
        _ => Any::from(Null),
    };
    let bits = key.public_key_bits();
    let subject_public_key_info = SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: algorithm.key_oid(),
            parameters: Some(key_parameters),
        },
        subject_public_key: BitString::from_bytes(bits)?,
    };
    // RFC 5280, section 4.2.1.2, method (1). It names the key and protects nothing.
    let identifier = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bits);
    let identifier = OctetString::new(identifier.as_ref())?;
    Ok(ToBeSigned {
        version: VERSION_3,
        serial_number: Uint::new(&serial_number()?)?,
        signature,
        issuer: name.clone(),
        validity,
        subject: name,
        subject_public_key_info,
        extensions: vec![
            extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
            extension(true, &KeyUsage(FlagSet::from(KeyUsages::DigitalSignature)))?,
            extension(false, &SubjectKeyIdentifier(identifier.clone()))?,
            extension(
                false,
                &AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() },
            )?,
        ],
    })
}

fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> der::Result<Extension> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

/// Draws 16 bytes whose first is neither zero nor negative.
fn serial_number() -> der::Result<[u8; 16]> {
    let mut number = [0; 16];
    SystemRandom::new().fill(&mut number).map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
    number[0] = number[0] & 0x3f | 0x40;
    Ok(number)
}

fn create_new(path: &Path, mode: u32) -> Result<File, GenerateError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| GenerateError::Create { path: path.to_owned(), source })
}

fn write_all(mut file: File, path: &Path, contents: &[u8]) -> Result<(), GenerateError> {
    file.write_all(contents)
        .and_then(|()| file.sync_all())
        .map_err(|source| GenerateError::Write { path: path.to_owned(), source })
}

/// The number of version 3 of X.509, counted from 0.
const VERSION_3: u8 = 2;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
