//! Looking into registries, in threads that may wait.

mod gate;
mod judge;
mod repositories;

use std::sync::Arc;
use std::time::{Duration, Instant};

use libverity::digest::Digest;
use osguard_registry::conversion::ConversionError;
use osguard_registry::distribution::RegistryError;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::reference::RegistryReference;
use osguard_registry::root_hash_cache::RootHashCache;

use self::gate::{Closed, Gates};
use self::repositories::Repositories;
use crate::causes::with_causes;
use crate::cluster::PullCredentials;
use crate::metrics::{Call, Metrics};
use crate::nodes::NodeSet;
use crate::policy::{Demands, Registries};
use crate::verdict::{ImageVerdict, Reason};
use crate::workload::Placement;

pub use self::judge::Judged;
pub(crate) use self::judge::trust_in;

/// Looks into registries.
///
/// Its methods are to be called within a runtime that has as many threads for blocking work as there
/// are [`MAX_THREADS`].
#[derive(Debug)]
pub struct Lookup {
    gates: Gates,
    repositories: Repositories,
    root_hash_cache: Option<RootHashCache>,
    metrics: Arc<Metrics>,
}

/// Says where an image is looked for, and as whom.
#[derive(Clone, Debug)]
pub struct ImageSource {
    /// How registries are reached.
    pub registries: Arc<Registries>,
    /// What the pod has for registries, before all others.
    pub pull: Option<Arc<PullCredentials>>,
    /// The image.
    pub image: RegistryReference,
}

impl Lookup {
    /// Makes one; root hashes that had to be computed are kept in the cache, if there is one.
    pub fn new(metrics: Arc<Metrics>, root_hash_cache: Option<RootHashCache>) -> Arc<Self> {
        Arc::new(Self {
            gates: Gates::new(MAX_THREADS),
            repositories: Repositories::default(),
            root_hash_cache,
            metrics,
        })
    }

    /// Finds out which manifest or index a name leads to.
    ///
    /// # Errors
    ///
    /// Returns the verdict that follows from not knowing.
    pub async fn resolve(self: &Arc<Self>, source: &ImageSource) -> Result<Digest, ImageVerdict> {
        self.call(source, |lookup, source, located| {
            let place = lookup.repositories.open(source, located)?;
            Ok(place.resolve(&located.selector)?.digest)
        })
        .await
        .map_err(|(reason, detail)| ImageVerdict::new(None, reason, [detail]))
    }

    /// Judges the image with this digest, for these nodes if they are known.
    ///
    /// # Errors
    ///
    /// Returns the verdict that follows from not knowing.
    pub async fn judge(
        self: &Arc<Self>,
        source: &ImageSource,
        digest: Digest,
        demands: &Arc<Demands>,
        placement: &Placement,
        nodes: Option<NodeSet>,
    ) -> Result<Judged, ImageVerdict> {
        let (demands, placement) = (Arc::clone(demands), placement.clone());
        self.call(source, move |lookup, source, located| {
            let place = lookup.repositories.open(source, located)?;
            let cache = lookup.root_hash_cache.as_ref();
            let nodes = nodes.as_ref();
            judge::judge(&*place, &source.image, digest, &demands, &placement, nodes, cache)
        })
        .await
        .map_err(|(reason, detail)| ImageVerdict::new(Some(digest), reason, [detail]))
    }

    /// Does something that waits for a registry in a thread of its own, when it is its turn.
    async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        source: &ImageSource,
        work: impl FnOnce(&Self, &ImageSource, &RegistryReference) -> Result<T, ConversionError>
        + Send
        + 'static,
    ) -> Result<T, (Reason, String)> {
        let located = source.registries.location(&source.image);
        let host = located.registry.clone();
        let pass = match self.gates.enter(&host, source.registries.parallel(&host)).await {
            Ok(pass) => pass,
            Err(Closed { is_asked, reason, .. }) => {
                self.metrics.call(Call::HeldBack, None);
                let word = if is_asked { Reason::Throttled } else { Reason::Registry };
                return Err((word, reason));
            }
        };
        let (lookup, source) = (Arc::clone(self), source.clone());
        let started = Instant::now();
        let done = tokio::task::spawn_blocking(move || {
            let _pass = pass;
            work(&lookup, &source, &located)
        });
        let took = || Some(started.elapsed());
        match done.await {
            Ok(Ok(found)) => {
                self.metrics.call(Call::Answered, took());
                Ok(found)
            }
            Ok(Err(error)) => {
                let (reason, detail) = (reason(&error), with_causes(&error));
                self.metrics.call(
                    match reason {
                        Reason::Throttled => Call::TooManyRequests,
                        Reason::Registry => Call::Failed,
                        _ => Call::Answered,
                    },
                    took(),
                );
                match reason {
                    Reason::Throttled => {
                        let wait = retry_after(&error).unwrap_or(UNASKED_PAUSE);
                        self.gates.close(&host, wait, true, detail.clone());
                    }
                    Reason::Registry => {
                        self.gates.close(&host, PAUSE_AFTER_FAILURE, false, detail.clone());
                    }
                    _ => {}
                }
                Err((reason, detail))
            }
            Err(error) => {
                tracing::error!(%error, "a look into a registry ended with a defect of osguard");
                self.metrics.call(Call::Failed, took());
                Err((Reason::Internal, "a look into the registry was given up".to_owned()))
            }
        }
    }
}

/// Says what follows from an error. A look-up that failed is never "not signed".
fn reason(error: &ConversionError) -> Reason {
    let ConversionError::Place(error) = error else { return Reason::Unreadable };
    if let Error::Registry(error) = error {
        return match &**error {
            RegistryError::TooManyRequests { .. } => Reason::Throttled,
            RegistryError::Status { status: 429, .. } => Reason::Throttled,
            RegistryError::NoSuchRepository { .. } => Reason::NotFound,
            RegistryError::Challenge { .. }
            | RegistryError::Credentials(_)
            | RegistryError::Denied { .. }
            | RegistryError::Tls(_)
            | RegistryError::Unauthorized { .. } => Reason::Credentials,
            RegistryError::Runtime { .. } => Reason::Internal,
            error if error.is_passing() => Reason::Registry,
            // It answers, and what it answers makes no sense: nobody is let in by that.
            _ => Reason::Unreadable,
        };
    }
    match error.kind() {
        ErrorKind::NotFound => Reason::NotFound,
        ErrorKind::Io => Reason::Internal,
        _ if matches!(error, Error::NoSuchBlob { .. }) => Reason::NotFound,
        _ => Reason::Unreadable,
    }
}

fn retry_after(error: &ConversionError) -> Option<Duration> {
    match error {
        ConversionError::Place(Error::Registry(error)) => error.retry_after(),
        _ => None,
    }
}

/// How many threads wait for registries at most; each has up to 20 MiB in its hands in the worst
/// case, and some kilobytes usually.
pub const MAX_THREADS: usize = 32;

/// How long a registry is left alone that asks to slow down and does not say for how long.
const UNASKED_PAUSE: Duration = Duration::from_secs(5);

/// How long a registry is left alone that has failed, so that those who wait for it do not take the
/// threads of others.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
