//! The token server, and the tokens that it has handed out.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::authentication::{Access, Bearer, Credentials};
use super::error::Refusal;
use super::http::Head;
use super::lock;
use super::request_body::RequestBody;
use super::response::Response;

/// Holds the tokens that are valid.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Issued>);

#[derive(Debug, Default)]
struct Issued {
    valid: HashMap<String, Token>,
    /// How many there have been.
    count: u64,
}

#[derive(Debug)]
struct Token {
    granted: Vec<Access>,
    requests_left: Option<u64>,
}

/// Is what a token is worth for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// It is valid for something else.
    Insufficient,
    /// It has never been valid, or is no more.
    Unknown,
}

impl Tokens {
    /// Uses a token for a request.
    pub(super) fn judge(&self, token: &str, needed: &[Access]) -> Verdict {
        let mut issued = lock(&self.0);
        let Some(found) = issued.valid.get_mut(token) else { return Verdict::Unknown };
        match &mut found.requests_left {
            Some(0) => {
                issued.valid.remove(token);
                return Verdict::Unknown;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let allowed = |needed: &Access| {
            needed.actions.iter().all(|action| {
                found.granted.iter().any(|granted| {
                    granted.repository == needed.repository && granted.actions.contains(action)
                })
            })
        };
        if needed.iter().all(allowed) { Verdict::Allowed } else { Verdict::Insufficient }
    }

    pub(super) fn expire(&self) {
        lock(&self.0).valid.clear();
    }

    /// Answers who asks for a token.
    pub(super) fn answer(
        &self,
        bearer: &Bearer,
        head: &Head,
        body: &mut RequestBody<'_>,
    ) -> Result<Response, Refusal> {
        let (who, wish) = match head.method.as_str() {
            "GET" => {
                let wish = Wish::read(head.parameters());
                let who = match Credentials::shown(head) {
                    None if head.header("Authorization").is_none() => Who::Anyone,
                    shown => Who::known(bearer, shown),
                };
                (who, wish)
            }
            "POST" => {
                let mut form = Vec::new();
                body.take(MOST_FORM_BYTES).read_to_end(&mut form).map_err(Refusal::Broken)?;
                let parameters = form_urlencoded::parse(&form);
                let wish = Wish::read(
                    parameters.map(|(key, value)| (key.into_owned(), value.into_owned())),
                );
                if wish.of("client_id").is_none() {
                    return Err(invalid("the parameter client_id is missing"));
                }
                (wish.who(bearer)?, wish)
            }
            method => return Err(Refusal::method_not_allowed(method)),
        };
        if wish.of("service") != Some(Bearer::SERVICE) {
            return Err(invalid("the service is not known here"));
        }
        let may = match who {
            Who::Anyone if bearer.anonymous_pull => &["pull"][..],
            Who::Anyone => &[],
            Who::Stranger => {
                let message = "incorrect user name or password";
                return Err(Refusal::new(401, "UNAUTHORIZED", message));
            }
            Who::User if bearer.only_pull => &["pull"],
            Who::User => &["delete", "pull", "push"],
        };
        let granted = wish.scopes(may)?;
        Ok(Response::json(200, self.issue(granted, bearer, &wish, who)))
    }

    fn issue(&self, granted: Vec<Access>, bearer: &Bearer, wish: &Wish, who: Who) -> Value {
        let mut issued = lock(&self.0);
        issued.count += 1;
        let token = format!("token-{}", issued.count);
        issued.valid.insert(token.clone(), Token { granted, requests_left: bearer.requests });
        // Both names are in use; clients have to know either.
        let mut answer = json!({ "token": token, "access_token": token, "expires_in": 300 });
        let lasting = wish.of("offline_token") == Some("true")
            || wish.of("access_type") == Some("offline")
            || wish.of("grant_type") == Some("refresh_token");
        if lasting && who == Who::User {
            answer["refresh_token"] = json!(Bearer::IDENTITY_TOKEN);
        }
        answer
    }
}

/// Is who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Does not say.
    Anyone,
    /// Says something wrong.
    Stranger,
    /// Is the user.
    User,
}

impl Who {
    fn known(bearer: &Bearer, shown: Option<Credentials>) -> Self {
        if shown.as_ref() == Some(&bearer.credentials) { Self::User } else { Self::Stranger }
    }
}

/// Is what is asked for: parameters of a query or a form.
struct Wish(Vec<(String, String)>);

impl Wish {
    fn read(parameters: impl Iterator<Item = (String, String)>) -> Self {
        Self(parameters.collect())
    }

    fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    fn who(&self, bearer: &Bearer) -> Result<Who, Refusal> {
        match self.of("grant_type") {
            Some("password") => {
                let (user, password) = (self.of("username"), self.of("password"));
                let shown = user.zip(password);
                Ok(Who::known(
                    bearer,
                    shown.map(|(user, password)| Credentials::new(user, password)),
                ))
            }
            Some("refresh_token") if self.of("refresh_token") == Some(Bearer::IDENTITY_TOKEN) => {
                Ok(Who::User)
            }
            Some("refresh_token") => Ok(Who::Stranger),
            _ => Err(invalid("the grant type is not known here")),
        }
    }

    /// Reads `repository:NAME:ACTION,…`, several in one parameter or each in its own, and leaves
    /// only what is allowed.
    fn scopes(&self, allowed: &[&'static str]) -> Result<Vec<Access>, Refusal> {
        let scopes = self.0.iter().filter(|(key, _)| key == "scope");
        let scopes = scopes.flat_map(|(_, value)| value.split(' ')).filter(|it| !it.is_empty());
        scopes
            .map(|scope| {
                let access = scope.strip_prefix("repository:").and_then(|it| it.rsplit_once(':'));
                let (repository, actions) = access.ok_or_else(|| invalid("no scope"))?;
                let wanted: Vec<&str> = actions.split(',').collect();
                let actions = allowed.iter().copied().filter(|it| wanted.contains(it)).collect();
                Ok(Access { repository: repository.to_owned(), actions })
            })
            .collect()
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(400, "UNSUPPORTED", message)
}

const MOST_FORM_BYTES: u64 = 64 << 10;
