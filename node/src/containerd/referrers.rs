//! Signatures that are attached to images in registries, where neither annotations nor this machine have one.
//!
//! A differ is told of a layer, and not of its image. But containerd has the manifest by then, and labels each manifest with
//! the digests of its layers (`containerd.io/gc.ref.content.l.N`, `core/images/handlers.go`) and with the repositories that
//! it is from. So the manifests of a layer are looked up there, and their referrers in these repositories.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use libverity::digest::{Digest, RootHash};
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
        Some(Self { content, network: Arc::new(network) })
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
                let (network, manifest) = (Arc::clone(&self.network), Arc::clone(&manifest));
                let root_hash = root_hash.clone();
                let asking = tokio::task::spawn_blocking(move || {
                    ask(&name, &network, &manifest, layer, &root_hash)
                });
                match asking.await {
                    Ok(Ok(signatures)) => found.signatures.extend(signatures),
                    Ok(Err(remark)) => found.remarks.push(remark),
                    Err(error) => found.remarks.push(error.to_string()),
                }
            }
        }
        found
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

/// Asks one repository for what is attached to a manifest.
fn ask(
    name: &str,
    network: &Network,
    manifest: &Manifest,
    layer: Digest,
    root_hash: &RootHash,
) -> Result<Vec<Vec<u8>>, String> {
    let failed =
        |error: &dyn std::error::Error| format!("{name} was asked in vain: {}", chain(error));
    let reference = match format!("{name}@{}", manifest.digest()).parse::<Reference>() {
        Ok(Reference::Registry(reference)) => reference,
        Ok(_) => return Err(format!("{name} is no repository")),
        Err(error) => return Err(failed(&error)),
    };
    let reference: RegistryReference = reference;
    let repository = RemoteRepository::new(&reference, network).map_err(|error| failed(&error))?;
    let candidates = find(&repository, manifest).map_err(|error| failed(&error))?;
    let of_layer = candidates
        .into_iter()
        .filter_map(|candidate| candidate.outcome.ok())
        .flat_map(|artifact| artifact.signatures)
        .filter(|signature| signature.claim.layer_digest == layer);
    let (fitting, others): (Vec<_>, Vec<_>) =
        of_layer.partition(|signature| signature.claim.root_hash == *root_hash);
    match (&fitting[..], &others[..]) {
        ([], []) => Err(format!("{name} has no signature of it")),
        ([], [other, ..]) => Err(format!(
            "{name} has a signature of the root hash {}, and the layer has {root_hash}",
            other.claim.root_hash
        )),
        _ => Ok(fitting.into_iter().map(|signature| signature.signature).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;

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
