//! A public-key infrastructure for tests: authorities, signers, and every kind of signature that
//! OpenSSL makes.

use std::path::{Path, PathBuf};

use crate::command::{command, run, run_with_input};
use crate::error::{Error, Result};

/// Holds keys and certificates that OpenSSL made, in a directory that goes when this is dropped.
///
/// Each [`Identity`] is made when it is first asked for, and then kept.
#[derive(Debug)]
pub struct TestPki {
    directory: tempfile::TempDir,
}

/// Is a private key and its certificate, each in a file.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The private key (PEM, PKCS#8, not encrypted).
    pub key: PathBuf,
    /// The certificate (PEM).
    pub certificate: PathBuf,
}

/// Is what a certificate should look like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The common name of the subject, by which the identity is kept.
    pub name: &'a str,
    /// The key as `openssl req -newkey` and `-pkeyopt` ask for it: `rsa:2048`, `ec:P-256`,
    /// `ed25519`.
    pub key: &'a str,
    /// The issuer; the certificate is signed by its own key if there is none.
    pub issuer: Option<&'a Identity>,
    /// Lines of the extension section of OpenSSL's configuration.
    pub extensions: &'a [&'a str],
    /// Further arguments of `openssl x509 -req`.
    pub arguments: &'a [&'a str],
}

impl<'a> Wanted<'a> {
    /// Asks for a self-signed certificate with the usual extensions of a signer.
    pub const fn signer(name: &'a str, key: &'a str) -> Self {
        Self { name, key, issuer: None, extensions: SIGNER_EXTENSIONS, arguments: &[] }
    }

    /// Asks for a self-signed certificate of an authority.
    pub const fn authority(name: &'a str, key: &'a str) -> Self {
        Self { name, key, issuer: None, extensions: AUTHORITY_EXTENSIONS, arguments: &[] }
    }

    /// Has the certificate issued by `issuer`.
    pub const fn issued_by(self, issuer: &'a Identity) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// Takes other extensions.
    pub const fn with_extensions(self, extensions: &'a [&'a str]) -> Self {
        Self { extensions, ..self }
    }

    /// Takes further arguments for `openssl x509 -req`, such as `-sha384` or `-not_after`.
    pub const fn with_arguments(self, arguments: &'a [&'a str]) -> Self {
        Self { arguments, ..self }
    }
}

impl TestPki {
    /// Starts with nothing.
    pub fn new() -> Result<Self> {
        command("openssl")?;
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        Ok(Self { directory })
    }

    /// Returns an RSA-2048 key with a certificate signed by itself.
    pub fn rsa(&self) -> Result<Identity> {
        self.identity(Wanted::signer("rsa", "rsa:2048"))
    }

    /// Returns a P-256 key with a certificate signed by itself.
    pub fn ec(&self) -> Result<Identity> {
        self.identity(Wanted::signer("ec", "ec:P-256"))
    }

    /// Returns the RSA authority.
    pub fn authority(&self) -> Result<Identity> {
        self.identity(Wanted::authority("authority", "rsa:2048"))
    }

    /// Returns an RSA-2048 key with a certificate by [`Self::authority`].
    pub fn leaf(&self) -> Result<Identity> {
        let authority = self.authority()?;
        self.identity(Wanted::signer("leaf", "rsa:2048").issued_by(&authority))
    }

    /// Returns a P-256 key with a certificate by [`Self::authority`].
    pub fn ec_leaf(&self) -> Result<Identity> {
        let authority = self.authority()?;
        self.identity(Wanted::signer("ec leaf", "ec:P-256").issued_by(&authority))
    }

    /// Returns the identity that is wanted, and makes it if there is none of that name.
    pub fn identity(&self, wanted: Wanted<'_>) -> Result<Identity> {
        let stem = wanted.name.replace(' ', "-");
        let file = |ending: &str| self.directory.path().join(format!("{stem}.{ending}"));
        let identity = Identity { key: file("key"), certificate: file("crt") };
        if identity.certificate.exists() {
            return Ok(identity);
        }
        let (algorithm, option) = match wanted.key.split_once(':') {
            Some(("ec", curve)) => ("EC", Some(format!("ec_paramgen_curve:{curve}"))),
            Some(("rsa", bits)) => ("RSA", Some(format!("rsa_keygen_bits:{bits}"))),
            _ => (wanted.key, None),
        };
        let mut generate = command("openssl")?;
        generate.args(["genpkey", "-algorithm", algorithm, "-out"]).arg(&identity.key);
        if let Some(option) = option {
            generate.args(["-pkeyopt", &option]);
        }
        run(&mut generate)?;
        let request = file("csr");
        run(command("openssl")?
            .args(["req", "-new", "-subj", &format!("/O=osguard/CN={}", wanted.name), "-key"])
            .arg(&identity.key)
            .arg("-out")
            .arg(&request))?;
        let extensions = file("ext");
        std::fs::write(&extensions, wanted.extensions.join("\n"))
            .map_err(Error::io(&extensions))?;
        let mut sign = command("openssl")?;
        sign.args(["x509", "-req", "-days", "3650", "-in"]).arg(&request);
        sign.arg("-extfile").arg(&extensions);
        match wanted.issuer {
            Some(issuer) => {
                sign.arg("-CA").arg(&issuer.certificate).arg("-CAkey").arg(&issuer.key);
                sign.arg("-CAcreateserial")
            }
            None => sign.arg("-signkey").arg(&identity.key),
        };
        run(sign.args(wanted.arguments).arg("-out").arg(&identity.certificate))?;
        Ok(identity)
    }

    /// Writes `contents` into a file of the infrastructure's directory.
    pub fn file(&self, name: &str, contents: &[u8]) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, contents).map_err(Error::io(&path))?;
        Ok(path)
    }
}

impl Identity {
    /// Runs `openssl smime` or `openssl cms` to sign `content`, in DER.
    pub fn sign(&self, tool: &str, options: &[&str], content: &[u8]) -> Result<Vec<u8>> {
        run_with_input(
            command("openssl")?
                .args([tool, "-sign", "-outform", "der", "-signer"])
                .arg(&self.certificate)
                .arg("-inkey")
                .arg(&self.key)
                .args(options),
            content,
        )
    }

    /// Returns the certificate (PEM).
    pub fn certificate_pem(&self) -> Result<Vec<u8>> {
        read(&self.certificate)
    }

    /// Returns the private key (PEM, PKCS#8, not encrypted).
    pub fn key_pem(&self) -> Result<Vec<u8>> {
        read(&self.key)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

const SIGNER_EXTENSIONS: &[&str] = &[
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
];

const AUTHORITY_EXTENSIONS: &[&str] = &[
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,keyCertSign",
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
];
