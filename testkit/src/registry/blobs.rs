//! Blobs (distribution specification 1.1, sections "Pulling blobs" and "Deleting blobs").

use std::io::{Read as _, Seek as _, SeekFrom};

use super::error::Refusal;
use super::http::Head;
use super::response::Response;
use super::route::is_digest;
use super::server::Server;

pub(super) fn answer(
    server: &Server,
    method: &str,
    repository: &str,
    digest: &str,
    head: &Head,
) -> Result<Response, Refusal> {
    if !is_digest(digest) {
        return Err(Refusal::new(400, "DIGEST_INVALID", format!("no digest: {digest:?}")));
    }
    match method {
        "GET" | "HEAD" => pull(server, repository, digest, head),
        "DELETE" if server.store.delete_blob(repository, digest) => Ok(Response::new(202)),
        "DELETE" => Err(unknown(digest)),
        _ => Err(Refusal::method_not_allowed(method)),
    }
}

/// Refuses for want of a blob.
fn unknown(digest: &str) -> Refusal {
    Refusal::new(404, "BLOB_UNKNOWN", format!("blob {digest} is not known"))
}

fn pull(server: &Server, repository: &str, digest: &str, head: &Head) -> Result<Response, Refusal> {
    let opened = server.store.open_blob(repository, digest).ok_or_else(|| unknown(digest))?;
    let (mut file, length) = opened.map_err(|error| Refusal::internal(&error))?;
    let response = |status| {
        Response::new(status)
            .header("Accept-Ranges", "bytes")
            .header("Content-Type", "application/octet-stream")
            .header("Docker-Content-Digest", digest)
    };
    match head.header("Range").and_then(|range| Range::parse(range, length)) {
        None => Ok(response(200).stream(file, length)),
        Some(Range::Unsatisfiable) => {
            let response = Response::error(416, "RANGE_INVALID", "nothing of it is in this range");
            let response = response.header("Content-Range", format!("bytes */{length}"));
            Err(Refusal::Answered(Box::new(response)))
        }
        Some(Range::Part { first, last }) => {
            file.seek(SeekFrom::Start(first)).map_err(|error| Refusal::internal(&error))?;
            let part = last - first + 1;
            Ok(response(206)
                .header("Content-Range", format!("bytes {first}-{last}/{length}"))
                .stream(file.take(part), part))
        }
    }
}

/// Is what a header `Range` asks for (RFC 9110, section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// The bytes from the first to the last, both included.
    Part { first: u64, last: u64 },
    /// None of the bytes that there are.
    Unsatisfiable,
}

impl Range {
    /// Reads a header for a body of `length` bytes. What is not understood is ignored, as are
    /// several ranges at once.
    fn parse(header: &str, length: u64) -> Option<Self> {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        let end = length.checked_sub(1);
        let (first, last) = match (first, last) {
            ("", suffix) => {
                let suffix: u64 = suffix.parse().ok()?;
                (length.saturating_sub(suffix), end.filter(|_| suffix > 0))
            }
            (first, "") => (first.parse().ok()?, end),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if last < first {
                    return None;
                }
                (first, end.map(|end| end.min(last)))
            }
        };
        Some(match last {
            Some(last) if first <= last => Self::Part { first, last },
            _ => Self::Unsatisfiable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges() {
        let part = |first, last| Some(Range::Part { first, last });
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("bytes=2-50", part(2, 9)),
            ("bytes=2-", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=10-", Some(Range::Unsatisfiable)),
            ("bytes=-0", Some(Range::Unsatisfiable)),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(Range::parse(header, 10), expected, "{header}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Some(Range::Unsatisfiable));
    }
}
