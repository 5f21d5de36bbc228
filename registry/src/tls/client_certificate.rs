//! Client certificates: who this client is.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::{TlsError, pem};

/// Names the files of a client certificate.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The certificate, followed by those that lead to the server's trust anchor.
    pub(super) certificate: PathBuf,
    /// The private key.
    pub(super) key: PathBuf,
}

impl Pair {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = pem::certificates(&self.certificate)?;
        let key = pem::private_key(&self.key)?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::ClientCertificate {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

/// Chooses among client certificates by what the server asks for.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ClientCertificates {
    /// Reads the files.
    pub(super) fn load(pairs: &[&Pair], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let keys = pairs.iter().map(|pair| pair.load(provider).map(Arc::new));
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }
}

impl ResolvesClientCert for ClientCertificates {
    /// Returns the first certificate from one of the authorities that the server names, or else
    /// the first that it can check: some servers name authorities that do not matter to them.
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut usable = self.keys.iter().filter(|key| key.key.choose_scheme(schemes).is_some());
        let is_named = |key: &&Arc<CertifiedKey>| {
            // A name within a certificate is the very bytes that the server sends.
            let holds = |certificate: &[u8], name: &[u8]| {
                certificate.windows(name.len().max(1)).any(|window| window == name)
            };
            let hints = || root_hint_subjects.iter();
            key.cert.iter().any(|certificate| hints().any(|name| holds(certificate, name)))
        };
        usable.clone().find(is_named).or_else(|| usable.next()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
