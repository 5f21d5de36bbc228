//! The clients of registries and clusters that people use, at home in an empty directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::cache;
use crate::command::find;
use crate::debian::{Packages, Suite, Tree};
use crate::error::{Error, Result};
use crate::tls::TlsAuthority;

/// Is someone who runs clients: nothing of the real user's settings and environment reaches them,
/// and what they write goes when this is dropped.
///
/// Every method for a client returns [`Error::Missing`] where there is no such program.
#[derive(Debug)]
pub struct Clients {
    home: tempfile::TempDir,
    trusted: Option<PathBuf>,
}

impl Clients {
    /// Is at home in a new directory, and trusts the system's authorities.
    pub fn new() -> Result<Self> {
        let home = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        Ok(Self { home, trusted: None })
    }

    /// Trusts this authority instead, as do all programs that are written in Go. It has to live
    /// as long as the clients are used.
    pub fn trusting(mut self, authority: &TlsAuthority) -> Self {
        self.trusted = Some(authority.certificate());
        self
    }

    /// Returns the home directory, for arguments and results.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns the directory for `DOCKER_CONFIG`.
    pub fn docker_config(&self) -> PathBuf {
        self.home().join(".docker")
    }

    /// Writes into [`Self::docker_config`] the credentials for one host, and no other.
    pub fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        let secret = Base64::encode_string(format!("{user}:{password}").as_bytes());
        self.write_credentials(host, &json!({ "auth": secret }))
    }

    /// Writes into [`Self::docker_config`] the identity token for one host, as `docker login` does
    /// where a registry hands one out.
    pub fn log_in_with_token(&self, host: &str, token: &str) -> Result<()> {
        self.write_credentials(host, &json!({ "identitytoken": token }))
    }

    fn write_credentials(&self, host: &str, credentials: &Value) -> Result<()> {
        let config = json!({ "auths": { host: credentials } });
        cache::create_directories(&self.docker_config())?;
        cache::write(&self.docker_config().join("config.json"), config.to_string().as_bytes())
    }

    /// Returns a command for cosign 2.5: signatures under the tag `sha256-….sig`.
    pub fn cosign(&self) -> Result<Command> {
        self.packaged("cosign", "cosign", Suite::Trixie)
    }

    /// Returns a command for docker 26.1, without its daemon.
    pub fn docker(&self) -> Result<Command> {
        self.packaged("docker", "docker-cli", Suite::Trixie)
    }

    /// Returns a command for kubectl 1.32.
    pub fn kubectl(&self) -> Result<Command> {
        self.packaged("kubectl", "kubectl", Suite::Trixie)
    }

    /// Returns a command for notation 1.3: signatures as referrers.
    pub fn notation(&self) -> Result<Command> {
        self.packaged("notation", "notation", Suite::Sid)
    }

    /// Returns a command for oras 1.2: any artifact, and referrers with the fallback tag.
    pub fn oras(&self) -> Result<Command> {
        self.packaged("oras", "oras", Suite::Trixie)
    }

    /// Returns a command for the machine's skopeo. It trusts an authority only through
    /// `--src-cert-dir` and `--dest-cert-dir`.
    pub fn skopeo(&self) -> Result<Command> {
        Ok(self.at_home(&find("skopeo")?))
    }

    fn packaged(&self, program: &str, package: &str, suite: Suite) -> Result<Command> {
        // Of libraries they need the C library alone, and an old one will do.
        let tree = Tree::unpacked(&format!("tools/{program}"), suite, Packages::Alone(&[package]))?;
        Ok(self.at_home(&tree.root().join("usr/bin").join(program)))
    }

    fn at_home(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.docker_config())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("XDG_RUNTIME_DIR", self.home())
            .current_dir(self.home());
        if let Some(authority) = &self.trusted {
            // Go reads both; a file that is not there stands for no directory.
            command.env("SSL_CERT_FILE", authority).env("SSL_CERT_DIR", "/nonexistent");
        }
        command
    }
}
