//! A content store as containerd has it, with blobs that come as they are told to, and with images that name them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use osguard_containerd_api::services::content::v1::content_server::{
    Content as Service, ContentServer,
};
use osguard_containerd_api::services::content::v1::{
    Info, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse, ReadContentRequest,
    ReadContentResponse,
};
use osguard_containerd_api::services::images::v1::images_server::{
    Images as ImageService, ImagesServer,
};
use osguard_containerd_api::services::images::v1::{Image, ListImagesRequest, ListImagesResponse};
use osguard_containerd_api::services::namespaces::v1::namespaces_server::{
    Namespaces as NamespaceService, NamespacesServer,
};
use osguard_containerd_api::services::namespaces::v1::{
    ListNamespacesRequest, ListNamespacesResponse, Namespace,
};
use osguard_containerd_api::types::Descriptor;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Is the store; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// By namespace and digest.
    blobs: Mutex<HashMap<(String, String), Blob>>,
    /// By namespace and name: digests.
    images: Mutex<HashMap<(String, String), String>>,
    reads: AtomicUsize,
    /// How many bytes of a blob are handed out before it stands still, if that is wanted.
    stop_after: Mutex<Option<usize>>,
}

#[derive(Clone, Debug)]
struct Blob {
    bytes: Vec<u8>,
    labels: HashMap<String, String>,
}

impl Content {
    /// Serves the store at a socket, as long as the runtime lives.
    pub(crate) fn serve(&self, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let server = Server::builder()
            .add_service(ContentServer::new(self.clone()))
            .add_service(ImagesServer::new(self.clone()))
            .add_service(NamespacesServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    }

    /// Puts a blob into a namespace, under that digest whatever it is.
    pub(crate) fn put(&self, namespace: &str, digest: &str, bytes: &[u8], repositories: &[&str]) {
        let labels = repositories.iter().map(|repository| {
            let (host, name) = repository.split_once('/').unwrap();
            (format!("containerd.io/distribution.source.{host}"), name.to_owned())
        });
        self.put_labeled(namespace, digest, bytes, labels.collect());
    }

    /// Puts a blob with any labels into a namespace.
    pub(crate) fn put_labeled(
        &self,
        namespace: &str,
        digest: &str,
        bytes: &[u8],
        labels: Vec<(String, String)>,
    ) {
        let blob = Blob { bytes: bytes.to_vec(), labels: labels.into_iter().collect() };
        self.0.blobs.lock().unwrap().insert((namespace.to_owned(), digest.to_owned()), blob);
    }

    /// Gives a name to what has that digest.
    pub(crate) fn name(&self, namespace: &str, name: &str, digest: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.images.lock().unwrap().insert(key, digest.to_owned());
    }

    /// Forgets all blobs.
    pub(crate) fn clear(&self) {
        self.0.blobs.lock().unwrap().clear();
    }

    /// Counts how often a blob was read.
    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// Lets every blob stand still after so many bytes from now on, or lets them come again.
    pub(crate) fn stop_after(&self, bytes: Option<usize>) {
        *self.0.stop_after.lock().unwrap() = bytes;
    }

    fn find<T>(&self, request: &Request<T>, digest: &str) -> Result<Blob, Status> {
        let namespace = request.metadata().get("containerd-namespace");
        let namespace = namespace.ok_or_else(|| {
            Status::failed_precondition("namespace is required: failed precondition")
        })?;
        let key = (namespace.to_str().unwrap().to_owned(), digest.to_owned());
        let blobs = self.0.blobs.lock().unwrap();
        blobs
            .get(&key)
            .cloned()
            .ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }
}

#[tonic::async_trait]
impl Service for Content {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let digest = request.get_ref().digest.clone();
        let blob = self.find(&request, &digest)?;
        let size = blob.bytes.len() as i64;
        let info = Info { digest, size, labels: blob.labels, ..Info::default() };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    type ListStream = ReceiverStream<Result<ListContentResponse, Status>>;

    /// Knows filters of one form: `labels."KEY"==VALUE`.
    async fn list(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let namespace = request.metadata().get("containerd-namespace").unwrap().to_str().unwrap();
        let filters = &request.get_ref().filters;
        let is_wanted = |blob: &Blob| {
            filters.iter().any(|filter| {
                let (key, value) = filter.split_once("\"==").unwrap();
                blob.labels
                    .get(key.strip_prefix("labels.\"").unwrap())
                    .is_some_and(|found| found == value)
            })
        };
        let blobs = self.0.blobs.lock().unwrap();
        let found = blobs.iter().filter(|((of, _), blob)| of == namespace && is_wanted(blob));
        let info = found.map(|((_, digest), blob)| Info {
            digest: digest.clone(),
            size: blob.bytes.len() as i64,
            labels: blob.labels.clone(),
            ..Info::default()
        });
        let response = ListContentResponse { info: info.collect() };
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Ok(response)).unwrap();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type ReadStream = ReceiverStream<Result<ReadContentResponse, Status>>;

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let digest = request.get_ref().digest.clone();
        let blob = self.find(&request, &digest)?;
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let stop_after = *self.0.stop_after.lock().unwrap();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let length = stop_after.map_or(blob.bytes.len(), |bytes| bytes.min(blob.bytes.len()));
            for (index, piece) in blob.bytes[..length].chunks(PIECE_BYTES).enumerate() {
                let offset = (index * PIECE_BYTES) as i64;
                let response = ReadContentResponse { offset, data: piece.to_vec() };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            if stop_after.is_some() {
                sender.closed().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl ImageService for Content {
    async fn list(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let namespace = request.metadata().get("containerd-namespace").unwrap().to_str().unwrap();
        let images = self.0.images.lock().unwrap();
        let found = images.iter().filter(|((of, _), _)| of == namespace);
        let images = found.map(|((_, name), digest)| Image {
            name: name.clone(),
            target: Some(Descriptor { digest: digest.clone(), ..Descriptor::default() }),
            ..Image::default()
        });
        Ok(Response::new(ListImagesResponse { images: images.collect() }))
    }
}

#[tonic::async_trait]
impl NamespaceService for Content {
    async fn list(
        &self,
        _: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let images = self.0.images.lock().unwrap();
        let mut names: Vec<_> = images.keys().map(|(namespace, _)| namespace.clone()).collect();
        names.sort();
        names.dedup();
        let namespaces = names.into_iter().map(|name| Namespace { name, ..Namespace::default() });
        Ok(Response::new(ListNamespacesResponse { namespaces: namespaces.collect() }))
    }
}

/// Small, so that small blobs come in several pieces.
const PIECE_BYTES: usize = 1000;
