//! How new images are published: what `patch` and `rebase` have in common.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use osguard_registry::artifact::{Format, LayerSignature};
use osguard_registry::draft::{Draft, DraftError};
use osguard_registry::image::Image;
use osguard_registry::manifest::{Manifest, ManifestKind};
use osguard_registry::network::Network;
use osguard_registry::place;
use osguard_registry::platform::Platform;
use osguard_registry::publication::{
    NewImage, Publication, PublicationError, PublishedImages, WatchedTag, index_of, publish,
    statements_left_out,
};
use osguard_registry::reference::{ArchiveFile, Reference, Selector};
use osguard_registry::signatures::Published;
use osguard_registry::tag::Tag;

use crate::destination::check_not_a_terminal;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::Found;
use crate::network::NetworkArguments;
use crate::output::Output;
use crate::transfer::watch;

/// Is the image that another one is made of, with the tag that the other one gets.
pub(crate) struct Origin {
    /// As it was given.
    pub(crate) reference: Reference,
    pub(crate) found: Found,
    network: Network,
    tag: Tag,
    watched: Vec<WatchedTag>,
    /// What has the new tag so far.
    holder: Option<Digest>,
}

impl Origin {
    /// Finds the image of that name, and what has `tag` beside it.
    pub(crate) fn find(
        reference: Reference,
        tag: &str,
        network: &NetworkArguments,
        output: &Output,
    ) -> Result<Self, Failure> {
        let parsed = match &reference {
            Reference::Registry(_) => Tag::for_registry(tag),
            _ => tag.parse(),
        };
        let tag = parsed.map_err(|error| Failure::from_error(ExitStatus::Usage, error))?;
        check_not_a_terminal(&reference)?;
        let network = network.network(&reference, None)?;
        let found = Found::at(&reference, &network)?;
        output.detail(format_args!("Resolved to {}", found.reference));
        let digest = found.descriptor.digest;
        let mut watched = Vec::new();
        let holder = match reference.selector() {
            Selector::Tag(own) => {
                watched.push(WatchedTag::of(own, Some(digest)));
                (*own == tag).then_some(digest)
            }
            _ => None,
        };
        let holder = match holder {
            None => {
                let new = WatchedTag::look_up(&*found.place, &tag)?;
                let holder = new.holder();
                watched.push(new);
                holder
            }
            some => some,
        };
        Ok(Self { reference, found, network, tag, watched, holder })
    }

    /// Reads the images that are to be made anew: that for `platform`, or all.
    pub(crate) fn images(&self, platform: Option<&Platform>) -> Result<Vec<Image>, Failure> {
        let (place, descriptor) = (&*self.found.place, &self.found.descriptor);
        if platform.is_some() {
            return Ok(vec![Image::choose(place, descriptor, platform)?]);
        }
        if descriptor.media_type.is_index()
            && let ManifestKind::Index(index) = place.manifest(descriptor)?.kind()
            && index.manifests.iter().any(|entry| entry.media_type.is_index())
        {
            return Err(Failure::new(
                ExitStatus::Usage,
                format!(
                    "{} lists another index, and is not made anew as a whole",
                    self.found.reference
                ),
            )
            .hint("--platform chooses one image of it."));
        }
        Ok(Image::all(place, descriptor, None)?)
    }

    /// Returns the name by which the image was found, where that means something to others.
    pub(crate) fn name(&self) -> Option<String> {
        match (&self.reference, self.reference.selector()) {
            (Reference::Registry(_), Selector::Tag(_)) => Some(self.reference.to_string()),
            (Reference::Registry(_), _) => None,
            (_, Selector::Tag(tag)) => Some(tag.to_string()),
            _ => None,
        }
    }

    /// Returns the index in which the new images have taken the places of those before, unless there is no index, or
    /// one image was chosen from it.
    pub(crate) fn index(
        &self,
        drafts: &[&Draft],
        is_chosen: bool,
        annotations: BTreeMap<String, String>,
        output: &Output,
    ) -> Result<Option<Manifest>, Failure> {
        if is_chosen || !self.found.descriptor.media_type.is_index() {
            return Ok(None);
        }
        let index = self.found.place.manifest(&self.found.descriptor)?;
        for statement in statements_left_out(&index, drafts) {
            output.warning(format_args!(
                "{} is a statement about an image before, and not in the new index",
                statement.digest
            ));
        }
        Ok(Some(index_of(&index, drafts, annotations)?))
    }

    /// Stores everything, and writes the tag last.
    pub(crate) fn publish(
        &self,
        images: &[NewImage<'_>],
        index: Option<&Manifest>,
        format: Format,
        is_valid: &dyn Fn(&LayerSignature) -> bool,
        output: &Output,
    ) -> Result<PublishedImages, Failure> {
        let publication =
            Publication { images, index, tag: &self.tag, watched: &self.watched, format };
        // An archive is read once, and what others do to it meanwhile is not seen in what was read.
        let reopen = || match &self.reference {
            Reference::Archive { file: ArchiveFile::Path(_), .. } => {
                place::open(&self.reference, &self.network).map(Some)
            }
            _ => Ok(None),
        };
        let progress = output.progress();
        Ok(publish(&*self.found.place, &publication, &reopen, is_valid, &watch(&progress))?)
    }

    /// Returns what names the new image of this digest.
    pub(crate) fn at(&self, digest: Digest) -> String {
        self.reference.at(digest).to_string()
    }

    pub(crate) fn tag(&self) -> String {
        self.tag.to_string()
    }

    /// Returns the image that the tag is taken away from by the one with this digest.
    pub(crate) fn replaced_by(&self, digest: Digest) -> Option<Digest> {
        self.holder.filter(|holder| *holder != digest)
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }
}

/// Lists the artifacts that hold signatures.
pub(crate) fn artifacts(published: Option<&Published>) -> Vec<Digest> {
    match published {
        None => Vec::new(),
        Some(Published::AlreadySigned(holders)) => holders.clone(),
        Some(Published::Written(artifact)) => vec![*artifact],
    }
}

impl From<DraftError> for Failure {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Place(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}

impl From<PublicationError> for Failure {
    fn from(error: PublicationError) -> Self {
        match error {
            PublicationError::Place(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other)
                .hint("Nothing was tagged. Look at what the tag names now, and begin again."),
        }
    }
}
