//! Answers.

use std::fmt;
use std::io::{self, Read};

use serde_json::json;

/// Is an answer that has not been sent yet.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Box<dyn Read + Send>,
    /// How many bytes `body` has.
    pub(super) length: u64,
    pub(super) framing: Framing,
}

/// Is how a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By `Content-Length` with the body's true length, or as the headers have it.
    Length,
}

impl Response {
    /// Has no body.
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Box::new(io::empty()),
            length: 0,
            framing: Framing::Length,
        }
    }

    pub(super) fn json(status: u16, text: impl ToString) -> Self {
        Self::new(status)
            .header("Content-Type", "application/json")
            .body(text.to_string().into_bytes())
    }

    /// Has the form of errors in the distribution specification.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, json!({ "errors": [{ "code": code, "message": message }] }))
    }

    pub(super) fn body(self, bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        self.stream(io::Cursor::new(bytes), length)
    }

    pub(super) fn stream(mut self, body: impl Read + Send + 'static, length: u64) -> Self {
        self.body = Box::new(body);
        self.length = length;
        self
    }

    /// Adds a header, instead of any that has the same name.
    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
