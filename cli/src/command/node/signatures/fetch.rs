//! `osguard node signatures fetch`.

use osguard_registry::signatures;

use super::StoreArguments;
use super::added::AddedReport;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::ImageArguments;
use crate::output::Output;

/// Fetch the signatures of an image, from wherever it lies
///
/// The image itself is not fetched but for its manifests. What is fetched counts for every image with the same layers.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    #[command(flatten)]
    store: StoreArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let found = arguments.image.find()?;
    let mut all = Vec::new();
    for image in arguments.image.images(&found)? {
        for candidate in signatures::find(&*found.place, &image.manifest)? {
            // What cannot be read can sign nothing; others may.
            all.extend(candidate.outcome.into_iter().flat_map(|artifact| artifact.signatures));
        }
    }
    if all.is_empty() {
        return Err(Failure::new(
            ExitStatus::NotSigned,
            format_args!("{} is not signed", found.reference),
        )
        .hint("`osguard sign` signs an image."));
    }
    let directory = arguments.store.directory();
    output.report(&AddedReport::of(&directory, &all)?)?;
    Ok(ExitStatus::Done)
}
