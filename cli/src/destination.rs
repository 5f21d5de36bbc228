//! Where an image is copied to.

use std::io::{self, IsTerminal as _};

use libverity::digest::Digest;
use osguard_registry::distribution::RegistryError;
use osguard_registry::dry_run::DryRun;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::network::Network;
use osguard_registry::place::{self, Listing, Place};
use osguard_registry::reference::{Reference, Selector};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::is_standard_stream;

/// Is the place that an image is copied to, and what the image is called there.
pub(crate) struct Destination<'a> {
    /// The place with the tag or digest.
    reference: Reference,
    pub(crate) place: Box<dyn Place + 'a>,
    /// What has the tag so far.
    holder: Option<Digest>,
}

impl<'a> Destination<'a> {
    /// Opens the place, which is made if it does not exist.
    pub(crate) fn create(reference: Reference, network: &Network) -> Result<Self, Failure> {
        check_not_a_terminal(&reference)?;
        let place = place::create(&reference, network).map_err(failure)?;
        Self::of(reference, place)
    }

    /// Opens the place of which only is to be told what would be written to it from `source`.
    pub(crate) fn dry_run(
        reference: Reference,
        network: &Network,
        source: &'a dyn Place,
    ) -> Result<Self, Failure> {
        let place = Box::new(DryRun::open(&reference, network, source).map_err(failure)?);
        Self::of(reference, place)
    }

    fn of(reference: Reference, place: Box<dyn Place + 'a>) -> Result<Self, Failure> {
        let holder = match reference.selector() {
            Selector::Tag(_) => holder(&*place, reference.selector())?,
            Selector::Digest(_) | Selector::Only => None,
        };
        Ok(Self { reference, place, holder })
    }

    /// Returns how the image is to be found in the place.
    pub(crate) fn listing(&self) -> Listing<'_> {
        match self.reference.selector() {
            Selector::Tag(tag) => Listing::Tag(tag),
            Selector::Digest(_) | Selector::Only => Listing::Untagged,
        }
    }

    /// Returns the tag that the image gets, if any.
    pub(crate) fn tag(&self) -> Option<String> {
        match self.reference.selector() {
            Selector::Tag(tag) => Some(tag.to_string()),
            Selector::Digest(_) | Selector::Only => None,
        }
    }

    /// Returns the image that the tag is taken away from by the one with this digest.
    pub(crate) fn replaced_by(&self, digest: Digest) -> Option<Digest> {
        self.holder.filter(|holder| *holder != digest)
    }

    /// Returns what names the image with this digest in the place.
    pub(crate) fn at(&self, digest: Digest) -> Reference {
        self.reference.at(digest)
    }

    /// Tells whether standard output is the place.
    pub(crate) fn is_standard_output(&self) -> bool {
        is_standard_stream(&self.reference)
    }
}

/// Checks that no archive goes to standard output where that is a terminal.
pub(crate) fn check_not_a_terminal(reference: &Reference) -> Result<(), Failure> {
    match is_standard_stream(reference) && io::stdout().is_terminal() {
        true => Err(Failure::new(ExitStatus::Usage, "an archive is not for a terminal to show")
            .hint("Redirect standard output to a file or to another program.")),
        false => Ok(()),
    }
}

/// Checks that an image of this digest may go to a place that was named with a digest.
pub(crate) fn check_digest(reference: &Reference, digest: Digest) -> Result<(), Failure> {
    match reference.selector() {
        Selector::Digest(wanted) if *wanted != digest => Err(Failure::new(
            ExitStatus::Usage,
            format!("{reference} names another image than the one to be copied, {digest}"),
        )
        .hint("Leave the digest out, or put a tag in its place.")),
        _ => Ok(()),
    }
}

/// Fails because a place cannot be written to.
fn failure(error: Error) -> Failure {
    match error {
        Error::NotALayout { .. } => Failure::from_error(ExitStatus::Failure, error).hint(
            "An image goes to an OCI layout or an archive of one, or to where there is nothing yet.",
        ),
        error => error.into(),
    }
}

fn holder(place: &dyn Place, selector: &Selector) -> Result<Option<Digest>, Failure> {
    match place.resolve(selector) {
        Ok(descriptor) => Ok(Some(descriptor.digest)),
        // A layout may list two images under one tag; then neither has it.
        Err(Error::Ambiguous { .. }) => Ok(None),
        Err(Error::Registry(error)) if matches!(*error, RegistryError::NoSuchRepository { .. }) => {
            Ok(None)
        }
        // What is damaged may be replaced.
        Err(error) if matches!(error.kind(), ErrorKind::Content | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
