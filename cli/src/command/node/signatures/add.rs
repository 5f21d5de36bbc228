//! `osguard node signatures add`.

use std::path::PathBuf;

use osguard_registry::artifact::local;

use super::StoreArguments;
use super::added::AddedReport;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;
use crate::small_file;

/// Add the signatures in files
///
/// The files have the form that Kata Containers have for images that nobody can attach anything to: JSON, a list of images
/// with the digest, root hash and signature of each layer. The daemon finds what is added at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut signatures = Vec::new();
    for file in &arguments.files {
        let images = local::parse(&small_file::read(file)?).map_err(|error| {
            Failure::from_error(ExitStatus::Usage, error).context(file.display().to_string())
        })?;
        signatures.extend(images.into_iter().flat_map(|image| image.signatures));
    }
    let directory = arguments.store.directory();
    output.report(&AddedReport::of(&directory, &signatures)?)?;
    Ok(ExitStatus::Done)
}
