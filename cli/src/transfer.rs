//! Images on their way from one place to another: what the commands that copy have in common.

use std::fmt;
use std::io::{self, Read, Write};

use libverity::digest::Digest;
use osguard_registry::copy::Copied;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::image::Image;
use osguard_registry::place::{Place, ReferrersWay};
use osguard_registry::platform::Platform;
use osguard_registry::reference::Reference;
use serde::Serialize;

use crate::destination::{Destination, check_digest};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, IMAGE_HELP, malformed, parse, short};
use crate::network::NetworkArguments;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Which image goes where.
#[derive(Debug, clap::Args)]
pub(crate) struct TransferArguments {
    #[arg(value_name = "SRC", help = IMAGE_HELP)]
    source: String,
    /// Where it goes: HOST/REPOSITORY, oci:DIR or oci-archive:FILE (- is standard output), with :TAG
    ///
    /// Without a tag the image keeps the one that SRC names. A tag is taken away from the image that has it.
    #[arg(value_name = "DST")]
    destination: String,
    /// Take only the image for this platform out of an index, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,
    /// Tell what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Is an image that was found and is about to be copied.
pub(crate) struct Transfer {
    source: Found,
    /// What is copied: what was found, or the image for one platform in it.
    pub(crate) image: Descriptor,
    destination: Reference,
    network: osguard_registry::network::Network,
    is_dry_run: bool,
}

impl TransferArguments {
    /// Finds the image; nothing is written yet.
    pub(crate) fn find(&self, output: &Output) -> Result<Transfer, Failure> {
        let source = parse(&self.source)?;
        let destination = Reference::destination(&self.destination, source.selector());
        let destination = destination.map_err(malformed)?;
        let network = self.network.network(&source, Some(&destination))?;
        let source = Found::at(&source, &network)?;
        output.detail(format_args!("Resolved to {}", source.reference));
        let image = match self.platform.split_first() {
            None => source.descriptor.clone(),
            Some((platform, others)) if others.iter().all(|other| other == platform) => {
                choose(&source, platform, output)?
            }
            Some(_) => {
                return Err(Failure::new(
                    ExitStatus::Usage,
                    "an index of some of its platforms would be another image, which nobody has signed",
                )
                .hint("Name one platform to copy its image alone, or none to copy the whole index."));
            }
        };
        check_digest(&destination, image.digest)?;
        Ok(Transfer { source, image, destination, network, is_dry_run: self.dry_run })
    }
}

impl Transfer {
    /// Returns the place that the image comes from.
    pub(crate) fn from(&self) -> &dyn Place {
        &*self.source.place
    }

    /// Opens the place that the image goes to.
    pub(crate) fn to(&self) -> Result<Destination<'_>, Failure> {
        let reference = self.destination.clone();
        match self.is_dry_run {
            true => Destination::dry_run(reference, &self.network, self.from()),
            false => Destination::create(reference, &self.network),
        }
    }

    /// Describes what was copied and has the digest `digest` there.
    pub(crate) fn report(
        &self,
        to: &Destination<'_>,
        copied: &Copied,
        digest: Digest,
    ) -> TransferReport {
        TransferReport {
            image: self.source.reference.at(self.image.digest).to_string(),
            destination: to.at(digest).to_string(),
            digest,
            tag: to.tag(),
            replaced: to.replaced_by(digest),
            dry_run: self.is_dry_run,
            stored: copied.stored,
            stored_bytes: copied.stored_bytes,
            present: copied.present,
            referrers: copied.referrers.iter().map(ReferrerReport::of).collect(),
            referrers_by: to.place.referrers_way().map(way_name),
            left_behind: copied
                .left_behind
                .iter()
                .map(|(descriptor, error)| LeftBehindReport {
                    referrer: ReferrerReport::of(descriptor),
                    reason: error.to_string(),
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct TransferReport {
    image: String,
    destination: String,
    pub(crate) digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// What had the tag before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
    dry_run: bool,
    /// How many blobs and manifests were stored.
    stored: usize,
    stored_bytes: u64,
    /// How many were there before.
    present: usize,
    referrers: Vec<ReferrerReport>,
    /// How the registry lists what is attached: by its `api` or by a `tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers_by: Option<&'static str>,
    left_behind: Vec<LeftBehindReport>,
}

#[derive(Serialize)]
struct ReferrerReport {
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

#[derive(Serialize)]
struct LeftBehindReport {
    #[serde(flatten)]
    referrer: ReferrerReport,
    reason: String,
}

impl ReferrerReport {
    fn of(descriptor: &Descriptor) -> Self {
        let artifact_type = descriptor.artifact_type.clone();
        Self { digest: descriptor.digest, artifact_type }
    }
}

impl TransferReport {
    /// Writes for people what has become of the image.
    pub(crate) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { image, destination, .. } = self;
        writeln!(out, "Image {image}")?;
        let verb = if self.dry_run { "Would be copied" } else { "Copied" };
        write!(out, "{verb} to {destination}")?;
        match (&self.tag, &self.replaced) {
            (Some(tag), Some(replaced)) => writeln!(out, " as {tag}, which replaces {replaced}")?,
            (Some(tag), None) => writeln!(out, " as {tag}")?,
            (None, _) => writeln!(out)?,
        }
        for referrer in &self.referrers {
            writeln!(out, "  with {referrer}")?;
        }
        for LeftBehindReport { referrer, reason } in &self.left_behind {
            writeln!(out, "  without {referrer}: {reason}")?;
        }
        Ok(())
    }

    /// Writes for people how what is attached to the image is listed, and how much was transferred.
    pub(crate) fn text_of_volume(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { stored, stored_bytes, present, .. } = self;
        if let Some(way) = self.referrers_by {
            writeln!(out, "Signatures are listed by {}", in_words(way))?;
        }
        let verb = if self.dry_run { "Would store" } else { "Stored" };
        let were = if *present == 1 { "was" } else { "were" };
        writeln!(
            out,
            "{verb} {stored} blobs and manifests of {stored_bytes} bytes; {present} {were} there before"
        )?;
        if self.dry_run {
            writeln!(out, "Nothing was written: this was a dry run.")?;
        }
        Ok(())
    }

    /// Fails if something that is attached to the image did not come along: it may well be the
    /// signature that the image is not accepted without.
    pub(crate) fn check_complete(&self) -> Result<(), Failure> {
        let Some(LeftBehindReport { referrer, reason }) = self.left_behind.first() else {
            return Ok(());
        };
        let others = match self.left_behind.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Err(Failure::new(
            ExitStatus::Failure,
            format!("the image was copied without {referrer}{others}: {reason}"),
        )
        .hint("It is damaged in the source as well: attach it there again, or remove it."))
    }
}

impl fmt::Display for ReferrerReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.digest)?;
        match &self.artifact_type {
            Some(artifact_type) => write!(formatter, " ({artifact_type})"),
            None => Ok(()),
        }
    }
}

/// Prints the result of a copy; where standard output carries the image, on standard error.
pub(crate) fn print<R: Report>(
    report: &R,
    to: &Destination<'_>,
    output: &Output,
) -> Result<(), Failure> {
    // After a dry run nothing else is there.
    if to.is_standard_output() { output.report_aside(report) } else { output.report(report) }
}

/// Shows on a bar of its own how much of each blob was read.
pub(crate) fn watch(
    progress: &Progress,
) -> impl Fn(&Descriptor, Box<dyn Read>) -> Box<dyn Read> + Sync + use<'_> {
    |blob, content| {
        let label = format!("blob {}", short(blob.digest));
        Box::new(progress.reading(&label, blob.size, content))
    }
}

/// Finds the image for one platform, and warns if that leaves something behind.
fn choose(source: &Found, platform: &Platform, output: &Output) -> Result<Descriptor, Failure> {
    let place = &*source.place;
    let image = Image::choose(place, &source.descriptor, Some(platform))?.subject();
    if image.digest != source.descriptor.digest {
        let index = source.descriptor.digest;
        for referrer in place.referrers(&source.descriptor, &[])? {
            let referrer = ReferrerReport::of(&referrer.descriptor);
            output.warning(format_args!("{referrer} stays behind with the index {index}"));
        }
    }
    Ok(image)
}

/// Names the way in which a registry lists what is attached to an image, as JSON has it.
pub(crate) fn way_name(way: ReferrersWay) -> &'static str {
    match way {
        ReferrersWay::Api => "api",
        ReferrersWay::Tag => "tag",
    }
}

/// Names the way for people.
pub(crate) fn in_words(way: &str) -> &'static str {
    match way {
        "api" => "the registry's referrers API",
        _ => "a tag in the registry",
    }
}
