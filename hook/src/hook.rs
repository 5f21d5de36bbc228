//! The hook as a whole: a server, a queue and the threads that sign.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::allow_list::AllowList;
use crate::backoff::Backoff;
use crate::connections;
use crate::health::{CHECK_INTERVAL, Health};
use crate::metrics::Metrics;
use crate::queue::{Limits, Queue, QueueError};
use crate::server::{self, KnownStrangers, Shared};
use crate::sign::SignImage;
use crate::token::Token;
use crate::worker;

/// Says how a hook is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where notifications are received. TLS is for a proxy before it.
    pub listen: SocketAddr,
    /// The directory of the queue.
    pub state: PathBuf,
    /// What the registry has to send with its notifications; it may be left out only on an address
    /// that other machines cannot reach.
    pub token: Option<Token>,
    /// Which repositories are signed.
    pub allow_list: AllowList,
    /// How many images are signed at the same time.
    pub workers: NonZeroUsize,
    /// What the queue may hold.
    pub limits: Limits,
    /// When something that failed is tried again.
    pub backoff: Backoff,
}

/// Is a hook whose queue is open and whose address is taken.
pub struct Hook {
    settings: Settings,
    listener: TcpListener,
    queue: Arc<Queue>,
    signer: Arc<dyn SignImage>,
}

impl Hook {
    /// Opens the queue and takes the address. Connections wait until [`Self::run`].
    ///
    /// # Errors
    ///
    /// Returns an error if there is no token and other machines could connect, and if the queue or
    /// the address cannot be used.
    pub fn open(settings: Settings, signer: Arc<dyn SignImage>) -> Result<Self, HookError> {
        let listen = settings.listen;
        if settings.token.is_none() && !listen.ip().is_loopback() {
            return Err(HookError::Unprotected { listen });
        }
        let queue = Arc::new(Queue::open(&settings.state, settings.limits)?);
        let listener =
            TcpListener::bind(listen).map_err(|source| HookError::Listen { listen, source })?;
        Ok(Self { settings, listener, queue, signer })
    }

    /// Returns the address that was taken.
    ///
    /// # Errors
    ///
    /// Returns what the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Works until the process gets SIGTERM or SIGINT, and then finishes what has begun; a second
    /// signal ends that as well.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_until_signalled(self) -> Result<(), HookError> {
        let runtime = runtime()?;
        let (first, second) = runtime.block_on(async { signals() })?;
        self.run_on(runtime, first, second)
    }

    /// Works until `stop` is ready. Then no connections and jobs are taken any more, and the call
    /// returns once those that have begun are finished, or `abandon` is ready. What is left stays in
    /// the queue.
    ///
    /// # Errors
    ///
    /// Returns an error if the system refuses threads.
    pub fn run(
        self,
        stop: impl Future<Output = ()>,
        abandon: impl Future<Output = ()>,
    ) -> Result<(), HookError> {
        self.run_on(runtime()?, stop, abandon)
    }

    fn run_on(
        self,
        runtime: tokio::runtime::Runtime,
        stop: impl Future<Output = ()>,
        abandon: impl Future<Output = ()>,
    ) -> Result<(), HookError> {
        let Self { settings, listener, queue, signer } = self;
        let shared = Arc::new(Shared {
            allow_list: settings.allow_list,
            bodies: server::bodies(),
            health: Health::default(),
            known_strangers: KnownStrangers::default(),
            last_refusal: Mutex::default(),
            metrics: Metrics::new(),
            queue: Arc::clone(&queue),
            token: settings.token,
        });
        let counts = queue.counts();
        let address = listener.local_addr().map_err(|source| HookError::System { source })?;
        tracing::info!(
            %address,
            pending = counts.waiting,
            failed = counts.failed,
            workers = settings.workers,
            "receiving notifications"
        );
        let mut workers = Vec::new();
        for number in 0..settings.workers.get() {
            let (shared, signer) = (Arc::clone(&shared), Arc::clone(&signer));
            let work = move || {
                worker::run(&shared.queue, &*signer, &settings.backoff, &shared.metrics);
            };
            let thread = std::thread::Builder::new().name(format!("worker {number}"));
            workers.push(thread.spawn(work).map_err(|source| HookError::System { source })?);
        }
        let ended = runtime.block_on(async {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let checks = tokio::spawn(check(Arc::clone(&shared), signer));
            let stop = async {
                stop.await;
                queue.close();
            };
            connections::serve(listener, server::router(shared), stop).await;
            checks.abort();
            tracing::info!(running = queue.counts().running, "finishing what has begun");
            let joined = tokio::task::spawn_blocking(move || {
                // A worker that panicked has said so itself.
                workers.into_iter().for_each(|worker| drop(worker.join()));
            });
            tokio::select! {
                _ = joined => tracing::info!(left = queue.counts().waiting, "stopped"),
                () = abandon => tracing::warn!("stopped at once; what has begun will be done again"),
            }
            Ok(())
        });
        // A check may still wait for the registry.
        runtime.shutdown_background();
        ended.map_err(|source| HookError::System { source })
    }
}

/// Says why a hook does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The address cannot be used.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The system refuses threads, signals or sockets.
    #[error("cannot start: {source}")]
    System {
        /// What the system said.
        source: io::Error,
    },
    /// Anyone who can connect could have images signed.
    #[error("without a token, {listen} is open to other machines; only loopback addresses may be")]
    Unprotected {
        /// The address.
        listen: SocketAddr,
    },
}

/// Looks again and again whether something could be signed.
async fn check(shared: Arc<Shared>, signer: Arc<dyn SignImage>) {
    loop {
        let queue = tokio::time::timeout(PROBE_TIMEOUT, shared.queue.probe()).await;
        let result = match queue {
            Err(_) => Err(format!("the queue has not answered for {} s", PROBE_TIMEOUT.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(())) => {
                let signer = Arc::clone(&signer);
                match tokio::task::spawn_blocking(move || signer.check()).await {
                    Ok(result) => result.map_err(|failure| failure.reason),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        shared.health.note(result);
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, HookError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| HookError::System { source })
}

/// Returns what is ready at the first SIGTERM or SIGINT, and what is at the second.
fn signals() -> Result<(impl Future<Output = ()>, impl Future<Output = ()>), HookError> {
    let system = |source| HookError::System { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let first = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = sender.send(()).await;
        });
    };
    let second = async move {
        if receiver.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    Ok((first, second))
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
