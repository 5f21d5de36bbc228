//! Referrers (distribution specification 1.1, section "Listing Referrers").

use serde_json::{Value, json};

use super::error::Refusal;
use super::http::Head;
use super::response::Response;
use super::route::is_digest;
use super::server::Server;
use super::store::{Manifest, Repository};

/// Answers with the manifests whose subject is `digest`, oldest first.
pub(super) fn answer(
    server: &Server,
    repository: &str,
    digest: &str,
    head: &Head,
) -> Result<Response, Refusal> {
    if server.settings.no_referrers_api {
        return Err(Refusal::plain(404, "404 page not found\n"));
    }
    if !is_digest(digest) {
        return Err(Refusal::new(400, "DIGEST_INVALID", format!("no digest: {digest:?}")));
    }
    let artifact_type = head.parameter("artifactType");
    let mut all = server.store.with(repository, |it| about(it, digest)).unwrap_or_default();
    if let Some(wanted) = &artifact_type {
        all.retain(|descriptor| descriptor["artifactType"] == wanted.as_str());
    }
    let first: usize = head.parameter("first").and_then(|n| n.parse().ok()).unwrap_or(0);
    let first = first.min(all.len());
    let end = server.settings.page_size.unwrap_or(all.len()).saturating_add(first).min(all.len());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": &all[first..end],
    });
    let mut response = Response::json(200, index).header("Content-Type", INDEX);
    let mut next = form_urlencoded::Serializer::new(String::new());
    if let Some(wanted) = artifact_type {
        response = response.header("OCI-Filters-Applied", "artifactType");
        next.append_pair("artifactType", &wanted);
    }
    if end < all.len() {
        let query = next.append_pair("first", &end.to_string()).finish();
        let address = format!("/v2/{repository}/referrers/{digest}?{query}");
        response = response.header("Link", format!("<{address}>; rel=\"next\""));
    }
    Ok(response)
}

/// Returns the descriptors of what refers to a manifest.
fn about(repository: &Repository, digest: &str) -> Vec<Value> {
    repository.manifests.iter().filter_map(|manifest| descriptor(manifest, digest)).collect()
}

fn descriptor(manifest: &Manifest, subject: &str) -> Option<Value> {
    let contents: Value = serde_json::from_slice(&manifest.contents).ok()?;
    if contents["subject"]["digest"] != subject {
        return None;
    }
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.contents.len(),
    });
    // An image that has no type of its own has that of its configuration.
    let types = [&contents["artifactType"], &contents["config"]["mediaType"]];
    if let Some(artifact_type) = types.iter().find(|value| value.is_string()) {
        descriptor["artifactType"] = (*artifact_type).clone();
    }
    if contents["annotations"].is_object() {
        descriptor["annotations"] = contents["annotations"].clone();
    }
    Some(descriptor)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
