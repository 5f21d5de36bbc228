//! What can go wrong while a test prepares its ground.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Is the reason why something that a test needs is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program ended with an error.
    #[error("{program:?} {arguments:?} failed with {status}: {message}")]
    Command {
        /// The program as it was called.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This machine lacks something; a test that needs it is skipped.
    #[error("{0} is missing")]
    Missing(String),
    /// The virtual machine ended, or was ended, before it had reported its results.
    #[error("the virtual machine gave no result within {after:?}; its console ends:\n{console}")]
    NoResult {
        /// How long it ran.
        after: Duration,
        /// The last lines of its console.
        console: String,
    },
    /// Something that another program made is not what was asked for.
    #[error("{object}: {found}")]
    Unexpected {
        /// What was looked at.
        object: String,
        /// What is wrong with it.
        found: String,
    },
}

/// Is the result of a preparation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns what turns an [`io::Error`] about `path` into an [`Error`].
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn unexpected(object: impl ToString, found: impl ToString) -> Self {
        Self::Unexpected { object: object.to_string(), found: found.to_string() }
    }
}

/// Unwraps a preparation, and skips the calling test where something is [missing](Error::Missing).
///
/// # Panics
///
/// Panics on every other error, and where `CI` is `true` on a missing thing as well.
#[track_caller]
pub fn or_skip<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Missing(what)) => {
            crate::skip(&what);
            None
        }
        Err(error) => panic!("{error}"),
    }
}
