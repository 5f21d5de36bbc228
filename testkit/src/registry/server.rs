//! What all connections of a registry share.

use std::net::SocketAddr;

use super::authentication::Authentication;
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
use super::tokens::Tokens;
use super::{blobs, manifests, referrers, uploads};
use crate::error::Result;

/// Is a registry without its port.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: Settings,
    token_address: SocketAddr,
    pub(super) tokens: Tokens,
    pub(super) store: Store,
    pub(super) records: Records,
    pub(super) faults: Faults,
    /// Opens when the registry ends.
    pub(super) stopping: Gate,
}

impl Server {
    pub(super) fn new(settings: Settings, token_address: SocketAddr) -> Result<Self> {
        Ok(Self {
            settings,
            token_address,
            tokens: Tokens::default(),
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

    /// Does what is asked for, if it is allowed.
    pub(super) fn answer(
        &self,
        head: &Head,
        body: &mut RequestBody<'_>,
    ) -> std::result::Result<Response, Refusal> {
        if let Authentication::Bearer(bearer) = &self.settings.authentication
            && head.port == self.token_address.port()
            && (head.path == "/token" || bearer.another_port)
        {
            return self.tokens.answer(bearer, head, body);
        }
        let route = Route::parse(&head.path)?;
        let realm = format!("{}://{}/token", self.settings.scheme(), self.token_address);
        self.settings.authentication.check(head, &route, &self.tokens, &realm)?;
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
