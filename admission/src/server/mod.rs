//! The webhook: HTTPS, health and metrics, files that change, and the end.

mod connections;
mod reload;
mod routes;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osguard_registry::root_hash_cache::RootHashCache;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::crypto::ring;
use rustls::{ServerConfig, version};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use self::routes::Shared;
use crate::certificates::{CertificateError, ServingCertificate, Source};
use crate::configuration::ConfigurationError;
use crate::decider::Decider;
use crate::lookup::MAX_THREADS;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::review::Reviewer;
use crate::verdict_store::VerdictStore;

/// Says how the webhook is to work.
#[derive(Debug)]
pub struct Settings {
    /// Where requests are received.
    pub listen: SocketAddr,
    /// The configuration, which is read again when it changes.
    pub configuration: PathBuf,
    /// Where the certificate comes from.
    pub certificate: Source,
    /// How long an answer may take where the request does not say it, and at most.
    pub patience: Duration,
    /// How long requests are taken on after the process was told to end: until everybody knows.
    pub drain: Duration,
    /// Where root hashes are kept that had to be computed.
    pub root_hash_cache: Option<RootHashCache>,
    /// Where verdicts are kept on images that pass, besides the memory.
    pub verdict_store: Option<PathBuf>,
}

/// Is a webhook whose address is taken.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    configuration: PathBuf,
    drain: Duration,
}

impl Server {
    /// Reads the configuration and the certificate, and takes the address. Connections wait until
    /// [`Self::run_until_signalled`].
    ///
    /// # Errors
    ///
    /// Returns what cannot be used.
    pub fn open(settings: Settings) -> Result<Self, ServerError> {
        raise_file_limit();
        let policy = Policy::read(&settings.configuration)?;
        let certificate = ServingCertificate::open(settings.certificate)?;
        let system = |source| ServerError::System { source };
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| system(io::Error::other(error)))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listen = settings.listen;
        let listener =
            TcpListener::bind(listen).map_err(|source| ServerError::Listen { listen, source })?;
        let metrics = Arc::new(Metrics::default());
        reload::show_expiry(&certificate, &metrics);
        let store = settings.verdict_store.map(|directory| {
            VerdictStore::open(&directory, policy.cache.entries)
                .map_err(|source| ServerError::Store { directory, source })
        });
        let decider = Decider::new(policy.cache, Arc::clone(&metrics), settings.root_hash_cache)
            .with_store(store.transpose()?);
        let shared = Shared {
            reviewer: Reviewer::new(policy, decider, Arc::clone(&metrics)),
            certificate,
            metrics,
            patience: settings.patience,
            is_leaving: AtomicBool::new(false),
            blocks: routes::blocks(),
        };
        Ok(Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            shared: Arc::new(shared),
            configuration: settings.configuration,
            drain: settings.drain,
        })
    }

    /// Works until the process gets SIGTERM or SIGINT, and then for as long as it takes until nobody
    /// sends requests any more; a second signal ends that as well.
    ///
    /// # Errors
    ///
    /// Returns an error if the system refuses threads or signals.
    pub fn run_until_signalled(self) -> Result<(), ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(MAX_THREADS + SPARE_THREADS)
            .enable_all()
            .build()
            .map_err(|source| ServerError::System { source })?;
        self.run_on(runtime)
    }

    fn run_on(self, runtime: Runtime) -> Result<(), ServerError> {
        let Self { listener, tls, shared, configuration, drain } = self;
        let ended = runtime.block_on(async {
            let (first, second) = signals()?;
            let address = listener.local_addr()?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tracing::info!(%address, policy = %shared.reviewer.policy().generation, "answering requests");
            let reloads = tokio::spawn(reload::keep_current(Arc::clone(&shared), configuration));
            let leaving = Arc::clone(&shared);
            let stop = async move {
                first.await;
                leaving.is_leaving.store(true, Ordering::Relaxed);
                tracing::info!(seconds = drain.as_secs_f64(), "about to end");
                tokio::time::sleep(drain).await;
            };
            let router = routes::router(Arc::clone(&shared));
            let serving =
                connections::serve(listener, tls, router, Arc::clone(&shared.metrics), stop);
            tokio::select! {
                () = serving => tracing::info!("stopped"),
                () = second => tracing::warn!("stopped at once; some requests are not answered"),
            }
            reloads.abort();
            Ok(())
        });
        // A thread may still wait for a registry.
        runtime.shutdown_background();
        ended.map_err(|source| ServerError::System { source })
    }
}

/// Lets this process have as many files as it may: often it is 1,024 otherwise, which is less than the
/// connections that are kept.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MAX_FILES, |maximum| maximum.min(MAX_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // Without it there are fewer connections.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

/// Returns what is ready at the first SIGTERM or SIGINT, and what is at the second.
fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = [Arc::clone(&first), Arc::clone(&second)];
    tokio::spawn(async move {
        for notify in told {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify.notify_one();
        }
    });
    Ok((async move { first.notified().await }, async move { second.notified().await }))
}

/// Says why the webhook does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The address cannot be used.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Verdicts cannot be kept.
    #[error("cannot keep verdicts in {}: {source}", directory.display())]
    Store {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses threads, signals or sockets.
    #[error("cannot start: {source}")]
    System {
        /// What the system said.
        source: io::Error,
    },
}

/// Enough for all connections, and for those to registries.
const MAX_FILES: u64 = 4096;

/// Threads for blocking work other than waiting for registries: reading files again.
const SPARE_THREADS: usize = 4;
