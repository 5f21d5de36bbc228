//! A certificate and its key in files that somebody renews.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{CertificateError, Current};
use crate::small_file;

/// Names the files, and knows what was in them.
///
/// They are read again and again instead of being watched: a mounted secret is renewed by swapping
/// a symbolic link two directories above, which no watch of the file sees.
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// What was in them the last time, usable or not.
    last: Option<Contents>,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl CertificateFiles {
    /// Names the file of the certificate with its chain, and that of the private key, both PEM.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, last: None }
    }

    /// Reads both.
    pub(super) fn read(&mut self) -> Result<Current, CertificateError> {
        let contents = self.contents()?;
        let current = self.parse(&contents);
        self.last = Some(contents);
        current
    }

    /// Reads both, unless they are what they were.
    pub(super) fn read_if_changed(&mut self) -> Result<Option<Current>, CertificateError> {
        let contents = self.contents()?;
        if self.last.as_ref() == Some(&contents) {
            return Ok(None);
        }
        let current = self.parse(&contents)?;
        // Only now: half of a renewal must not keep the other half from being taken.
        self.last = Some(contents);
        Ok(Some(current))
    }

    fn contents(&self) -> Result<Contents, CertificateError> {
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn parse(&self, contents: &Contents) -> Result<Current, CertificateError> {
        let unusable = |path: &Path, reason: String| CertificateError::Unusable {
            origin: path.display().to_string(),
            reason,
        };
        let chain = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&self.certificate, error.to_string()))?;
        // What the parser says of a key could quote it.
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| unusable(&self.key, "it holds no private key in PEM form".to_owned()))?;
        Current::new(chain, key, &self.certificate.display())
    }
}

/// Shows no key.
impl std::fmt::Debug for CertificateFiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CertificateFiles")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    small_file::read(path, MAX_FILE_BYTES)
        .map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

/// A chain has about 5 KiB.
const MAX_FILE_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use osguard_testkit::tls::TlsAuthority;

    use super::super::{ServingCertificate, Source};
    use super::*;
    use std::time::SystemTime;

    fn serial(certificate: &ServingCertificate) -> Vec<u8> {
        certificate.current().key.end_entity_cert().unwrap().to_vec()
    }

    /// As kubelet renews a mounted secret: `tls.crt` leads through `..data` to a directory.
    #[test]
    fn a_swapped_link_is_seen_and_half_a_renewal_is_not_taken() {
        let authority = TlsAuthority::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (number, name) in ["one", "two"].iter().enumerate() {
            let identity = authority.server_for(name, &["localhost"]).unwrap();
            fs::create_dir(path(name)).unwrap();
            fs::copy(&identity.certificate, path(name).join("tls.crt")).unwrap();
            fs::copy(&identity.key, path(name).join("tls.key")).unwrap();
            if number == 0 {
                symlink(name, path("..data")).unwrap();
            }
        }
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), path(name)).unwrap();
        }
        let files = CertificateFiles::new(path("tls.crt"), path("tls.key"));
        let certificate = ServingCertificate::open(Source::Files(files)).unwrap();
        let (first, now) = (serial(&certificate), SystemTime::now());
        assert!(!certificate.refresh(now).unwrap());
        symlink("two", path("..next")).unwrap();
        fs::rename(path("..next"), path("..data")).unwrap();
        assert!(certificate.refresh(now).unwrap());
        let second = serial(&certificate);
        assert_ne!(first, second);

        // The key of the one with the certificate of the other.
        fs::copy(path("one/tls.crt"), path("two/tls.crt")).unwrap();
        assert!(certificate.refresh(now).is_err());
        assert_eq!(serial(&certificate), second);
        fs::copy(path("one/tls.key"), path("two/tls.key")).unwrap();
        assert!(certificate.refresh(now).unwrap());
        assert_eq!(serial(&certificate), first);
        fs::remove_file(path("two/tls.key")).unwrap();
        assert!(certificate.refresh(now).is_err());
        assert_eq!(serial(&certificate), first);
    }
}
