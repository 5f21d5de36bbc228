//! The daemon as a whole.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use osguard_containerd_api::services::diff::v1::diff_server::DiffServer;
use osguard_containerd_api::services::snapshots::v1::snapshots_server::SnapshotsServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::collector::Collector;
use super::config::{Config, StatusAddress};
use super::content::Content;
use super::diff::Differ;
use super::health::StatusListener;
use super::layers::Layers;
use super::locks::Locks;
use super::metrics::Metrics;
use super::notify::notify;
use super::reconcile::{Places, reconcile};
use super::referrers::Referrers;
use super::signature_directory::SignatureDirectory;
use super::snapshots::Snapshots;
use super::snapshots::service::SnapshotService;
use super::store::Store;
use super::unpack::Unpacker;
use crate::canary::{Canary, watch};
use crate::image_store::ImageStore;

/// Serves containerd until the process gets SIGTERM or SIGINT.
///
/// What is mounted stays mounted: containers do not notice whether there is a daemon.
///
/// # Errors
///
/// Fails when a directory or a socket cannot be used, and when another daemon uses them already.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { source })?;
    let result = runtime.block_on(serve(config));
    // A device that is stuck must not keep the process.
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// Says why the daemon does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A directory cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket or address cannot be taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The records and what is there cannot be made one.
    #[error("cannot go on from what the last start has left")]
    Reconcile {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The records cannot be opened.
    #[error("cannot use the records in {}; does another daemon use them?", path.display())]
    Records {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Requests cannot be answered any more.
    #[error("cannot serve containerd")]
    Serve {
        /// Why.
        source: tonic::transport::Error,
    },
    /// The system refuses threads or signals.
    #[error("cannot start")]
    System {
        /// What it said.
        source: io::Error,
    },
}

async fn serve(config: &Config) -> Result<(), DaemonError> {
    let snapshots = open(config)?;
    let differ = Differ {
        referrers: Referrers::new(snapshots.unpacker.content.clone(), &config.signatures.registry),
        snapshots: Arc::clone(&snapshots),
        check_at_unpack: config.signatures.check_at_unpack,
    };
    let status_socket = match &config.status {
        Some(StatusAddress::Unix(path)) => path.parent(),
        _ => None,
    };
    for directory in config.socket.parent().into_iter().chain(status_socket) {
        make_directory(directory)?;
    }
    if let Some(address) = &config.status {
        let listener = StatusListener::bind(address)
            .map_err(|source| DaemonError::Listen { address: format!("{address:?}"), source })?;
        let snapshots = Arc::clone(&snapshots);
        tokio::spawn(async move {
            if let Err(error) = listener.serve(snapshots).await {
                tracing::error!(%error, "health and metrics are not shown any more");
            }
        });
    }
    let listen =
        |source| DaemonError::Listen { address: config.socket.display().to_string(), source };
    let listener = bind_socket(&config.socket).map_err(listen)?;
    fs::set_permissions(&config.socket, fs::Permissions::from_mode(0o600)).map_err(listen)?;
    let system = |source| DaemonError::System { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify("STOPPING=1");
        tracing::info!("stopping; what is mounted stays mounted");
        let _ = stop.send(true);
    });
    tracing::info!(socket = %config.socket.display(), "serving containerd");
    notify("READY=1");
    let server = Server::builder()
        .add_service(
            SnapshotsServer::new(SnapshotService(snapshots))
                .max_decoding_message_size(MESSAGE_LIMIT_BYTES)
                .max_encoding_message_size(MESSAGE_LIMIT_BYTES),
        )
        .add_service(
            DiffServer::new(differ)
                .max_decoding_message_size(MESSAGE_LIMIT_BYTES)
                .max_encoding_message_size(MESSAGE_LIMIT_BYTES),
        )
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), is_set(stopped.clone()));
    let overdue = async {
        is_set(stopped).await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = server => served.map_err(|source| DaemonError::Serve { source }),
        () = overdue => {
            tracing::warn!("some requests are not answered; containerd makes them again");
            Ok(())
        }
    }
}

/// Opens the records, and makes what is there fit them.
fn open(config: &Config) -> Result<Arc<Snapshots>, DaemonError> {
    let images = ImageStore::new(&config.root);
    let (directory, empty) = (config.root.join("snapshots"), config.root.join("empty"));
    for path in [&config.root, images.directory(), &directory, &empty, &config.mounts] {
        make_directory(path)?;
    }
    let records = |source| DaemonError::Records { path: config.root.clone(), source };
    let store = Arc::new(Store::open(&config.root).map_err(|error| records(Box::new(error)))?);
    let reconciled = reconcile(&Places {
        store: &store,
        images: &images,
        snapshots: &directory,
        mounts: &config.mounts,
    })
    .map_err(|error| DaemonError::Reconcile { source: Box::new(error) })?;
    tracing::info!(
        removals = reconciled.directories.len() + reconciled.unused_layers.len(),
        damaged_layers = reconciled.damaged_layers.len(),
        removed = reconciled.removed,
        "the records fit what is there"
    );
    let mut metrics = Metrics::new();
    if let Some(interval) = config.canary.interval {
        let canary = match &config.canary.signed_program {
            Some(program) => Canary::with_program(program, [""; 0]),
            None => Canary::default(),
        };
        tokio::spawn(watch(canary, interval, metrics.canary()));
    }
    let metrics = Arc::new(metrics);
    let content =
        Content::new(&config.containerd).map_err(|source| DaemonError::Serve { source })?;
    let directories = config.signatures.directories.iter().map(SignatureDirectory::new).collect();
    let layers = Arc::new(Layers::new(
        config.mounts.clone(),
        images.clone(),
        Arc::clone(&store),
        directories,
        Arc::clone(&metrics),
    ));
    let unpacker = Arc::new(Unpacker::new(
        content,
        images,
        config.profile,
        Arc::clone(&store),
        Arc::clone(&metrics),
        config.limits.unpacks,
    ));
    let collector = Collector::new(
        Arc::clone(&store),
        Arc::clone(&layers),
        Arc::clone(&unpacker),
        directory.clone(),
        config.limits.keep_unused,
    );
    reconciled.directories.iter().for_each(|id| collector.collect_directory(*id));
    reconciled.unused_layers.iter().for_each(|layer| collector.collect_layer(*layer));
    Ok(Arc::new(Snapshots {
        store,
        layers,
        unpacker,
        collector,
        modes: Arc::new(config.modes()),
        metrics,
        directory,
        empty,
        names: Locks::default(),
    }))
}

/// Takes a socket; one that a killed process has left is replaced, one that is answered is not.
pub(crate) fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

async fn is_set(mut flag: tokio::sync::watch::Receiver<bool>) {
    while !*flag.borrow_and_update() {
        if flag.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn make_directory(path: &Path) -> Result<(), DaemonError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DaemonError::Directory { path: path.to_owned(), source })
}

/// Requests wait for the disk and the kernel on threads of their own; these only pass them on.
const WORKERS: usize = 2;

/// Enough for all that is mounted and unpacked at the same time, and for what is stuck.
const BLOCKING_THREADS: usize = 128;

/// How long a thread waits for further work; each keeps its stack meanwhile.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long requests that have begun may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long work that waits for the disk or the kernel may take after that.
const LAST_WORK: Duration = Duration::from_secs(5);

/// As containerd has it.
const MESSAGE_LIMIT_BYTES: usize = 16 << 20;
