//! An authority for the TLS of test servers and their clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::cache;
use crate::error::{Error, Result};
use crate::test_pki::Identity;

/// Issues certificates; no system trusts it.
///
/// Its files lie in a directory that goes when this is dropped.
#[derive(Debug)]
pub struct TlsAuthority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TlsAuthority {
    /// Makes an authority with a new key (P-256, like all keys here).
    pub fn new() -> Result<Self> {
        let mut wanted = named("osguard test authority", &[])?;
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(wanted, key));
        let issuer = issuer.map_err(|error| Error::unexpected("an authority", error))?;
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let authority = Self { directory, issuer };
        cache::write(&authority.certificate(), authority.issuer.pem().as_bytes())?;
        Ok(authority)
    }

    /// Returns the file of its certificate (PEM).
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// Issues a certificate for a server at 127.0.0.1, ::1 and localhost.
    pub fn server(&self) -> Result<Identity> {
        self.server_for("server", &["127.0.0.1", "::1", "localhost"])
    }

    /// Issues a certificate for a server with these names and addresses; the files are called
    /// `name`.
    pub fn server_for(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        self.issue(named(name, hosts)?, name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a server as [`TlsAuthority::server_for`] does, but one that was valid
    /// for the year 2001 only.
    pub fn expired_server_for(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let mut wanted = named(name, hosts)?;
        wanted.not_before = rcgen::date_time_ymd(2001, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(2001, 12, 31);
        self.issue(wanted, name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a client with this common name, by which the files are called.
    pub fn client(&self, name: &str) -> Result<Identity> {
        self.issue(named(name, &[])?, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Returns the settings of a server with this identity, for HTTP/1.1. Asked to, it demands
    /// that clients show a certificate by `clients`.
    pub(crate) fn server_config(
        server: &Identity,
        clients: Option<&Self>,
    ) -> Result<Arc<ServerConfig>> {
        // Named, for there may be no default, or another one.
        let provider = Arc::new(ring::default_provider());
        let refused = |error| Error::unexpected("the settings of a TLS server", error);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)?),
        };
        let (chain, key) = read(server)?;
        let mut config = builder.with_single_cert(chain, key).map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .map_err(|error| Error::unexpected("the authority of clients", error))?;
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::unexpected("the authority of clients", error))
    }

    fn issue(
        &self,
        mut wanted: CertificateParams,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        wanted.use_authority_key_identifier_extension = true;
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![usage];
        let unexpected = |error| Error::unexpected(format!("a certificate of {name}"), error);
        let key = KeyPair::generate().map_err(unexpected)?;
        let certificate = wanted.signed_by(&key, &self.issuer).map_err(unexpected)?;
        let file = |ending: &str| self.directory.path().join(format!("{name}.{ending}"));
        let identity = Identity { key: file("key.pem"), certificate: file("pem") };
        cache::write(&identity.key, key.serialize_pem().as_bytes())?;
        cache::write(&identity.certificate, certificate.pem().as_bytes())?;
        Ok(identity)
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut wanted = CertificateParams::new(hosts)
        .map_err(|error| Error::unexpected(format!("the names of {name}"), error))?;
    wanted.distinguished_name = DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, name);
    Ok(wanted)
}

fn read(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    use rustls::pki_types::pem::PemObject as _;
    let unexpected = |path: &Path| {
        let path = path.display().to_string();
        move |error| Error::unexpected(path, error)
    };
    let text = |path: &Path| fs::read(path).map_err(Error::io(path));
    let chain = CertificateDer::pem_slice_iter(&text(&identity.certificate)?)
        .collect::<std::result::Result<_, _>>()
        .map_err(unexpected(&identity.certificate))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&text(&identity.key)?)
        .map_err(unexpected(&identity.key))?;
    Ok((chain, key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{command, run};
    use crate::or_skip;

    #[test]
    fn openssl_accepts_what_it_issues() {
        let authority = TlsAuthority::new().unwrap();
        let other = TlsAuthority::new().unwrap();
        let verify = |purpose: &str, authority: &TlsAuthority, identity: &Identity| {
            let mut openssl = command("openssl")?;
            openssl.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
            run(openssl.arg(authority.certificate()).arg(&identity.certificate))
        };
        let server = authority.server().unwrap();
        let client = authority.client("client").unwrap();
        if or_skip(verify("sslserver", &authority, &server)).is_none() {
            return;
        }
        assert!(verify("sslclient", &authority, &client).is_ok());
        assert!(verify("sslclient", &authority, &server).is_err());
        assert!(verify("sslserver", &other, &server).is_err());
    }
}
