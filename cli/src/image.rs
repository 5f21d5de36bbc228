//! Which images a command works on.

use std::io::{self, IsTerminal as _};

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::image::Image;
use osguard_registry::network::Network;
use osguard_registry::place::{self, Place};
use osguard_registry::platform::Platform;
use osguard_registry::reference::{ArchiveFile, Reference, ReferenceError};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::network::NetworkArguments;

/// Which image, and which of its platforms.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP)]
    image: String,
    /// Take only these platforms of an index, such as linux/amd64 [default: all]
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Is an image as it was found, its tag resolved once and for all.
pub(crate) struct Found {
    /// The reference with the digest in place of the tag.
    pub(crate) reference: Reference,
    /// Where it lies.
    pub(crate) place: Box<dyn Place>,
    /// The manifest or index.
    pub(crate) descriptor: Descriptor,
}

impl Found {
    /// Finds the image that `text` names.
    pub(crate) fn parse(text: &str, network: &NetworkArguments) -> Result<Self, Failure> {
        let reference = parse(text)?;
        Self::at(&reference, &network.network(&reference, None)?)
    }

    /// Finds the image of that name.
    pub(crate) fn at(reference: &Reference, network: &Network) -> Result<Self, Failure> {
        if is_standard_stream(reference) && io::stdin().is_terminal() {
            return Err(Failure::new(
                ExitStatus::Usage,
                "an archive cannot be typed at a terminal",
            )
            .hint("Redirect standard input from a file or from another program."));
        }
        let place = place::open(reference, network)?;
        let descriptor = place.resolve(reference.selector()).map_err(|error| match error {
            Error::NoSuchBlob { .. } => Failure::from_error(ExitStatus::NotFound, error),
            error => error.into(),
        })?;
        Ok(Self { reference: reference.at(descriptor.digest), place, descriptor })
    }
}

/// Parses the name of an image.
pub(crate) fn parse(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(malformed)
}

/// Fails because a text is no name of an image.
pub(crate) fn malformed(error: ReferenceError) -> Failure {
    Failure::from_error(ExitStatus::Usage, error).hint(
        "Images are named HOST/REPOSITORY:TAG, oci:DIR, oci:DIR:TAG, oci-archive:FILE:TAG or with @sha256:… \
         in the place of the tag.",
    )
}

impl ImageArguments {
    /// Returns the reference as it was given.
    pub(crate) fn reference(&self) -> Result<Reference, Failure> {
        parse(&self.image)
    }

    /// Resolves the reference.
    pub(crate) fn find(&self) -> Result<Found, Failure> {
        Found::parse(&self.image, &self.network)
    }

    /// Reads the images of the wanted platforms; at least one.
    pub(crate) fn images(&self, found: &Found) -> Result<Vec<Image>, Failure> {
        if self.platform.is_empty() {
            return Ok(Image::all(&*found.place, &found.descriptor, None)?);
        }
        let mut images: Vec<Image> = Vec::new();
        for platform in &self.platform {
            for image in Image::all(&*found.place, &found.descriptor, Some(platform))? {
                if !images.iter().any(|known| known.manifest.digest() == image.manifest.digest()) {
                    images.push(image);
                }
            }
        }
        Ok(images)
    }
}

/// Tells whether an image is in an archive that comes from standard input or goes to standard output.
pub(crate) fn is_standard_stream(reference: &Reference) -> bool {
    matches!(reference, Reference::Archive { file: ArchiveFile::StandardStream, .. })
}

/// Returns the first twelve digits of a digest, enough to tell the layers of an image apart.
pub(crate) fn short(digest: Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// How images are named, for the help of all commands that read one.
pub(crate) const IMAGE_HELP: &str = "The image: HOST/REPOSITORY, oci:DIR or oci-archive:FILE (- is \
                                     standard input), with :TAG or @DIGEST";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Registry(error) => return (*error).into(),
            error => error,
        };
        let status = match error.kind() {
            ErrorKind::NotFound => ExitStatus::NotFound,
            ErrorKind::Registry => ExitStatus::Registry,
            ErrorKind::Usage => ExitStatus::Usage,
            _ => ExitStatus::Failure,
        };
        let hint = match &error {
            Error::Ambiguous { .. } => Some("Append :TAG or @DIGEST to the image's name."),
            Error::DigestDiffers { .. } | Error::SizeDiffers { .. } => {
                Some("The copy is damaged or was changed: fetch the image again.")
            }
            Error::IndexNotManifest { .. } => Some("Choose one with --platform."),
            Error::NoSuchPlace { .. } | Error::NotALayout { .. } => Some(
                "An image gets into a layout directory for example by \
                 `osguard copy HOST/REPOSITORY:TAG oci:DIR`.",
            ),
            _ => None,
        };
        let failure = Self::from_error(status, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
