//! containerd's content store, from which blobs are read (`containerd.services.content.v1`).

use std::path::Path;

use libverity::digest::Digest;
use osguard_containerd_api::services::content::v1::content_client::ContentClient;
use osguard_containerd_api::services::content::v1::{
    Info, InfoRequest, ListContentRequest, ReadContentRequest, ReadContentResponse,
};
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Is the content store of one containerd; the connection is made when it is needed, and again when it broke.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    client: ContentClient<Channel>,
}

impl Content {
    /// Names the socket; nothing is sent yet. Must be called within a runtime.
    pub(crate) fn new(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        Ok(Self::of_channel(endpoint.connect_lazy()))
    }

    /// Names the store of the containerd behind a connection.
    pub(crate) fn of_channel(channel: Channel) -> Self {
        let client = ContentClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES);
        Self { client }
    }

    /// Says what is known of a blob; fails with `NOT_FOUND` where the namespace does not have it.
    pub(crate) async fn info(&self, namespace: &str, digest: &Digest) -> Result<Info, Status> {
        let message = InfoRequest { digest: digest.to_string() };
        let response = self.client.clone().info(request(namespace, message)?).await?;
        response
            .into_inner()
            .info
            .ok_or_else(|| Status::internal(format!("containerd says nothing of {digest}")))
    }

    /// Reads a blob from its first byte to its last.
    pub(crate) async fn read(
        &self,
        namespace: &str,
        digest: &Digest,
    ) -> Result<Streaming<ReadContentResponse>, Status> {
        let message = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        Ok(self.client.clone().read(request(namespace, message)?).await?.into_inner())
    }

    /// Reads a blob of at most `limit_bytes`.
    pub(crate) async fn read_whole(
        &self,
        namespace: &str,
        digest: &Digest,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, Status> {
        let mut stream = self.read(namespace, digest).await?;
        let mut bytes = Vec::new();
        while let Some(response) = stream.message().await? {
            bytes.extend_from_slice(&response.data);
            if bytes.len() > limit_bytes {
                let reason = format!("it is longer than {limit_bytes} bytes");
                return Err(Status::out_of_range(reason));
            }
        }
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(Status::data_loss("it is not what its digest says")),
        }
    }

    /// Lists the blobs for which one of the filters holds, at most `limit`.
    pub(crate) async fn list(
        &self,
        namespace: &str,
        filters: Vec<String>,
        limit: usize,
    ) -> Result<Vec<Info>, Status> {
        let message = ListContentRequest { filters };
        let mut stream = self.client.clone().list(request(namespace, message)?).await?.into_inner();
        let mut found = Vec::new();
        while let Some(response) = stream.message().await? {
            let room = limit.saturating_sub(found.len());
            found.extend(response.info.into_iter().take(room));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }
}

/// Returns the repositories, as `HOST/REPOSITORY`, from which containerd has a blob: it labels each blob with
/// `containerd.io/distribution.source.HOST`, without the port of the registry (`core/remotes/docker/handler.go`).
pub(crate) fn repositories(info: &Info) -> Vec<String> {
    let mut repositories: Vec<String> = info
        .labels
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(SOURCE_LABEL)?, value)))
        .flat_map(|(host, names)| {
            names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(move |name| format!("{host}/{name}"))
        })
        .collect();
    repositories.sort();
    repositories.truncate(REPOSITORY_LIMIT);
    repositories
}

pub(crate) fn request<T>(namespace: &str, message: T) -> Result<Request<T>, Status> {
    let namespace: AsciiMetadataValue = MetadataValue::try_from(namespace)
        .map_err(|_| Status::invalid_argument(format!("{namespace:?} is no namespace")))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAMESPACE_HEADER, namespace);
    Ok(request)
}

/// The header in which each request names its namespace.
pub(crate) const NAMESPACE_HEADER: &str = "containerd-namespace";

const SOURCE_LABEL: &str = "containerd.io/distribution.source.";

/// A label has 4096 bytes, so a blob has few more; the strictest mode is looked for among them.
const REPOSITORY_LIMIT: usize = 1024;

/// containerd reads in pieces of 1 MiB, and limits messages to 16 MiB.
pub(crate) const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_those_in_the_labels() {
        let labels = [
            ("containerd.io/distribution.source.registry.example", "team/app,team/other"),
            ("containerd.io/distribution.source.docker.io", "library/app"),
            ("containerd.io/distribution.source.empty.example", ""),
            ("containerd.io/uncompressed", "sha256:00"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let info = Info { labels, ..Info::default() };
        assert_eq!(
            repositories(&info),
            ["docker.io/library/app", "registry.example/team/app", "registry.example/team/other"]
        );
    }
}
