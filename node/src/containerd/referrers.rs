//! Signatures that are attached to images in registries, where neither annotations nor this machine have one.
//!
//! A differ is told of a layer, and not of its image. But containerd has the manifest by then, and labels each manifest with
//! the digests of its layers (`containerd.io/gc.ref.content.l.N`, `core/images/handlers.go`) and with the repositories that
//! it is from. So the manifests of a layer are looked up there, and their referrers in these repositories.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libverity::digest::{Digest, RootHash};
use osguard_registry::artifact::LayerSignature;
use osguard_registry::credentials::Credentials;
use osguard_registry::distribution::{Patience, RemoteRepository};
use osguard_registry::manifest::{MAX_MANIFEST_BYTES, Manifest};
use osguard_registry::network::Network;
use osguard_registry::reference::{Reference, RegistryReference};
use osguard_registry::signatures::find;
use osguard_registry::tls::Tls;

use super::chain;
use super::config::RegistryConfig;
use super::content::{Content, repositories};
use super::signatures::Found;

/// Asks registries for signatures.
#[derive(Clone, Debug)]
pub(crate) struct Referrers {
    content: Content,
    network: Arc<Network>,
    answers: Arc<Answers>,
}

impl Referrers {
    /// Returns `None` where registries are not to be asked.
    pub(crate) fn new(content: Content, config: &RegistryConfig) -> Option<Self> {
        if !config.enabled {
            return None;
        }
        let credentials = match &config.auth_file {
            Some(file) => Credentials::default().with_file(file),
            None => Credentials::default(),
        };
        let network = Network {
            credentials,
            patience: Patience {
                connect: Duration::from_secs(5),
                answer: Duration::from_secs(10),
                attempts: 2,
                longest_pause: Duration::from_secs(5),
                ..Patience::default()
            },
            plain_http: config.plain_http,
            tls: config.ca_files.iter().fold(Tls::default(), Tls::with_ca_file),
            ..Network::default()
        };
        Some(Self { content, network: Arc::new(network), answers: Arc::default() })
    }

    /// Looks for signatures of a layer's root hash; what goes wrong is told in the remarks.
    ///
    /// `image` is what somebody calls the image, with a port that containerd's labels do not have.
    pub(crate) async fn find(
        &self,
        namespace: &str,
        layer: Digest,
        root_hash: &RootHash,
        image: Option<&str>,
    ) -> Found {
        let looking = self.find_everywhere(namespace, layer, root_hash, image);
        match tokio::time::timeout(TIME_LIMIT, looking).await {
            Ok(found) => found,
            Err(_) => Found {
                remarks: vec![format!(
                    "registries have not answered within {} s",
                    TIME_LIMIT.as_secs()
                )],
                ..Found::default()
            },
        }
    }

    async fn find_everywhere(
        &self,
        namespace: &str,
        layer: Digest,
        root_hash: &RootHash,
        image: Option<&str>,
    ) -> Found {
        let mut found = Found::default();
        let filters = (0..MAX_LAYERS)
            .map(|index| format!("labels.\"containerd.io/gc.ref.content.l.{index}\"=={layer}"));
        let manifests = match self.content.list(namespace, filters.collect(), MAX_MANIFESTS).await {
            Ok(manifests) => manifests,
            Err(status) => {
                let remark = format!("containerd does not list manifests: {}", status.message());
                found.remarks.push(remark);
                return found;
            }
        };
        let mut asked = HashSet::new();
        for info in manifests {
            let repositories = repositories(&info);
            let manifest = match self.manifest(namespace, &info.digest, info.size).await {
                Ok(manifest) => Arc::new(manifest),
                Err(remark) => {
                    found.remarks.push(remark);
                    continue;
                }
            };
            for name in repositories {
                let name = with_port(name, image);
                if asked.len() == MAX_REPOSITORIES
                    || !asked.insert((name.clone(), manifest.digest()))
                {
                    continue;
                }
                match self.ask(&name, &manifest).await {
                    Err(remark) => found.remarks.push(remark),
                    Ok(signatures) => choose(&signatures, &name, layer, root_hash, &mut found),
                }
            }
        }
        found
    }

    /// Asks one repository for what is attached to a manifest, or remembers what it said for the layer before.
    async fn ask(
        &self,
        name: &str,
        manifest: &Arc<Manifest>,
    ) -> Result<Arc<Vec<LayerSignature>>, String> {
        if let Some(known) = self.answers.find(name, manifest.digest()) {
            return known;
        }
        let (network, manifest, repository) =
            (Arc::clone(&self.network), Arc::clone(manifest), name.to_owned());
        let digest = manifest.digest();
        let asking =
            tokio::task::spawn_blocking(move || ask_registry(&repository, &network, &manifest));
        let answer = asking.await.unwrap_or_else(|error| Err(error.to_string())).map(Arc::new);
        self.answers.keep(name, digest, answer.clone());
        answer
    }

    async fn manifest(&self, namespace: &str, digest: &str, size: i64) -> Result<Manifest, String> {
        let of_no_use = |reason: String| format!("manifest {digest} is of no use: {reason}");
        let parsed: Digest = digest.parse().map_err(|error| of_no_use(format!("{error}")))?;
        if u64::try_from(size).is_ok_and(|size| size > MAX_MANIFEST_BYTES) {
            return Err(of_no_use(format!("it has more than {MAX_MANIFEST_BYTES} bytes")));
        }
        let failed = |status: tonic::Status| of_no_use(status.message().to_owned());
        let mut stream = self.content.read(namespace, &parsed).await.map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.map_err(failed)? {
            bytes.extend_from_slice(&piece.data);
            if bytes.len() as u64 > MAX_MANIFEST_BYTES {
                return Err(of_no_use(format!("it has more than {MAX_MANIFEST_BYTES} bytes")));
            }
        }
        let manifest = Manifest::parse(None, bytes).map_err(|error| of_no_use(chain(&error)))?;
        match manifest.digest() == parsed {
            true => Ok(manifest),
            false => Err(of_no_use("containerd has other bytes than its digest says".to_owned())),
        }
    }
}

/// Adds to `HOST/REPOSITORY` the port of an image of that repository on that host. containerd leaves it out of its labels
/// (`core/remotes/docker/handler.go`, `AppendDistributionSourceLabel`).
///
/// Whoever has written the image's name chooses among the ports of a host that containerd has pulled from, and no host.
fn with_port(name: String, image: Option<&str>) -> String {
    let port = || {
        let (host, rest) = image?.split_once('/')?;
        let (host, port) = host.rsplit_once(':')?;
        let repository = rest.split('@').next()?;
        let repository = repository.split_once(':').map_or(repository, |(name, _)| name);
        let port: u16 = port.parse().ok()?;
        (name == format!("{host}/{repository}")).then(|| format!("{host}:{port}/{repository}"))
    };
    port().unwrap_or(name)
}

/// Picks the signatures of a layer over its root hash.
fn choose(
    signatures: &[LayerSignature],
    name: &str,
    layer: Digest,
    root_hash: &RootHash,
    found: &mut Found,
) {
    let of_layer = signatures.iter().filter(|signature| signature.claim.layer_digest == layer);
    let (fitting, others): (Vec<_>, Vec<_>) =
        of_layer.partition(|signature| signature.claim.root_hash == *root_hash);
    match (&fitting[..], &others[..]) {
        ([], []) => found.remarks.push(format!("{name} has no signature of it")),
        ([], [other, ..]) => found.remarks.push(format!(
            "{name} has a signature of the root hash {}, and the layer has {root_hash}",
            other.claim.root_hash
        )),
        _ => {
            let fitting = fitting.into_iter().map(|signature| signature.signature.clone());
            found.signatures.extend(fitting);
        }
    }
}

fn ask_registry(
    name: &str,
    network: &Network,
    manifest: &Manifest,
) -> Result<Vec<LayerSignature>, String> {
    let failed =
        |error: &dyn std::error::Error| format!("{name} was asked in vain: {}", chain(error));
    let reference: RegistryReference =
        match format!("{name}@{}", manifest.digest()).parse::<Reference>() {
            Ok(Reference::Registry(reference)) => reference,
            Ok(_) => return Err(format!("{name} is no repository")),
            Err(error) => return Err(failed(&error)),
        };
    let repository = RemoteRepository::new(&reference, network).map_err(|error| failed(&error))?;
    let candidates = find(&repository, manifest).map_err(|error| failed(&error))?;
    Ok(candidates
        .into_iter()
        // What cannot be read can sign nothing; others may.
        .filter_map(|candidate| candidate.outcome.ok())
        .flat_map(|artifact| artifact.signatures)
        .collect())
}

/// Holds what registries have said a moment ago: the layers of an image come one after the other, and all of their
/// signatures are in one artifact. A registry that is away is waited for once, too.
#[derive(Debug, Default)]
struct Answers(Mutex<VecDeque<Answer>>);

#[derive(Debug)]
struct Answer {
    name: String,
    manifest: Digest,
    at: Instant,
    result: Result<Arc<Vec<LayerSignature>>, String>,
}

impl Answers {
    fn find(
        &self,
        name: &str,
        manifest: Digest,
    ) -> Option<Result<Arc<Vec<LayerSignature>>, String>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|answer| answer.at.elapsed() < FRESH);
        let known =
            answers.iter().find(|answer| answer.name == name && answer.manifest == manifest)?;
        Some(known.result.clone())
    }

    fn keep(&self, name: &str, manifest: Digest, result: Result<Arc<Vec<LayerSignature>>, String>) {
        let bytes = |signatures: &Arc<Vec<LayerSignature>>| {
            signatures.iter().map(|signature| signature.signature.len()).sum::<usize>()
        };
        if result.as_ref().is_ok_and(|signatures| bytes(signatures) > MAX_KEPT_BYTES) {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.truncate(MAX_ANSWERS - 1);
        answers.push_front(Answer { name: name.to_owned(), manifest, at: Instant::now(), result });
    }
}

/// Further layers of an image are looked up only where they occur earlier in another one.
const MAX_LAYERS: usize = 128;

/// How many manifests of a layer are looked at: a base image is below many others, and often signed with the first.
const MAX_MANIFESTS: usize = 32;

/// How many pairs of a repository and a manifest are asked for.
const MAX_REPOSITORIES: usize = 32;

/// kubelet waits two minutes for a request, and the layer is to be converted as well.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long an answer counts, in time of a clock that is never set.
const FRESH: Duration = Duration::from_secs(60);

/// How many answers are remembered.
const MAX_ANSWERS: usize = 16;

/// How many bytes of signatures an answer may have that is remembered: those of 500 layers by RSA-4096.
const MAX_KEPT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use osguard_registry::artifact::Claim;

    use super::*;

    fn signature(layer: &str, root_hash: u8, length: usize) -> LayerSignature {
        let root_hash = RootHash::from_bytes([root_hash; 32]);
        let claim = Claim::new(Digest::of(layer.as_bytes()), root_hash);
        LayerSignature { claim, signature: vec![0x30; length] }
    }

    #[test]
    fn only_signatures_over_the_root_hash_are_chosen() {
        let signatures = [signature("a", 1, 10), signature("a", 2, 20), signature("b", 3, 30)];
        let chosen = |layer: &str, root_hash: u8| {
            let mut found = Found::default();
            let root_hash = RootHash::from_bytes([root_hash; 32]);
            choose(
                &signatures,
                "r.example/app",
                Digest::of(layer.as_bytes()),
                &root_hash,
                &mut found,
            );
            found
        };
        let found = chosen("a", 2);
        assert_eq!((found.signatures, found.remarks.len()), (vec![vec![0x30; 20]], 0));
        let found = chosen("b", 1);
        assert!(found.signatures.is_empty() && found.remarks[0].contains(&"03".repeat(32)));
        let found = chosen("c", 1);
        assert_eq!(found.remarks, ["r.example/app has no signature of it"]);
    }

    #[test]
    fn the_latest_answers_are_remembered_within_limits() {
        let answers = Answers::default();
        let manifest = Digest::of(b"manifest");
        assert!(answers.find("a", manifest).is_none());
        answers.keep("a", manifest, Ok(Arc::new(vec![signature("a", 1, 10)])));
        answers.keep("b", manifest, Err("away".to_owned()));
        answers.keep("c", manifest, Ok(Arc::new(vec![signature("a", 1, MAX_KEPT_BYTES + 1)])));
        assert_eq!(answers.find("a", manifest).unwrap().unwrap().len(), 1);
        assert_eq!(answers.find("b", manifest).unwrap().unwrap_err(), "away");
        assert!(answers.find("c", manifest).is_none());
        assert!(answers.find("a", Digest::of(b"other")).is_none());
        for number in 0..MAX_ANSWERS {
            answers.keep(&number.to_string(), manifest, Err(String::new()));
        }
        assert!(answers.find("a", manifest).is_none());
        assert!(answers.find("0", manifest).is_some());
    }

    #[test]
    fn ports_are_those_of_the_same_repository() {
        let with = |image: &str| with_port("registry.example/team/app".to_owned(), Some(image));
        for image in
            ["registry.example:5000/team/app:v1", "registry.example:5000/team/app@sha256:00"]
        {
            assert_eq!(with(image), "registry.example:5000/team/app");
        }
        for image in [
            "registry.example/team/app:v1",
            "registry.example:5000/team/other:v1",
            "evil.example:5000/team/app:v1",
            "registry.example:port/team/app:v1",
            "registry.example:70000/team/app",
            "nonsense",
        ] {
            assert_eq!(with(image), "registry.example/team/app");
        }
    }
}
