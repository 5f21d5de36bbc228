//! Secrets with which pods pull their images, from the API server.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use libverity::digest::Digest;
use osguard_policy::node_description::NodeDescription;
use osguard_registry::credentials::{Credential, Credentials};
use osguard_registry::environment::Environment;
use osguard_registry::network::Network;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use crate::cache::{Cache, Limits};
use crate::configuration::ClusterTable;
use crate::nodes::Node;
use crate::small_file;
use crate::workload::PullAccount;

/// Reads secrets from the API server of the cluster.
///
/// What cannot be read is done without, as kubelet does it: the registry refuses then, and nobody is
/// let in by that.
#[derive(Debug)]
pub struct Cluster {
    client: reqwest::Client,
    server: String,
    token_file: PathBuf,
    known: Cache<(String, PullAccount), Option<Arc<PullCredentials>>>,
}

/// Is what the secrets of a pod hold for registries.
pub struct PullCredentials {
    /// Tells it from others.
    pub id: Digest,
    /// A configuration file of docker.
    configuration: String,
}

impl Cluster {
    /// Prepares to reach the API server; what the table does not say is as in every pod.
    ///
    /// # Errors
    ///
    /// Returns why it cannot be reached: the authority cannot be read, or this is no pod.
    pub fn new(table: &ClusterTable, directory: &Path) -> Result<(Self, Digest), ClusterError> {
        let file = |given: &Option<PathBuf>, name: &str| match given {
            Some(path) => directory.join(path),
            None => Path::new(SERVICE_ACCOUNT).join(name),
        };
        let server = match &table.server {
            Some(server) => server.trim_end_matches('/').to_owned(),
            None => server_of_pod().ok_or(ClusterError::NoPod)?,
        };
        let authority = file(&table.ca_file, "ca.crt");
        let text = small_file::read(&authority, MAX_FILE_BYTES)
            .map_err(|source| ClusterError::Read { path: authority.clone(), source })?;
        let unusable = |reason: String| ClusterError::Tls { path: authority.clone(), reason };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let token_file = file(&table.token_file, "token");
        let known = Cache::new(LIMITS);
        Ok((Self { client, server, token_file, known }, Digest::of(&text)))
    }

    /// Returns what a pod of that account has for registries, if it has something.
    pub async fn credentials(
        &self,
        namespace: &str,
        account: &PullAccount,
    ) -> Option<Arc<PullCredentials>> {
        let key = (namespace.to_owned(), account.clone());
        if let Some(known) = self.known.find(&key, Instant::now()) {
            return known;
        }
        let mut names = account.secrets.clone();
        // What the API server would put into the pod.
        if names.is_empty() {
            let account = account.service_account.as_deref().unwrap_or("default");
            names = self.secrets_of(namespace, account).await;
        }
        let mut entries = serde_json::Map::new();
        for name in names.iter().take(MAX_SECRETS) {
            for (host, entry) in self.entries(namespace, name).await {
                entries.entry(host).or_insert(entry);
            }
        }
        let found = PullCredentials::of(entries).map(Arc::new);
        let bytes = found.as_ref().map_or(0, |found| found.configuration.len()) + ENTRY_BYTES;
        self.known.keep(key, found.clone(), bytes, Instant::now() + KEPT);
        found
    }

    /// Reads what all nodes say of themselves in an annotation. Nodes that say nothing are among them.
    ///
    /// # Errors
    ///
    /// Returns why not all can be read.
    pub(crate) async fn nodes(&self, annotation: &str, limit: usize) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        let mut path = format!("/api/v1/nodes?limit={NODES_A_PAGE}");
        loop {
            let text = self.read_as(&path, METADATA_ALONE, MAX_NODES_BYTES).await?;
            let list: NodeList =
                serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            let items = list.items.unwrap_or_default();
            nodes.extend(items.into_iter().map(|item| item.metadata.node(annotation)));
            if nodes.len() > limit {
                return Err(format!("there are more than {limit} nodes"));
            }
            match list.metadata.more {
                Some(more) if !more.is_empty() => {
                    let is_token =
                        |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.~".contains(&byte);
                    if !more.bytes().all(is_token) {
                        return Err("the API server has sent an unknown kind of token".to_owned());
                    }
                    path = format!("/api/v1/nodes?limit={NODES_A_PAGE}&continue={more}");
                }
                _ => return Ok(nodes),
            }
        }
    }

    async fn secrets_of(&self, namespace: &str, account: &str) -> Vec<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ServiceAccount {
            #[serde(default)]
            image_pull_secrets: Vec<Reference>,
        }
        #[derive(Deserialize)]
        struct Reference {
            name: Option<String>,
        }
        let object = self.object(namespace, "serviceaccounts", account).await;
        let account: Option<ServiceAccount> =
            object.and_then(|text| serde_json::from_slice(&text).ok());
        let secrets = account.map(|account| account.image_pull_secrets).unwrap_or_default();
        secrets.into_iter().filter_map(|secret| secret.name).collect()
    }

    /// Returns the entries of a secret, by registry.
    async fn entries(&self, namespace: &str, name: &str) -> serde_json::Map<String, Value> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(default)]
            data: BTreeMap<String, String>,
        }
        let Some(text) = self.object(namespace, "secrets", name).await else {
            return serde_json::Map::new();
        };
        let parsed = serde_json::from_slice::<Secret>(&text).ok().and_then(|secret| {
            let decoded = |key| -> Option<Value> {
                let bytes = Base64::decode_vec(secret.data.get(key)?).ok()?;
                serde_json::from_slice(&bytes).ok()
            };
            match decoded(".dockerconfigjson") {
                Some(mut configuration) => Some(configuration.get_mut("auths")?.take()),
                None => decoded(".dockercfg"),
            }
        });
        match parsed {
            Some(Value::Object(entries)) => entries,
            _ => {
                tracing::warn!(namespace, name, "a secret holds no credentials for registries");
                serde_json::Map::new()
            }
        }
    }

    /// Reads an object, if it is there and may be read.
    async fn object(&self, namespace: &str, resource: &str, name: &str) -> Option<Vec<u8>> {
        if !is_name(namespace) || !is_name(name) {
            return None;
        }
        match self.read(&format!("/api/v1/namespaces/{namespace}/{resource}/{name}")).await {
            Ok(text) => Some(text),
            Err(reason) => {
                tracing::warn!(namespace, resource, name, reason, "cannot read an object");
                None
            }
        }
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.read_as(path, "application/json", MAX_OBJECT_BYTES).await
    }

    async fn read_as(
        &self,
        path: &str,
        media_type: &str,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, String> {
        // It is renewed every hour.
        let token = small_file::read(&self.token_file, MAX_FILE_BYTES)
            .map_err(|error| format!("{}: {error}", self.token_file.display()))?;
        let token = String::from_utf8_lossy(&token);
        let request = self.client.get(format!("{}{path}", self.server)).bearer_auth(token.trim());
        let request = request.header(ACCEPT, media_type);
        let mut response = request.send().await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("the API server answers {}", response.status()));
        }
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| error.to_string())? {
            if text.len() + piece.len() > limit_bytes {
                return Err(format!("it has more than {limit_bytes} bytes"));
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }
}

impl PullCredentials {
    fn of(entries: serde_json::Map<String, Value>) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        let configuration = serde_json::json!({ "auths": entries }).to_string();
        Some(Self { id: Digest::of(configuration.as_bytes()), configuration })
    }

    /// Returns how a repository is reached with them, if they have something for it.
    pub(crate) fn network(
        &self,
        others: &Network,
        registry: &str,
        repository: &str,
    ) -> Option<Network> {
        // Nothing of this process's own environment or files is looked at.
        let environment = Environment::new(Path::new("/nonexistent"), 0)
            .with_variable("DOCKER_AUTH_CONFIG", &self.configuration);
        let credentials = Credentials::of(environment);
        let found = credentials.for_repository(registry, repository).ok()?;
        match found.credential {
            Credential::Anonymous => None,
            _ => Some(Network { credentials, ..others.clone() }),
        }
    }
}

/// Shows no secret.
impl std::fmt::Debug for PullCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PullCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Is a list of nodes, without all that they are besides their labels and annotations.
#[derive(Deserialize)]
struct NodeList {
    #[serde(default)]
    metadata: ListMetadata,
    /// `null` in a list of metadata alone that has nothing in it, and never missing.
    #[serde(deserialize_with = "Option::deserialize")]
    items: Option<Vec<NodeItem>>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue")]
    more: Option<String>,
}

#[derive(Deserialize)]
struct NodeItem {
    metadata: NodeMetadata,
}

#[derive(Deserialize)]
struct NodeMetadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl NodeMetadata {
    fn node(mut self, annotation: &str) -> Node {
        let description = match self.annotations.get(annotation) {
            None => Err(format!("it has no annotation {annotation}")),
            Some(text) => match NodeDescription::parse(text.as_bytes()) {
                Ok(description) if description.name != self.name => {
                    Err(format!("its annotation {annotation} is that of another node"))
                }
                Ok(description) => Ok(description),
                Err(error) => Err(format!("its annotation {annotation} cannot be used: {error}")),
            },
        };
        let mut label = |name| self.labels.remove(name);
        Node {
            os: label("kubernetes.io/os"),
            architecture: label("kubernetes.io/arch"),
            host: label("kubernetes.io/hostname").unwrap_or_else(|| self.name.clone()),
            name: self.name,
            description,
        }
    }
}

/// Says why secrets cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Nothing says where the API server is.
    #[error("this is no pod: KUBERNETES_SERVICE_HOST is not set, and [cluster] names no server")]
    NoPod,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The authority cannot be used.
    #[error("{}: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Returns the address of the API server as every pod is told it.
fn server_of_pod() -> Option<String> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

/// Names of objects become parts of a path.
fn is_name(text: &str) -> bool {
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_letter) && !text.starts_with('.')
}

/// Where every pod finds its token and the authority of the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long the API server may take for one object.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is known what an account has.
const KEPT: Duration = Duration::from_secs(60);

/// How many secrets of one pod are read.
const MAX_SECRETS: usize = 16;

/// Secrets have 1 MiB at most.
const MAX_OBJECT_BYTES: usize = 2 << 20;

/// The longest token or bundle of authorities that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a list is asked as: of each object its metadata alone.
const METADATA_ALONE: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// How many nodes are asked for at once, and how much they may take; labels and annotations of one have 256 KiB at most, and 5
/// KiB usually.
const NODES_A_PAGE: usize = 100;
const MAX_NODES_BYTES: usize = 32 << 20;

const LIMITS: Limits = Limits { entries: 1000, bytes: 8 << 20 };
const ENTRY_BYTES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_elsewhere() {
        for name in ["pull", "pull-2.example", "a"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", "a?b", "a%2fb", "A", "ä", &"a".repeat(300)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn entries_are_for_the_registries_that_they_name() {
        let entry = serde_json::json!({ "username": "me", "password": "secret" });
        let mut entries = serde_json::Map::new();
        entries.insert("registry.example/team".to_owned(), entry);
        let credentials = PullCredentials::of(entries).unwrap();
        let others = Network::default();
        assert!(credentials.network(&others, "registry.example", "team/app").is_some());
        assert!(credentials.network(&others, "registry.example", "other/app").is_none());
        assert!(credentials.network(&others, "other.example", "team/app").is_none());
        assert!(!format!("{credentials:?}").contains("secret"));
        assert!(PullCredentials::of(serde_json::Map::new()).is_none());
    }
}
