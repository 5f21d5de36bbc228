//! Why a trust configuration cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use libverity::certificate::{CertificateError, SignatureListError};

/// Says why a trust configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file holds no certificate.
    #[error("{}: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A trust store holds no certificate.
    #[error("the trust store {store:?} holds no certificate")]
    EmptyStore {
        /// The name of the store.
        store: String,
    },
    /// The file is not what its format demands.
    #[error("{}{position}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: Position,
        /// What is wrong.
        problem: String,
    },
    /// The file is no text.
    #[error("{} is not text in UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that should be a firmware's `dbx` is none.
    #[error("{}: {source}", path.display())]
    SignatureList {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SignatureListError,
    },
    /// A file is too long.
    #[error("{} is longer than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// A trust store is too large.
    #[error("the trust store {store:?} holds more than {limit} certificates")]
    TooMany {
        /// The name of the store.
        store: String,
        /// The most that it may hold.
        limit: usize,
    },
    /// The file is of a later version than this program knows.
    #[error("{} has the version {found}, and {known} is known here", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: String,
        /// The version that is known.
        known: &'static str,
    },
}

/// Is a place in a text, both numbers counted from 1; `None` where only the file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub Option<(usize, usize)>);

impl Position {
    /// Finds the place of a byte.
    pub(super) fn of_byte(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self(Some((line, column)))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(formatter, ", line {line}, column {column}"),
            None => Ok(()),
        }
    }
}

/// Says that a trust configuration does not say whom to trust for an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} trusts nobody for {}",
    path.display(),
    repository.as_deref().unwrap_or("images that lie in no registry")
)]
pub struct NoScope {
    /// The file.
    pub path: PathBuf,
    /// The repository of the image, if it lies in one.
    pub repository: Option<String>,
}
