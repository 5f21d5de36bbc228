//! TLS: which registries are believed to be who they say, and what they are shown in return.
//!
//! Trusted are the certificate authorities of the system, those that the caller names, and those
//! in the registry's own directories:
//!
//! | directory                                     | whose                                       |
//! |-----------------------------------------------|---------------------------------------------|
//! | `$XDG_CONFIG_HOME/containers/certs.d/REGISTRY` | podman's, for the user                     |
//! | `~/.docker/certs.d/REGISTRY`                  | docker's, for the user                      |
//! | `/etc/containers/certs.d/REGISTRY`            | podman's                                    |
//! | `/etc/docker/certs.d/REGISTRY`                | docker's                                    |
//!
//! With and without the port 443, a name is that of the same directory.
//! There, `*.crt` are authorities, and `NAME.cert` with `NAME.key` are client certificates.
//!
//! Source: `containers-certs.d(5)`; docker's "Verify repository client with certificates".

mod certs_d;
mod client_certificate;
mod error;
mod pem;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;

use self::certs_d::Directory;
use self::client_certificate::{ClientCertificates, Pair};
pub use self::error::TlsError;
use crate::environment::Environment;

/// Sets up TLS for registries.
#[derive(Clone, Debug)]
pub struct Tls {
    ca_files: Vec<PathBuf>,
    /// The last that fits decides.
    client_certificates: Vec<(String, Pair)>,
    environment: Environment,
}

impl Tls {
    /// Looks in the directories of the system and of the user to whom `environment` belongs.
    pub fn of(environment: Environment) -> Self {
        Self { ca_files: Vec::new(), client_certificates: Vec::new(), environment }
    }

    /// Adds a file of certificate authorities (PEM) that are trusted for every registry.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_files.push(path.into());
        self
    }

    /// Adds a client certificate with its chain and its private key (PEM, not encrypted), which is
    /// shown to one registry (`host[:port]`) and never to another.
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        registry: &str,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let pair = Pair { certificate: certificate.into(), key: key.into() };
        self.client_certificates.push((server_name(registry), pair));
        self
    }

    /// Reads the files of certificate authorities that the caller has named, which are not needed
    /// where a registry on this machine speaks no TLS.
    ///
    /// # Errors
    ///
    /// Returns an error for a file that is not there or cannot be used.
    pub fn check_ca_files(&self) -> Result<(), TlsError> {
        self.ca_files.iter().try_for_each(|file| add_authorities(&mut RootCertStore::empty(), file))
    }

    /// Reads the files for `registry` (`host[:port]`) and returns what a connection to it needs.
    ///
    /// # Errors
    ///
    /// Returns an error for every file that is there and cannot be used, and for a lack of any
    /// trust anchor. A lack of the system's store alone is none.
    pub fn client_config(&self, registry: &str) -> Result<ClientConfig, TlsError> {
        self.client_config_with(registry, rustls_native_certs::load_native_certs())
    }

    fn client_config_with(
        &self,
        registry: &str,
        system: CertificateResult,
    ) -> Result<ClientConfig, TlsError> {
        let directories = Directory::find_all(registry, &self.environment)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let anchors = self.anchors(&directories, system)?;
        let client_certificates = self.client_certificates(registry, &directories, &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(anchors);
        Ok(match client_certificates {
            None => config.with_no_client_auth(),
            Some(certificates) => config.with_client_cert_resolver(Arc::new(certificates)),
        })
    }

    fn anchors(
        &self,
        directories: &[Directory],
        system: CertificateResult,
    ) -> Result<RootCertStore, TlsError> {
        let mut anchors = RootCertStore::empty();
        // The system's stores have some that are not for TLS, which is nobody's mistake here.
        anchors.add_parsable_certificates(system.certs);
        let in_directories = directories.iter().flat_map(|directory| &directory.authorities);
        for file in self.ca_files.iter().chain(in_directories) {
            add_authorities(&mut anchors, file)?;
        }
        if anchors.is_empty() {
            let reason = system.errors.first().map(ToString::to_string);
            return Err(TlsError::NoAnchors { reason });
        }
        Ok(anchors)
    }

    fn client_certificates(
        &self,
        registry: &str,
        directories: &[Directory],
        provider: &CryptoProvider,
    ) -> Result<Option<ClientCertificates>, TlsError> {
        let registry = server_name(registry);
        let given = self.client_certificates.iter().rfind(|(bound_to, _)| *bound_to == registry);
        let pairs: Vec<&Pair> = match given {
            Some((_, pair)) => vec![pair],
            None => directories.iter().flat_map(|directory| &directory.pairs).collect(),
        };
        if pairs.is_empty() {
            return Ok(None);
        }
        ClientCertificates::load(&pairs, provider).map(Some)
    }
}

fn add_authorities(anchors: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    for (index, certificate) in pem::certificates(file)?.into_iter().enumerate() {
        anchors.add(certificate).map_err(|source| TlsError::Anchor {
            file: file.to_owned(),
            number: index + 1,
            source,
        })?;
    }
    Ok(())
}

/// Returns the one name for the names of a server: the port of HTTPS may be left out.
fn server_name(registry: &str) -> String {
    registry.strip_suffix(DEFAULT_PORT).unwrap_or(registry).to_ascii_lowercase()
}

/// The port of HTTPS, as it stands behind the name of a host.
const DEFAULT_PORT: &str = ":443";

impl Default for Tls {
    fn default() -> Self {
        Self::of(Environment::from_process())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertifiedKey;
    use rustls_native_certs::load_certs_from_paths;

    use super::*;

    #[test]
    fn the_store_of_the_system_may_be_missing_if_there_are_other_anchors() {
        let directory = tempfile::tempdir().unwrap();
        let missing = || load_certs_from_paths(Some(Path::new("/nowhere/ca.pem")), None);
        let nothing = || load_certs_from_paths(None, None);
        let tls = Tls::of(Environment::new(directory.path(), 0));
        for (system, expected) in [
            (nothing(), "there is no certificate authority to trust"),
            (
                missing(),
                "there is no certificate authority to trust: failed to read PEM from file: \
                 No such file or directory (os error 2) at '/nowhere/ca.pem'",
            ),
        ] {
            let error = tls.client_config_with("r.example", system).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }

        let file = directory.path().join("ca.pem");
        let CertifiedKey { cert, .. } =
            rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        std::fs::write(&file, cert.pem()).unwrap();
        let with_file = tls.clone().with_ca_file(&file);
        assert!(with_file.client_config_with("r.example", missing()).is_ok());
        // What the system has and TLS cannot use is passed over, and counts for nothing.
        let mut unusable = nothing();
        unusable.certs.push(vec![0].into());
        assert!(tls.client_config_with("r.example", unusable).is_err());
        assert!(
            tls.client_config_with("r.example", load_certs_from_paths(Some(&file), None)).is_ok()
        );
    }
}
