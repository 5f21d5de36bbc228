//! New keys, each with a certificate signed by itself.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::pem::LineEnding;
use der::{Decode, SecretDocument};
use getrandom::SysRng;
use pkcs8::PrivateKeyInfoRef;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair};
use rsa::pkcs8::EncodePrivateKey;
use zeroize::Zeroizing;

use super::issue::{self, Request};
use super::{Certificate, CertificateError};
use crate::signer::{P521Key, PrivateKey, PrivateKeyError, SignError, SignatureAlgorithm, Signer};

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
    generate_as(Role::SelfSigned, kind, common_name, now, validity)
}

/// Makes a key and a certificate for it in the given role; the rest is as with [`generate`].
///
/// A certificate by an issuer ends no later than the issuer's.
pub fn generate_as(
    role: Role<'_>,
    kind: KeyKind,
    common_name: &str,
    now: SystemTime,
    validity: Duration,
) -> Result<GeneratedKey, GenerateError> {
    let request = Request::new(role, common_name, now, validity)?;
    let (pkcs8, key) = generate_key(kind)?;
    let certificate = issue::certificate(&request, &key)?;
    certificate.loadable().map_err(|_| GenerateError::Unverified)?;
    if let Role::IssuedBy(issuer) = role {
        let issuer = issuer.certificate().public_key();
        certificate.verify_issued_by(issuer).map_err(|_| GenerateError::Unverified)?;
    }
    Ok(GeneratedKey { certificate, pkcs8 })
}

/// Is what a new certificate is for, and who signs it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Role<'a> {
    /// It signs certificates, and is signed by itself. What it signs are no authorities.
    Authority,
    /// It signs images and policies, and is signed by this authority.
    IssuedBy(&'a dyn Signer),
    /// It signs images and policies, and is signed by itself.
    SelfSigned,
}

/// Is a kind of key that osguard makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA over P-256.
    EcP256,
    /// ECDSA over P-384.
    EcP384,
    /// ECDSA over P-521, which some firmware does not take.
    EcP521,
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
            Self::EcP521 => "ec-p521",
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
    /// The issuer is no authority, or one that cannot be found.
    #[error("the certificate of {issuer} cannot issue others: {reason}")]
    Issuer {
        /// The issuer's subject.
        issuer: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// The issuer did not sign.
    #[error(transparent)]
    IssuerSignature(#[from] SignError),
    /// The system gave no random numbers, or none that made a key.
    #[error("no key could be made from the system's random numbers")]
    Random,
    /// The new certificate cannot be read.
    #[error("the new certificate is malformed: {0}")]
    Unreadable(#[from] CertificateError),
    /// The new certificate does not verify with the key that signed it.
    #[error("the new certificate does not verify with the key that signed it")]
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

fn generate_key(kind: KeyKind) -> Result<(SecretDocument, PrivateKey), GenerateError> {
    match kind {
        KeyKind::EcP256 => generate_ec(SignatureAlgorithm::EcdsaP256Sha256),
        KeyKind::EcP384 => generate_ec(SignatureAlgorithm::EcdsaP384Sha384),
        KeyKind::EcP521 => {
            let (pkcs8, key) = P521Key::generate().ok_or(GenerateError::Random)?;
            Ok((pkcs8, PrivateKey::P521(key)))
        }
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
