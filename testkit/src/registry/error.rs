//! Answers that refuse.

use std::io;

use super::response::Response;

/// Is why a request is not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It gets an answer.
    Answered(Box<Response>),
    /// The connection is of no use any more.
    Broken(io::Error),
}

impl Refusal {
    /// Refuses with a code of the specification.
    pub(super) fn new(status: u16, code: &str, message: impl ToString) -> Self {
        Self::Answered(Box::new(Response::error(status, code, &message.to_string())))
    }

    /// Refuses as servers do that know nothing of registries.
    pub(super) fn plain(status: u16, message: &str) -> Self {
        let response = Response::new(status).header("Content-Type", "text/plain; charset=utf-8");
        Self::Answered(Box::new(response.body(message.as_bytes().to_vec())))
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        Self::new(405, "UNSUPPORTED", format!("{method} is not supported here"))
    }

    pub(super) fn name_unknown(repository: &str) -> Self {
        Self::new(404, "NAME_UNKNOWN", format!("repository {repository} is not known"))
    }

    /// Tells of trouble with the registry's own files.
    pub(super) fn internal(error: &io::Error) -> Self {
        Self::new(500, "UNKNOWN", error)
    }
}
