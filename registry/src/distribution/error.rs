//! What can go wrong between us and a registry.

use std::fmt;
use std::time::Duration;

use libverity::digest::Digest;

use super::answer::Words;
use super::challenge::ChallengeError;
use crate::error::ErrorKind;

/// Says why a registry did not do what it was asked for.
///
/// URLs are shown without their query, in which registries hand out short-lived rights. The
/// registry's own words are part of the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry asks for something that cannot be given.
    #[error("{registry} cannot be logged in to: {source}")]
    Challenge {
        /// The host of the registry.
        registry: String,
        /// What is wrong with the challenge.
        source: ChallengeError,
    },
    /// There is no connection to the registry.
    #[error("cannot reach {host}: {}", Cause(cause))]
    Connect {
        /// The host, with its port.
        host: String,
        /// Why there is none.
        failure: ConnectFailure,
        /// The error as the HTTP client has it.
        cause: reqwest::Error,
    },
    /// Others keep overwriting the list of referrers.
    #[error(
        "the list of referrers of {subject} in {repository} is being overwritten by others: after \
         {attempts} attempts it still lacks {missing}"
    )]
    Contended {
        /// The repository.
        repository: String,
        /// The manifest whose referrers are listed.
        subject: Digest,
        /// A manifest that is not listed.
        missing: Digest,
        /// How often the list was written.
        attempts: u32,
    },
    /// The credentials for the registry cannot be had.
    #[error(transparent)]
    Credentials(#[from] crate::credentials::CredentialError),
    /// The registry says no to whoever asks.
    #[error("{registry} denies {what}{words}; credentials: {credentials}")]
    Denied {
        /// The host of the registry.
        registry: String,
        /// What was to be done.
        what: String,
        /// Where the credentials come from.
        credentials: String,
        /// What the registry says.
        words: Words,
    },
    /// There are more pages or entries in a list than are read.
    #[error("{url} lists more than {limit} {what}")]
    Endless {
        /// The first page.
        url: String,
        /// How many are read.
        limit: usize,
        /// What is listed.
        what: &'static str,
    },
    /// The registry's answer makes no sense.
    #[error("{url} answers nonsense: {what}")]
    Nonsense {
        /// The URL that was asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The tag for the list of referrers leads to something else.
    #[error(
        "the tag {tag} in {repository} should list the referrers of the manifest with that digest, \
         and leads to {found}"
    )]
    NotReferrers {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
        /// What it leads to.
        found: String,
    },
    /// The repository does not exist, or does not exist for whoever asks.
    #[error("{registry} knows no repository {repository}{words}")]
    NoSuchRepository {
        /// The host of the registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What the registry says.
        words: Words,
    },
    /// The registry answers to a write with a redirect, which may lead anywhere.
    #[error("{url} redirects a write to {location}, which is not followed")]
    Redirected {
        /// The URL that was written to.
        url: String,
        /// Where it would lead.
        location: String,
    },
    /// Reads are redirected too often, or to where they must not go.
    #[error("{url} redirects to {location}: {reason}")]
    RedirectRefused {
        /// The URL that was asked.
        url: String,
        /// Where it leads.
        location: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// The registry does not let a tag be written by which referrers are listed.
    #[error(
        "{repository} does not take the tag {tag}, by which signatures are found where a registry \
         has no referrers API: status {status}{words}"
    )]
    ReferrersTag {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
        /// The status of the answer.
        status: u16,
        /// What the registry says.
        words: Words,
    },
    /// The registry lists no referrers, and nothing else was to be tried.
    #[error("{registry} has no referrers API")]
    NoReferrersApi {
        /// The host of the registry.
        registry: String,
    },
    /// The runtime for the network could not be started.
    #[error("cannot start the threads for the network: {source}")]
    Runtime {
        /// Why not.
        source: std::io::Error,
    },
    /// The registry refuses or fails.
    #[error("{method} {url}: status {status}{words}")]
    Status {
        /// The method of the request.
        method: &'static str,
        /// The URL that was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// What the registry says.
        words: Words,
    },
    /// Nothing has moved for too long.
    #[error("{method} {url}: nothing has moved for {} seconds", waited.as_secs())]
    Standstill {
        /// The method of the request.
        method: &'static str,
        /// The URL.
        url: String,
        /// How long.
        waited: Duration,
    },
    /// The registry asks to come back later than we wait.
    #[error("{registry} asks to slow down{}{words}", retry_after(*asked))]
    TooManyRequests {
        /// The host of the registry.
        registry: String,
        /// How long it asks to wait.
        asked: Option<Duration>,
        /// What the registry says.
        words: Words,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A request or an answer was cut off.
    #[error("{method} {url} was cut off: {}", Cause(cause))]
    Transfer {
        /// The method of the request.
        method: &'static str,
        /// The URL that was asked.
        url: String,
        /// The error as the HTTP client has it.
        cause: reqwest::Error,
    },
    /// The registry does not believe that we are who we say.
    #[error("{registry} wants other credentials for {what}{words}; credentials: {credentials}")]
    Unauthorized {
        /// The host of the registry or of its token server.
        registry: String,
        /// What was to be done.
        what: String,
        /// Where the credentials come from.
        credentials: String,
        /// What the registry says.
        words: Words,
    },
}

/// Tells the reasons apart for which there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The certificate is not trusted, or not for this host.
    Certificate,
    /// Nothing listens there.
    Refused,
    /// It takes too long.
    Timeout,
    /// What answers does not speak TLS.
    Tls,
    /// There is no such host.
    UnknownHost,
    /// Anything else.
    Other,
}

impl RegistryError {
    /// Returns what kind of situation this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials(_) | Self::Tls(_) => ErrorKind::Usage,
            Self::Runtime { .. } => ErrorKind::Io,
            _ => ErrorKind::Registry,
        }
    }

    /// Returns how long the registry asks to wait before the next attempt, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { asked, .. } => *asked,
            _ => None,
        }
    }

    /// Tells whether the request failed on its way and may get through at once.
    pub(super) fn is_worth_another_attempt(&self) -> bool {
        match self {
            // A host that does not exist, a port that nobody listens on and a certificate that is
            // not trusted stay so for longer than anyone would wait.
            Self::Connect { failure, .. } => {
                matches!(failure, ConnectFailure::Other | ConnectFailure::Timeout)
            }
            Self::Standstill { .. } | Self::Transfer { .. } => true,
            _ => false,
        }
    }

    /// Tells whether the same request may succeed at another time, without anything being changed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { failure, .. } => *failure != ConnectFailure::Certificate,
            Self::Contended { .. }
            | Self::Standstill { .. }
            | Self::TooManyRequests { .. }
            | Self::Transfer { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
            _ => false,
        }
    }
}

/// Writes the last cause of an error: the others say at length that a request failed.
struct Cause<'a>(&'a reqwest::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause: &dyn std::error::Error = self.0;
        if self.0.is_timeout() && self.0.is_connect() {
            return formatter.write_str("it takes too long");
        }
        while let Some(next) = cause.source() {
            cause = next;
        }
        fmt::Display::fmt(cause, formatter)
    }
}

fn retry_after(asked: Option<Duration>) -> String {
    match asked {
        Some(asked) => format!(" and to come back in {} seconds", asked.as_secs()),
        None => String::new(),
    }
}
