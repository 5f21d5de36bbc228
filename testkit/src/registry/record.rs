//! The requests that a registry has got.

use std::sync::Mutex;

use super::http::Head;
use super::lock;

/// Is a request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The port at which it arrived: the registry's or the token server's.
    pub port: u16,
    /// The method, in capitals.
    pub method: String,
    /// The path, percent-decoded.
    pub path: String,
    /// What stands behind the question mark, as it arrived.
    pub query: String,
    /// The headers in their order.
    pub headers: Vec<(String, String)>,
    /// How many bytes of the body were read before the answer; 0 while it is being worked on.
    pub received_bytes: u64,
    /// The status of the answer, once it is known.
    pub status: Option<u16>,
}

impl Request {
    /// Returns the first header of this name in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    /// Returns the first parameter of this name in the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }
}

/// Holds all requests.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    requests: Vec<Request>,
    /// How many were there before these.
    forgotten: usize,
}

impl Records {
    /// Adds a request and returns its number.
    pub(super) fn add(&self, head: &Head) -> usize {
        let mut kept = lock(&self.0);
        kept.requests.push(Request {
            port: head.port,
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            headers: head.headers.clone(),
            received_bytes: 0,
            status: None,
        });
        kept.forgotten + kept.requests.len() - 1
    }

    /// Adds to the request `number` what is known of it only now.
    pub(super) fn finish(&self, number: usize, received_bytes: u64, status: Option<u16>) {
        let mut kept = lock(&self.0);
        let index = number.checked_sub(kept.forgotten);
        if let Some(request) = index.and_then(|index| kept.requests.get_mut(index)) {
            request.received_bytes = received_bytes;
            request.status = status;
        }
    }

    pub(super) fn all(&self) -> Vec<Request> {
        lock(&self.0).requests.clone()
    }

    pub(super) fn clear(&self) {
        let mut kept = lock(&self.0);
        kept.forgotten += kept.requests.len();
        kept.requests.clear();
    }
}
