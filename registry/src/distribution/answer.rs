//! Answers of a registry: their headers, bounded bodies, and the words in which it refuses.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::error::RegistryError;

/// Is an answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Answer {
    method: &'static str,
    url: String,
    response: Response,
    standstill: Duration,
}

impl Answer {
    pub(super) fn new(method: &Method, response: Response, standstill: Duration) -> Self {
        let url = shown_url(response.url());
        Self { method: shown_method(method), url, response, standstill }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the URL without query, for messages.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL that was asked, for what is relative to it.
    pub(super) fn full_url(&self) -> &Url {
        self.response.url()
    }

    /// Returns the host that has answered.
    pub(super) fn host(&self) -> &str {
        let url = self.response.url();
        &url[url::Position::BeforeHost..url::Position::AfterPort]
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns a header as text; one that is no text counts as absent.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers().get(name.into()).and_then(|value| value.to_str().ok())
    }

    /// Returns the announced length of the body in bytes.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH).and_then(|text| text.parse().ok())
    }

    /// Returns how long the registry asks to wait: in seconds, or until a date.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER)?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Returns the next piece of the body, or `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match timeout(self.standstill, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(cause)) => Err(RegistryError::Transfer {
                method: self.method,
                url: self.url.clone(),
                cause: cause.without_url(),
            }),
            Err(_) => Err(RegistryError::Standstill {
                method: self.method,
                url: self.url.clone(),
                waited: self.standstill,
            }),
        }
    }

    /// Reads the body, or returns `None` if it has more than `limit_bytes`; what goes beyond is
    /// not read.
    pub(super) async fn body(
        &mut self,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        if self.content_length().is_some_and(|announced| announced > limit_bytes) {
            return Ok(None);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body.into()))
    }

    /// Reads what the registry has to say about its refusal.
    pub(super) async fn words(&mut self) -> Words {
        // A refusal whose words cannot be read is a refusal all the same.
        match self.body(MAX_WORDS_BYTES).await {
            Ok(Some(body)) => Words::parse(&body),
            _ => Words::default(),
        }
    }

    /// Turns an answer that is likely to be another one later into the error that it is now.
    pub(super) async fn into_refusal(mut self) -> RegistryError {
        if self.status() != StatusCode::TOO_MANY_REQUESTS {
            return self.into_status_error().await;
        }
        RegistryError::TooManyRequests {
            registry: self.host().to_owned(),
            asked: self.retry_after(),
            words: self.words().await,
        }
    }

    /// Turns the answer into the error that its status is.
    pub(super) async fn into_status_error(mut self) -> RegistryError {
        RegistryError::Status {
            method: self.method,
            words: self.words().await,
            status: self.status().as_u16(),
            url: self.url,
        }
    }

    /// Returns where a redirect leads.
    pub(super) fn location(&self) -> Result<Url, RegistryError> {
        let location =
            self.header(LOCATION).ok_or_else(|| self.nonsense("a redirect without a location"))?;
        match self.full_url().join(location) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            _ => Err(self.nonsense("a redirect to what is no web address")),
        }
    }

    /// Turns the redirect of a write into the error that it is.
    pub(super) fn into_redirected(self) -> RegistryError {
        match self.location() {
            Ok(location) => {
                RegistryError::Redirected { location: shown_url(&location), url: self.url }
            }
            Err(error) => error,
        }
    }

    /// Says that the answer makes no sense.
    pub(super) fn nonsense(&self, what: impl Into<String>) -> RegistryError {
        RegistryError::Nonsense { url: self.url.clone(), what: what.into() }
    }
}

/// Is what a registry says about an error, in its own words.
///
/// Source: OCI distribution specification, "Error Codes".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The code of the first error, such as `NAME_UNKNOWN`.
    code: Option<String>,
    /// All errors on one line.
    text: String,
}

impl Words {
    /// Reads the errors from the body of an answer. A body in another format is quoted if it is
    /// text, and passed over if it is a web page.
    pub fn parse(body: &[u8]) -> Self {
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
            let code = envelope.errors.first().map(|error| printable(&error.code));
            let errors: Vec<String> = envelope
                .errors
                .iter()
                .take(MAX_ERRORS)
                .map(|error| match error.message.as_deref().unwrap_or_default() {
                    "" => error.code.clone(),
                    message => format!("{}: {message}", error.code),
                })
                .collect();
            return Self { code, text: printable(&errors.join("; ")) };
        }
        match std::str::from_utf8(body) {
            Ok(text) if !text.trim_start().starts_with('<') => {
                Self { code: None, text: printable(text) }
            }
            _ => Self::default(),
        }
    }

    /// Tells whether the first error has that code.
    pub fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for Words {
    /// Writes the words so that they end a sentence about a refusal; nothing if there are none.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(formatter, " ({text})"),
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<ErrorDocument>,
}

#[derive(Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    code: String,
    message: Option<String>,
}

/// Returns a URL without what may be secret in it: user, password, query and fragment.
pub(super) fn shown_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail for URLs that can have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Makes foreign text fit for a line of a terminal: no control characters, and not too much of it.
pub(super) fn printable(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|character| !character.is_control()));
        if line.chars().count() > MAX_SHOWN_CHARACTERS {
            let mut cut: String = line.chars().take(MAX_SHOWN_CHARACTERS).collect();
            cut.push('…');
            return cut;
        }
    }
    line
}

pub(super) fn shown_method(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "GET",
    }
}

/// The most that is read of a refusal.
const MAX_WORDS_BYTES: u64 = 64 << 10;
const MAX_ERRORS: usize = 3;
const MAX_SHOWN_CHARACTERS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_quoted_on_one_line() {
        let words = |body: &str| Words::parse(body.as_bytes()).to_string();
        assert_eq!(
            words(
                r#"{"errors":[{"code":"DENIED","message":"not\n you","detail":{}},{"code":"X"}]}"#
            ),
            " (DENIED: not you; X)"
        );
        assert_eq!(words("404 page not found\n"), " (404 page not found)");
        assert_eq!(words("<html><body>Sorry</body></html>"), "");
        assert_eq!(words("\u{1b}[31mred\u{7}"), " ([31mred)");
        assert_eq!(words(""), "");
        assert_eq!(Words::parse(&[0xff, 0xfe]), Words::default());
        assert_eq!(words(&"a ".repeat(10_000)).chars().count(), 300 + 1 + 3);
        assert!(Words::parse(br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#).has_code("NAME_UNKNOWN"));
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let url = "https://user:secret@r.example/v2/a?token=secret#secret".parse().unwrap();
        assert_eq!(shown_url(&url), "https://r.example/v2/a");
    }
}
