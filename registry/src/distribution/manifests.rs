//! Manifests of a repository: read whole and bounded, written by digest or by tag.

use bytes::Bytes;
use libverity::digest::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::time::sleep;

use super::answer::Answer;
use super::authorization::Access;
use super::client::{Client, Request};
use super::error::RegistryError;
use crate::error::Error;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::media_type::MediaType;

/// Reads the manifest that `reference` leads to, a tag or a digest, or returns `None` if there is
/// none.
///
/// # Errors
///
/// Returns [`Error::TooLong`] beyond [`MAX_MANIFEST_BYTES`], [`Error::Manifest`] for what is none,
/// and [`Error::DigestDiffers`] if the registry says itself that it has sent something else.
pub(super) async fn read(client: &Client, reference: &str) -> Result<Option<Manifest>, Error> {
    let url = client.url(&format!("manifests/{reference}")).await?;
    let mut request = Request::new(Method::GET, url, Access::Pull);
    for media_type in ACCEPTED {
        let accepted = HeaderValue::from_str(media_type.as_str());
        request = request.header(ACCEPT, accepted.map_err(|_| nonsense(reference))?);
    }
    let mut answer = client.send(&request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            let words = answer.words().await;
            if words.has_code(NAME_UNKNOWN) {
                return Err(client.no_such_repository(words).into());
            }
            return Ok(None);
        }
        _ => return Err(answer.into_status_error().await.into()),
    }
    let object = format!("manifest {reference} in {}", client.place_name());
    let Some(bytes) = answer.body(MAX_MANIFEST_BYTES).await? else {
        return Err(Error::TooLong {
            object,
            limit_bytes: MAX_MANIFEST_BYTES,
            found_bytes: answer.content_length().unwrap_or(MAX_MANIFEST_BYTES + 1),
        });
    };
    check_length(&answer, &bytes, &object)?;
    check_digest(&answer, &Digest::of(&bytes), &object)?;
    let media_type = answer.header(CONTENT_TYPE).map(essence).filter(|text| text.contains("vnd."));
    let manifest = Manifest::parse(media_type.map(MediaType::new).as_ref(), bytes)
        .map_err(|source| Error::Manifest { object, source })?;
    Ok(Some(manifest))
}

/// Tells whether there is a manifest at `reference`, a tag or a digest, that has the digest
/// `expected`.
pub(super) async fn is_at(
    client: &Client,
    reference: &str,
    expected: &Digest,
) -> Result<bool, Error> {
    let url = client.url(&format!("manifests/{reference}")).await?;
    let mut request = Request::new(Method::HEAD, url, Access::Pull);
    for media_type in ACCEPTED {
        let accepted = HeaderValue::from_str(media_type.as_str());
        request = request.header(ACCEPT, accepted.map_err(|_| nonsense(reference))?);
    }
    let answer = client.send(&request).await?;
    match answer.status() {
        StatusCode::OK => Ok(match answer.header(CONTENT_DIGEST) {
            Some(found) => found == expected.to_string(),
            None => reference == expected.to_string(),
        }),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(answer.into_status_error().await.into()),
    }
}

/// Is what a registry has said when it stored a manifest.
pub(super) struct Stored {
    /// The subject that the registry has understood the manifest to be attached to.
    pub(super) subject: Option<String>,
}

/// Stores a manifest at `reference`, a tag or its digest.
///
/// A registry that misses what the manifest refers to is asked again: while somebody else stores
/// the same blobs, distribution 2.8 shows them and does not find them.
pub(super) async fn write(
    client: &Client,
    reference: &str,
    manifest: &Manifest,
) -> Result<Stored, Error> {
    let mut attempt = 1;
    loop {
        let refusal = match write_once(client, reference, manifest).await {
            Err(Error::Registry(error)) if is_of_children(&error) => error,
            outcome => return outcome,
        };
        match client.patience().pause(attempt, None) {
            Some(pause) if attempt < MAX_ATTEMPTS => sleep(pause).await,
            _ => return Err(Error::Registry(refusal)),
        }
        attempt += 1;
    }
}

async fn write_once(
    client: &Client,
    reference: &str,
    manifest: &Manifest,
) -> Result<Stored, Error> {
    let url = client.url(&format!("manifests/{reference}")).await?;
    let media_type = HeaderValue::from_str(manifest.descriptor().media_type.as_str())
        .map_err(|_| nonsense(reference))?;
    let mut request = Request::new(Method::PUT, url, Access::Push).header(CONTENT_TYPE, media_type);
    request.body = Some(Bytes::copy_from_slice(manifest.bytes()));
    let mut answer = client.send(&request).await?;
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND => {
            let words = answer.words().await;
            return Err(client.no_such_repository(words).into());
        }
        _ => return Err(answer.into_status_error().await.into()),
    }
    let object = format!("manifest {reference} as stored in {}", client.place_name());
    check_digest(&answer, &manifest.digest(), &object)?;
    Ok(Stored { subject: answer.header(SUBJECT).map(str::to_owned) })
}

/// Tells whether a manifest was refused for what it refers to. Its own digest cannot be wrong.
fn is_of_children(refusal: &RegistryError) -> bool {
    match refusal {
        RegistryError::NoSuchRepository { words, .. } | RegistryError::Status { words, .. } => {
            CHILD_CODES.iter().any(|code| words.has_code(code))
        }
        _ => false,
    }
}

fn check_length(answer: &Answer, bytes: &[u8], object: &str) -> Result<(), Error> {
    match answer.content_length() {
        Some(expected_bytes) if expected_bytes != bytes.len() as u64 => Err(Error::SizeDiffers {
            object: object.to_owned(),
            expected_bytes,
            found_bytes: bytes.len() as u64,
        }),
        _ => Ok(()),
    }
}

/// Compares with the digest that the registry gives, if it gives one by the same algorithm.
fn check_digest(answer: &Answer, found: &Digest, object: &str) -> Result<(), Error> {
    let Some(expected) = answer.header(CONTENT_DIGEST).and_then(|text| text.parse().ok()) else {
        return Ok(());
    };
    match expected == *found {
        true => Ok(()),
        false => Err(Error::DigestDiffers { object: object.to_owned(), expected, found: *found }),
    }
}

/// Returns a media type without its parameters.
fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

fn nonsense(reference: &str) -> RegistryError {
    RegistryError::Nonsense {
        url: format!("manifest {reference}"),
        what: "its media type fits in no header".to_owned(),
    }
}

const ACCEPTED: [MediaType; 4] = [
    MediaType::OCI_INDEX,
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_INDEX,
    MediaType::DOCKER_MANIFEST,
];

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// By this header a registry says that it lists a manifest as a referrer of its subject.
///
/// Source: OCI distribution specification, "Pushing Manifests with Subject".
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

const NAME_UNKNOWN: &str = "NAME_UNKNOWN";

/// The codes by which registries refuse a manifest for what it refers to.
///
/// Source: OCI distribution specification, "Error Codes".
const CHILD_CODES: [&str; 4] =
    ["BLOB_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];

/// How often such a manifest is sent: with the pauses between, for more than half a second.
const MAX_ATTEMPTS: u32 = 3;
