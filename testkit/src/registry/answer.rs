//! Answers that a test writes itself.

use std::io::{self, Read as _};
use std::time::SystemTime;

use serde_json::Value;

use super::Registry;
use super::http::Head;
use super::response::Response;

/// Is an answer that a registry is to give instead of its own.
///
/// In values of headers, `{count}` stands for how often the answer has been given before, and
/// `{target}` for the path and the query of the request.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Bytes(Vec<u8>),
    Repeated { byte: u8, length_bytes: u64 },
}

impl Answer {
    /// Has this status, no headers and an empty body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(Vec::new()) }
    }

    /// Has one error in the form of the distribution specification.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::status(status).json(&body)
    }

    /// Sends the client elsewhere.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// Sends the client with the same path and query to another registry.
    pub fn redirect_to(status: u16, other: &Registry) -> Self {
        Self::redirect(status, &format!("{}{{target}}", other.url()))
    }

    /// Adds a header; there may be several of one name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Retry-After` with seconds.
    pub fn retry_after_seconds(self, seconds: u64) -> Self {
        self.header("Retry-After", &seconds.to_string())
    }

    /// Adds `Retry-After` with a date.
    pub fn retry_after_date(self, date: SystemTime) -> Self {
        self.header("Retry-After", &httpdate::fmt_http_date(date))
    }

    /// Has this body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// Has this body, as JSON.
    pub fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// Has a body of one byte over and over, which is made while it is sent.
    pub fn repeat(mut self, byte: u8, length_bytes: u64) -> Self {
        self.body = Body::Repeated { byte, length_bytes };
        self
    }

    /// Makes what is sent, when it has been given `count` times before.
    pub(super) fn response(&self, head: &Head, count: u64) -> Response {
        let mut response = Response::new(self.status);
        for (name, value) in &self.headers {
            response.headers.push((name.clone(), filled_in(value, head, count)));
        }
        match &self.body {
            Body::Bytes(bytes) => response.body(bytes.clone()),
            Body::Repeated { byte, length_bytes } => {
                response.stream(io::repeat(*byte).take(*length_bytes), *length_bytes)
            }
        }
    }
}

/// Writes a header's value for one request.
pub(super) fn filled_in(value: &str, head: &Head, count: u64) -> String {
    value.replace("{count}", &count.to_string()).replace("{target}", &head.target())
}
