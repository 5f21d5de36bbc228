//! Places: where images lie.

use std::io::Read;

use crate::archive::Archive;
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::distribution::RemoteRepository;
use crate::error::Error;
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::network::Network;
use crate::reference::{Reference, Selector};
use crate::tag::Tag;

/// Is anything that holds images by digest and names some of them by tags.
///
/// All calls block until the work is done. Content is checked against its descriptor both when it
/// is read and when it is written. What is not there is an error; a look-up that failed is never
/// the same as one that found nothing.
pub trait Place: Send + Sync {
    /// Returns the place as a user would write it, without tag or digest.
    fn name(&self) -> String;

    /// Finds out which manifest or index is meant, reading no more than needed.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchTag`], [`Error::NoSuchBlob`] for a digest, [`Error::NoImage`] or
    /// [`Error::Ambiguous`] where the selector fits no image or several.
    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error>;

    /// Reads a manifest or index.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchBlob`], [`Error::DigestDiffers`], [`Error::SizeDiffers`],
    /// [`Error::TooLong`], or [`Error::Manifest`] if the content is not what `descriptor` says.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error>;

    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchBlob`]; what is wrong with the content shows while it is read.
    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error>;

    /// Tells whether a blob or manifest is there, with the right length.
    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error>;

    /// Lists the manifests whose subject is `subject`, of these kinds of artifacts, or of all kinds
    /// if none is given.
    ///
    /// Each returned manifest was read and names `subject` as its subject.
    fn referrers(
        &self,
        subject: &Descriptor,
        artifact_types: &[&str],
    ) -> Result<Vec<Referrer>, Error>;

    /// Stores a blob, unless it is there already; then `source` is not read.
    ///
    /// # Errors
    ///
    /// Returns [`Error::DigestDiffers`] or [`Error::SizeDiffers`] if what `source` holds is not
    /// what `descriptor` says; then nothing is stored.
    fn push_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Pushed, Error>;

    /// Begins to store a small blob that is not there and whose content is still to come, where
    /// that leaves less to do when it has come.
    ///
    /// # Errors
    ///
    /// Returns why nothing can be stored here.
    fn begin_blob(&self) -> Result<Option<Box<dyn PendingBlob + '_>>, Error> {
        Ok(None)
    }

    /// Stores a manifest or index whose children are there already.
    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error>;

    /// Returns the repository that the place is, if it is one of a registry.
    fn repository(&self) -> Option<Repository> {
        None
    }

    /// Tells whether blobs are written one after the other however many are pushed at once.
    fn is_sequential(&self) -> bool {
        false
    }

    /// Returns how referrers were looked for or listed the last time, where there are several ways.
    fn referrers_way(&self) -> Option<ReferrersWay> {
        None
    }

    /// Makes what was pushed visible, in places where that happens at once for everything.
    ///
    /// Layout directories and registries show each manifest when it is pushed and have nothing
    /// left to do here.
    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Is where a blob comes from that is to be stored.
pub trait BlobSource {
    /// Opens the content from its beginning: again, if storing it was cut off.
    ///
    /// # Errors
    ///
    /// Returns why there is nothing to read.
    fn open(&self) -> Result<Box<dyn Read + '_>, Error>;

    /// Returns a repository that has the blob: a registry can take it from there without its being
    /// sent.
    fn repository(&self) -> Option<Repository> {
        None
    }
}

impl BlobSource for &[u8] {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(*self))
    }
}

/// Is a blob that a place waits for; if it is dropped, the place no longer does.
pub trait PendingBlob: Send {
    /// Stores the blob, whether it is there by now or not.
    ///
    /// # Errors
    ///
    /// As [`Place::push_blob`].
    fn store(
        self: Box<Self>,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<Pushed, Error>;
}

/// Names a repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The host of the registry, with its port if one was given.
    pub registry: String,
    /// The name of the repository within it.
    pub name: String,
}

/// Tells the ways apart in which a registry lists referrers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferrersWay {
    /// By its referrers API.
    Api,
    /// By an index under a tag.
    Tag,
}

/// Is one manifest that refers to a subject, as a place found it.
///
/// One that cannot be read for what it is does not hide the others: it is returned with the reason.
#[derive(Debug)]
pub struct Referrer {
    /// The descriptor by which the place lists it.
    pub descriptor: Descriptor,
    /// The manifest, or why it cannot be used.
    pub manifest: Result<Manifest, Error>,
}

/// Says how a manifest is to be found in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing<'a> {
    /// By an index that has it as a child, or will have.
    Child,
    /// By its subject.
    Referrer,
    /// By this tag, which is taken away from whatever had it.
    Tag(&'a Tag),
    /// By its digest alone.
    Untagged,
}

/// Says whether something had to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there already.
    Present,
    /// It was stored.
    Stored,
}

/// Opens the place of an image that exists.
///
/// # Errors
///
/// Returns [`Error::NoSuchPlace`] or [`Error::NotALayout`]. What is wrong with a registry shows when
/// it is first asked for something.
pub fn open(reference: &Reference, network: &Network) -> Result<Box<dyn Place>, Error> {
    match reference {
        Reference::Archive { file, .. } => Ok(Box::new(Archive::open(file)?)),
        Reference::Layout { directory, .. } => Ok(Box::new(Layout::open(directory)?)),
        Reference::Registry(reference) => Ok(Box::new(RemoteRepository::new(reference, network)?)),
    }
}

/// Opens the place that an image is to be written to, and makes it if it is not there.
///
/// # Errors
///
/// Returns [`Error::NotALayout`] for a directory with other content.
pub fn create(reference: &Reference, network: &Network) -> Result<Box<dyn Place>, Error> {
    match reference {
        Reference::Archive { file, .. } => Ok(Box::new(Archive::create(file)?)),
        Reference::Layout { directory, .. } => Ok(Box::new(Layout::create(directory)?)),
        Reference::Registry(reference) => Ok(Box::new(RemoteRepository::new(reference, network)?)),
    }
}
