//! What all connections of a registry share.

use super::builder::Settings;
use super::error::Refusal;
use super::fault::Faults;
use super::gate::Gate;
use super::http::Head;
use super::record::Records;
use super::request_body::RequestBody;
use super::response::Response;
use super::route::Route;
use super::store::Store;
use super::{blobs, manifests, referrers, uploads};
use crate::error::Result;

/// Is a registry without its port.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) records: Records,
    pub(super) faults: Faults,
    /// Opens when the registry ends.
    pub(super) stopping: Gate,
}

impl Server {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            settings,
            store: Store::new()?,
            records: Records::default(),
            faults: Faults::default(),
            stopping: Gate::new(),
        })
    }

    /// Lets go of everything that waits.
    pub(super) fn stop(&self) {
        self.stopping.release();
        self.faults.clear();
    }

    /// Does what the specification asks for.
    pub(super) fn answer(
        &self,
        head: &Head,
        body: &mut RequestBody<'_>,
    ) -> std::result::Result<Response, Refusal> {
        let route = Route::parse(&head.path)?;
        match (&route, head.method.as_str()) {
            (Route::Base, "GET" | "HEAD") => Ok(Response::json(200, "{}")),
            (Route::Blob { repository, digest }, method) => {
                blobs::answer(self, method, repository, digest, head)
            }
            (Route::Uploads { repository }, "POST") => uploads::start(self, repository, head, body),
            (Route::Upload { repository, upload }, method) => {
                uploads::answer(self, method, repository, upload, head, body)
            }
            (Route::Manifest { repository, reference }, method) => {
                manifests::answer(self, method, repository, reference, head, body)
            }
            (Route::Tags { repository }, "GET") => manifests::tags(self, repository, head),
            (Route::Referrers { repository, digest }, "GET") => {
                referrers::answer(self, repository, digest, head)
            }
            _ => Err(Refusal::method_not_allowed(&head.method)),
        }
    }
}
