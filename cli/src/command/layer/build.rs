//! `osguard layer build`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{ExpectedLayer, ImageFile, Profile, convert};
use serde::Serialize;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::conversion::warn_of_divergences;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
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
    let layer = progress.reading(&arguments.layer.display().to_string(), size_bytes, layer);

    let failed = |error| Failure::file(&arguments.image, error);
    let directory = match arguments.image.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = NamedTempFile::new_in(directory).map_err(failed)?;
    let mut sink = ImageFile::new(beside.as_file()).map_err(failed)?;
    let converted = convert(layer, &expected, &[arguments.profile], &mut sink)
        .map_err(|error| Failure::from(error).context(arguments.layer.display()))?;
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist(&arguments.image).map_err(|error| failed(error.error))?;

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
            image_size_bytes: converted.image_size_bytes,
            members: converted.members,
            inodes: converted.inodes,
        })?;
    }
    Ok(ExitStatus::Done)
}

/// Opens the layer; returns it with its size, which is 0 where it is not known before the end.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), 0));
    }
    let file = File::open(path).map_err(|error| Failure::file(path, error))?;
    let size_bytes = file.metadata().map_err(|error| Failure::file(path, error))?.len();
    Ok((Box::new(file), size_bytes))
}
