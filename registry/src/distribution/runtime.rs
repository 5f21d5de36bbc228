//! Waiting for the network from code that does not.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Runs `future` to its end on this thread; sockets and clocks are served by two others, which all
/// registries share.
///
/// # Panics
///
/// Panics when it is called from within an asynchronous task: waiting there would stop all others.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    handle().block_on(future)
}

/// Starts `future` in the background.
pub(super) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    handle().spawn(future)
}

/// Makes the runtime, if it was not made before.
///
/// # Errors
///
/// Fails if the system gives no more threads or files.
pub(super) fn start() -> io::Result<()> {
    if RUNTIME.get().is_none() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("osguard-network")
            .enable_all()
            .build()?;
        // Another thread may have been faster; then its runtime is used and ours is dropped.
        if let Err(unused) = RUNTIME.set(runtime) {
            unused.shutdown_background();
        }
    }
    Ok(())
}

fn handle() -> &'static Handle {
    match RUNTIME.get() {
        Some(runtime) => runtime.handle(),
        None => unreachable!("every client starts the runtime before it makes a request"),
    }
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// One thread would do for the sockets; the second one lets TLS of two connections go on at once.
const WORKER_THREADS: usize = 2;
