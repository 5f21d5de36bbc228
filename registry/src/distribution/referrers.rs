//! Referrers by the registry's own API.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};

use super::authorization::Access;
use super::client::{Client, Request};
use super::error::RegistryError;
use super::pages;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestKind};
use crate::media_type::MediaType;

/// Lists what the registry has attached to `subject`, of one kind of artifacts or of all, or
/// returns `None` if it has no such API.
///
/// A registry may pass over the filter, so the kinds are still to be looked at.
///
/// Source: OCI distribution specification, "Listing Referrers".
pub(super) async fn list(
    client: &Client,
    subject: &Descriptor,
    artifact_type: Option<&str>,
) -> Result<Option<Vec<Descriptor>>, Error> {
    let mut url = client.url(&format!("referrers/{}", subject.digest)).await?;
    if let Some(artifact_type) = artifact_type {
        url.query_pairs_mut().append_pair("artifactType", artifact_type);
    }
    let mut seen = BTreeSet::new();
    let mut referrers: Vec<Descriptor> = Vec::new();
    let mut next = Some(url);
    while let Some(url) = next {
        let request = Request::new(Method::GET, url.clone(), Access::Pull);
        let mut answer = client.send(&request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if seen.is_empty() => return Ok(None),
            _ => return Err(answer.into_status_error().await.into()),
        }
        let object = format!("the referrers of {} in {}", subject.digest, client.place_name());
        let Some(bytes) = answer.body(MAX_MANIFEST_BYTES).await? else {
            return Err(Error::TooLong {
                object,
                limit_bytes: MAX_MANIFEST_BYTES,
                found_bytes: answer.content_length().unwrap_or(MAX_MANIFEST_BYTES + 1),
            });
        };
        let page = Manifest::parse(Some(&MediaType::OCI_INDEX), bytes)
            .map_err(|source| answer.nonsense(format!("{object} are no index: {source}")))?;
        if let ManifestKind::Index(page) = page.kind() {
            referrers.extend(page.manifests.iter().cloned());
        }
        next = pages::next(&answer)?;
        if !seen.insert(url) || seen.len() == MAX_PAGES || referrers.len() > MAX_REFERRERS {
            let (limit, what) = match referrers.len() > MAX_REFERRERS {
                true => (MAX_REFERRERS, "referrers"),
                false => (MAX_PAGES, "pages of referrers"),
            };
            if next.is_some() || limit == MAX_REFERRERS {
                let url = answer.url().to_owned();
                return Err(RegistryError::Endless { url, limit, what }.into());
            }
        }
    }
    Ok(Some(referrers))
}

/// The most pages that are read. Registries put 30 to 1,000 referrers on one.
const MAX_PAGES: usize = 200;

/// The most referrers of one manifest that are taken.
pub(super) const MAX_REFERRERS: usize = 10_000;
