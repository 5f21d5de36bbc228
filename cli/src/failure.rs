//! How commands fail: what was wrong, with which object, and what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use crate::exit_status::ExitStatus;

/// Is the end of a command that did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    status: ExitStatus,
    error: anyhow::Error,
    hints: Vec<String>,
}

impl Failure {
    /// Fails with a message of the command's own.
    pub(crate) fn new(status: ExitStatus, message: impl fmt::Display) -> Self {
        Self { status, error: anyhow::anyhow!("{message}"), hints: Vec::new() }
    }

    /// Fails with a library's error.
    pub(crate) fn from_error(
        status: ExitStatus,
        error: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self { status, error: error.into(), hints: Vec::new() }
    }

    /// Fails because the file at `path` could not be read.
    pub(crate) fn reading(path: &Path, error: io::Error) -> Self {
        Self::file("read", path, error)
    }

    /// Fails because the file at `path` could not be written.
    pub(crate) fn writing(path: &Path, error: io::Error) -> Self {
        Self::file("write", path, error)
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.error = self.error.context(context.to_string());
        self
    }

    /// Adds a sentence that says what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn status(&self) -> ExitStatus {
        self.status
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Tells whether the reader of standard output went away, which is no failure.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Failure {
    fn file(action: &str, path: &Path, error: io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::NotFound => ExitStatus::NotFound,
            _ => ExitStatus::Failure,
        };
        Self::from_error(status, error).context(format!("cannot {action} {}", path.display()))
    }
}

impl fmt::Display for Failure {
    /// Writes the whole chain of causes on one line; some libraries repeat a cause in their own
    /// message, and then it is not written again.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for cause in self.error.chain() {
            let text = cause.to_string();
            if line.is_empty() {
                line = text;
            } else if !line.ends_with(&text) && !line.ends_with(&format!("{text})")) {
                line = format!("{line}: {text}");
            }
        }
        formatter.write_str(&line)
    }
}
