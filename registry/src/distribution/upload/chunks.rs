//! Uploads in chunks, one after another.

use std::io::Read;
use std::sync::Arc;

use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use super::super::answer::Answer;
use super::super::client::Client;
use super::super::error::RegistryError;
use super::{Failed, Session, body, location};
use crate::blob::BlobReader;

/// Sends `blob`, which has `size_bytes`, to an open upload, which is not closed.
///
/// Source: OCI distribution specification, "Pushing a blob in chunks".
pub(super) fn send(
    client: &Arc<Client>,
    blob: &mut BlobReader<&mut dyn Read>,
    size_bytes: u64,
    session: &mut Session,
    object: &str,
) -> Result<(), Failed> {
    let chunk_bytes = CHUNK_BYTES.max(session.min_chunk_bytes);
    let mut sent_bytes = 0;
    while sent_bytes < size_bytes {
        let length_bytes = chunk_bytes.min(size_bytes - sent_bytes);
        let mut request = reqwest::Request::new(Method::PATCH, session.url.clone());
        let range = format!("{sent_bytes}-{}", sent_bytes + length_bytes - 1);
        if let Ok(range) = HeaderValue::try_from(range) {
            request.headers_mut().insert(CONTENT_RANGE, range);
        }
        let answer = match body::send(client, request, blob, length_bytes, object) {
            // It has another chunk last than we: that is mended by starting again.
            Err(Failed::TooLong(error)) if is_of_range(&error) => {
                return Err(Failed::Passing(error, None));
            }
            answer => answer?,
        };
        sent_bytes += length_bytes;
        check_range(&answer, sent_bytes)?;
        session.url = location(&answer).map_err(|error| Failed::Refused(error.into()))?;
    }
    Ok(())
}

fn is_of_range(error: &RegistryError) -> bool {
    let out_of_range = StatusCode::RANGE_NOT_SATISFIABLE.as_u16();
    matches!(error, RegistryError::Status { status, .. } if *status == out_of_range)
}

/// Fails if the registry says that it has less than it was sent, or more.
fn check_range(answer: &Answer, sent_bytes: u64) -> Result<(), Failed> {
    let range = answer.header(RANGE).and_then(|range| range.rsplit(['-', '=']).next());
    match range.and_then(|last| last.parse::<u64>().ok()) {
        Some(last) if last.saturating_add(1) != sent_bytes => {
            let what = format!("it has {} bytes of {sent_bytes}", last.saturating_add(1));
            Err(Failed::Passing(answer.nonsense(what).into(), None))
        }
        _ => Ok(()),
    }
}

/// How long chunks are where the registry does not ask for longer ones: GitHub's takes no more.
const CHUNK_BYTES: u64 = 4 << 20;
