//! Keys in files.

use std::io;
use std::path::{Path, PathBuf};

use der::Decode;
use der::SecretDocument;
use pkcs8::EncryptedPrivateKeyInfoRef;
use zeroize::Zeroizing;

use super::{PrivateKey, PrivateKeyError, SignError, SignatureAlgorithm, Signer, UnusableKey};
use crate::certificate::{Certificate, CertificateError};

/// Signs with a private key from a file.
///
/// Read are PEM and DER, and in them PKCS#8 (plain, or encrypted with PBES2), PKCS#1 and SEC 1.
/// What the file held is wiped from memory once the key is read.
#[derive(Debug)]
pub struct FileSigner {
    name: String,
    certificate: Certificate,
    intermediates: Vec<Certificate>,
    algorithm: SignatureAlgorithm,
    key: PrivateKey,
}

/// Asks for the passphrase of an encrypted key; it is called only when there is one to decrypt.
pub type Passphrase<'a> = &'a mut dyn FnMut() -> io::Result<Zeroizing<Vec<u8>>>;

impl FileSigner {
    /// Reads the key in the file `key` and its certificate, the first one in the file
    /// `certificate`. Intermediate certificates may follow it.
    pub fn open(
        key: &Path,
        certificate: &Path,
        passphrase: Passphrase<'_>,
    ) -> Result<Self, OpenError> {
        let key_contents = read(key)?;
        let certificate_contents = read(certificate)?;
        let mut certificates = Certificate::all_from_file_contents(&certificate_contents)
            .map_err(|source| OpenError::Certificate { path: certificate.to_owned(), source })?;
        let others = certificates.split_off(1);
        let certificate = certificates.swap_remove(0);
        let intermediates = certificate.intermediates_among(&others);
        let signer = Self::from_contents(key, &key_contents, certificate, passphrase)?;
        Ok(Self { intermediates, ..signer })
    }

    /// Takes the contents of a key file that is called `path`.
    pub fn from_contents(
        path: &Path,
        contents: &[u8],
        certificate: Certificate,
        passphrase: Passphrase<'_>,
    ) -> Result<Self, OpenError> {
        let public = certificate.public_key();
        let algorithm = SignatureAlgorithm::for_key(public)
            .map_err(|source| OpenError::Unusable { path: path.to_owned(), source })?;
        let der = private_key_der(path, contents)?;
        let der = match EncryptedPrivateKeyInfoRef::from_der(der.as_bytes()) {
            Err(_) => der,
            Ok(encrypted) => {
                let passphrase = passphrase()
                    .map_err(|source| OpenError::Passphrase { path: path.to_owned(), source })?;
                encrypted
                    .decrypt(&*passphrase)
                    .map_err(|source| OpenError::Decrypt { path: path.to_owned(), source })?
            }
        };
        let key = PrivateKey::from_der(der.as_bytes(), public)
            .map_err(|source| OpenError::Key { path: path.to_owned(), source })?;
        let name = path.display().to_string();
        Ok(Self { name, certificate, intermediates: Vec::new(), algorithm, key })
    }
}

impl Signer for FileSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message).map_err(|error| SignError::Signer {
            signer: self.name.clone(),
            reason: error.to_string(),
        })
    }

    fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

/// Says why a key file cannot be signed with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The certificate is none.
    #[error("{}: {source}", path.display())]
    Certificate {
        /// The file of the certificate.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The key did not decrypt.
    #[error(
        "{}: it cannot be decrypted: either the passphrase is wrong, or it is encrypted otherwise \
         than with PBES2 and AES ({source})", path.display()
    )]
    Decrypt {
        /// The file of the key.
        path: PathBuf,
        /// What went wrong.
        source: pkcs8::Error,
    },
    /// The key is not usable with the certificate.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file of the key.
        path: PathBuf,
        /// What is wrong with it.
        source: PrivateKeyError,
    },
    /// The key is encrypted in the way of old OpenSSL versions.
    #[error(
        "{}: it is encrypted in the old way of OpenSSL, which is weak; convert it with `openssl \
         pkcs8 -topk8`", path.display()
    )]
    LegacyEncryption {
        /// The file of the key.
        path: PathBuf,
    },
    /// There is no passphrase for an encrypted key.
    #[error("{}: it is encrypted, and there is no passphrase for it: {source}", path.display())]
    Passphrase {
        /// The file of the key.
        path: PathBuf,
        /// Why there is none.
        source: io::Error,
    },
    /// The PEM armour is broken.
    #[error("{}: its PEM text is broken: {source}", path.display())]
    Pem {
        /// The file of the key.
        path: PathBuf,
        /// What is broken.
        source: der::Error,
    },
    /// A file cannot be read.
    #[error("{}: it cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is much larger than a key or a certificate.
    #[error("{}: it has more than {MAX_KEY_FILE_BYTES} bytes; keys have less", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The certificate's key is of a kind that osguard does not sign with.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file of the key.
        path: PathBuf,
        /// Its kind.
        source: UnusableKey,
    },
}

/// The most bytes that a key file or a certificate file may have: a hundred times the size of an
/// RSA-4096 key.
pub const MAX_KEY_FILE_BYTES: u64 = 1 << 18;

/// Reads a small file into memory that is wiped afterwards.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    use io::Read;
    let fail = |source| OpenError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(fail)?;
    // The buffer never grows, so that no part of the key stays behind in a smaller one.
    let capacity = MAX_KEY_FILE_BYTES as usize + 1;
    let mut contents = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_KEY_FILE_BYTES + 1).read_to_end(&mut contents).map_err(fail)?;
    if contents.len() == capacity {
        return Err(OpenError::TooLarge { path: path.to_owned() });
    }
    Ok(contents)
}

/// Takes off the PEM armour, if there is one, of the first block that is a private key.
fn private_key_der(path: &Path, contents: &[u8]) -> Result<SecretDocument, OpenError> {
    let pem = |source| OpenError::Pem { path: path.to_owned(), source };
    let unreadable =
        || OpenError::Key { path: path.to_owned(), source: PrivateKeyError::Unreadable };
    let Some(text) = std::str::from_utf8(contents).ok().filter(|text| text.contains(PEM_BEGIN))
    else {
        return SecretDocument::try_from(contents).map_err(|_| unreadable());
    };
    let mut rest = text;
    while let Some(start) = rest.find(PEM_BEGIN) {
        let block = &rest[start..];
        let label = block[PEM_BEGIN.len()..].split("-----").next().unwrap_or_default();
        let end_line = format!("-----END {label}-----");
        let end = block.find(&end_line).ok_or_else(unreadable)? + end_line.len();
        if label.ends_with("PRIVATE KEY") {
            if block[..end].contains("Proc-Type: 4,ENCRYPTED") {
                return Err(OpenError::LegacyEncryption { path: path.to_owned() });
            }
            return SecretDocument::from_pem(&block[..end]).map(|parts| parts.1).map_err(pem);
        }
        rest = &block[end..];
    }
    Err(unreadable())
}

const PEM_BEGIN: &str = "-----BEGIN ";
