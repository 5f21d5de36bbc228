//! Authorization: what is shown to a registry so that it answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::answer::{Answer, printable, shown_url};
use super::challenge::{Bearer, Challenge};
use super::connections::Connections;
use super::error::RegistryError;
use crate::credentials::{Credential, Credentials, Found};

/// Is what a request wants to do, which a token must allow.
///
/// Source: distribution, "Token Scope Documentation".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// To give up an upload.
    GiveUp,
    /// To read from the repository.
    Pull,
    /// To read and to write.
    Push,
    /// To read and to write, and to read from another repository of the registry.
    Mount {
        /// The other repository.
        from: String,
    },
}

impl Access {
    fn scopes(&self, repository: &str) -> Vec<String> {
        match self {
            // Registries count that as deleting.
            Self::GiveUp => vec![format!("repository:{repository}:delete")],
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push => vec![format!("repository:{repository}:pull,push")],
            Self::Mount { from } => vec![
                format!("repository:{repository}:pull,push"),
                format!("repository:{from}:pull"),
            ],
        }
    }

    /// Says for messages what is wanted.
    pub(super) fn describe(&self, repository: &str) -> String {
        match self {
            Self::Pull => format!("reading from {repository}"),
            Self::GiveUp | Self::Push | Self::Mount { .. } => format!("writing to {repository}"),
        }
    }
}

/// Answers the challenges of one registry for one repository.
#[derive(Debug)]
pub(super) struct Authorization {
    registry: String,
    repository: String,
    credentials: Credentials,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How the registry wants to be asked; `None` as long as it has not said so.
    challenge: Option<Challenge>,
    /// The credentials, looked up when they are asked for.
    found: Option<Found>,
    tokens: BTreeMap<Access, Token>,
}

#[derive(Clone, Debug)]
struct Token {
    header: HeaderValue,
    expires: Instant,
}

impl Authorization {
    pub(super) fn new(registry: &str, repository: &str, credentials: Credentials) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            credentials,
            state: Mutex::default(),
        }
    }

    /// Returns what to show with a request, as far as the registry has said that it wants to see
    /// something.
    pub(super) async fn header(
        &self,
        connections: &Connections,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        match state.challenge.clone() {
            None => Ok(None),
            Some(challenge) => self.answer(&mut state, connections, &challenge, access).await,
        }
    }

    /// Answers the challenge that a refused request came back with; what was shown with it is not
    /// shown again.
    ///
    /// Returns `None` if there is nothing else to show.
    pub(super) async fn challenged(
        &self,
        connections: &Connections,
        access: &Access,
        challenge: Challenge,
        shown: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        state.tokens.retain(|_, token| Some(&token.header) != shown);
        state.challenge = Some(challenge.clone());
        let header = self.answer(&mut state, connections, &challenge, access).await?;
        Ok(header.filter(|header| Some(header) != shown))
    }

    /// Says for messages where the credentials come from.
    pub(super) async fn credentials_source(&self) -> String {
        match &self.state.lock().await.found {
            Some(found) => found.source.to_string(),
            None => "not asked for".to_owned(),
        }
    }

    async fn answer(
        &self,
        state: &mut State,
        connections: &Connections,
        challenge: &Challenge,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if let Some(token) = state.tokens.get(access)
            && token.expires > Instant::now()
        {
            return Ok(Some(token.header.clone()));
        }
        let found = match &state.found {
            Some(found) => found,
            None => state.found.insert(self.look_up().await?),
        };
        match (challenge, &found.credential) {
            (_, Credential::Bearer { token }) => Ok(Some(bearer(token.expose())?)),
            (Challenge::Basic, Credential::Basic { username, password }) => {
                Ok(Some(basic(username, password.expose())?))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer(challenge), _) => {
                let token = self.fetch_token(connections, challenge, found, access).await?;
                let header = token.header.clone();
                state.tokens.insert(access.clone(), token);
                Ok(Some(header))
            }
        }
    }

    /// Looks the credentials up on a thread that may wait for a helper's process.
    async fn look_up(&self) -> Result<Found, RegistryError> {
        let (credentials, registry, repository) =
            (self.credentials.clone(), self.registry.clone(), self.repository.clone());
        let look_up =
            tokio::task::spawn_blocking(move || credentials.for_repository(&registry, &repository));
        match look_up.await {
            Ok(found) => Ok(found?),
            Err(error) => Err(RegistryError::Runtime { source: error.into() }),
        }
    }

    /// Fetches a token: by a form for an identity token, and by a query otherwise.
    ///
    /// Source: distribution, "Token Authentication Specification" and "Oauth2 Token Authentication".
    async fn fetch_token(
        &self,
        connections: &Connections,
        challenge: &Bearer,
        found: &Found,
        access: &Access,
    ) -> Result<Token, RegistryError> {
        let mut url = self.realm(connections, challenge).await?;
        let service = challenge.service.iter().map(|service| ("service", service.as_str()));
        let scopes = access.scopes(&self.repository);
        let request = match &found.credential {
            Credential::IdentityToken { token } => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(service);
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("client_id", env!("CARGO_PKG_NAME"));
                form.append_pair("scope", &scopes.join(" "));
                form.append_pair("refresh_token", token.expose());
                let mut request = Request::new(Method::POST, url);
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, form_type);
                *request.body_mut() = Some(form.finish().into());
                request
            }
            credential => {
                let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
                url.query_pairs_mut().extend_pairs(service).extend_pairs(scopes);
                let mut request = Request::new(Method::GET, url);
                if let Credential::Basic { username, password } = credential {
                    request
                        .headers_mut()
                        .insert(AUTHORIZATION, basic(username, password.expose())?);
                }
                request
            }
        };
        let mut answer = connections.persist(&request).await?;
        match answer.status().as_u16() {
            200..=299 => read_token(answer).await,
            400 | 401 | 403 => Err(RegistryError::Unauthorized {
                registry: answer.host().to_owned(),
                what: access.describe(&self.repository),
                credentials: found.source.to_string(),
                words: answer.words().await,
            }),
            _ => Err(answer.into_status_error().await),
        }
    }

    /// Returns the token server's URL if credentials may be sent there: by TLS, or as openly as to
    /// the registry itself.
    async fn realm(
        &self,
        connections: &Connections,
        challenge: &Bearer,
    ) -> Result<Url, RegistryError> {
        let base = connections.base(&self.registry).await?;
        let url: Url = challenge.realm.parse().map_err(|_| self.no_realm(challenge))?;
        let is_fit = match url.scheme() {
            "https" => true,
            "http" => base.scheme() == "http",
            _ => false,
        };
        if !is_fit || url.host_str().is_none() {
            return Err(self.no_realm(challenge));
        }
        Ok(url)
    }

    fn no_realm(&self, challenge: &Bearer) -> RegistryError {
        RegistryError::Nonsense {
            url: format!("the challenge of {}", self.registry),
            what: format!(
                "tokens are not fetched from {}",
                match challenge.realm.parse::<Url>() {
                    Ok(url) => shown_url(&url),
                    Err(_) => format!("{:?}", printable(&challenge.realm)),
                }
            ),
        }
    }
}

async fn read_token(mut answer: Answer) -> Result<Token, RegistryError> {
    let body = answer.body(MAX_TOKEN_BYTES).await?.map(Zeroizing::new);
    let body = body.ok_or_else(|| answer.nonsense(format!("more than {MAX_TOKEN_BYTES} bytes")))?;
    let document: TokenDocument = serde_json::from_slice(&body)
        // The message of the parser may quote the token.
        .map_err(|_| answer.nonsense("the document with the token is malformed"))?;
    let token = document.token.or(document.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| answer.nonsense("there is no token in it"))?;
    let lifetime = Duration::from_secs(document.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS));
    Ok(Token {
        header: bearer(&token)?,
        expires: Instant::now() + lifetime.min(LONGEST_LIFETIME).mul_f64(USED_LIFETIME),
    })
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, RegistryError> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(Base64::encode_string(pair.as_bytes()));
    sensitive(&format!("Basic {}", *encoded))
}

fn bearer(token: &str) -> Result<HeaderValue, RegistryError> {
    sensitive(&format!("Bearer {token}"))
}

/// Makes a header that nobody prints.
fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(text).map_err(|_| RegistryError::Nonsense {
        url: "the token".to_owned(),
        what: "it holds characters that no header may hold".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[derive(Deserialize)]
struct TokenDocument {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
}

/// How long a token is good whose server does not say so.
///
/// Source: distribution, "Token Authentication Specification", "Token Response Fields".
const DEFAULT_LIFETIME_SECONDS: u64 = 60;

/// A token is used for nine tenths of its life: the clocks differ, and requests take time.
const USED_LIFETIME: f64 = 0.9;

const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest tokens in use, with many groups in them, have some tens of kilobytes.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_needs_both_repositories() {
        let access = Access::Mount { from: "base/debian".to_owned() };
        assert_eq!(
            access.scopes("team/app"),
            ["repository:team/app:pull,push", "repository:base/debian:pull"]
        );
        assert_eq!(Access::Pull.scopes("a"), ["repository:a:pull"]);
    }

    #[test]
    fn headers_do_not_show_secrets() {
        let header = basic("user", "pass:word").unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic dXNlcjpwYXNzOndvcmQ=");
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert!(bearer("abc").is_ok() && bearer("a\nb").is_err());
    }
}
