//! `osguard layer build`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{
    ExpectedLayer, ImageFile, LayerError, LayerFile, Profile, SideFile, convert,
};
use serde::Serialize;
use uuid::Uuid;

use super::source::{self, ArchiveFile, DirectoryArguments, Source, shown};
use crate::conversion::{warn_of_divergences, warn_of_profiles};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::new_file::NewFile;
use crate::output::{Output, Report};

/// Turn a layer or a directory into an EROFS image with its hash tree
///
/// The layer is a tar archive, plain or compressed with gzip or zstd. The same layer always gives
/// the same image, and the root hash printed is the one that `osguard sign` signs. A directory is first made
/// an archive: names in byte order, times in whole seconds, owners in numbers, with hard links, devices and
/// extended attributes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The layer, a directory, or - for standard input
    #[arg(value_name = "LAYER")]
    layer: PathBuf,
    /// The image file to write; it appears once it is complete
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// By which profile to convert
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// Write root hash and hash offset to IMAGE.dmverity as well, as containerd keeps them
    #[arg(long)]
    side_file: bool,
    /// Refuse a layer that has another digest
    #[arg(long, value_name = "DIGEST")]
    layer_digest: Option<Digest>,
    /// Refuse a layer whose archive has another digest
    #[arg(long, value_name = "DIGEST")]
    diff_id: Option<Digest>,
    #[command(flatten)]
    directory: DirectoryArguments,
}

#[derive(Serialize)]
struct BuildReport {
    image: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    side_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<PathBuf>,
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
        if let Some(side_file) = &self.side_file {
            writeln!(out, "Side file:     {}", side_file.display())?;
        }
        if let Some(archive) = &self.archive {
            writeln!(out, "Archive:       {}", archive.display())?;
        }
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
    let Source { blob, size_bytes, archive } =
        Source::open(&arguments.layer, &arguments.image, &arguments.directory)?;
    let progress = output.progress();
    let layer = progress.reading(&shown(&arguments.layer), size_bytes, blob);

    let unwritable = |error| Failure::writing(&arguments.image, error);
    let image = NewFile::create(&arguments.image).map_err(unwritable)?;
    let mut sink = ImageFile::new(image.file(), image.directory()).map_err(unwritable)?;
    let converted = convert(layer, &expected, &[arguments.profile], &mut sink).map_err(
        |error| match error {
            LayerError::Write { source } => unwritable(source),
            error => source::failure(&arguments.layer, error),
        },
    )?;
    check(&image)?;
    let built = converted.images.into_iter().next().expect("one profile makes one image");
    let archive = archive.map(ArchiveFile::complete).transpose()?;
    let side_file = match arguments.side_file {
        true => Some(write_side_file(&arguments.image, &SideFile::of(&built))?),
        false => None,
    };
    image.complete().map_err(unwritable)?;

    warn_of_divergences(&converted.divergences, output);
    warn_of_profiles(&[arguments.profile], output);
    output.report(&BuildReport {
        image: arguments.image.clone(),
        side_file,
        archive,
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
    Ok(ExitStatus::Done)
}

/// Reads the new image again, as `osguard layer inspect` does it, before anybody else sees it.
fn check(image: &NewFile) -> Result<(), Failure> {
    let failure = |error: anyhow::Error| {
        Failure::new(ExitStatus::Failure, format!("{error:#}"))
            .context("the image that was made of the layer is not whole")
            .hint("This is a mistake of osguard, or of the memory or disk of this machine.")
    };
    let layer = LayerFile::open(image.file()).map_err(|error| failure(error.into()))?;
    layer.image().check().map(drop).map_err(|error| failure(error.into()))
}

/// Writes the side file before the image gets its name, so that no image is beside an older one.
fn write_side_file(image: &Path, side_file: &SideFile) -> Result<PathBuf, Failure> {
    let path = SideFile::path(image);
    let write = || -> io::Result<()> {
        let new = NewFile::create(&path)?;
        new.file().write_all(&serde_json::to_vec(side_file)?)?;
        new.complete()
    };
    write().map_err(|error| Failure::writing(&path, error))?;
    Ok(path)
}
