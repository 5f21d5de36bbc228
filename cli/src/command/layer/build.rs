//! `osguard layer build`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{ExpectedLayer, ImageFile, LayerError, Profile, convert};
use serde::Serialize;
use uuid::Uuid;

use crate::conversion::warn_of_divergences;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::new_file::NewFile;
use crate::output::{Output, Report};

/// Turn a layer into an EROFS image with its hash tree
///
/// The layer is a tar archive, plain or compressed with gzip or zstd. The same layer always gives
/// the same image, and the root hash printed is the one that `osguard sign` signs.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The layer, or - for standard input
    #[arg(value_name = "LAYER")]
    layer: PathBuf,
    /// The image file to write; it appears once it is complete
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// By which profile to convert
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// Refuse a layer that has another digest
    #[arg(long, value_name = "DIGEST")]
    layer_digest: Option<Digest>,
    /// Refuse a layer whose archive has another digest
    #[arg(long, value_name = "DIGEST")]
    diff_id: Option<Digest>,
}

#[derive(Serialize)]
struct BuildReport {
    image: PathBuf,
    profile: Profile,
    root_hash: RootHash,
    layer_digest: Digest,
    diff_id: Digest,
    uuid: Uuid,
    compression: String,
    layer_size_bytes: u64,
    archive_size_bytes: u64,
    image_size_bytes: u64,
    members: u64,
    inodes: u64,
}

impl Report for BuildReport {
    const SCHEMA: &'static str = "osguard.layer.build.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image:         {}", self.image.display())?;
        writeln!(out, "Root hash:     {}", self.root_hash)?;
        writeln!(out, "Profile:       {}", self.profile)?;
        writeln!(out, "Layer digest:  {}", self.layer_digest)?;
        writeln!(out, "diffID:        {}", self.diff_id)?;
        writeln!(out, "UUID:          {}", self.uuid)?;
        writeln!(out, "Compression:   {}", self.compression)?;
        writeln!(out, "Layer size:    {} bytes", self.layer_size_bytes)?;
        writeln!(
            out,
            "Archive size:  {} bytes, {} members",
            self.archive_size_bytes, self.members
        )?;
        writeln!(out, "Hash offset:   {} bytes, {} files", self.image_size_bytes, self.inodes)
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let expected = ExpectedLayer {
        layer_digest: arguments.layer_digest,
        diff_id: arguments.diff_id,
        ..ExpectedLayer::default()
    };
    let (layer, size_bytes) = open(&arguments.layer)?;
    let progress = output.progress();
    let layer = progress.reading(&shown(&arguments.layer), size_bytes, layer);

    let unwritable = |error| Failure::writing(&arguments.image, error);
    let image = NewFile::create(&arguments.image).map_err(unwritable)?;
    let mut sink = ImageFile::new(image.file(), image.directory()).map_err(unwritable)?;
    let converted = convert(layer, &expected, &[arguments.profile], &mut sink).map_err(
        |error| match error {
            LayerError::Write { source } => unwritable(source),
            error => Failure::from(error).context(shown(&arguments.layer)),
        },
    )?;
    image.complete().map_err(unwritable)?;

    warn_of_divergences(&converted.divergences, output);
    for built in converted.images {
        output.report(&BuildReport {
            image: arguments.image.clone(),
            profile: built.profile,
            root_hash: built.root_hash,
            layer_digest: converted.layer_digest,
            diff_id: converted.diff_id,
            uuid: built.uuid,
            compression: converted.compression.to_string(),
            layer_size_bytes: converted.layer_size_bytes,
            archive_size_bytes: converted.archive_size_bytes,
            image_size_bytes: built.image_size_bytes,
            members: converted.members,
            inodes: converted.inodes,
        })?;
    }
    Ok(ExitStatus::Done)
}

/// Opens the layer; returns it with its size, which is 0 where it is not known before the end.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64), Failure> {
    if is_standard_input(path) {
        return Ok((Box::new(io::stdin()), 0));
    }
    let unreadable = |error| Failure::reading(path, error);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()).hint(format!(
            "`tar -C {} -c . | osguard layer build - IMAGE` makes an image of a directory.",
            path.display()
        )));
    }
    Ok((Box::new(file), metadata.len()))
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn shown(layer: &Path) -> String {
    if is_standard_input(layer) {
        return "standard input".to_owned();
    }
    layer.display().to_string()
}
