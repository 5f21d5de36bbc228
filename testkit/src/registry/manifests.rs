//! Manifests and tags (distribution specification 1.1, sections "Pulling manifests", "Pushing
//! Manifests" and "Listing Tags").

use std::io::Read as _;

use serde_json::{Value, json};

use super::error::Refusal;
use super::http::Head;
use super::request_body::RequestBody;
use super::response::Response;
use super::route::{is_digest, is_tag};
use super::server::Server;
use super::store::{Manifest, Repository};
use crate::digest;

pub(super) fn answer(
    server: &Server,
    method: &str,
    repository: &str,
    reference: &str,
    head: &Head,
    body: &mut RequestBody<'_>,
) -> Result<Response, Refusal> {
    if !is_digest(reference) && !is_tag(reference) {
        let code = if reference.contains(':') { "DIGEST_INVALID" } else { "TAG_INVALID" };
        let message = format!("neither a digest nor a tag: {reference:?}");
        return Err(Refusal::new(400, code, message));
    }
    match method {
        "GET" | "HEAD" => {
            let manifest = server.store.manifest(repository, reference);
            let manifest = manifest.ok_or_else(|| unknown(reference))?;
            Ok(Response::new(200)
                .header("Content-Type", &manifest.media_type)
                .header("Docker-Content-Digest", &manifest.digest)
                .body(manifest.contents))
        }
        "PUT" => push(server, repository, reference, head, body),
        "DELETE" if server.store.delete_manifest(repository, reference) => Ok(Response::new(202)),
        "DELETE" => Err(unknown(reference)),
        _ => Err(Refusal::method_not_allowed(method)),
    }
}

/// Answers with the tags behind the parameter `last`, at most `n`.
pub(super) fn tags(server: &Server, repository: &str, head: &Head) -> Result<Response, Refusal> {
    let tags = server.store.tags(repository).ok_or_else(|| Refusal::name_unknown(repository))?;
    let last = head.parameter("last").unwrap_or_default();
    let wanted = match head.parameter("n") {
        None => usize::MAX,
        Some(n) => n.parse().map_err(|_| {
            Refusal::new(400, "PAGINATION_NUMBER_INVALID", format!("no number of entries: {n:?}"))
        })?,
    };
    let size = wanted.min(server.settings.page_size.unwrap_or(usize::MAX));
    let behind: Vec<String> = tags.into_iter().filter(|tag| *tag > last).collect();
    let page = &behind[..size.min(behind.len())];
    let response = Response::json(200, json!({ "name": repository, "tags": page }));
    Ok(match page.last() {
        Some(last) if page.len() < behind.len() => response.header(
            "Link",
            format!("</v2/{repository}/tags/list?n={size}&last={last}>; rel=\"next\""),
        ),
        _ => response,
    })
}

fn push(
    server: &Server,
    repository: &str,
    reference: &str,
    head: &Head,
    body: &mut RequestBody<'_>,
) -> Result<Response, Refusal> {
    let mut contents = Vec::new();
    body.take(MOST_BYTES + 1).read_to_end(&mut contents).map_err(Refusal::Broken)?;
    if contents.len() as u64 > MOST_BYTES {
        let message = format!("a manifest may have {MOST_BYTES} bytes");
        return Err(Refusal::new(413, "SIZE_INVALID", message));
    }
    let media_type = head.header("Content-Type").unwrap_or_default();
    let claims = Claims::read(media_type, &contents)?;
    let digest = digest::sha256(&contents);
    let tag = match is_digest(reference) {
        false => Some(reference),
        true if reference == digest => None,
        true => {
            let message = format!("the manifest is {digest}, not {reference}");
            return Err(Refusal::new(400, "DIGEST_INVALID", message));
        }
    };
    let media_type = media_type.to_owned();
    let manifest = Manifest { digest: digest.clone(), media_type, contents };
    server.store.change(repository, |repository| {
        claims.check(repository)?;
        if let Some(refusal) = &server.settings.immutable_tags
            && tag.and_then(|tag| repository.tags.get(tag)).is_some_and(|old| *old != digest)
        {
            return Err(Refusal::Answered(Box::new(refusal.response(head, 0))));
        }
        repository.insert(tag, manifest);
        Ok(())
    })?;
    let response = Response::new(201)
        .header("Location", format!("/v2/{repository}/manifests/{digest}"))
        .header("Docker-Content-Digest", digest);
    Ok(match claims.subject {
        Some(subject) if !server.settings.no_referrers_api => {
            response.header("OCI-Subject", subject)
        }
        _ => response,
    })
}

/// Is what a manifest says must be there, and what it is about.
#[derive(Debug, Default)]
struct Claims {
    blobs: Vec<String>,
    manifests: Vec<String>,
    subject: Option<String>,
}

impl Claims {
    fn read(media_type: &str, contents: &[u8]) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::new(400, "MANIFEST_INVALID", message);
        let manifest: Value = serde_json::from_slice(contents)
            .map_err(|error| invalid(format!("the manifest is no JSON: {error}")))?;
        if media_type.is_empty() {
            return Err(invalid("the header Content-Type is missing".to_owned()));
        }
        if manifest["mediaType"].as_str().is_some_and(|own| own != media_type) {
            let own = &manifest["mediaType"];
            return Err(invalid(format!("Content-Type is {media_type}, mediaType is {own}")));
        }
        let digest = |descriptor: &Value| match descriptor["digest"].as_str() {
            Some(digest) if is_digest(digest) => Ok(digest.to_owned()),
            _ => Err(invalid(format!("no descriptor: {descriptor}"))),
        };
        let all = |list: &Value| match list.as_array() {
            Some(list) => list.iter().map(digest).collect(),
            None => Err(invalid(format!("no list of descriptors: {list}"))),
        };
        let subject = match &manifest["subject"] {
            Value::Null => None,
            subject => Some(digest(subject)?),
        };
        Ok(match media_type {
            _ if MANIFESTS.contains(&media_type) => {
                let mut blobs: Vec<String> = all(&manifest["layers"])?;
                blobs.push(digest(&manifest["config"])?);
                Self { blobs, subject, ..Self::default() }
            }
            _ if INDEXES.contains(&media_type) => {
                Self { manifests: all(&manifest["manifests"])?, subject, ..Self::default() }
            }
            _ => Self { subject, ..Self::default() },
        })
    }

    /// Refuses if anything but the subject is missing, which may come later.
    fn check(&self, repository: &Repository) -> Result<(), Refusal> {
        let blobs = self.blobs.iter().filter(|digest| !repository.blobs.contains_key(*digest));
        let manifests =
            self.manifests.iter().filter(|digest| repository.manifest(digest).is_none());
        match blobs.chain(manifests).next() {
            None => Ok(()),
            Some(digest) => {
                let message = format!("{digest} is not known to the repository");
                Err(Refusal::new(400, "MANIFEST_BLOB_UNKNOWN", message))
            }
        }
    }
}

fn unknown(reference: &str) -> Refusal {
    Refusal::new(404, "MANIFEST_UNKNOWN", format!("manifest {reference} is not known"))
}

/// Is the length that registries should take at least, and most take at most.
const MOST_BYTES: u64 = 4 << 20;

const MANIFESTS: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
];

const INDEXES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
];
