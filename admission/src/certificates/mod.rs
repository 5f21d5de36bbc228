//! The certificate that the webhook shows: from files that somebody renews, or made here.

mod files;
mod rotation;
mod self_made;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use der::Decode as _;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use self::files::CertificateFiles;
pub use self::self_made::SelfMade;

/// Says where the certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// From files.
    Files(CertificateFiles),
    /// From an authority of our own.
    SelfMade(SelfMade),
}

/// Is the certificate that is shown at the time.
#[derive(Debug)]
pub struct ServingCertificate {
    source: Mutex<Source>,
    current: RwLock<Arc<Current>>,
}

/// Is a certificate with its key, and when it is valid.
#[derive(Debug)]
pub struct Current {
    key: Arc<CertifiedKey>,
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl ServingCertificate {
    /// Reads or makes the first certificate.
    ///
    /// # Errors
    ///
    /// Returns why there is none.
    pub fn open(mut source: Source) -> Result<Arc<Self>, CertificateError> {
        let current = match &mut source {
            Source::Files(files) => files.read()?,
            Source::SelfMade(maker) => maker.make(SystemTime::now())?,
        };
        let current = RwLock::new(Arc::new(current));
        Ok(Arc::new(Self { source: Mutex::new(source), current }))
    }

    /// Looks whether there is a newer certificate, and shows that from now on; tells whether there
    /// was one. Connections that are open keep theirs.
    ///
    /// # Errors
    ///
    /// Returns why a newer one cannot be used; the older one is shown on.
    pub fn refresh(&self, now: SystemTime) -> Result<bool, CertificateError> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = match &mut *source {
            Source::Files(files) => files.read_if_changed()?,
            Source::SelfMade(maker) => maker.make_if_due(now, self.current().not_after)?,
        };
        let Some(newer) = newer else { return Ok(false) };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(newer);
        Ok(true)
    }

    /// Returns the certificate that is shown.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns why nobody would believe the certificate at `now`.
    pub fn problem(&self, now: SystemTime) -> Option<&'static str> {
        let current = self.current();
        if now > current.not_after {
            Some("the serving certificate has expired")
        } else if now < current.not_before {
            Some("the serving certificate is not valid yet")
        } else {
            None
        }
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().key))
    }
}

impl Current {
    /// Takes a chain, the server's own certificate first, and its key.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        origin: &dyn fmt::Display,
    ) -> Result<Self, CertificateError> {
        let unusable =
            |reason: String| CertificateError::Unusable { origin: origin.to_string(), reason };
        let first = chain.first().ok_or_else(|| unusable("it holds no certificate".to_owned()))?;
        let parsed = x509_cert::Certificate::from_der(first)
            .map_err(|error| unusable(format!("it is no certificate: {error}")))?;
        let validity = parsed.tbs_certificate().validity();
        let (not_before, not_after) =
            (validity.not_before.to_system_time(), validity.not_after.to_system_time());
        // This compares the key with the certificate.
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }
}

/// Says why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {source}")]
    Make {
        /// Why not.
        source: rcgen::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is there cannot be used.
    #[error("{origin}: {reason}")]
    Unusable {
        /// The files.
        origin: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
