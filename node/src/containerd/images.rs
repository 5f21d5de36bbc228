//! The images that containerd has, each with its layers.

use std::path::Path;

use libverity::digest::Digest;
use osguard_containerd_api::services::images::v1::ListImagesRequest;
use osguard_containerd_api::services::images::v1::images_client::ImagesClient;
use osguard_containerd_api::services::namespaces::v1::ListNamespacesRequest;
use osguard_containerd_api::services::namespaces::v1::namespaces_client::NamespacesClient;
use osguard_registry::manifest::{Manifest, ManifestKind};
use osguard_registry::platform::Platform;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::content::{Content, MESSAGE_LIMIT_BYTES, request};

/// Is an image in a namespace of containerd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerdImage {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Its manifest, that for this machine's platform, with its layers, the bottom one first; or why it cannot be read.
    pub(crate) manifest: Result<(Digest, Vec<Digest>), String>,
}

/// Lists the images of all namespaces whose names are `wanted`, by namespaces and names.
pub(crate) async fn list(
    socket: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<ContainerdImage>, Status> {
    let address = format!("unix://{}", socket.display());
    let endpoint = Endpoint::from_shared(address).map_err(unavailable)?;
    let channel = endpoint.connect().await.map_err(unavailable)?;
    let content = Content::of_channel(channel.clone());
    let mut namespaces = NamespacesClient::new(channel.clone());
    let found = namespaces.list(ListNamespacesRequest::default()).await?.into_inner().namespaces;
    let mut names: Vec<_> = found.into_iter().map(|namespace| namespace.name).collect();
    names.sort();
    let mut images = Vec::new();
    for namespace in names {
        images.extend(of_namespace(&channel, &content, &namespace, &wanted).await?);
    }
    Ok(images)
}

async fn of_namespace(
    channel: &Channel,
    content: &Content,
    namespace: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<ContainerdImage>, Status> {
    let mut client =
        ImagesClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT_BYTES);
    let message = request(namespace, ListImagesRequest::default())?;
    let mut found = client.list(message).await?.into_inner().images;
    found.retain(|image| wanted(&image.name));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let mut images = Vec::new();
    for image in found {
        let target = image.target.unwrap_or_default().digest;
        let manifest = read(content, namespace, &target).await;
        images.push(ContainerdImage {
            namespace: namespace.to_owned(),
            name: image.name,
            manifest,
        });
    }
    Ok(images)
}

/// Reads the manifest that an image is, or that of this machine's platform in its index.
async fn read(
    content: &Content,
    namespace: &str,
    target: &str,
) -> Result<(Digest, Vec<Digest>), String> {
    let mut digest: Digest = target.parse().map_err(|_| format!("{target:?} is no digest"))?;
    // An index is in no index.
    for _ in 0..2 {
        let bytes = content
            .read_whole(namespace, &digest, MANIFEST_LIMIT_BYTES)
            .await
            .map_err(|status| format!("{digest}: {}", status.message()))?;
        let manifest =
            Manifest::parse(None, bytes).map_err(|error| format!("{digest}: {error}"))?;
        let index = match manifest.kind() {
            ManifestKind::Image(image) => {
                let layers = image.layers.iter().map(|layer| layer.digest).collect();
                return Ok((digest, layers));
            }
            ManifestKind::Index(index) => index,
        };
        let host = Platform::host();
        let entry = index.manifests.iter().find(|entry| {
            entry.platform.as_ref().is_some_and(|platform| platform.satisfies(&host))
        });
        digest = entry.ok_or_else(|| format!("{digest} has no image for {host}"))?.digest;
    }
    Err(format!("{target} is an index of indexes"))
}

fn unavailable(error: tonic::transport::Error) -> Status {
    Status::unavailable(super::chain(&error))
}

/// As registries limit them.
const MANIFEST_LIMIT_BYTES: usize = 4 << 20;
