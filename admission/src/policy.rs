//! What is asked of images, in which namespaces, and as whom registries are asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libverity::digest::Digest;
use libverity::layer::Profile;
use osguard_policy::trust::TrustConfiguration;
use osguard_registry::credentials::Credentials;
use osguard_registry::distribution::Patience;
use osguard_registry::network::Network;
use osguard_registry::platform::Platform;
use osguard_registry::reference::RegistryReference;
use osguard_registry::tls::Tls;

use crate::cluster::Cluster;
use crate::configuration::{
    CacheTable, Configuration, ConfigurationError, DemandsTable, Mode, NamespacePattern,
    NodesTable, Unavailable, UnknownKinds,
};
use crate::nodes::NodeSource;
use crate::small_file;

/// Is a configuration with everything that it names.
#[derive(Debug)]
pub struct Policy {
    /// Tells it from others: the digest of all that it says and that its files hold.
    pub generation: Digest,
    /// What happens with objects of unknown kinds.
    pub unknown_kinds: UnknownKinds,
    /// How much is remembered, and for how long.
    pub cache: CacheTable,
    /// How registries are reached.
    pub registries: Arc<Registries>,
    /// Where pull secrets are read, if they are.
    pub cluster: Option<Arc<Cluster>>,
    /// Where nodes say what they take, if that is asked.
    pub nodes: Option<NodeSource>,
    exempt: Vec<NamespacePattern>,
    default: Rule,
    rules: Vec<(Vec<NamespacePattern>, Rule)>,
}

/// Says what happens in a namespace.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, for reports.
    pub name: String,
    /// What happens to objects with images that do not pass.
    pub mode: Mode,
    /// What is asked of the images.
    pub demands: Arc<Demands>,
}

/// Says what is asked of images.
#[derive(Debug)]
pub struct Demands {
    /// Tells what is asked from what is asked elsewhere, so that verdicts are not mixed up.
    pub id: Digest,
    /// Whose signatures count.
    pub trust: TrustConfiguration,
    /// The platforms of the nodes; if it is empty, all of the image.
    pub platforms: Vec<Platform>,
    /// The profiles of the nodes; if it is empty, any.
    pub profiles: Vec<Profile>,
    /// Whether layers are read.
    pub recompute: bool,
    /// Whether images have to be named by a digest.
    pub require_digest: bool,
    /// What happens while nobody knows.
    pub unavailable: Unavailable,
}

impl Policy {
    /// Reads a configuration and the files that it names.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with one of them.
    pub fn read(path: &Path) -> Result<Self, ConfigurationError> {
        let text = read_text(path)?;
        let configuration = Configuration::parse(&text, path)?;
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        Self::of(&configuration, path, directory)
    }

    /// Asks that all images be signed by those whom `trust` names, in every namespace.
    pub fn of_trust(trust: TrustConfiguration, demands: &DemandsTable, network: Network) -> Self {
        let demands = Demands::new(
            trust,
            demands,
            // Whoever gives platforms here has parsed them before.
            demands.parsed_platforms().unwrap_or_default(),
        );
        let default =
            Rule { name: DEFAULT.to_owned(), mode: Mode::Enforce, demands: Arc::new(demands) };
        let registries = Registries { id: Digest::of(b""), network, hosts: BTreeMap::new() };
        Self {
            generation: default.demands.id,
            unknown_kinds: UnknownKinds::Allow,
            cache: CacheTable::default(),
            registries: Arc::new(registries),
            cluster: None,
            nodes: None,
            exempt: Vec::new(),
            default,
            rules: Vec::new(),
        }
    }

    /// Tells whether nothing is looked at in a namespace. Nobody but who writes the configuration can
    /// make it so: no label counts.
    pub fn is_exempt(&self, namespace: Option<&str>) -> bool {
        namespace.is_some_and(|name| self.exempt.iter().any(|pattern| pattern.covers(name)))
    }

    /// Returns what happens in a namespace; without one, what happens where no rule says otherwise.
    pub fn rule(&self, namespace: Option<&str>) -> &Rule {
        let covers = |patterns: &[NamespacePattern]| {
            namespace.is_some_and(|name| patterns.iter().any(|pattern| pattern.covers(name)))
        };
        let rule = self.rules.iter().find(|(patterns, _)| covers(patterns));
        rule.map_or(&self.default, |(_, rule)| rule)
    }

    fn of(
        configuration: &Configuration,
        path: &Path,
        directory: &Path,
    ) -> Result<Self, ConfigurationError> {
        let malformed =
            |reason: String| ConfigurationError::Malformed { path: path.to_owned(), reason };
        let demands = |table: &DemandsTable| -> Result<Arc<Demands>, ConfigurationError> {
            let trust = table.trust.as_ref().ok_or_else(|| {
                malformed("`trust` is missing: it names the trust configuration".to_owned())
            })?;
            let platforms = table.parsed_platforms().map_err(malformed)?;
            let trust = TrustConfiguration::read(&directory.join(trust))?;
            Ok(Arc::new(Demands::new(trust, table, platforms)))
        };
        let default = Rule {
            name: DEFAULT.to_owned(),
            mode: configuration.default,
            demands: demands(&configuration.images)?,
        };
        let mut rules = Vec::new();
        for table in &configuration.rules {
            let rule = Rule {
                name: table.name.clone(),
                mode: table.mode,
                demands: demands(&table.images.or(&configuration.images))?,
            };
            if rule.name == DEFAULT
                || rules.iter().any(|(_, known): &(_, Rule)| known.name == rule.name)
            {
                return Err(malformed(format!("a second rule is named {:?}", rule.name)));
            }
            rules.push((table.namespaces.clone(), rule));
        }
        let registries = Registries::of(configuration, directory)?;
        let mut all = format!("{configuration:?}{}", registries.id);
        let mut cluster = None;
        if let Some(table) = &configuration.cluster {
            let (opened, authority) = Cluster::new(table, directory)?;
            let _ = write!(all, "{authority}");
            cluster = Some(Arc::new(opened));
        }
        let nodes = match &configuration.nodes {
            None => None,
            Some(NodesTable { directory: Some(nodes), annotation: None }) => {
                Some(NodeSource::directory(&directory.join(nodes)))
            }
            Some(NodesTable { directory: None, annotation: Some(annotation) }) => {
                let cluster = cluster.clone().ok_or_else(|| {
                    malformed("`nodes.annotation` takes a table [cluster]".to_owned())
                })?;
                Some(NodeSource::cluster(cluster, annotation.clone()))
            }
            Some(_) => {
                return Err(malformed(
                    "[nodes] takes one of `directory` and `annotation`".to_owned(),
                ));
            }
        };
        if let Some(nodes) = &nodes {
            let _ = write!(all, "{}", nodes.id());
        }
        let asks_for_secrets =
            configuration.cluster.as_ref().is_some_and(|table| table.pull_secrets != Some(false));
        for (_, rule) in &rules {
            let _ = write!(all, "{}", rule.demands.id);
        }
        let _ = write!(all, "{}", default.demands.id);
        Ok(Self {
            generation: Digest::of(all.as_bytes()),
            unknown_kinds: configuration.unknown_kinds,
            cache: configuration.cache,
            registries: Arc::new(registries),
            cluster: cluster.filter(|_| asks_for_secrets),
            nodes,
            exempt: configuration.exempt.clone(),
            default,
            rules,
        })
    }
}

impl Demands {
    fn new(trust: TrustConfiguration, table: &DemandsTable, platforms: Vec<Platform>) -> Self {
        let profiles = table.profiles.clone().unwrap_or_default();
        let recompute = table.recompute.unwrap_or_default();
        // What is said of certificates leaves their keys out, so their bytes are added.
        let mut all = format!("{trust:?}{platforms:?}{profiles:?}{recompute}").into_bytes();
        for store in trust.scopes.iter().flat_map(|scope| &scope.stores) {
            for anchor in &store.anchors {
                all.extend_from_slice(anchor.as_der());
            }
        }
        Self {
            id: Digest::of(&all),
            trust,
            platforms,
            profiles,
            recompute,
            require_digest: table.require_digest.unwrap_or_default(),
            unavailable: table.unavailable.unwrap_or_default(),
        }
    }
}

/// Says how registries are reached, and as whom.
#[derive(Debug)]
pub struct Registries {
    /// Tells it from others.
    pub id: Digest,
    network: Network,
    hosts: BTreeMap<String, Host>,
}

#[derive(Debug)]
struct Host {
    network: Network,
    mirror: Option<String>,
    parallel: usize,
}

impl Registries {
    /// Returns how a registry is reached.
    pub fn network(&self, registry: &str) -> &Network {
        self.hosts.get(registry).map_or(&self.network, |host| &host.network)
    }

    /// Returns how many requests for images a registry gets at the same time.
    pub fn parallel(&self, registry: &str) -> usize {
        self.hosts.get(registry).map_or(DEFAULT_PARALLEL, |host| host.parallel)
    }

    /// Returns where an image is read from.
    pub fn location(&self, image: &RegistryReference) -> RegistryReference {
        let mirror = self.hosts.get(&image.registry).and_then(|host| host.mirror.as_deref());
        let mut location = image.clone();
        if let Some(mirror) = mirror {
            let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
            location.registry = host.to_owned();
            if !path.is_empty() {
                location.repository = format!("{path}/{}", image.repository);
            }
        }
        location
    }

    fn of(configuration: &Configuration, directory: &Path) -> Result<Self, ConfigurationError> {
        let mut credentials = Credentials::default();
        for file in &configuration.auth_files {
            credentials = credentials.with_file(directory.join(file));
        }
        let network = Network { credentials, patience: patience(), ..Network::default() };
        let mut hosts = BTreeMap::new();
        let mut files: Vec<PathBuf> = Vec::new();
        for (name, table) in &configuration.registries {
            let mut network = Network { plain_http: table.plain_http, ..network.clone() };
            if let Some(file) = &table.ca_file {
                let file = directory.join(file);
                network.tls = Tls::default().with_ca_file(&file);
                network.tls.check_ca_files()?;
                files.push(file);
            }
            let parallel = table.parallel.map_or(DEFAULT_PARALLEL, usize::from).max(1);
            let host = Host { network, mirror: table.mirror.clone(), parallel };
            hosts.insert(name.clone(), host);
        }
        // How a mirror is reached is said under its own name.
        let mut all = format!("{:?}{:?}", configuration.registries, configuration.auth_files);
        for file in files {
            let _ = write!(all, "{}", Digest::of(read_text(&file)?.as_bytes()));
        }
        Ok(Self { id: Digest::of(all.as_bytes()), network, hosts })
    }
}

/// Someone waits for each answer, for ten seconds as Kubernetes has it by default.
pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(2),
        answer: Duration::from_secs(5),
        standstill: Duration::from_secs(5),
        attempts: 2,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(1),
        ..Patience::default()
    }
}

fn read_text(path: &Path) -> Result<String, ConfigurationError> {
    small_file::read(path, MAX_FILE_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        .map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })
}

/// What the rule is called that applies where no other does.
const DEFAULT: &str = "default";

/// How many images are looked up in one registry at the same time, if nothing else is said.
const DEFAULT_PARALLEL: usize = 8;

/// The longest configuration or bundle of authorities that is read; that of Debian has 220 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
