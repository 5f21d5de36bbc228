//! Connections: how many, how slow, over TLS, and how they end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::metrics::Metrics;

/// Answers requests until `stop` is ready, and then only those that have begun, for a while.
pub(super) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let open = Arc::new(OpenConnections::new(metrics));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A connection that broke at once, or too many open files, which will pass.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Everybody is busy: this one may come again.
        let Some(connection) = open.enter() else { continue };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let evicted = Arc::clone(&connection.state);
            tokio::select! {
                () = converse(stream, tls, router, &connection.state, watcher) => {}
                () = evicted.evict.notified() => {
                    tracing::debug!("a connection was idle and made room for another");
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests are not answered");
    }
}

async fn converse(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    state: &Arc<State>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // An answer is one small write, and somebody waits for it.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            return;
        }
    };
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(state);
        let answer = hyper::service::Service::call(&service, request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Holds the connections that are open, to find one that is not used when there are too many.
struct OpenConnections {
    start: Instant,
    states: Mutex<Numbered>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Numbered {
    next: u64,
    states: BTreeMap<u64, Arc<State>>,
}

/// Is what is known of a connection.
struct State {
    start: Instant,
    /// How many requests are being answered: none or one.
    requests: AtomicUsize,
    /// When the last one was answered, or the connection made, in milliseconds since `start`.
    last_use: AtomicU64,
    evict: Notify,
}

/// Is a connection, until it is dropped.
struct Connection {
    open: Arc<OpenConnections>,
    number: u64,
    state: Arc<State>,
}

impl OpenConnections {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self { start: Instant::now(), states: Mutex::default(), metrics }
    }

    /// Takes in a connection. When there are too many, the one that has been idle for longest has to
    /// go; `None` if all are busy.
    fn enter(self: &Arc<Self>) -> Option<Connection> {
        let mut numbered = self.lock();
        if numbered.states.len() >= MAX_CONNECTIONS {
            let idle = numbered
                .states
                .iter()
                .filter(|(_, state)| state.requests.load(Ordering::Relaxed) == 0)
                .min_by_key(|(_, state)| state.last_use.load(Ordering::Relaxed));
            let number = idle.map(|(number, _)| *number)?;
            if let Some(state) = numbered.states.remove(&number) {
                state.evict.notify_one();
            }
        }
        let state = Arc::new(State {
            start: self.start,
            requests: AtomicUsize::new(0),
            last_use: AtomicU64::new(milliseconds(self.start)),
            evict: Notify::new(),
        });
        numbered.next += 1;
        let number = numbered.next;
        numbered.states.insert(number, Arc::clone(&state));
        self.metrics.connected(1);
        Some(Connection { open: Arc::clone(self), number, state })
    }

    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().states.remove(&self.number);
        self.open.metrics.connected(-1);
    }
}

/// Is a request that is being answered.
struct Busy(Arc<State>);

impl Busy {
    fn new(state: &Arc<State>) -> Self {
        state.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.last_use.store(milliseconds(self.0.start), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How many connections are open at the same time: an API server has some dozens, and each takes
/// about 20 KiB.
const MAX_CONNECTIONS: usize = 1024;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the headers of a request may take, and how long a connection may be idle: longer than
/// the 90 s after which the API server closes it itself, so that no request meets a closed
/// connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest headers, in bytes.
const MAX_HEADER_BYTES: usize = 32 << 10;

/// How long requests that have begun may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_idle_makes_room_and_who_is_busy_does_not() {
        let open = Arc::new(OpenConnections::new(Arc::default()));
        let mut connections: Vec<Connection> =
            (0..MAX_CONNECTIONS).map(|_| open.enter().unwrap()).collect();
        let busy: Vec<Busy> =
            connections[1..].iter().map(|connection| Busy::new(&connection.state)).collect();
        let newest = open.enter().unwrap();
        assert_eq!(open.lock().states.len(), MAX_CONNECTIONS);
        assert!(!open.lock().states.contains_key(&connections[0].number));
        let last = Busy::new(&newest.state);
        assert!(open.enter().is_none());
        drop((busy, last));
        assert!(open.enter().is_some());
        connections.clear();
        drop(newest);
        assert!(open.lock().states.is_empty());
    }
}
