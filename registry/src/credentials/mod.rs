//! Credentials: as whom a registry is addressed.
//!
//! They are looked for in this order; the first that has something for the registry decides:
//!
//! 1. logins that the caller gives, each for one registry;
//! 2. the files that the caller names, and then nothing else;
//! 3. `DOCKER_AUTH_CONFIG`, which holds the content of a configuration file;
//! 4. the files that `REGISTRY_AUTH_FILE` and `DOCKER_CONFIG` name, and then nothing else;
//! 5. podman's `auth.json` in the runtime directory and in the directory of configurations, and
//!    docker's `config.json` in the home directory.
//!
//! Within a file, the registry's own credential helper comes first, then the file's entries, most
//! specific first, then the helper for everything (`credsStore`). A file that is malformed and a
//! helper that fails are errors: nobody shall be anonymous by mistake.
//!
//! Source: docker's command line, `config.json` and "Credential stores"; `containers-auth.json(5)`.

mod error;
mod file;
mod helper;
mod secret;
mod server;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

pub use self::error::{CredentialError, HelperError};
pub use self::secret::Secret;

use self::file::ConfigFile;
use crate::environment::Environment;
use crate::small_file;

/// Finds the credential for a registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    environment: Environment,
    files: Vec<PathBuf>,
    helper_time_limit: Duration,
    is_searching: bool,
    /// The last that fits decides.
    logins: Vec<(String, Login)>,
}

impl Credentials {
    /// Looks in the files of the user to whom `environment` belongs.
    pub fn of(environment: Environment) -> Self {
        Self {
            environment,
            files: Vec::new(),
            helper_time_limit: HELPER_TIME_LIMIT,
            is_searching: true,
            logins: Vec::new(),
        }
    }

    /// Looks nowhere but in what is added.
    pub fn none() -> Self {
        Self { is_searching: false, ..Self::default() }
    }

    /// Adds a login for one registry (`host[:port]`), which is never used for another.
    #[must_use]
    pub fn with_login(mut self, registry: &str, login: Login) -> Self {
        self.logins.push((server::canonical(registry), login));
        self
    }

    /// Adds a configuration file of docker or podman; then the user's own are not read.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Sets how long a credential helper may take, 60 seconds by default: it may have to ask the
    /// user to unlock a keyring.
    #[must_use]
    pub fn with_helper_time_limit(mut self, limit: Duration) -> Self {
        self.helper_time_limit = limit;
        self
    }

    /// Finds the credential for a repository of `registry` (`host[:port]`).
    ///
    /// Blocks while files are read and helpers run, and does that again with each call.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read or is malformed, and if a helper fails. Having
    /// found nothing is no error: then the credential is [`Credential::Anonymous`].
    pub fn for_repository(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Found, CredentialError> {
        let found = self.find(registry, repository)?.unwrap_or_else(Found::none);
        if let Credential::Basic { username, .. } = &found.credential
            && let Some(reason) = fault_of_username(username)
        {
            return Err(CredentialError::UserName { place: found.source, reason });
        }
        Ok(found)
    }

    fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, CredentialError> {
        let canonical = server::canonical(registry);
        if let Some((_, login)) = self.logins.iter().rfind(|(bound_to, _)| *bound_to == canonical) {
            return Ok(Some(login.found()));
        }
        if self.files.is_empty()
            && self.is_searching
            && let Some(content) = self.environment.variable(AUTH_CONFIG)
        {
            let place = Source::Variable(AUTH_CONFIG);
            let config = ConfigFile::parse(content.as_encoded_bytes(), &place)?;
            if let Some(found) = self.find_in(&config, &place, registry, repository)? {
                return Ok(Some(found));
            }
        }
        for file in self.places() {
            let Some(bytes) = file.read()? else { continue };
            let place = Source::File(file.path);
            let config = ConfigFile::parse(&bytes, &place)?;
            if let Some(found) = self.find_in(&config, &place, registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_in(
        &self,
        config: &ConfigFile,
        place: &Source,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Found>, CredentialError> {
        let own_helper = config.helper(registry);
        if let Some(name) = own_helper.filter(|name| !name.is_empty())
            && let Some(found) = self.ask(name, place, registry)?
        {
            return Ok(Some(found));
        }
        if let Some(credential) = config.entry(registry, repository, place)? {
            return Ok(Some(Found { credential, source: place.clone() }));
        }
        // An empty name of a helper says that this registry's credential is in the file.
        match config.store().filter(|_| own_helper.is_none()) {
            Some(name) => self.ask(name, place, registry),
            None => Ok(None),
        }
    }

    fn ask(
        &self,
        name: &str,
        place: &Source,
        registry: &str,
    ) -> Result<Option<Found>, CredentialError> {
        let path = self.environment.variable("PATH").unwrap_or_default();
        for server in server::names_for_helpers(registry) {
            let credential =
                helper::ask(name, server, path, self.helper_time_limit).map_err(|source| {
                    CredentialError::Helper {
                        helper: helper::program_name(name),
                        place: place.clone(),
                        server: server.to_owned(),
                        source,
                    }
                })?;
            if let Some(credential) = credential {
                let source = Source::Helper(helper::program_name(name));
                return Ok(Some(Found { credential, source }));
            }
        }
        Ok(None)
    }

    fn places(&self) -> Vec<AuthFile> {
        if !self.files.is_empty() || !self.is_searching {
            return self.files.iter().cloned().map(AuthFile::required).collect();
        }
        let named = [
            self.environment.path("REGISTRY_AUTH_FILE").map(AuthFile::required),
            // A directory for docker's configuration need not have one yet.
            self.environment
                .path("DOCKER_CONFIG")
                .map(|directory| AuthFile::optional(directory.join("config.json"))),
        ];
        if named.iter().any(Option::is_some) {
            return named.into_iter().flatten().collect();
        }
        let runtime = self.environment.path("XDG_RUNTIME_DIR").map_or_else(
            || self.environment.system(&format!("run/containers/{}", self.environment.user())),
            |directory| directory.join("containers"),
        );
        let configured = self.environment.config_home().map(|home| home.join("containers"));
        let docker = self.environment.path("HOME").map(|home| home.join(".docker/config.json"));
        [Some(runtime.join("auth.json")), configured.map(|home| home.join("auth.json")), docker]
            .into_iter()
            .flatten()
            .map(AuthFile::optional)
            .collect()
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::of(Environment::from_process())
    }
}

/// Is what a registry is shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// A user name and a password, by Basic authentication to the registry or its token service.
    Basic {
        /// The user name, without a colon.
        username: String,
        /// The password, or a token that is used like one.
        password: Secret,
    },
    /// A token for the registry itself, sent as it is.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// A token for the token service, as OAuth 2.0's refresh token.
    IdentityToken {
        /// The token.
        token: Secret,
    },
}

/// Is a credential, with the place where it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The credential.
    pub credential: Credential,
    /// Where it was found.
    pub source: Source,
}

impl Found {
    fn none() -> Self {
        Self { credential: Credential::Anonymous, source: Source::None }
    }
}

/// Says where a credential is from; as a text, in the words of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A configuration file.
    File(PathBuf),
    /// A flag of the command line, such as `--username`.
    Flag(&'static str),
    /// A credential helper, by the name of its program.
    Helper(String),
    /// Nowhere.
    None,
    /// A variable of the environment.
    Variable(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Flag(name) | Self::Variable(name) => formatter.write_str(name),
            Self::Helper(program) => write!(formatter, "credential helper {program}"),
            Self::None => formatter.write_str("none configured"),
        }
    }
}

/// Is a login that the caller gives for one registry.
#[derive(Clone, Debug)]
pub enum Login {
    /// A user name and a password.
    Password {
        /// The user name, without a colon.
        username: String,
        /// The password.
        password: Secret,
        /// Where both are from.
        source: Source,
    },
    /// A token for the registry itself, sent as it is.
    Token {
        /// The token.
        token: Secret,
        /// Where it is from.
        source: Source,
    },
}

impl Login {
    fn found(&self) -> Found {
        match self.clone() {
            Self::Password { username, password, source } => {
                Found { credential: Credential::Basic { username, password }, source }
            }
            Self::Token { token, source } => {
                Found { credential: Credential::Bearer { token }, source }
            }
        }
    }
}

/// Is a configuration file that may be there.
struct AuthFile {
    path: PathBuf,
    is_required: bool,
}

impl AuthFile {
    fn optional(path: PathBuf) -> Self {
        Self { path, is_required: false }
    }

    fn required(path: PathBuf) -> Self {
        Self { path, is_required: true }
    }

    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, CredentialError> {
        match small_file::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if !self.is_required && is_missing(&error) => Ok(None),
            Err(source) => Err(CredentialError::File { file: self.path.clone(), source }),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Finds what a user name cannot have in Basic authentication (RFC 7617, section 2).
fn fault_of_username(username: &str) -> Option<&'static str> {
    if username.is_empty() {
        Some("it is empty")
    } else if username.contains(':') {
        Some("it has a colon")
    } else if username.chars().any(char::is_control) {
        Some("it has a control character")
    } else {
        None
    }
}

const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

const HELPER_TIME_LIMIT: Duration = Duration::from_secs(60);
