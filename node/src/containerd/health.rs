//! What is shown of the daemon over HTTP: whether it lives, whether it can work, and what it counts.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};

use super::chain;
use super::config::StatusAddress;
use super::metrics::{Counts, MEDIA_TYPE};
use super::snapshots::Snapshots;
use crate::dm::DeviceMapper;

/// Is the address of the status, taken.
pub(crate) enum StatusListener {
    Loopback(TcpListener),
    Unix(UnixListener),
}

impl StatusListener {
    /// Takes the address; a socket that a killed daemon has left is replaced.
    pub(crate) fn bind(address: &StatusAddress) -> io::Result<Self> {
        match address {
            StatusAddress::Loopback(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Loopback(TcpListener::from_std(listener)?))
            }
            StatusAddress::Unix(path) => {
                let listener = super::daemon::bind_socket(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// Answers until the task is ended.
    pub(crate) async fn serve(self, snapshots: Arc<Snapshots>) -> io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(snapshots);
        match self {
            Self::Loopback(listener) => axum::serve(listener, router).await,
            Self::Unix(listener) => axum::serve(listener, router).await,
        }
    }
}

async fn ready(State(snapshots): State<Arc<Snapshots>>) -> Response {
    match problem(&snapshots).await {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(snapshots): State<Arc<Snapshots>>) -> Response {
    let is_ready = problem(&snapshots).await.is_none();
    let store = Arc::clone(&snapshots.store);
    let counting = tokio::task::spawn_blocking(move || {
        Some((store.snapshot_count().ok()?, store.layer_count().ok()?))
    });
    let (snapshot_count, layer_count) = counting.await.ok().flatten().unwrap_or_default();
    let [mounted_signed, mounted_unsigned] = snapshots.layers.active_counts();
    let counts = Counts {
        snapshots: snapshot_count,
        layers: layer_count,
        mounted_signed,
        mounted_unsigned,
        pending_removals: snapshots.collector.pending(),
        is_ready,
    };
    ([(CONTENT_TYPE, MEDIA_TYPE)], snapshots.metrics.encode(counts)).into_response()
}

/// Says why nothing could be unpacked and mounted now.
async fn problem(snapshots: &Snapshots) -> Option<String> {
    let store = Arc::clone(&snapshots.store);
    let probing = tokio::task::spawn_blocking(move || {
        store.probe().map_err(|error| chain(&error))?;
        DeviceMapper::open().map_err(|error| chain(&error))?;
        Ok(())
    });
    probing.await.unwrap_or_else(|error| Err(error.to_string())).err()
}
