//! The registry that most people run: Debian's package `docker-registry`, distribution 2.8.
//!
//! It knows neither the referrers API nor `OCI-Subject`, it sends notifications, and it is nobody's
//! idea of a registry but its authors'.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cache;
use crate::debian::{Packages, Suite, Tree};
use crate::error::{Error, Result};
use crate::tls::TlsAuthority;

/// Is a running registry with an empty store; it ends when this is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    process: Child,
    directory: tempfile::TempDir,
    host: String,
    scheme: &'static str,
}

/// Describes a registry that is to be started.
#[derive(Debug)]
pub struct Builder {
    settings: Value,
    scheme: &'static str,
}

impl DockerRegistry {
    /// Is the user whom a registry with [`Builder::password`] lets in.
    pub const USER: &str = "user";
    /// Is that user's password.
    pub const PASSWORD: &str = "password";

    /// Starts a registry over plain HTTP that lets everyone in.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is no such package.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Starts to describe a registry.
    pub fn builder() -> Builder {
        let settings = json!({
            "version": "0.1",
            "log": { "accesslog": { "disabled": false }, "level": "info", "formatter": "text" },
            // The system chooses the port; the registry tells it in its log.
            "http": { "addr": "127.0.0.1:0", "secret": "osguard" },
            "storage": { "delete": { "enabled": true } },
        });
        Builder { settings, scheme: "http" }
    }

    /// Returns the host as references name it: `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the root of all its addresses, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// Returns the directory of its store, which another registry can serve.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Returns what it has written so far.
    pub fn log(&self) -> Result<String> {
        let path = self.directory.path().join(LOG);
        fs::read_to_string(&path).map_err(Error::io(&path))
    }

    /// Reads from the log where it listens.
    fn listening(&mut self) -> Result<String> {
        let end = Instant::now() + LONGEST_START;
        loop {
            let log = self.log()?;
            let address = log.split_once("listening on ").and_then(|(_, rest)| {
                let length = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | ':'))?;
                Some(rest[..length].to_owned())
            });
            if let Some(address) = address {
                return Ok(address);
            }
            let ended = self.process.try_wait().map_err(Error::io(self.directory.path()))?;
            if ended.is_some() || Instant::now() > end {
                return Err(Error::unexpected("docker-registry does not listen", log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // Neither fails for a child that is ours and has not been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Builder {
    /// Lets only [`DockerRegistry::USER`] in, with [`DockerRegistry::PASSWORD`] (Basic).
    pub fn password(mut self) -> Self {
        self.settings["auth"] = json!({ "htpasswd": { "realm": "osguard" } });
        self
    }

    /// Serves HTTPS with a certificate by this authority.
    pub fn tls(mut self, authority: &TlsAuthority) -> Result<Self> {
        let server = authority.server()?;
        self.settings["http"]["tls"] =
            json!({ "certificate": server.certificate, "key": server.key });
        self.scheme = "https";
        Ok(self)
    }

    /// Lets in only clients with a certificate by this authority; needs [`Self::tls`].
    pub fn client_certificates(mut self, authority: &TlsAuthority) -> Self {
        self.settings["http"]["tls"]["clientcas"] = json!([authority.certificate()]);
        self
    }

    /// Sends notifications of what is pushed, pulled and deleted to this address, with
    /// `Authorization: Bearer TOKEN`.
    pub fn notify(mut self, url: &str, token: &str) -> Self {
        self.settings["notifications"] = json!({ "endpoints": [{
            "name": "osguard",
            "url": url,
            "headers": { "Authorization": [format!("Bearer {token}")] },
            "timeout": "5s",
            "threshold": 3,
            "backoff": "100ms",
        }] });
        self
    }

    /// Starts the registry and waits until it listens.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is no such package, [`Error::Unexpected`] with its log if it
    /// does not start.
    pub fn start(mut self) -> Result<DockerRegistry> {
        let tree = Tree::unpacked(
            "tools/docker-registry",
            Suite::Trixie,
            Packages::Alone(&["docker-registry"]),
        )?;
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let at = |name: &str| directory.path().join(name);
        self.settings["storage"]["filesystem"] = json!({ "rootdirectory": at("store") });
        if let Some(authentication) = self.settings["auth"].get_mut("htpasswd") {
            authentication["path"] = json!(at("htpasswd"));
            cache::write(&at("htpasswd"), HTPASSWD.as_bytes())?;
        }
        // JSON is YAML, too.
        cache::write(&at("config.yml"), self.settings.to_string().as_bytes())?;
        let log = File::create(at(LOG)).map_err(Error::io(&at(LOG)))?;
        let errors = log.try_clone().map_err(Error::io(&at(LOG)))?;
        let program = tree.root().join("usr/bin/docker-registry");
        let process = Command::new(&program)
            .arg("serve")
            .arg(at("config.yml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Error::io(&program))?;
        let host = String::new();
        let mut registry = DockerRegistry { process, directory, host, scheme: self.scheme };
        registry.host = registry.listening()?;
        Ok(registry)
    }
}

/// Is [`DockerRegistry::PASSWORD`] by `crypt("password", "$2b$04$osguardosguardosguardu")` of
/// libxcrypt.
const HTPASSWD: &str = "user:$2b$04$osguardosguardosguarduJ56wi/JST.k6/4eoP7qGag7rf3LC2/.\n";

const LOG: &str = "log";

const LONGEST_START: Duration = Duration::from_secs(60);
