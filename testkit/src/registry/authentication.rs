//! Who is let in.

use base64ct::{Base64, Encoding as _};

use super::error::Refusal;
use super::http::Head;
use super::response::Response;
use super::route::Route;
use super::tokens::{Tokens, Verdict};

/// Lets in who shows a token of the registry's own token server (distribution documentation,
/// "Token Authentication Specification").
///
/// The server is asked at `/token` by GET with Basic, or by POST with a password or with
/// [`Bearer::IDENTITY_TOKEN`]. Who does not say who they are get a token that is good for nothing.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub(super) credentials: Credentials,
    pub(super) anonymous_pull: bool,
    pub(super) only_pull: bool,
    pub(super) requests: Option<u64>,
    pub(super) another_port: bool,
}

/// Is the one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// Is what a client has to show.
#[derive(Debug, Default)]
pub(super) enum Authentication {
    /// Name and password with every request.
    Basic(Credentials),
    /// A token.
    Bearer(Bearer),
    /// Nothing.
    #[default]
    Nothing,
}

/// Is what may be done in a repository: `pull`, `push` or `delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) repository: String,
    pub(super) actions: Vec<&'static str>,
}

impl Bearer {
    /// Is what tokens have to be asked for as the parameter `service`.
    pub const SERVICE: &str = "osguard-testkit";
    /// Is what the token server hands out to who asks for a token that stays valid, and takes
    /// instead of the password.
    pub const IDENTITY_TOKEN: &str = "identity-token-of-the-user";

    /// Lets one user in, who may do everything everywhere.
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            credentials: Credentials::new(user, password),
            anonymous_pull: false,
            only_pull: false,
            requests: None,
            another_port: false,
        }
    }

    /// Lets everyone pull.
    pub fn anonymous_pull(mut self) -> Self {
        self.anonymous_pull = true;
        self
    }

    /// Lets even the user do nothing but pull.
    pub fn only_pull(mut self) -> Self {
        self.only_pull = true;
        self
    }

    /// Has each token expire after so many requests, however long it was promised to last.
    pub fn expiring_after(mut self, requests: u64) -> Self {
        self.requests = Some(requests);
        self
    }

    /// Has the token server on a port of its own.
    pub fn on_another_port(mut self) -> Self {
        self.another_port = true;
        self
    }
}

impl Credentials {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// Reads `Authorization: Basic …` (RFC 7617).
    pub(super) fn shown(head: &Head) -> Option<Self> {
        let secret = scheme(head, "Basic")?;
        let secret = String::from_utf8(Base64::decode_vec(secret).ok()?).ok()?;
        let (user, password) = secret.split_once(':')?;
        Some(Self::new(user, password))
    }
}

impl Authentication {
    /// Refuses who may not do this.
    ///
    /// `realm` is the address of the token server.
    pub(super) fn check(
        &self,
        head: &Head,
        route: &Route<'_>,
        tokens: &Tokens,
        realm: &str,
    ) -> Result<(), Refusal> {
        match self {
            Self::Nothing => Ok(()),
            Self::Basic(credentials) => match Credentials::shown(head) {
                Some(shown) if shown == *credentials => Ok(()),
                _ => Err(refusal(&format!("Basic realm=\"{}\"", Bearer::SERVICE))),
            },
            Self::Bearer(_) => {
                let needed = Access::needed(head, route);
                let verdict = match scheme(head, "Bearer") {
                    None => None,
                    Some(token) => match tokens.judge(token, &needed) {
                        Verdict::Allowed => return Ok(()),
                        Verdict::Insufficient => Some("insufficient_scope"),
                        Verdict::Unknown => Some("invalid_token"),
                    },
                };
                let mut challenge =
                    format!("Bearer realm=\"{realm}\",service=\"{}\"", Bearer::SERVICE);
                if !needed.is_empty() {
                    let scopes: Vec<String> = needed.iter().map(Access::scope).collect();
                    challenge.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
                }
                if let Some(error) = verdict {
                    challenge.push_str(&format!(",error=\"{error}\""));
                }
                Err(refusal(&challenge))
            }
        }
    }
}

impl Access {
    /// Says what a request needs, as distribution does it: who writes has to be able to read, and
    /// who mounts has to be able to read the source.
    fn needed(head: &Head, route: &Route<'_>) -> Vec<Self> {
        let Some(repository) = route.repository() else { return Vec::new() };
        let actions = match head.method.as_str() {
            "DELETE" => vec!["delete"],
            "PATCH" | "POST" | "PUT" => vec!["pull", "push"],
            _ => vec!["pull"],
        };
        let mut needed = vec![Self { repository: repository.to_owned(), actions }];
        if let (Route::Uploads { .. }, Some(_), Some(source)) =
            (route, head.parameter("mount"), head.parameter("from"))
        {
            needed.push(Self { repository: source, actions: vec!["pull"] });
        }
        needed
    }

    fn scope(&self) -> String {
        format!("repository:{}:{}", self.repository, self.actions.join(","))
    }
}

/// Returns what follows an authentication scheme in `Authorization`.
fn scheme<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    let (scheme, rest) = head.header("Authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then_some(rest)
}

fn refusal(challenge: &str) -> Refusal {
    let response = Response::error(401, "UNAUTHORIZED", "authentication required");
    Refusal::Answered(Box::new(response.header("WWW-Authenticate", challenge)))
}
