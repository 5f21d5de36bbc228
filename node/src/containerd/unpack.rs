//! From the blob of a layer in containerd's store to an image in ours.
//!
//! A layer is converted once, whatever namespaces and images it is in, and however many ask for it at the same time. What is
//! cancelled or fails leaves nothing; what is finished is on the disk and in the records before anybody hears of it.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use libverity::digest::{Digest, DigestError};
use libverity::layer::{
    ConvertedLayer, DirectoryArchive, DirectoryOptions, ExpectedLayer, ImageFile, LayerError,
    LayerFile, Profile, convert,
};
use osguard_containerd_api::services::content::v1::ReadContentResponse;
use osguard_containerd_api::types::Descriptor;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use super::content::{Content, repositories};
use super::locks::Locks;
use super::metrics::Metrics;
use super::store::{LayerRecord, Store, StoreError};
use crate::image_store::{Entry, ImageStore, PartialImage, StoreError as ImageStoreError};

/// Converts layers.
#[derive(Debug)]
pub(crate) struct Unpacker {
    pub(crate) content: Content,
    pub(crate) images: ImageStore,
    pub(crate) profile: Profile,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    /// Held while an image of a layer is made or removed.
    pub(crate) digests: Locks<Digest>,
    room: Arc<Semaphore>,
}

/// Is a layer whose image is in the store.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    pub(crate) layer: u32,
    pub(crate) record: LayerRecord,
    /// Where containerd has the blob from.
    pub(crate) repositories: Vec<String>,
}

impl Unpacker {
    pub(crate) fn new(
        content: Content,
        images: ImageStore,
        profile: Profile,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        unpacks: NonZeroUsize,
    ) -> Self {
        let room = Arc::new(Semaphore::new(unpacks.get()));
        Self { content, images, profile, store, metrics, digests: Locks::default(), room }
    }

    /// Finds the layer that `descriptor` names, or converts it. Dropping the future ends the conversion.
    pub(crate) async fn unpack(
        &self,
        namespace: &str,
        descriptor: &Descriptor,
    ) -> Result<Unpacked, UnpackError> {
        let digest: Digest = descriptor.digest.parse()?;
        let size_bytes = u64::try_from(descriptor.size)
            .map_err(|_| UnpackError::Size { layer: digest, size: descriptor.size })?;
        // Also where the layer is here already: a namespace may use what it has.
        let info = self.content.info(namespace, &digest).await;
        let info = info.map_err(|source| UnpackError::Content { layer: digest, source })?;
        let repositories = repositories(&info);
        let unpacked = |(layer, record)| Unpacked { layer, record, repositories };

        let lock = self.digests.lock(&digest).await;
        if let Some(known) = self.find(digest).await? {
            return Ok(unpacked(known));
        }
        let expected = ExpectedLayer {
            media_type: Some(descriptor.media_type.clone()),
            layer_digest: Some(digest),
            size_bytes: Some(size_bytes),
            diff_id: None,
        };
        let (images, profile) = (self.images.clone(), self.profile);
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        let conversion = move |blob: BlobReader| {
            // It ends with the conversion, and not with whoever asked for it.
            let _lock = lock;
            let begun = Instant::now();
            let partial = match images.find_or_begin(&digest, profile.name())? {
                Entry::Missing(partial) => partial,
                // No record has it: the records were lost, or the file was damaged.
                Entry::Found(path) => {
                    remove(&path)?;
                    match images.find_or_begin(&digest, profile.name())? {
                        Entry::Missing(partial) => partial,
                        Entry::Found(path) => return Err(UnpackError::Foreign { path }),
                    }
                }
            };
            let converted = make_image(&partial, blob, &expected, profile)?;
            let record = record_of(&converted, profile, partial.file())?;
            partial.commit()?;
            let layer = store.record_layer(&record)?;
            metrics.unpacked(begun.elapsed(), converted.layer_size_bytes);
            Ok((layer, record))
        };
        self.stream(namespace, digest, conversion).await.map(unpacked)
    }

    /// Makes the image of a layer anew, which was changed or removed on the disk, where containerd still has the blob.
    pub(crate) async fn restore(
        &self,
        namespace: &str,
        layer: &LayerRecord,
    ) -> Result<(), UnpackError> {
        let digest = layer.layer_digest;
        let lock = self.digests.lock(&digest).await;
        let (images, layer) = (self.images.clone(), layer.clone());
        let conversion = move |blob: BlobReader| {
            let _lock = lock;
            let partial = match images.find_or_begin(&digest, RESTORING)? {
                Entry::Missing(partial) => partial,
                Entry::Found(path) => return Err(UnpackError::Foreign { path }),
            };
            let expected = ExpectedLayer { layer_digest: Some(digest), ..ExpectedLayer::default() };
            let converted = make_image(&partial, blob, &expected, layer.profile)?;
            if record_of(&converted, layer.profile, partial.file())? != layer {
                return Err(UnpackError::OtherImage { layer: digest });
            }
            partial.commit_as(&images, &digest, layer.profile.name())?;
            Ok(())
        };
        self.stream(namespace, digest, conversion).await
    }

    /// Converts a blob while it comes from containerd. Dropping the future ends the conversion.
    async fn stream<T: Send + 'static>(
        &self,
        namespace: &str,
        digest: Digest,
        convert: impl FnOnce(BlobReader) -> Result<T, UnpackError> + Send + 'static,
    ) -> Result<T, UnpackError> {
        let permit = Arc::clone(&self.room).acquire_owned().await;
        let stream = self.content.read(namespace, &digest).await;
        let stream = stream.map_err(|source| UnpackError::Content { layer: digest, source })?;
        let (sender, receiver) = mpsc::channel(PIECES);
        let failure = Arc::new(Mutex::new(None));
        let blob = BlobReader {
            receiver,
            piece: Vec::new(),
            used: 0,
            has_ended: false,
            failure: Arc::clone(&failure),
        };
        let mut conversion = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            convert(blob)
        });
        let pump = pump(stream, sender);
        tokio::pin!(pump);
        let result = tokio::select! {
            result = &mut conversion => result,
            () = &mut pump => conversion.await,
        };
        let result = result.unwrap_or_else(|error| Err(UnpackError::Thread { source: error }));
        match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whatever the conversion made of it.
            Some(source) if result.is_err() => Err(UnpackError::Content { layer: digest, source }),
            _ => result,
        }
    }

    /// Makes a layer of what a container has written.
    pub(crate) async fn pack(&self, directory: &Path) -> Result<(u32, LayerRecord), UnpackError> {
        let permit = Arc::clone(&self.room).acquire_owned().await;
        let (images, profile) = (self.images.clone(), self.profile);
        let path = directory.to_owned();
        let packing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let failed = |source| UnpackError::Directory { path: path.clone(), source };
            let archive = DirectoryArchive::open(&path, DirectoryOptions::default())
                .map_err(|error| failed(error.into()))?;
            // The digest is not known before the end; this one is nobody else's.
            let name = Digest::of(path.as_os_str().as_encoded_bytes());
            let partial = match images.find_or_begin(&name, PACKING)? {
                Entry::Missing(partial) => partial,
                Entry::Found(path) => return Err(UnpackError::Foreign { path }),
            };
            let expected = ExpectedLayer::default();
            let converted = make_image(&partial, archive, &expected, profile)
                .map_err(|error| failed(error.into()))?;
            let record = record_of(&converted, profile, partial.file())?;
            Ok((partial, record))
        });
        let (partial, record) =
            packing.await.unwrap_or_else(|error| Err(UnpackError::Thread { source: error }))?;
        let digest = record.layer_digest;
        let _lock = self.digests.lock(&digest).await;
        // Two containers may have written the same.
        if let Some(known) = self.find(digest).await? {
            return Ok(known);
        }
        let (images, store) = (self.images.clone(), Arc::clone(&self.store));
        let recording = tokio::task::spawn_blocking(move || {
            partial.commit_as(&images, &digest, profile.name())?;
            Ok((store.record_layer(&record)?, record))
        });
        recording.await.unwrap_or_else(|error| Err(UnpackError::Thread { source: error }))
    }

    /// Finds a layer that is recorded and has its file.
    async fn find(&self, digest: Digest) -> Result<Option<(u32, LayerRecord)>, UnpackError> {
        let (images, profile, store) = (self.images.clone(), self.profile, Arc::clone(&self.store));
        let looking = tokio::task::spawn_blocking(move || {
            let known = store.layer_of_digest(&digest, profile)?;
            Ok(known.filter(|(_, record)| is_there(&images, record)))
        });
        looking.await.unwrap_or_else(|error| Err(UnpackError::Thread { source: error }))
    }
}

/// Tells whether the image of a layer is there in its full length. What is in it, the kernel verifies.
pub(crate) fn is_there(images: &ImageStore, record: &LayerRecord) -> bool {
    let path = images.path(&record.layer_digest, record.profile.name());
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == record.file_size_bytes)
}

/// Says why a layer is not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UnpackError {
    /// The blob cannot be read from containerd.
    #[error("cannot read layer {layer} from containerd: {}", source.message())]
    Content {
        /// The digest of the blob.
        layer: Digest,
        /// What containerd said.
        source: Status,
    },
    /// The blob is no layer that can be converted.
    #[error(transparent)]
    Conversion(#[from] LayerError),
    /// The descriptor names its blob in another way than by SHA-256.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// What was written into a snapshot cannot be made a layer.
    #[error("cannot make a layer of {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process puts images into the store.
    #[error("{} is there again; does another process write into this directory?", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Image(#[from] ImageStoreError),
    /// The image that was made cannot be read.
    #[error(
        "the image that was made of the layer is not whole, by a mistake of this program, or of memory or disk"
    )]
    NotWhole {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob makes another image than it did before.
    #[error("layer {layer} makes another image than it did when it was unpacked")]
    OtherImage {
        /// The digest of the blob.
        layer: Digest,
    },
    /// The descriptor has an impossible size.
    #[error("layer {layer} cannot have {size} bytes")]
    Size {
        /// The digest of the blob.
        layer: Digest,
        /// The size in its descriptor.
        size: i64,
    },
    /// The record cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The conversion broke off.
    #[error("the conversion broke off")]
    Thread {
        /// Why.
        source: tokio::task::JoinError,
    },
}

fn make_image(
    partial: &PartialImage,
    blob: impl Read,
    expected: &ExpectedLayer,
    profile: Profile,
) -> Result<ConvertedLayer, UnpackError> {
    let path = || partial.beside().to_owned();
    let mut sink = ImageFile::new(partial.file(), partial.directory())
        .map_err(|source| ImageStoreError { path: path(), source })?;
    let converted =
        convert(blob, expected, &[profile], &mut sink).map_err(|error| match error {
            LayerError::Write { source } => ImageStoreError { path: path(), source }.into(),
            error => UnpackError::from(error),
        })?;
    let whole = LayerFile::open(partial.file()).map_err(Into::into);
    let whole = whole.and_then(|file| file.image().check().map_err(Into::into));
    whole.map_err(|source: Box<dyn std::error::Error + Send + Sync>| UnpackError::NotWhole {
        source,
    })?;
    Ok(converted)
}

fn record_of(
    converted: &ConvertedLayer,
    profile: Profile,
    file: &File,
) -> Result<LayerRecord, UnpackError> {
    let not_whole = |source: io::Error| UnpackError::NotWhole { source: source.into() };
    let [image] = &converted.images[..] else {
        return Err(not_whole(io::ErrorKind::InvalidData.into()));
    };
    Ok(LayerRecord {
        layer_digest: converted.layer_digest,
        diff_id: converted.diff_id,
        archive_size_bytes: converted.archive_size_bytes,
        profile,
        root_hash: image.root_hash.clone(),
        image_size_bytes: image.image_size_bytes,
        file_size_bytes: file.metadata().map_err(not_whole)?.len(),
        inodes: converted.inodes,
    })
}

fn remove(path: &Path) -> Result<(), ImageStoreError> {
    std::fs::remove_file(path).map_err(|source| ImageStoreError { path: path.to_owned(), source })
}

/// Passes a blob on from containerd to the thread that converts it.
async fn pump(mut stream: Streaming<ReadContentResponse>, sender: mpsc::Sender<Piece>) {
    loop {
        let piece = match stream.message().await {
            Ok(Some(response)) => Piece::Data(response.data),
            Ok(None) => Piece::End,
            Err(status) => Piece::Failed(status),
        };
        let is_last = !matches!(piece, Piece::Data(_));
        // Nobody takes it where the conversion has failed, which says so itself.
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

enum Piece {
    Data(Vec<u8>),
    End,
    Failed(Status),
}

/// Reads what is pumped. Without an end, the request was cancelled, and the blob is not complete.
struct BlobReader {
    receiver: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    used: usize,
    has_ended: bool,
    failure: Arc<Mutex<Option<Status>>>,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.piece.len() {
            let failure = match self.receiver.blocking_recv() {
                Some(Piece::Data(piece)) => {
                    (self.piece, self.used) = (piece, 0);
                    continue;
                }
                Some(Piece::End) => {
                    self.has_ended = true;
                    return Ok(0);
                }
                Some(Piece::Failed(status)) => status,
                None if self.has_ended => return Ok(0),
                None => Status::cancelled("the request was cancelled"),
            };
            let message = failure.message().to_owned();
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            return Err(io::Error::other(message));
        }
        let rest = &self.piece[self.used..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.used += length;
        Ok(length)
    }
}

/// How many pieces of 1 MiB are on their way from containerd.
const PIECES: usize = 4;

/// In the names of images that have no digest yet.
const PACKING: &str = "packing";
/// In the names of images that take the place of others.
const RESTORING: &str = "restoring";
