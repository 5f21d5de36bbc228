//! Uploads (distribution specification 1.1, section "Pushing blobs").

use std::sync::{Arc, Mutex};

use super::error::Refusal;
use super::http::Head;
use super::lock;
use super::request_body::RequestBody;
use super::response::Response;
use super::route::is_digest;
use super::server::Server;
use super::store::Upload;

/// Answers a POST: mounts, takes a blob at once, or opens an upload.
pub(super) fn start(
    server: &Server,
    repository: &str,
    head: &Head,
    body: &mut RequestBody<'_>,
) -> Result<Response, Refusal> {
    if let Some(digest) = head.parameter("mount") {
        let digest = valid(digest)?;
        let from = head.parameter("from");
        if from.is_some_and(|from| server.store.mount(repository, &from, &digest)) {
            return Ok(created(repository, &digest));
        }
    } else if let Some(digest) = head.parameter("digest") {
        let digest = valid(digest)?;
        let mut upload = server.store.new_upload().map_err(|error| Refusal::internal(&error))?;
        append(&mut upload, body)?;
        return keep(server, repository, &digest, upload);
    }
    let name = server.store.start_upload(repository).map_err(|error| Refusal::internal(&error))?;
    Ok(accepted(202, repository, &name, 0))
}

/// Answers what is asked of an open upload.
pub(super) fn answer(
    server: &Server,
    method: &str,
    repository: &str,
    name: &str,
    head: &Head,
    body: &mut RequestBody<'_>,
) -> Result<Response, Refusal> {
    let unknown =
        || Refusal::new(404, "BLOB_UPLOAD_UNKNOWN", format!("upload {name} is not known"));
    let upload = server.store.upload(repository, name).ok_or_else(unknown)?;
    if head.parameter("state").as_deref() != Some(name) {
        let message = "the parameters of the upload's address are missing";
        return Err(Refusal::new(400, "BLOB_UPLOAD_INVALID", message));
    }
    match method {
        "GET" => Ok(accepted(204, repository, name, lock(&upload).length)),
        "DELETE" => {
            server.store.cancel_upload(name);
            Ok(Response::new(204))
        }
        "PATCH" => {
            let mut upload = lock(&upload);
            check_offset(&upload, repository, name, head)?;
            append(&mut upload, body)?;
            Ok(accepted(202, repository, name, upload.length))
        }
        "PUT" => {
            let digest = valid(head.parameter("digest").unwrap_or_default())?;
            {
                let mut upload = lock(&upload);
                check_offset(&upload, repository, name, head)?;
                append(&mut upload, body)?;
            }
            // Whatever the digest turns out to be, this upload takes no more.
            server.store.cancel_upload(name);
            let upload = Arc::into_inner(upload).ok_or_else(unknown)?;
            let upload = Mutex::into_inner(upload).map_err(|_| unknown())?;
            keep(server, repository, &digest, upload)
        }
        _ => Err(Refusal::method_not_allowed(method)),
    }
}

fn valid(digest: String) -> Result<String, Refusal> {
    if is_digest(&digest) {
        return Ok(digest);
    }
    Err(Refusal::new(400, "DIGEST_INVALID", format!("no digest: {digest:?}")))
}

fn append(upload: &mut Upload, body: &mut RequestBody<'_>) -> Result<(), Refusal> {
    upload.append(body).map_err(Refusal::Broken)?.map_err(|error| Refusal::internal(&error))
}

/// Refuses a chunk that is not the next: `Content-Range: FIRST-LAST`, without a unit.
fn check_offset(upload: &Upload, repository: &str, name: &str, head: &Head) -> Result<(), Refusal> {
    let Some(range) = head.header("Content-Range") else { return Ok(()) };
    let first = range.split_once('-').and_then(|(first, _)| first.parse().ok());
    if first == Some(upload.length) {
        return Ok(());
    }
    Err(Refusal::Answered(Box::new(accepted(416, repository, name, upload.length))))
}

fn keep(
    server: &Server,
    repository: &str,
    digest: &str,
    upload: Upload,
) -> Result<Response, Refusal> {
    let found = upload.digest();
    if found != digest {
        let message = format!("the uploaded blob is {found}, not {digest}");
        return Err(Refusal::new(400, "DIGEST_INVALID", message));
    }
    server.store.keep(repository, digest, upload).map_err(|error| Refusal::internal(&error))?;
    Ok(created(repository, digest))
}

fn created(repository: &str, digest: &str) -> Response {
    Response::new(201)
        .header("Location", format!("/v2/{repository}/blobs/{digest}"))
        .header("Docker-Content-Digest", digest)
}

/// Tells where the upload goes on. The address has a parameter, which clients have to keep.
fn accepted(status: u16, repository: &str, name: &str, length: u64) -> Response {
    Response::new(status)
        .header("Location", format!("/v2/{repository}/blobs/uploads/{name}?state={name}"))
        .header("Docker-Upload-UUID", name)
        .header("Range", format!("0-{}", length.saturating_sub(1)))
}
