//! Answers.

use std::fmt;
use std::io::{self, Read};
use std::mem;

use serde_json::json;

/// Is an answer that has not been sent yet.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Box<dyn Read + Send>,
    /// How many bytes `body` has.
    pub(super) length: u64,
    pub(super) framing: Framing,
    pub(super) ending: Ending,
}

/// Is how a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Chunk by chunk.
    Chunks,
    /// By the end of the connection.
    Close,
    /// By `Content-Length` with the body's true length, or as the headers have it.
    Length,
}

/// Is how far an answer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection is cut after so many bytes of the body.
    Cut { after: u64 },
    /// The connection is cut before anything is sent.
    NoAnswer,
    /// Nothing more is sent after so many bytes of the body.
    Stall { after: u64 },
    /// All is sent.
    Whole,
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
            ending: Ending::Whole,
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

    /// Returns the first header of this name.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    pub(super) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }
}

/// What faults do to bodies.
impl Response {
    /// Sends so many bytes more than the headers announce.
    pub(super) fn append(&mut self, bytes: u64) {
        if self.named("Content-Length").is_none() {
            self.headers.push(("Content-Length".to_owned(), self.length.to_string()));
        }
        let body = mem::replace(&mut self.body, Box::new(io::empty()));
        self.body = Box::new(body.chain(io::repeat(b'+').take(bytes)));
        self.length += bytes;
    }

    pub(super) fn flip_bit_at(&mut self, offset: u64) {
        let body = mem::replace(&mut self.body, Box::new(io::empty()));
        self.body = Box::new(Flipped { body, left: Some(offset) });
    }

    /// Tells whether the end of the body is where the headers say.
    pub(super) fn is_framed(&self) -> bool {
        match self.framing {
            Framing::Chunks => true,
            Framing::Close => false,
            Framing::Length => {
                let announced = self.named("Content-Length");
                announced.is_none_or(|length| length == self.length.to_string())
            }
        }
    }
}

/// Is a body with one wrong bit.
struct Flipped {
    body: Box<dyn Read + Send>,
    /// How many right bytes come before the wrong one, if that is still to come.
    left: Option<u64>,
}

impl Read for Flipped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        if let Some(left) = self.left {
            match usize::try_from(left).ok().and_then(|left| buffer[..read].get_mut(left)) {
                Some(byte) => {
                    *byte ^= 1;
                    self.left = None;
                }
                None => self.left = Some(left - read as u64),
            }
        }
        Ok(read)
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
