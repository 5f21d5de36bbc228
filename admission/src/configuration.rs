//! The file that says what is admitted: `admission.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libverity::layer::Profile;
use osguard_registry::platform::Platform;
use serde::Deserialize;

/// Is the file as it is written; [`Policy`](crate::policy::Policy) is what comes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Configuration {
    /// 1; a later one is refused.
    pub version: u32,
    /// What happens in namespaces that no rule names. It has to be said.
    pub default: Mode,
    /// Namespaces in which nothing is looked at: osguard's own, and the cluster's.
    #[serde(default)]
    pub exempt: Vec<NamespacePattern>,
    /// What happens with objects of kinds of which it is not known whether they name images.
    #[serde(default)]
    pub unknown_kinds: UnknownKinds,
    /// What is asked of images, unless a rule says otherwise.
    pub images: DemandsTable,
    /// Rules for some namespaces; the first that names one counts.
    #[serde(default)]
    pub rules: Vec<RuleTable>,
    /// How registries are reached, by host and port.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistryTable>,
    /// How much is remembered, and for how long.
    #[serde(default)]
    pub cache: CacheTable,
    /// Whether pull secrets of pods and service accounts are read, and from where.
    pub cluster: Option<ClusterTable>,
    /// Where nodes say whose signatures they take, if that is to be asked.
    pub nodes: Option<NodesTable>,
    /// Configuration files of docker or podman with credentials, in place of the user's own.
    #[serde(default)]
    pub auth_files: Vec<PathBuf>,
}

/// Says what happens to an object with an image that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It goes into the audit log and the metrics.
    Audit,
    /// It is refused.
    Enforce,
    /// Whoever made it is warned.
    Warn,
}

impl Mode {
    /// Returns the name that the file has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

/// Says what happens while nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    /// The image passes, and everybody is told.
    Allow,
    /// The image does not pass.
    #[default]
    Deny,
}

/// Says what happens with objects of unknown kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownKinds {
    /// They pass, and everybody is told.
    Allow,
    /// They are refused: nobody had to ask.
    #[default]
    Deny,
}

/// Says what is asked of images.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DemandsTable {
    /// The trust configuration; the path starts in the directory of the file.
    pub trust: Option<PathBuf>,
    /// The platforms of the cluster's nodes; if it is empty, all platforms of the image are judged.
    pub platforms: Option<Vec<String>>,
    /// The profiles by which the nodes convert layers; if it is empty, any will do.
    pub profiles: Option<Vec<Profile>>,
    /// Whether the layers are read and converted, and the root hashes compared.
    pub recompute: Option<bool>,
    /// Whether images have to be named by a digest.
    pub require_digest: Option<bool>,
    /// What happens while a registry is away.
    pub unavailable: Option<Unavailable>,
}

/// Is a rule for some namespaces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleTable {
    /// The name, for reports.
    pub name: String,
    /// The namespaces.
    pub namespaces: Vec<NamespacePattern>,
    /// What happens there.
    pub mode: Mode,
    /// What is asked otherwise than elsewhere.
    #[serde(default)]
    pub images: DemandsTable,
}

/// Says how a registry is reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryTable {
    /// Where its images are read from in its place: `HOST[:PORT]`, or with a path before their own.
    pub mirror: Option<String>,
    /// Further certificate authorities, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// Whether HTTP is spoken without TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// How many requests for images are made at the same time.
    pub parallel: Option<u16>,
}

/// Says where the API server is; what is not said is as in every pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterTable {
    /// The address: `https://HOST:PORT`.
    pub server: Option<String>,
    /// Its certificate authority.
    pub ca_file: Option<PathBuf>,
    /// The token that it is shown.
    pub token_file: Option<PathBuf>,
    /// Whether pull secrets are read; they are if nothing else is said.
    pub pull_secrets: Option<bool>,
}

/// Says where nodes say what they take: one of both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodesTable {
    /// A directory of files that are called `NODE.json`; the path starts in the directory of the file.
    pub directory: Option<PathBuf>,
    /// An annotation of the cluster's nodes; it takes `[cluster]`.
    pub annotation: Option<String>,
}

/// Says how much is remembered, and for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheTable {
    /// How many verdicts.
    pub entries: usize,
    /// How many bytes of them.
    pub bytes: usize,
    /// How many seconds an image is known to pass.
    pub good_seconds: u64,
    /// How many seconds an image is known not to pass.
    pub bad_seconds: u64,
    /// How many seconds it is known where a tag leads.
    pub tag_seconds: u64,
}

impl Default for CacheTable {
    fn default() -> Self {
        Self {
            entries: 20_000,
            bytes: 16 << 20,
            // What a digest names never changes; certificates and revocations are watched besides.
            good_seconds: 24 * 60 * 60,
            bad_seconds: 30,
            tag_seconds: 10,
        }
    }
}

impl CacheTable {
    pub(crate) fn good(&self) -> Duration {
        Duration::from_secs(self.good_seconds)
    }

    pub(crate) fn bad(&self) -> Duration {
        Duration::from_secs(self.bad_seconds)
    }

    pub(crate) fn tag(&self) -> Duration {
        Duration::from_secs(self.tag_seconds)
    }
}

/// Covers namespaces: a name, or the beginning of one with `*` behind it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamespacePattern {
    start: String,
    is_open: bool,
}

impl NamespacePattern {
    /// Tells whether a namespace is covered.
    pub fn covers(&self, namespace: &str) -> bool {
        match self.is_open {
            true => namespace.starts_with(&self.start),
            false => namespace == self.start,
        }
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (start, is_open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text.as_str(), false),
        };
        let is_name = start
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name || (start.is_empty() && !is_open) {
            return Err(format!("{text:?} is no namespace; `*` may stand at the end alone"));
        }
        Ok(Self { start: start.to_owned(), is_open })
    }
}

impl Configuration {
    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, with line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigurationError> {
        let malformed =
            |reason: String| ConfigurationError::Malformed { path: path.to_owned(), reason };
        // Before all others, for a later version may have other fields.
        let Version { version } =
            toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if version != VERSION {
            return Err(ConfigurationError::Version { path: path.to_owned(), found: version });
        }
        toml::from_str(text).map_err(|error| malformed(error.to_string()))
    }
}

impl DemandsTable {
    /// Takes what is not said here from `others`.
    #[must_use]
    pub(crate) fn or(&self, others: &Self) -> Self {
        Self {
            trust: self.trust.clone().or_else(|| others.trust.clone()),
            platforms: self.platforms.clone().or_else(|| others.platforms.clone()),
            profiles: self.profiles.clone().or_else(|| others.profiles.clone()),
            recompute: self.recompute.or(others.recompute),
            require_digest: self.require_digest.or(others.require_digest),
            unavailable: self.unavailable.or(others.unavailable),
        }
    }

    pub(crate) fn parsed_platforms(&self) -> Result<Vec<Platform>, String> {
        let texts = self.platforms.iter().flatten();
        texts.map(|text| text.parse::<Platform>().map_err(|error| error.to_string())).collect()
    }
}

/// Says why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The API server cannot be asked for secrets.
    #[error("secrets cannot be read: {0}")]
    Cluster(#[from] crate::cluster::ClusterError),
    /// The file is not what it must be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Certificates of authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] osguard_registry::tls::TlsError),
    /// The trust configuration cannot be used.
    #[error(transparent)]
    Trust(#[from] osguard_policy::trust::TrustError),
    /// The file is of another version than this program knows.
    #[error("{} has the version {found}, and {VERSION} is known here", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: u32,
    },
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration, ConfigurationError> {
        Configuration::parse(text, Path::new("admission.toml"))
    }

    #[test]
    fn a_file_is_read() {
        let text = r#"
            version = 1
            default = "enforce"
            exempt = ["osguard-system", "kube-*"]
            [images]
            trust = "trust.toml"
            profiles = ["containerd-full-v1"]
            [[rules]]
            name = "trial"
            namespaces = ["team-*"]
            mode = "audit"
            [rules.images]
            unavailable = "allow"
            [registries."docker.io"]
            mirror = "mirror.example:5000/hub"
            [cache]
            tag-seconds = 0
        "#;
        let configuration = parse(text).unwrap();
        assert_eq!(configuration.rules[0].images.unavailable, Some(Unavailable::Allow));
        let demands = configuration.rules[0].images.or(&configuration.images);
        assert_eq!(demands.trust.unwrap(), Path::new("trust.toml"));
        assert!(configuration.exempt[1].covers("kube-system"));
        assert!(!configuration.exempt[0].covers("osguard-system-2"));
        assert_eq!(configuration.cache.tag_seconds, 0);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let good = "version = 1\ndefault = \"warn\"\n[images]\n";
        assert!(parse(good).is_ok());
        let with = |line: &str| good.replace("[images]", &format!("{line}\n[images]"));
        let behind = |lines: &str| format!("{good}{lines}");
        for text in [
            String::new(),
            good.replace('1', "2"),
            good.replace("default", "defualt"),
            good.replace("warn", "maybe"),
            good.replace("[images]", ""),
            with("exmept = []"),
            with("exempt = [\"a*b\"]"),
            with("exempt = [\"\"]"),
            behind("platforms = [1]"),
            behind("profiles = [\"mine\"]"),
            behind("label = \"exempt\""),
            behind("[[rules]]\nname = \"a\"\nmode = \"warn\""),
            behind("[[rules]]\nname = \"a\"\nmode = \"warn\"\nnamespaces = []\nlabel = 1"),
            behind("[registries.a]\nca = \"b\""),
        ] {
            let text = &text;
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
