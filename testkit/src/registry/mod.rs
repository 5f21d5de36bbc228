//! An OCI registry in the process of the test, which breaks the specification only as told.
//!
//! It keeps to the distribution specification 1.1: blobs with ranges, uploads in all three ways,
//! mounts, manifests, tags and referrers. It listens on a free port of the loopback device, writes
//! down every request, and lets a test look at what it holds, put things in and take them out.
//!
//! Blobs lie in files and pass through in pieces; manifests, up to 4 MiB each, lie in memory.

mod answer;
mod authentication;
mod blobs;
mod builder;
mod connection;
mod error;
mod fault;
mod gate;
mod http;
mod listener;
mod manifests;
mod record;
mod referrers;
mod request_body;
mod response;
mod route;
mod server;
mod store;
mod tokens;
mod uploads;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

pub use answer::Answer;
pub use authentication::Bearer;
pub use builder::Builder;
pub use fault::{Fault, Scripted};
pub use gate::Gate;
pub use record::Request;
pub use store::Manifest;

use listener::Listener;
use server::Server;

/// Is a running registry; it ends when this is dropped.
#[derive(Debug)]
pub struct Registry {
    listener: Listener,
    /// Listens for who wants tokens, where that is another port.
    token_listener: Option<Listener>,
    server: Arc<Server>,
}

impl Registry {
    /// Starts a registry over plain HTTP that lets everyone in.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Starts to describe a registry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the host as references name it: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.listener.address().to_string()
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.listener.address().port()
    }

    /// Returns the root of all its addresses, without a slash at the end: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.server.settings.scheme(), self.host())
    }

    /// Returns host and port of the token server: its own, or the registry's.
    pub fn token_host(&self) -> String {
        self.token_listener.as_ref().unwrap_or(&self.listener).address().to_string()
    }

    /// Has all tokens expire that have been handed out.
    pub fn expire_tokens(&self) {
        self.server.tokens.expire();
    }

    /// Has something go wrong from now on; returns what tells how often it has.
    pub fn fault(&self, fault: Fault) -> Scripted {
        self.server.faults.add(fault)
    }

    /// Has nothing go wrong any more, and opens all gates.
    pub fn clear_faults(&self) {
        self.server.faults.clear();
    }

    /// Returns every request so far in the order in which their heads arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.server.records.all()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.server.records.clear();
    }

    /// Returns the manifest that a tag or a digest names.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        self.server.store.manifest(repository, reference)
    }

    /// Returns all manifests of a repository in the order in which they were pushed.
    pub fn manifests(&self, repository: &str) -> Vec<Manifest> {
        self.server.store.manifests(repository)
    }

    /// Returns the tags of a repository in their order as strings.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.server.store.tags(repository).unwrap_or_default()
    }

    /// Returns the names of all repositories.
    pub fn repositories(&self) -> Vec<String> {
        self.server.store.repositories()
    }

    /// Returns the digests of the blobs of all repositories.
    pub fn blobs(&self) -> Vec<String> {
        self.server.store.blobs()
    }

    /// Returns the contents of a blob, whichever repository holds it.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.server.store.blob(digest)
    }

    /// Returns how many uploads have been started and neither finished nor cancelled.
    pub fn open_uploads(&self) -> usize {
        self.server.store.open_uploads()
    }

    /// Puts a blob into a repository and returns its digest.
    pub fn put_blob(&self, repository: &str, contents: &[u8]) -> Result<String> {
        self.server.store.put_blob(repository, contents)
    }

    /// Puts a manifest into a repository, whatever it says and refers to, and returns its digest;
    /// points `tag` to it if there is one.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        contents: &[u8],
    ) -> String {
        self.server.store.put_manifest(repository, tag, media_type, contents)
    }

    /// Takes a blob out of a repository; says whether it was there.
    pub fn delete_blob(&self, repository: &str, digest: &str) -> bool {
        self.server.store.delete_blob(repository, digest)
    }

    /// Takes out a tag, or a manifest by its digest and with all its tags; says whether it was
    /// there.
    pub fn delete_manifest(&self, repository: &str, reference: &str) -> bool {
        self.server.store.delete_manifest(repository, reference)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.stop();
    }
}

/// Locks what no thread leaves half-done, even when it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_files_and_threads_end_with_it() {
        let registry = Registry::start().unwrap();
        registry.put_blob("a", b"hello").unwrap();
        let _idle = std::net::TcpStream::connect(registry.host()).unwrap();
        let server = Arc::downgrade(&registry.server);
        drop(registry);
        assert!(server.upgrade().is_none());
    }
}
