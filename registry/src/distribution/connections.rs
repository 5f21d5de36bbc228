//! Connections: HTTP clients by host, and single requests made with them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Url};
use tokio::time::{sleep, timeout};

use super::answer::{Answer, shown_method, shown_url};
use super::error::{ConnectFailure, RegistryError};
use super::patience::{Patience, is_passing};
use crate::network::{Network, is_loopback};
use crate::tls::Tls;

/// Makes requests to any host, each with the certificates that are meant for it. Redirects are
/// handed back, not followed.
#[derive(Debug)]
pub(super) struct Connections {
    tls: Tls,
    plain_http: bool,
    pub(super) patience: Patience,
    /// By the start of the URL: scheme, host and port.
    clients: Mutex<BTreeMap<String, Client>>,
    /// The start of all URLs of a registry, found out once.
    bases: Mutex<BTreeMap<String, Url>>,
}

impl Connections {
    pub(super) fn new(network: &Network) -> Self {
        Self {
            tls: network.tls.clone(),
            plain_http: network.plain_http,
            patience: network.patience.clone(),
            clients: Mutex::default(),
            bases: Mutex::default(),
        }
    }

    /// Returns `https://HOST[:PORT]/v2/` of a registry, or the same with `http` where TLS is not to
    /// be spoken.
    pub(super) async fn base(&self, registry: &str) -> Result<Url, RegistryError> {
        if let Some(base) = lock(&self.bases).get(registry) {
            return Ok(base.clone());
        }
        let speaks_tls = !self.plain_http && self.speaks_tls(registry).await?;
        let base = base(registry, if speaks_tls { "https" } else { "http" })?;
        lock(&self.bases).insert(registry.to_owned(), base.clone());
        Ok(base)
    }

    /// Makes a request once.
    ///
    /// # Errors
    ///
    /// Returns an error if no answer has come; one with any status is returned as it is.
    pub(super) async fn exchange(&self, request: Request) -> Result<Answer, RegistryError> {
        let client = self.client(request.url())?;
        self.exchange_by(&client, request).await
    }

    async fn exchange_by(
        &self,
        client: &Client,
        request: Request,
    ) -> Result<Answer, RegistryError> {
        let method = request.method().clone();
        let url = request.url().clone();
        match timeout(self.patience.answer, client.execute(request)).await {
            Ok(Ok(response)) => Ok(Answer::new(&method, response, self.patience.standstill)),
            Ok(Err(error)) => Err(failure(&method, &url, error)),
            Err(_) => Err(standstill(&method, &url, self.patience.answer)),
        }
    }

    /// Makes a request that can be repeated until its answer is one that will last, or patience is
    /// at its end.
    ///
    /// # Errors
    ///
    /// As [`Connections::exchange`], and the registry's last refusal if it is one that may pass.
    pub(super) async fn persist(&self, request: &Request) -> Result<Answer, RegistryError> {
        let mut attempt = 1;
        loop {
            let outcome = match request.try_clone() {
                Some(request) => self.exchange(request).await,
                None => unreachable!("requests with streamed bodies are made once"),
            };
            let (pause, error) = match outcome {
                Ok(answer) if is_passing(answer.status()) => {
                    let asked = answer.retry_after();
                    (self.patience.pause(attempt, asked), answer.into_refusal().await)
                }
                Err(error) if error.is_worth_another_attempt() => {
                    (self.patience.pause(attempt, None), error)
                }
                outcome => return outcome,
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Returns the client for the host of `url`.
    pub(super) fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        let key = url[..url::Position::BeforePath].to_owned();
        if let Some(client) = lock(&self.clients).get(&key) {
            return Ok(client.clone());
        }
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let tls = match url.scheme() {
            "https" => self.tls.client_config(host)?,
            _ => without_anchors()?,
        };
        let client = self.build(host, tls)?;
        lock(&self.clients).insert(key, client.clone());
        Ok(client)
    }

    /// Finds out whether a registry on this machine speaks TLS; all others must.
    ///
    /// Here whoever answers with a certificate speaks it. Whether the certificate is a good one is
    /// found out with the first request, by a client that has read the system's authorities.
    async fn speaks_tls(&self, registry: &str) -> Result<bool, RegistryError> {
        if !is_loopback(registry) {
            return Ok(true);
        }
        let url = base(registry, "https")?;
        let client = self.build(registry, without_anchors()?)?;
        match self.exchange_by(&client, Request::new(Method::GET, url)).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Connect { failure: ConnectFailure::Certificate, .. }) => Ok(true),
            Err(RegistryError::Connect { failure: ConnectFailure::Tls, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn build(&self, host: &str, tls: rustls::ClientConfig) -> Result<Client, RegistryError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.patience.connect)
            .tcp_user_timeout(self.patience.standstill)
            .tcp_keepalive(KEEPALIVE)
            .user_agent(USER_AGENT);
        if is_loopback(host) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| RegistryError::Runtime { source: io::Error::other(error) })
    }
}

/// Says why a request got no answer.
pub(super) fn failure(method: &Method, url: &Url, error: reqwest::Error) -> RegistryError {
    let cause = error.without_url();
    if cause.is_connect() {
        let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        return RegistryError::Connect { host, failure: connect_failure(&cause), cause };
    }
    RegistryError::Transfer { method: shown_method(method), url: shown_url(url), cause }
}

/// Says that nothing has moved.
pub(super) fn standstill(method: &Method, url: &Url, waited: Duration) -> RegistryError {
    RegistryError::Standstill { method: shown_method(method), url: shown_url(url), waited }
}

fn connect_failure(error: &reqwest::Error) -> ConnectFailure {
    if error.is_timeout() {
        return ConnectFailure::Timeout;
    }
    let mut cause = error.source();
    while let Some(current) = cause {
        if current.to_string() == "dns error" {
            return ConnectFailure::UnknownHost;
        }
        if let Some(error) = current.downcast_ref::<io::Error>()
            && let Some(failure) = io_failure(error)
        {
            return failure;
        }
        cause = current.source();
    }
    ConnectFailure::Other
}

/// Looks into an error of the system, in which one of TLS travels, at times within a second one.
fn io_failure(error: &io::Error) -> Option<ConnectFailure> {
    let Some(inner) = error.get_ref() else {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(ConnectFailure::Refused),
            io::ErrorKind::UnexpectedEof => Some(ConnectFailure::Tls),
            _ => None,
        };
    };
    if let Some(inner) = inner.downcast_ref::<io::Error>() {
        return io_failure(inner);
    }
    match inner.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
            Some(ConnectFailure::Certificate)
        }
        Some(_) => Some(ConnectFailure::Tls),
        // The stream ended within the handshake.
        None if error.kind() == io::ErrorKind::UnexpectedEof => Some(ConnectFailure::Tls),
        None => None,
    }
}

/// Returns the configuration of a client that trusts nobody and needs no files read: it never gets
/// beyond the first words of TLS.
fn without_anchors() -> Result<rustls::ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RegistryError::Runtime { source: io::Error::other(error) })?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn base(registry: &str, scheme: &str) -> Result<Url, RegistryError> {
    // Docker Hub's images are named after a host that serves web pages.
    let registry = match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    };
    // A reference was parsed before it came here, so this does not fail for one.
    format!("{scheme}://{registry}/v2/").parse().map_err(|error| RegistryError::Nonsense {
        url: registry.to_owned(),
        what: format!("it is no host: {error}"),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const USER_AGENT: &str = concat!("osguard/", env!("CARGO_PKG_VERSION"));

/// After this time without a byte the other side is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_where_their_names_say_but_for_docker_hub() {
        let base = |registry| base(registry, "https").map(String::from).unwrap();
        assert_eq!(base("r.example:5000"), "https://r.example:5000/v2/");
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/v2/");
    }
}
