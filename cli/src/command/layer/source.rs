//! Where a layer comes from: a file, standard input, or a directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use libverity::layer::{DirectoryArchive, DirectoryError, LayerError};

use super::directory_options::DirectoryOptionsArguments;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::new_file::NewFile;

/// What is not taken from a directory as it is.
#[derive(Debug, clap::Args)]
pub(super) struct DirectoryArguments {
    /// Write the archive of the directory to this file as well; it is the layer for an image in a registry
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    options: DirectoryOptionsArguments,
}

impl DirectoryArguments {
    /// Refuses what makes no sense for a layer that is an archive already.
    fn refuse_for_an_archive(&self, layer: &Path) -> Result<(), Failure> {
        let archive = self.archive.as_ref().map(|_| "--archive");
        match archive.or_else(|| self.options.given()) {
            Some(flag) => Err(Failure::new(
                ExitStatus::Usage,
                format!("{flag} is for a directory, and {} is none", shown(layer)),
            )),
            None => Ok(()),
        }
    }
}

/// Is a layer that is read.
pub(super) struct Source {
    /// The bytes.
    pub(super) blob: Box<dyn Read>,
    /// How many there are; 0 where that is not known before the end.
    pub(super) size_bytes: u64,
    /// The file that gets the bytes of a directory's archive.
    pub(super) archive: Option<ArchiveFile>,
}

impl Source {
    /// Opens the layer at `path`, of which an image at `image` is to be made.
    pub(super) fn open(
        path: &Path,
        image: &Path,
        arguments: &DirectoryArguments,
    ) -> Result<Self, Failure> {
        if is_standard_input(path) {
            arguments.refuse_for_an_archive(path)?;
            return Ok(Self { blob: Box::new(io::stdin()), size_bytes: 0, archive: None });
        }
        let unreadable = |error| Failure::reading(path, error);
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_dir() {
            arguments.refuse_for_an_archive(path)?;
            return Ok(Self { blob: Box::new(file), size_bytes: metadata.len(), archive: None });
        }
        for output in std::iter::once(image).chain(arguments.archive.as_deref()) {
            refuse_within(output, path)?;
        }
        let directory =
            DirectoryArchive::open(path, arguments.options.options()?).map_err(|error| {
                Failure::from_error(ExitStatus::Failure, error).context(path.display())
            })?;
        let Some(archive) = &arguments.archive else {
            return Ok(Self { blob: Box::new(directory), size_bytes: 0, archive: None });
        };
        let unwritable = |error| Failure::writing(archive, error);
        let file = NewFile::create(archive).map_err(unwritable)?;
        let copy = file.file().try_clone().map_err(unwritable)?;
        let blob = Box::new(Copying { from: directory, to: copy, path: archive.clone() });
        let archive = Some(ArchiveFile { file, path: archive.clone() });
        Ok(Self { blob, size_bytes: 0, archive })
    }
}

/// Is the file that gets the bytes of a directory's archive.
pub(super) struct ArchiveFile {
    file: NewFile,
    path: PathBuf,
}

impl ArchiveFile {
    /// Gives the file its name, and returns it.
    pub(super) fn complete(self) -> Result<PathBuf, Failure> {
        match self.file.complete() {
            Ok(()) => Ok(self.path),
            Err(error) => Err(Failure::writing(&self.path, error)),
        }
    }
}

/// Tells a directory that cannot be archived, and an archive that cannot be written, from a layer that
/// is wrong.
pub(super) fn failure(layer: &Path, error: LayerError) -> Failure {
    let source = match error {
        LayerError::Read { source, offset_bytes } => match source.downcast::<DirectoryError>() {
            Ok(error) => {
                return Failure::from_error(ExitStatus::Failure, error).context(shown(layer));
            }
            Err(source) => match source.downcast::<CopyError>() {
                Ok(CopyError { path, source }) => return Failure::writing(&path, source),
                Err(source) => LayerError::Read { source, offset_bytes },
            },
        },
        error => error,
    };
    Failure::from(source).context(shown(layer))
}

/// Names a layer in messages.
pub(super) fn shown(layer: &Path) -> String {
    if is_standard_input(layer) {
        return "standard input".to_owned();
    }
    layer.display().to_string()
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses an output in the directory that is read, where it would become a part of itself.
fn refuse_within(output: &Path, directory: &Path) -> Result<(), Failure> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A parent that does not exist is found out when the output is opened.
    let (Ok(parent), Ok(directory)) = (parent.canonicalize(), directory.canonicalize()) else {
        return Ok(());
    };
    match parent.starts_with(&directory) {
        true => Err(Failure::new(
            ExitStatus::Usage,
            format!("{} would be in the directory that it is made of", output.display()),
        )),
        false => Ok(()),
    }
}

/// Copies to a file what is read.
struct Copying<R> {
    from: R,
    to: File,
    path: PathBuf,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to
            .write_all(&buffer[..read])
            .map_err(|source| io::Error::other(CopyError { path: self.path.clone(), source }))?;
        Ok(read)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}", path = path.display())]
struct CopyError {
    path: PathBuf,
    source: io::Error,
}
