//! A signer for the tests that need just one; [`test_pki`](crate::test_pki) has all kinds.

use std::path::PathBuf;

use crate::command::{command, run, run_with_input};
use crate::error::{Error, Result};

/// Is a private key with a self-signed certificate, in a directory of its own.
#[derive(Debug)]
pub struct Signer {
    directory: tempfile::TempDir,
}

impl Signer {
    /// Makes an RSA key of 2048 bits and its certificate with this common name.
    pub fn generate(common_name: &str) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let signer = Self { directory };
        run(command("openssl")?
            .args(["req", "-x509", "-nodes", "-sha256", "-days", "3650"])
            .args(["-newkey", "rsa:2048"])
            .args(["-subj", &format!("/CN={common_name}")])
            .arg("-keyout")
            .arg(signer.key_path())
            .arg("-out")
            .arg(signer.certificate_path()))?;
        Ok(signer)
    }

    /// Returns the file of the private key (PEM, PKCS#8, not encrypted).
    pub fn key_path(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Returns the file of the certificate (PEM).
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Returns the certificate (PEM).
    pub fn certificate(&self) -> Result<Vec<u8>> {
        let path = self.certificate_path();
        std::fs::read(&path).map_err(Error::io(&path))
    }

    /// Signs an IPE policy: PKCS#7 (DER) with the text and the certificate in it.
    pub fn sign_policy(&self, text: &str) -> Result<Vec<u8>> {
        self.smime(text.as_bytes(), &["-nodetach"])
    }

    /// Signs a root hash: detached PKCS#7 (DER) over the lower-case hexadecimal digits, as they
    /// stand in the table of a dm-verity device, without a certificate in it.
    pub fn sign_root_hash(&self, root_hash_hex: &str) -> Result<Vec<u8>> {
        self.smime(root_hash_hex.as_bytes(), &["-nocerts"])
    }

    fn smime(&self, message: &[u8], options: &[&str]) -> Result<Vec<u8>> {
        run_with_input(
            command("openssl")?
                .args(["smime", "-sign", "-binary", "-noattr", "-nosmimecap", "-outform", "der"])
                .args(options)
                .arg("-signer")
                .arg(self.certificate_path())
                .arg("-inkey")
                .arg(self.key_path()),
            message,
        )
    }
}
