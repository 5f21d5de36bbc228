//! What a registry is told before it starts.

use std::sync::Arc;

use rustls::ServerConfig;

use super::Registry;
use super::answer::Answer;
use super::authentication::{Authentication, Bearer, Credentials};
use super::listener::Socket;
use super::server::Server;
use crate::error::Result;
use crate::test_pki::Identity;
use crate::tls::TlsAuthority;

/// Describes a registry that is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Settings,
}

/// Is how a registry behaves from its start to its end.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) authentication: Authentication,
    pub(super) no_referrers_api: bool,
    pub(super) page_size: Option<usize>,
    pub(super) immutable_tags: Option<Answer>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Builder {
    /// Leaves the referrers API out, as registries of the specification 1.0 do: 404, and no
    /// `OCI-Subject` where a manifest has a subject.
    pub fn without_referrers_api(mut self) -> Self {
        self.settings.no_referrers_api = true;
        self
    }

    /// Answers with at most so many referrers or tags at once, and a `Link` to the next.
    pub fn page_size(mut self, entries: usize) -> Self {
        self.settings.page_size = Some(entries);
        self
    }

    /// Refuses to point a tag that is there to anything else, with this answer.
    pub fn immutable_tags(mut self, refusal: Answer) -> Self {
        self.settings.immutable_tags = Some(refusal);
        self
    }

    /// Serves HTTPS with a certificate by this authority.
    pub fn tls(self, authority: &TlsAuthority) -> Result<Self> {
        let server = authority.server()?;
        self.tls_as(&server, None)
    }

    /// Serves HTTPS with this certificate, and lets in only clients with a certificate by the
    /// authority `clients`, if there is one.
    pub fn tls_as(mut self, server: &Identity, clients: Option<&TlsAuthority>) -> Result<Self> {
        self.settings.tls = Some(TlsAuthority::server_config(server, clients)?);
        Ok(self)
    }

    /// Lets in only who shows this name and password with every request.
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.settings.authentication = Authentication::Basic(Credentials::new(user, password));
        self
    }

    /// Lets in only who shows a token that allows what is asked for.
    pub fn bearer(mut self, bearer: Bearer) -> Self {
        self.settings.authentication = Authentication::Bearer(bearer);
        self
    }

    /// Starts the registry.
    pub fn start(self) -> Result<Registry> {
        let socket = Socket::bind()?;
        let token_socket = match &self.settings.authentication {
            Authentication::Bearer(bearer) if bearer.another_port => Some(Socket::bind()?),
            _ => None,
        };
        let token_address = token_socket.as_ref().unwrap_or(&socket).address;
        let server = Arc::new(Server::new(self.settings, token_address)?);
        let listener = socket.listen(Arc::clone(&server));
        let token_listener = token_socket.map(|socket| socket.listen(Arc::clone(&server)));
        Ok(Registry { listener, token_listener, server })
    }
}

impl Settings {
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
