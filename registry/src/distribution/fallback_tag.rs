//! Referrers by tag, for registries that have no API for them.
//!
//! The tag `sha256-HEX`, made from the digest of the subject, leads to an index of all that is
//! attached to it. Every writer replaces the whole index, and no registry offers to replace it only
//! if it is unchanged: of writers that read at the same time, the last one undoes what the others
//! have done. So each writer here
//!
//! 1. stores its manifest under a tag of its own, `sha256-HEX.HEX`, made from the digests of the
//!    subject and of the manifest, which nobody else writes to;
//! 2. lists the tags of that form and reads the index, in any order; the first time beside step 1,
//!    which then cannot be the last time;
//! 3. ends if the index holds all that the tags lead to, and otherwise writes the index with all of
//!    it, and starts again at 2.
//!
//! Whoever writes the index last has afterwards looked at everyone's tag, and found it in the
//! index. A writer that was killed after it has undone the work of another one is repaired by the
//! next; until then our readers find the signature by its own tag.
//!
//! Source: OCI distribution specification, "Referrers Tag Schema"; the tags of step 1 are ours.

use std::collections::BTreeSet;
use std::time::Duration;

use libverity::digest::Digest;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::Words;
use super::authorization::Access;
use super::client::{Client, Request};
use super::error::RegistryError;
use super::manifests;
use super::pages;
use super::patience::Patience;
use super::referrers::MAX_REFERRERS;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::manifest::{Manifest, ManifestError, ManifestKind, SCHEMA_VERSION};
use crate::media_type::MediaType;
use crate::place::Pushed;
use crate::tag::Tag;

/// Lists what is attached to `subject`: what its index holds, and what tags of its own lead to.
pub(super) async fn list(client: &Client, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
    let (index, tags) = tokio::try_join!(Index::read(client, subject), own_tags(client, subject))?;
    let mut listed = index.entries;
    let missing = tagged(client, subject, tags, listed.iter(), &mut BTreeSet::new()).await?;
    listed.extend(missing);
    Ok(listed)
}

/// Stores `manifest` and lists it as a referrer of `subject`.
///
/// What is there already is looked at first, unless it `is_checked`: the caller has
/// listed the referrers and not found this one.
///
/// # Errors
///
/// Returns [`RegistryError::Contended`] if others keep undoing it, and
/// [`RegistryError::ReferrersTag`] if the registry does not let the tag be written.
pub(super) async fn add(
    client: &Client,
    subject: &Digest,
    manifest: &Manifest,
    is_checked: bool,
) -> Result<Pushed, Error> {
    let own = entry(manifest);
    let own_tag = own_tag(subject, &own.digest);
    let has_own_tag = if is_checked {
        false
    } else {
        // A tag that leads elsewhere is refused before anything is written.
        let (index, is_there) = tokio::join!(
            Index::read(client, subject),
            manifests::is_at(client, &own_tag, &own.digest)
        );
        index?;
        is_there?
    };
    // What was once seen in the index or by its tag stays wanted, lest it is lost between two
    // writes of ours.
    let mut wanted = vec![own];
    let mut foreign = BTreeSet::new();
    let write_own_tag = async {
        match has_own_tag {
            true => Ok(()),
            false => write_tag(client, &own_tag, manifest).await,
        }
    };
    // What is read beside this first write is good enough to write the index with, and for nothing
    // else.
    let (mut index, mut tags, ()) =
        tokio::try_join!(Index::read(client, subject), own_tags(client, subject), write_own_tag)?;
    for round in 0..MAX_ROUNDS {
        let known = index.entries.iter().chain(&wanted);
        let missing = tagged(client, subject, tags, known, &mut foreign).await?;
        for entry in index.entries.iter().chain(&missing) {
            if !wanted.iter().any(|known| known.digest == entry.digest) {
                wanted.push(entry.clone());
            }
        }
        let is_complete = !index.add(&wanted);
        if is_complete && (has_own_tag || round > 0) {
            return Ok(match has_own_tag && round == 0 {
                true => Pushed::Present,
                false => Pushed::Stored,
            });
        }
        if !is_complete {
            write(client, subject, &mut index, &mut wanted).await?;
        }
        if round > 0 {
            sleep(pause(client, round)).await;
        }
        // Both after our own writes: who writes later than that sees to our entry.
        (index, tags) = tokio::try_join!(Index::read(client, subject), own_tags(client, subject))?;
    }
    Err(RegistryError::Contended {
        repository: client.place_name(),
        subject: *subject,
        missing: manifest.digest(),
        attempts: MAX_ROUNDS,
    }
    .into())
}

/// Writes the index. A registry that does not take it because some of what it lists was deleted
/// gets it without that.
async fn write(
    client: &Client,
    subject: &Digest,
    index: &mut Index,
    wanted: &mut Vec<Descriptor>,
) -> Result<(), Error> {
    let tag = Tag::of_referrers(subject);
    let refusal = match write_tag(client, tag.as_str(), &index.to_manifest(subject)?).await {
        Err(Error::Registry(error)) => error,
        outcome => return outcome,
    };
    if !matches!(&*refusal, RegistryError::ReferrersTag { words, .. } if is_of_missing(words)) {
        return Err(Error::Registry(refusal));
    }
    let mut deleted = BTreeSet::new();
    for entry in &index.entries {
        if !manifests::is_at(client, &entry.digest.to_string(), &entry.digest).await? {
            deleted.insert(entry.digest);
        }
    }
    if deleted.is_empty() {
        return Err(Error::Registry(refusal));
    }
    index.remove(&deleted);
    wanted.retain(|entry| !deleted.contains(&entry.digest));
    write_tag(client, tag.as_str(), &index.to_manifest(subject)?).await
}

/// Tells whether a manifest was refused for what it refers to.
fn is_of_missing(words: &Words) -> bool {
    MISSING_CODES.iter().any(|code| words.has_code(code))
}

/// Is the index of a subject's referrers, with all fields that others have put into it.
struct Index {
    document: Value,
    entries: Vec<Descriptor>,
}

impl Index {
    async fn read(client: &Client, subject: &Digest) -> Result<Self, Error> {
        let tag = Tag::of_referrers(subject);
        let Some(manifest) = manifests::read(client, tag.as_str()).await? else {
            let document = json!({
                "schemaVersion": SCHEMA_VERSION,
                "mediaType": MediaType::OCI_INDEX,
                "manifests": [],
            });
            return Ok(Self { document, entries: Vec::new() });
        };
        let not_referrers = |found: String| RegistryError::NotReferrers {
            repository: client.place_name(),
            tag: tag.to_string(),
            found,
        };
        if manifest.digest() == *subject {
            return Err(not_referrers("the manifest itself".to_owned()).into());
        }
        let ManifestKind::Index(index) = manifest.kind() else {
            let found = format!("an image or artifact, {}", manifest.digest());
            return Err(not_referrers(found).into());
        };
        let document = serde_json::from_slice(manifest.bytes())
            .map_err(|source| not_manifest(subject, ManifestError::Json { source }))?;
        Ok(Self { document, entries: index.manifests.clone() })
    }

    /// Adds those of `wanted` that are missing, and tells whether there were any.
    fn add(&mut self, wanted: &[Descriptor]) -> bool {
        let known: BTreeSet<Digest> = self.entries.iter().map(|entry| entry.digest).collect();
        let mut missing: Vec<&Descriptor> =
            wanted.iter().filter(|entry| !known.contains(&entry.digest)).collect();
        // Writers that add the same entries write the same index.
        missing.sort_by_key(|entry| entry.digest);
        let added = missing.iter().filter_map(|entry| serde_json::to_value(entry).ok());
        match &mut self.document["manifests"] {
            Value::Array(entries) => entries.extend(added),
            other => *other = added.collect(),
        }
        self.entries.extend(missing.iter().map(|&entry| entry.clone()));
        !missing.is_empty()
    }

    fn remove(&mut self, unwanted: &BTreeSet<Digest>) {
        let is_wanted = |digest: &Digest| !unwanted.contains(digest);
        self.entries.retain(|entry| is_wanted(&entry.digest));
        if let Value::Array(entries) = &mut self.document["manifests"] {
            entries.retain(|entry| {
                let digest = entry["digest"].as_str().and_then(|text| text.parse().ok());
                digest.as_ref().is_none_or(is_wanted)
            });
        }
    }

    fn to_manifest(&self, subject: &Digest) -> Result<Manifest, Error> {
        serde_json::to_vec(&self.document)
            .map_err(|source| ManifestError::Json { source })
            .and_then(|bytes| Manifest::parse(Some(&MediaType::OCI_INDEX), bytes))
            .map_err(|source| not_manifest(subject, source))
    }
}

/// Reads what the referrers' own `tags` lead to, leaving out what is `known` and what was found to
/// be `foreign` before: tags that only look like ours.
async fn tagged(
    client: &Client,
    subject: &Digest,
    tags: Vec<String>,
    known: impl Iterator<Item = &Descriptor>,
    foreign: &mut BTreeSet<String>,
) -> Result<Vec<Descriptor>, Error> {
    let known: BTreeSet<String> = known.map(|entry| own_tag(subject, &entry.digest)).collect();
    let mut found = Vec::new();
    for tag in tags {
        if known.contains(&tag) || foreign.contains(&tag) {
            continue;
        }
        match manifests::read(client, &tag).await {
            Ok(Some(manifest))
                if own_tag(subject, &manifest.digest()) == tag
                    && manifest.subject().is_some_and(|found| found.digest == *subject) =>
            {
                found.push(entry(&manifest));
            }
            Ok(Some(_)) | Err(Error::Manifest { .. } | Error::TooLong { .. }) => {
                foreign.insert(tag);
            }
            // It was removed meanwhile.
            Ok(None) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Lists the tags of the form that [`own_tag`] gives.
async fn own_tags(client: &Client, subject: &Digest) -> Result<Vec<String>, Error> {
    let start = Tag::of_referrers(subject);
    let prefix = format!("{start}.");
    let mut url = client.url("tags/list").await?;
    // The tags that we look for follow the one of the index: registries that sort begin there.
    url.query_pairs_mut().append_pair("n", TAGS_A_PAGE).append_pair("last", start.as_str());
    let mut tags = Vec::new();
    let mut next = Some(url);
    let mut pages = 0;
    while let Some(url) = next {
        let mut answer = client.send(&Request::new(Method::GET, url, Access::Pull)).await?;
        match answer.status() {
            StatusCode::OK => {}
            // There is no such repository yet, or the registry does not list tags.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if pages == 0 => break,
            _ => return Err(answer.into_status_error().await.into()),
        }
        let Some(body) = answer.body(MAX_TAGS_BYTES).await? else {
            return Err(Error::TooLong {
                object: format!("the list of tags of {}", client.place_name()),
                limit_bytes: MAX_TAGS_BYTES,
                found_bytes: answer.content_length().unwrap_or(MAX_TAGS_BYTES + 1),
            });
        };
        let page: TagsDocument = serde_json::from_slice(&body)
            .map_err(|error| answer.nonsense(format!("it is no list of tags: {error}")))?;
        let page = page.tags.unwrap_or_default();
        let is_past = page.is_sorted()
            && page.last().is_some_and(|last| *last > prefix)
            && page.last().is_some_and(|last| !last.starts_with(&prefix));
        tags.extend(page.into_iter().filter(|tag| {
            tag.strip_prefix(&prefix).is_some_and(|rest| {
                rest.len() == OWN_TAG_DIGITS && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        }));
        pages += 1;
        next = if is_past { None } else { pages::next(&answer)? };
        if next.is_some() && (pages == MAX_PAGES || tags.len() > MAX_REFERRERS) {
            let url = answer.url().to_owned();
            let limit = MAX_PAGES;
            return Err(RegistryError::Endless { url, limit, what: "pages of tags" }.into());
        }
    }
    Ok(tags)
}

async fn write_tag(client: &Client, tag: &str, manifest: &Manifest) -> Result<(), Error> {
    match manifests::write(client, tag, manifest).await {
        Ok(_) => Ok(()),
        Err(Error::Registry(error)) => match *error {
            RegistryError::Status { status: status @ 400..=499, words, .. } => {
                Err(RegistryError::ReferrersTag {
                    repository: client.place_name(),
                    tag: tag.to_owned(),
                    status,
                    words,
                }
                .into())
            }
            error => Err(error.into()),
        },
        Err(error) => Err(error),
    }
}

/// Returns the tag that nobody but the writers of this very manifest write to.
fn own_tag(subject: &Digest, referrer: &Digest) -> String {
    format!("{}.{}", Tag::of_referrers(subject), &referrer.hex()[..OWN_TAG_DIGITS])
}

/// Describes a manifest as an index of referrers lists it.
fn entry(manifest: &Manifest) -> Descriptor {
    let mut entry = manifest.descriptor().clone();
    entry.annotations = match manifest.kind() {
        ManifestKind::Image(image) => image.annotations.clone(),
        ManifestKind::Index(_) => entry.annotations,
    };
    entry
}

fn not_manifest(subject: &Digest, source: ManifestError) -> Error {
    Error::Manifest { object: format!("the list of referrers of {subject}"), source }
}

/// Waits longer the more often others were in the way, each one for a time of its own: up to a
/// second by default.
fn pause(client: &Client, round: u32) -> Duration {
    let first_pause = client.patience().first_pause / 10;
    let patience = Patience {
        attempts: u32::MAX,
        first_pause,
        longest_pause: first_pause * 50,
        ..Patience::default()
    };
    patience.pause(round, None).unwrap_or_default()
}

#[derive(Deserialize)]
struct TagsDocument {
    /// `null` where there are none.
    tags: Option<Vec<String>>,
}

/// How often the index is written before it is given up. Of 32 writers that start at once none
/// needs more than a few rounds: from the second one on everybody knows everyone's tag.
const MAX_ROUNDS: u32 = 40;

/// How much of the referrer's digest is in its tag: 128 bits of it, which nobody hits by accident
/// or on purpose. 7 + 64 + 1 + 32 characters are well below the 128 that a tag may have.
const OWN_TAG_DIGITS: usize = 32;

/// The codes by which registries refuse a manifest for what it refers to.
///
/// Source: OCI distribution specification, "Error Codes".
const MISSING_CODES: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];

const TAGS_A_PAGE: &str = "1000";
const MAX_PAGES: usize = 200;

/// The longest list of tags, about 150,000 of ours: some registries give all of them at once.
const MAX_TAGS_BYTES: u64 = 16 << 20;
