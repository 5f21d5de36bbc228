//! The environment of a process, as far as it says how registries are reached.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// Holds the variables, the user and the root directory by which configuration files are found.
///
/// | variable             | says                                                     |
/// |----------------------|----------------------------------------------------------|
/// | `DOCKER_AUTH_CONFIG` | credentials, as the content of a configuration file      |
/// | `DOCKER_CONFIG`      | the directory of docker's `config.json`                  |
/// | `HOME`               | the home directory                                       |
/// | `PATH`               | where credential helpers are                             |
/// | `REGISTRY_AUTH_FILE` | podman's file of credentials                             |
/// | `XDG_CONFIG_HOME`    | the directory of configurations, if not `HOME/.config`   |
/// | `XDG_RUNTIME_DIR`    | the directory that is emptied when the user logs out     |
#[derive(Clone)]
pub struct Environment {
    root: PathBuf,
    user: u32,
    variables: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn from_process() -> Self {
        let variables =
            VARIABLES.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))).collect();
        let user = rustix::process::getuid().as_raw();
        let mut environment = Self { root: PathBuf::from("/"), user, variables };
        // Servers are often started without the variable; the list of users has the directory.
        if environment.variable("HOME").is_none()
            && let Some(home) = std::env::home_dir()
        {
            environment.variables.insert("HOME", home.into_os_string());
        }
        environment
    }

    /// Returns an environment without variables, of the user with the number `user`, in which
    /// `root` is the root directory.
    pub fn new(root: &Path, user: u32) -> Self {
        Self { root: root.to_owned(), user, variables: BTreeMap::new() }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with_variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    /// Returns the value of a variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// Returns a variable that names a file or directory.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }

    /// Returns the user's directory of configurations.
    ///
    /// Source: XDG Base Directory Specification 0.8.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| Some(self.path("HOME")?.join(".config")))
    }

    /// Returns a directory of the system, such as `etc/docker`.
    pub(crate) fn system(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the number of the user.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }
}

/// Prints names alone: a value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("root", &self.root)
            .field("user", &self.user)
            .field("variables", &self.variables.keys())
            .finish()
    }
}

const VARIABLES: [&str; 7] = [
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "HOME",
    "PATH",
    "REGISTRY_AUTH_FILE",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
];
