//! A repository of a registry, as a place.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use libverity::digest::Digest;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, StatusCode};

use super::authorization::Access;
use super::client::{Client, Request};
use super::download::Download;
use super::error::RegistryError;
use super::runtime::wait;
use super::{fallback_tag, manifests, referrers, upload};
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::Manifest;
use crate::network::{Network, ReferrersMode};
use crate::place::{
    BlobSource, Listing, PendingBlob, Place, Pushed, Referrer, ReferrersWay, Repository,
};
use crate::reference::{RegistryReference, Selector};

/// Is one repository of a registry.
///
/// All calls block on the network and must not be made from within an asynchronous task.
#[derive(Debug)]
pub struct RemoteRepository {
    client: Arc<Client>,
    mode: ReferrersMode,
    /// How referrers were listed the last time. What has no API once is not asked for it again.
    way: Mutex<Option<ReferrersWay>>,
    /// The subjects whose tag was found to be one of referrers, or to be free.
    checked: Mutex<BTreeSet<Digest>>,
    /// The manifests that came last: most are needed twice.
    manifests: Mutex<VecDeque<Manifest>>,
}

impl RemoteRepository {
    /// Prepares to reach the repository that `reference` names; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Returns [`RegistryError::Runtime`] if the system gives no threads.
    pub fn new(reference: &RegistryReference, network: &Network) -> Result<Self, Error> {
        let client = Client::new(&reference.registry, &reference.repository, network)?;
        Ok(Self {
            client: Arc::new(client),
            mode: network.referrers,
            way: Mutex::default(),
            checked: Mutex::default(),
            manifests: Mutex::default(),
        })
    }

    /// Reads a manifest by tag or digest, from memory if it was read before by its digest.
    fn read(&self, reference: &str) -> Result<Option<Manifest>, Error> {
        let mut known = self.known();
        if let Some(manifest) =
            known.iter().find(|manifest| manifest.digest().to_string() == reference)
        {
            return Ok(Some(manifest.clone()));
        }
        drop(known);
        let Some(manifest) = wait(manifests::read(&self.client, reference))? else {
            return Ok(None);
        };
        known = self.known();
        known.push_back(manifest.clone());
        let mut bytes: usize = known.iter().map(|manifest| manifest.bytes().len()).sum();
        while bytes > MAX_KNOWN_BYTES || known.len() > MAX_KNOWN {
            bytes -= known.pop_front().map_or(bytes, |manifest| manifest.bytes().len());
        }
        Ok(Some(manifest))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, VecDeque<Manifest>> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self, object: String) -> Error {
        Error::NoSuchBlob { place: self.name(), object }
    }

    fn set_way(&self, way: ReferrersWay) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    fn may_have_api(&self) -> bool {
        match self.mode {
            ReferrersMode::Api => true,
            ReferrersMode::Auto => self.referrers_way() != Some(ReferrersWay::Tag),
            ReferrersMode::Tag => false,
        }
    }

    /// Lists what is said to be attached to `subject`.
    fn listed(&self, subject: &Descriptor, types: &[&str]) -> Result<Vec<Descriptor>, Error> {
        if self.may_have_api() {
            let only_type = match types {
                [only] => Some(*only),
                _ => None,
            };
            match wait(referrers::list(&self.client, subject, only_type))? {
                Some(listed) => {
                    self.set_way(ReferrersWay::Api);
                    return Ok(listed);
                }
                None if self.mode == ReferrersMode::Api => return Err(self.no_api()),
                None => {}
            }
        }
        self.set_way(ReferrersWay::Tag);
        let listed = wait(fallback_tag::list(&self.client, &subject.digest))?;
        self.checked().insert(subject.digest);
        Ok(listed)
    }

    /// Makes a manifest findable by its subject; it is stored already if there may be an API.
    fn list_referrer(&self, manifest: &Manifest, stored: Option<&str>) -> Result<Pushed, Error> {
        let Some(subject) = manifest.subject() else {
            return Ok(Pushed::Present);
        };
        if self.may_have_api() {
            // The registry says so itself, or shows it.
            let is_listed = stored == Some(&subject.digest.to_string())
                || wait(referrers::list(&self.client, subject, None))?.is_some_and(|listed| {
                    listed.iter().any(|entry| entry.digest == manifest.digest())
                });
            if is_listed {
                self.set_way(ReferrersWay::Api);
                return Ok(Pushed::Present);
            }
            if self.mode == ReferrersMode::Api {
                return Err(self.no_api());
            }
        }
        self.set_way(ReferrersWay::Tag);
        let is_checked = self.checked().contains(&subject.digest);
        wait(fallback_tag::add(&self.client, &subject.digest, manifest, is_checked))
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_api(&self) -> Error {
        RegistryError::NoReferrersApi { registry: self.client.registry().to_owned() }.into()
    }
}

impl Place for RemoteRepository {
    fn name(&self) -> String {
        self.client.place_name()
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let found = match selector {
            Selector::Digest(digest) => self
                .read(&digest.to_string())?
                .ok_or_else(|| self.missing(format!("manifest {digest}")))?,
            Selector::Tag(tag) => self.read(tag.as_str())?.ok_or_else(|| Error::NoSuchTag {
                place: self.name(),
                tag: tag.clone(),
                known: Vec::new(),
            })?,
            Selector::Only => return Err(Error::NoImage { place: self.name() }),
        };
        match selector {
            Selector::Digest(digest) if found.digest() != *digest => Err(Error::DigestDiffers {
                object: format!("manifest {digest} in {}", self.name()),
                expected: *digest,
                found: found.digest(),
            }),
            _ => Ok(found.descriptor().plain()),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let object = || format!("manifest {} in {}", descriptor.digest, self.name());
        let manifest = self
            .read(&descriptor.digest.to_string())?
            .ok_or_else(|| self.missing(format!("manifest {}", descriptor.digest)))?;
        if manifest.digest() != descriptor.digest {
            return Err(Error::DigestDiffers {
                object: object(),
                expected: descriptor.digest,
                found: manifest.digest(),
            });
        }
        if manifest.descriptor().size != descriptor.size {
            return Err(Error::SizeDiffers {
                object: object(),
                expected_bytes: descriptor.size,
                found_bytes: manifest.descriptor().size,
            });
        }
        // The registry's word on the media type is not covered by the digest.
        Manifest::parse(Some(&descriptor.media_type), manifest.bytes().to_vec())
            .map_err(|source| Error::Manifest { object: object(), source })
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        let object = format!("blob {} in {}", descriptor.digest, self.name());
        let download = Download::start(Arc::clone(&self.client), descriptor)?;
        Ok(BlobReader::new(Box::new(download), object, descriptor.digest, descriptor.size))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
            let digest = descriptor.digest;
            return wait(manifests::is_at(&self.client, &digest.to_string(), &digest));
        }
        wait(has_blob(&self.client, descriptor))
    }

    fn referrers(&self, subject: &Descriptor, types: &[&str]) -> Result<Vec<Referrer>, Error> {
        let is_wanted = |found: Option<&str>| {
            types.is_empty() || found.is_some_and(|found| types.contains(&found))
        };
        let mut seen = BTreeSet::from([subject.digest]);
        let mut referrers = Vec::new();
        for descriptor in self.listed(subject, types)? {
            // Registries without the API list what their writers have said, which may be nothing.
            let may_be_wanted = descriptor.artifact_type.is_none()
                || is_wanted(descriptor.artifact_type.as_deref());
            if !may_be_wanted || !seen.insert(descriptor.digest) {
                continue;
            }
            match self.manifest(&descriptor) {
                Ok(manifest) => {
                    let refers =
                        manifest.subject().is_some_and(|found| found.digest == subject.digest);
                    if refers && is_wanted(manifest.descriptor().artifact_type.as_deref()) {
                        referrers.push(Referrer { descriptor, manifest: Ok(manifest) });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Content => {
                    referrers.push(Referrer { descriptor, manifest: Err(error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(referrers)
    }

    fn push_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Pushed, Error> {
        if wait(has_blob(&self.client, descriptor))? {
            return Ok(Pushed::Present);
        }
        upload::upload(&self.client, descriptor, source)
    }

    fn begin_blob(&self) -> Result<Option<Box<dyn PendingBlob + '_>>, Error> {
        Ok(Some(Box::new(upload::PendingUpload::open(&self.client)?)))
    }

    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error> {
        let digest = manifest.digest();
        let reference = match listing {
            // Without the API it is stored under a tag of its own, and that is enough.
            Listing::Referrer if !self.may_have_api() => {
                return self.list_referrer(manifest, None);
            }
            Listing::Tag(tag) => tag.to_string(),
            Listing::Child | Listing::Referrer | Listing::Untagged => digest.to_string(),
        };
        let is_there = wait(manifests::is_at(&self.client, &reference, &digest))?;
        let stored = match is_there {
            true => None,
            false => Some(wait(manifests::write(&self.client, &reference, manifest))?),
        };
        let subject = stored.as_ref().and_then(|stored| stored.subject.as_deref());
        let listed = match listing {
            Listing::Referrer => self.list_referrer(manifest, subject)?,
            _ => Pushed::Present,
        };
        Ok(if stored.is_some() { Pushed::Stored } else { listed })
    }

    fn repository(&self) -> Option<Repository> {
        Some(Repository {
            registry: self.client.registry().to_owned(),
            name: self.client.repository().to_owned(),
        })
    }

    fn referrers_way(&self) -> Option<ReferrersWay> {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn has_blob(client: &Client, descriptor: &Descriptor) -> Result<bool, Error> {
    let url = client.url(&format!("blobs/{}", descriptor.digest)).await?;
    let answer = client.send(&Request::new(Method::HEAD, url, Access::Pull)).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer
            .header(CONTENT_LENGTH)
            .is_none_or(|length| length == descriptor.size.to_string())),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(answer.into_status_error().await.into()),
    }
}

/// How many manifests are kept in memory, and how many bytes of them.
const MAX_KNOWN: usize = 16;
const MAX_KNOWN_BYTES: usize = 8 << 20;
