//! Certificates and private keys in PEM files.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;
use crate::small_file;

/// Reads the certificates of a file, of which there is at least one.
///
/// What stands between them is passed over: bundles have comments and sometimes keys.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(file, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { file: file.to_owned() });
    }
    Ok(certificates)
}

/// Reads the first private key of a file.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(file)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) if is_encrypted(&text) => {
            Err(TlsError::EncryptedKey { file: file.to_owned() })
        }
        Err(PemError::NoItemsFound) => Err(TlsError::NoKey { file: file.to_owned() }),
        Err(_) if is_encrypted(&text) => Err(TlsError::EncryptedKey { file: file.to_owned() }),
        Err(error) => Err(malformed(file, &error)),
    }
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    small_file::read(file).map_err(|source| TlsError::Io { path: file.to_owned(), source })
}

fn is_encrypted(text: &[u8]) -> bool {
    // In the label of PKCS#8, in a header (RFC 1421) of the older forms.
    text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED)
}

/// Says what is wrong without quoting the file, which may hold a key.
fn malformed(file: &Path, error: &PemError) -> TlsError {
    let reason = match error {
        PemError::Base64Decode(_) => "a section is not Base64",
        PemError::IllegalSectionStart { .. } => "a section begins with a malformed line",
        PemError::MissingSectionEnd { .. } => "a section has no end",
        _ => "it cannot be read",
    };
    TlsError::Pem { file: file.to_owned(), reason: reason.to_owned() }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";
