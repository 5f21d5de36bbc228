//! The daemon's configuration, `node.toml`; `docs/node.md` has an example with every field.

use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libverity::layer::Profile;
use osguard_policy::trust::RepositoryPattern;
use serde::{Deserialize, Deserializer};

use super::modes::Modes;
pub use super::modes::SignatureMode;

/// Says how the daemon works. A field that is not given has the value of [`Config::default`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The version of the file's form: 1.
    pub version: u32,
    /// The socket that containerd connects to.
    pub socket: PathBuf,
    /// Where layers, the writable parts of containers and the records of both are kept, over restarts of the machine.
    pub root: PathBuf,
    /// Where layers are mounted. The path is repeated for each layer of a container in the options of a mount, which
    /// may have 4096 bytes: it should be short.
    pub mounts: PathBuf,
    /// containerd's own socket, from which blobs are read.
    pub containerd: PathBuf,
    /// How layers are converted; it has to be what they were signed under.
    pub profile: Profile,
    /// Where health and metrics are shown, if anywhere.
    pub status: Option<StatusAddress>,
    /// Which signatures are asked for, and where they are looked for.
    pub signatures: SignatureConfig,
    /// What the daemon may take of the machine.
    pub limits: Limits,
    /// Whether, and how, it is tried if the kernel enforces.
    pub canary: CanaryConfig,
}

/// Says which signatures are asked for, and where they are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SignatureConfig {
    /// The mode of repositories that are not listed.
    pub mode: SignatureMode,
    /// The modes of others.
    pub repositories: Vec<RepositoryMode>,
    /// The directories with signatures that were brought to this machine.
    pub directories: Vec<PathBuf>,
    /// Whether the kernel is asked about a signature when a layer is unpacked, so that a pull fails and not the start of
    /// a container. It is asked again at each mount.
    pub check_at_unpack: bool,
    /// Whether, and how, registries are asked for signatures that are found nowhere else.
    pub registry: RegistryConfig,
}

/// Gives some repositories a mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RepositoryMode {
    /// Which ones; of several patterns the most precise one counts.
    pub pattern: RepositoryPattern,
    /// Their mode.
    pub mode: SignatureMode,
}

/// Says how registries are asked for signatures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RegistryConfig {
    /// Whether they are.
    pub enabled: bool,
    /// A file with credentials, as `docker login` writes it.
    pub auth_file: Option<PathBuf>,
    /// Certificate authorities that are trusted besides those of the system.
    pub ca_files: Vec<PathBuf>,
    /// Whether HTTP is spoken without TLS.
    pub plain_http: bool,
}

/// Says what the daemon may take of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// How many layers are converted at the same time; each takes up to four threads and 200 MiB.
    pub unpacks: NonZeroUsize,
    /// How long a converted layer is kept that no snapshot has, in seconds: until a pull that failed is tried again.
    #[serde(rename = "keep-unused-seconds", deserialize_with = "seconds")]
    pub keep_unused: Duration,
}

/// Says how it is tried whether the kernel denies what nobody signed ([`crate::canary`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CanaryConfig {
    /// How often; without it, it is not tried.
    #[serde(rename = "interval-seconds", deserialize_with = "some_seconds")]
    pub interval: Option<Duration>,
    /// A program on a signed volume that succeeds without arguments, and changes nothing; without it, the daemon's own.
    pub signed_program: Option<PathBuf>,
}

/// Is where health and metrics are shown: `ADDRESS:PORT` of this machine alone, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StatusAddress {
    /// A port on a loopback address.
    Loopback(SocketAddr),
    /// A socket.
    Unix(PathBuf),
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, is no TOML, has an unknown field, or says something impossible.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let malformed = |source| ConfigError::Malformed { path: path.to_owned(), source };
        let config: Self = toml::from_str(&text).map_err(|error| malformed(Box::new(error)))?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        if self.version != VERSION {
            return Err(ConfigError::Version { path: path.to_owned(), found: self.version });
        }
        let paths = [&self.socket, &self.root, &self.mounts, &self.containerd];
        for value in paths.into_iter().chain(&self.signatures.directories) {
            let is_usable = value.is_absolute()
                && value.to_str().is_some_and(|text| !text.contains([':', ',', '\\', '\n']));
            if !is_usable {
                return Err(ConfigError::Path { path: path.to_owned(), value: value.clone() });
            }
        }
        // containerd tells where a layer is from without the port: such a pattern would cover nothing, and what it was to
        // require nobody would ask for.
        let patterns = self.signatures.repositories.iter().map(|table| table.pattern.to_string());
        match patterns.into_iter().find(|pattern| pattern.contains(':')) {
            Some(pattern) => Err(ConfigError::Port { path: path.to_owned(), pattern }),
            None => Ok(()),
        }
    }

    pub(crate) fn modes(&self) -> Modes {
        let patterns = self.signatures.repositories.iter();
        let patterns = patterns.map(|table| (table.pattern.clone(), table.mode));
        Modes::new(self.signatures.mode, patterns.collect())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            socket: "/run/osguard/containerd.sock".into(),
            root: "/var/lib/osguard/containerd".into(),
            mounts: "/var/lib/osguard/l".into(),
            containerd: CONTAINERD_SOCKET.into(),
            profile: Profile::default(),
            status: None,
            signatures: SignatureConfig::default(),
            limits: Limits::default(),
            canary: CanaryConfig::default(),
        }
    }
}

impl Default for SignatureConfig {
    fn default() -> Self {
        Self {
            mode: SignatureMode::default(),
            repositories: Vec::new(),
            directories: vec![
                "/etc/osguard/signatures".into(),
                "/var/lib/osguard/signatures".into(),
            ],
            check_at_unpack: true,
            registry: RegistryConfig::default(),
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { enabled: true, auth_file: None, ca_files: Vec::new(), plain_http: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacks: NonZeroUsize::MIN.saturating_add(1), keep_unused: Duration::from_secs(600) }
    }
}

impl TryFrom<String> for StatusAddress {
    type Error = StatusAddressError;

    fn try_from(text: String) -> Result<Self, StatusAddressError> {
        if let Some(path) = text.strip_prefix("unix:").map(Path::new)
            && path.is_absolute()
        {
            return Ok(Self::Unix(path.to_owned()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            _ => Err(StatusAddressError { text }),
        }
    }
}

/// Says that a text is no address for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address for the status: 127.0.0.1:PORT, [::1]:PORT or unix:/PATH")]
pub struct StatusAddressError {
    /// The text.
    pub text: String,
}

/// Says what is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no TOML, or has a field that is not known or cannot have its value.
    #[error("{path} is no configuration of the node", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A path cannot be used.
    #[error(
        "{path}: {value} cannot be used: paths are absolute and have no colon, comma, backslash or line break",
        path = path.display(), value = value.display()
    )]
    Path {
        /// The file.
        path: PathBuf,
        /// The path in it.
        value: PathBuf,
    },
    /// A pattern of repositories has a port.
    #[error("{path}: {pattern} would cover nothing: containerd tells of registries without their ports", path = path.display())]
    Port {
        /// The file.
        path: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has a form of another version.
    #[error("{path} has the version {found}; this program knows {VERSION}", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: u32,
    },
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}

fn some_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = NonZeroU32::deserialize(deserializer)?;
    Ok(Some(Duration::from_secs(seconds.get().into())))
}

const VERSION: u32 = 1;

/// Where containerd listens unless its configuration says otherwise.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(read("").unwrap(), Config::default());
        assert_eq!(Config::default().signatures.mode, SignatureMode::Require);
    }

    #[test]
    fn every_field_is_read() {
        let config = read(
            r#"
version = 1
socket = "/run/a.sock"
root = "/var/a"
mounts = "/run/l"
containerd = "/run/c.sock"
profile = "diffid-full-v1"
status = "127.0.0.1:9464"

[signatures]
mode = "prefer"
directories = ["/etc/s"]
check-at-unpack = false

[[signatures.repositories]]
pattern = "registry.example/**"
mode = "require"

[signatures.registry]
enabled = false
auth-file = "/etc/auth.json"
ca-files = ["/etc/ca.pem"]
plain-http = true

[limits]
unpacks = 4
keep-unused-seconds = 60

[canary]
interval-seconds = 30
signed-program = "/usr/bin/true"
"#,
        )
        .unwrap();
        assert_eq!(config.profile, Profile::DiffidFullV1);
        assert_eq!(config.status, Some(StatusAddress::Loopback("127.0.0.1:9464".parse().unwrap())));
        assert_eq!(config.signatures.repositories.len(), 1);
        assert_eq!(config.limits.unpacks.get(), 4);
        assert_eq!(config.limits.keep_unused, Duration::from_secs(60));
        assert_eq!(config.canary.interval, Some(Duration::from_secs(30)));
        assert_eq!(config.canary.signed_program, Some("/usr/bin/true".into()));
        let names = ["registry.example/app".to_owned()];
        assert_eq!(config.modes().of(&names), SignatureMode::Require);
        assert_eq!(config.modes().default_mode(), SignatureMode::Prefer);
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "sockets = \"/run/a.sock\"",
            "[signatures]\nmode = \"maybe\"",
            "[signatures]\nmodes = \"off\"",
            "[[signatures.repositories]]\npattern = \"a b\"\nmode = \"off\"",
            "[limits]\nunpacks = 0",
            "[canary]\ninterval-seconds = 0",
            "profile = \"none\"",
            "status = \"0.0.0.0:80\"",
            "status = \"unix:relative\"",
            "x",
        ] {
            assert!(matches!(read(text), Err(ConfigError::Malformed { .. })), "{text}");
        }
        assert!(matches!(read("version = 2"), Err(ConfigError::Version { found: 2, .. })));
        let port =
            "[[signatures.repositories]]\npattern = \"r.example:5000/**\"\nmode = \"require\"";
        assert!(matches!(read(port), Err(ConfigError::Port { .. })));
        for text in ["root = \"relative\"", "mounts = \"/run/a:b\"", "mounts = \"/run/a,b\""] {
            assert!(matches!(read(text), Err(ConfigError::Path { .. })), "{text}");
        }
    }
}
