//! Requests to one repository of a registry: authorised, repeated where that helps, and redirected
//! only where that is harmless.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};

use super::answer::{Answer, Words, shown_url};
use super::authorization::{Access, Authorization};
use super::challenge::Challenge;
use super::connections::Connections;
use super::error::RegistryError;
use super::patience::Patience;
use super::runtime;
use crate::network::Network;

/// Makes requests to one repository.
#[derive(Debug)]
pub(super) struct Client {
    registry: String,
    repository: String,
    pub(super) connections: Connections,
    authorization: Authorization,
    /// Whether blobs are sent in chunks, since the registry has refused one in one piece.
    pub(super) sends_chunks: AtomicBool,
}

/// Is a request that can be made again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) access: Access,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, access: Access) -> Self {
        Self { method, url, access, headers: Vec::new(), body: None }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn build(&self, url: &Url, authorization: Option<&HeaderValue>) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), url.clone());
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = self.body.clone().map(reqwest::Body::from);
        request
    }
}

impl Client {
    pub(super) fn new(
        registry: &str,
        repository: &str,
        network: &Network,
    ) -> Result<Self, RegistryError> {
        runtime::start().map_err(|source| RegistryError::Runtime { source })?;
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            connections: Connections::new(network),
            authorization: Authorization::new(registry, repository, network.credentials.clone()),
            sends_chunks: AtomicBool::new(false),
        })
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.connections.patience
    }

    /// Returns registry and repository, as a user would write them.
    pub(super) fn place_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Says that there is no such repository.
    pub(super) fn no_such_repository(&self, words: Words) -> RegistryError {
        RegistryError::NoSuchRepository {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            words,
        }
    }

    /// Returns the URL of `path` within the repository.
    pub(super) async fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let mut url = self.connections.base(&self.registry).await?;
        url.set_path(&format!("/v2/{}/{path}", self.repository));
        Ok(url)
    }

    /// Makes a request until it has an answer that will last, following the redirects of reads.
    ///
    /// # Errors
    ///
    /// Returns an error unless the answer is a success, or one of the refusals that mean something
    /// to the caller: any from 400 on but 401, 403 and those that pass.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, RegistryError> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.authorised(request, &url).await?;
            let location = match answer.status().as_u16() {
                200..=299 => return Ok(answer),
                403 => return Err(self.denied(answer, &request.access).await),
                300..=399 if !matches!(request.method, Method::GET | Method::HEAD) => {
                    return Err(answer.into_redirected());
                }
                300..=399 => answer.location()?,
                400.. => return Ok(answer),
                status => return Err(answer.nonsense(format!("status {status}"))),
            };
            if url.scheme() == "https" && location.scheme() != "https" {
                return Err(RegistryError::RedirectRefused {
                    url: shown_url(&url),
                    location: shown_url(&location),
                    reason: "it would leave TLS",
                });
            }
            url = location;
        }
        Err(RegistryError::RedirectRefused {
            url: shown_url(&request.url),
            location: shown_url(&url),
            reason: "that was one redirect too many",
        })
    }

    /// Adds to a request that is made elsewhere what the registry wants to see, and returns it.
    ///
    /// What is sent to another host than the registry goes there without authorisation.
    pub(super) async fn authorise(
        &self,
        request: &mut reqwest::Request,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let header = match self.is_own(request.url()).await? {
            true => self.authorization.header(&self.connections, access).await?,
            false => None,
        };
        if let Some(header) = &header {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        Ok(header)
    }

    /// Answers the challenge in `answer`, which is a 401, so that the next request is authorised.
    ///
    /// # Errors
    ///
    /// Returns [`RegistryError::Unauthorized`] if nothing is left to show.
    pub(super) async fn challenged(
        &self,
        answer: &mut Answer,
        access: &Access,
        shown: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let headers: Vec<&str> = headers.filter_map(|value| value.to_str().ok()).collect();
        let challenge = Challenge::choose(headers).map_err(|source| RegistryError::Challenge {
            registry: self.registry.clone(),
            source,
        })?;
        let header =
            self.authorization.challenged(&self.connections, access, challenge, shown).await?;
        match header {
            Some(header) => Ok(header),
            None => Err(self.unauthorized(answer, access).await),
        }
    }

    /// Tells whether `url` is the registry's own, to which credentials may be sent.
    async fn is_own(&self, url: &Url) -> Result<bool, RegistryError> {
        Ok(self.connections.base(&self.registry).await?.origin() == url.origin())
    }

    async fn authorised(&self, request: &Request, url: &Url) -> Result<Answer, RegistryError> {
        let is_own = self.is_own(url).await?;
        let header = match is_own {
            true => self.authorization.header(&self.connections, &request.access).await?,
            false => None,
        };
        let mut answer = self.connections.persist(&request.build(url, header.as_ref())).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        if !is_own {
            return Err(answer.into_status_error().await);
        }
        let fresh = self.challenged(&mut answer, &request.access, header.as_ref()).await?;
        answer = self.connections.persist(&request.build(url, Some(&fresh))).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized(&mut answer, &request.access).await),
            _ => Ok(answer),
        }
    }

    /// Says that the registry does not take what it was shown.
    pub(super) async fn unauthorized(&self, answer: &mut Answer, access: &Access) -> RegistryError {
        RegistryError::Unauthorized {
            registry: self.registry.clone(),
            what: access.describe(&self.repository),
            credentials: self.authorization.credentials_source().await,
            words: answer.words().await,
        }
    }

    /// Says that the registry denies what was to be done.
    pub(super) async fn denied(&self, mut answer: Answer, access: &Access) -> RegistryError {
        RegistryError::Denied {
            registry: self.registry.clone(),
            what: access.describe(&self.repository),
            credentials: self.authorization.credentials_source().await,
            words: answer.words().await,
        }
    }
}

/// Registries redirect once, to their object storage; some of those redirect to another region.
const MAX_REDIRECTS: usize = 4;
