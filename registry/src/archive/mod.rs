//! Archives: a layout directory in one tar, in a file or on the standard streams.
//!
//! An archive is read where it lies: only the headers of its members are looked at until one of
//! them is needed. What comes from standard input is kept in a temporary file.
//!
//! What is pushed goes into a new tar beside the archive. [`Place::finish`](crate::place::Place)
//! adds everything that the archive holds by then, and puts the new one in its place, under a lock
//! on the old one, so that two writers at once lose nothing. Before that nobody sees anything of
//! it, and a killed writer leaves a file that the next one removes.
//!
//! An archive that is read from standard input and finished goes to standard output.

mod members;
mod writer;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libverity::digest::Digest;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};

use self::members::Members;
use self::writer::TarWriter;
use crate::blob::BlobReader;
use crate::error::Error;
use crate::layout::index::LayoutIndex;
use crate::layout::storage::{
    INDEX, IndexChange, MARKER, MARKER_CONTENT, OpenError, Opened, Storage, blob_path,
    check_marker, index_bytes, read_index,
};
use crate::partial::{PartialFile, remove_leftovers};
use crate::place::Pushed;
use crate::reference::ArchiveFile;

/// Is an archive that was found, or one that is to be made.
#[derive(Debug)]
pub struct Archive {
    file: ArchiveFile,
    state: Mutex<State>,
    /// Held while a member is written, which may take long; the state stays free for readers.
    writing: Mutex<()>,
}

impl Archive {
    /// Opens an archive that exists, or reads one from standard input.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchPlace`] if there is no such file, and [`Error::NotALayout`] if it is
    /// no tar, or not one of a layout.
    pub fn open(file: &ArchiveFile) -> Result<Self, Error> {
        let place = name_of(file);
        let opened = match file {
            ArchiveFile::Path(path) => open_or_spool(path),
            ArchiveFile::StandardStream => spool(&mut io::stdin().lock()),
        };
        let members = match opened {
            Ok(opened) => scan(&place, opened)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoSuchPlace { place });
            }
            Err(source) => return Err(Error::Io { action: "read", object: place, source }),
        };
        let index = members_index(&place, &members)?;
        let archive = Self::new(file, Some(members), index);
        check_marker(&archive)?;
        Ok(archive)
    }

    /// Opens an archive to be added to, which need not be there yet; an archive for standard
    /// output begins empty.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`]; a file that is not there is no error.
    pub fn create(file: &ArchiveFile) -> Result<Self, Error> {
        let opened = match file {
            ArchiveFile::Path(_) => Self::open(file),
            ArchiveFile::StandardStream => Ok(Self::new(file, None, LayoutIndex::new())),
        };
        match opened {
            Err(Error::NoSuchPlace { .. }) => Ok(Self::new(file, None, LayoutIndex::new())),
            opened => opened,
        }
    }

    fn new(file: &ArchiveFile, members: Option<Members>, index: LayoutIndex) -> Self {
        let state = State { members, index, staged: None };
        Self { file: file.clone(), state: Mutex::new(state), writing: Mutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state is done by halves, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_error(&self, source: io::Error) -> Error {
        Error::Io { action: "write", object: self.place_name(), source }
    }

    /// Returns the new tar, which is created if there is none yet.
    fn staged<'a>(&self, state: &'a mut State) -> Result<&'a mut StagedTar, Error> {
        let staged = match state.staged.take() {
            Some(staged) => staged,
            None => Staged::create(&self.file).map_err(|error| self.write_error(error))?,
        };
        Ok(&mut state.staged.insert(staged).contents)
    }

    /// Adds what `members` has to the new tar, and closes it with an index of both.
    fn complete(&self, staged: &mut StagedTar, members: Option<&Members>) -> Result<(), Error> {
        let StagedTar { tar, changes } = staged;
        let mut index = LayoutIndex::new();
        if let Some(members) = members {
            index = members_index(&self.place_name(), members)?;
            for (path, section) in members.iter() {
                if path != INDEX && tar.open(path).is_none() {
                    tar.take_over(path, members, section)
                        .map_err(|error| self.write_error(error))?;
                }
            }
        }
        for change in changes.iter() {
            change.apply(&mut index);
        }
        let index = index_bytes(self, &index)?;
        tar.add(INDEX, &index).and_then(|()| tar.close()).map_err(|error| self.write_error(error))
    }

    /// Puts the new tar in the place of the archive, however that has changed since it was opened
    /// with `members`.
    fn publish(
        &self,
        path: &Path,
        partial: &mut PartialFile,
        staged: &mut StagedTar,
        members: Option<&Members>,
    ) -> Result<(), Error> {
        let failed = |error| self.write_error(error);
        let target = Target::of(path).map_err(failed)?;
        let mark = staged.tar.mark();
        loop {
            staged.tar.rewind(&mark);
            if let Some(current) = target.open_locked().map_err(failed)? {
                let mode = Mode::from_raw_mode(current.metadata().map_err(failed)?.mode());
                // The lock is held as long as the members are.
                let current = scan(&self.place_name(), current)?;
                self.complete(staged, Some(&current))?;
                return fchmod(&partial.file, mode)
                    .map_err(io::Error::from)
                    .and_then(|()| partial.replace(&target.directory, &target.name))
                    .and_then(|()| target.sync())
                    .map_err(failed);
            }
            // If there was an archive and it is gone, what was opened is still at hand.
            self.complete(staged, members)?;
            match partial.link(&target.name) {
                // Someone else has made it first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.and_then(|()| target.sync()).map_err(failed),
            }
        }
    }
}

impl Storage for Archive {
    fn place_name(&self) -> String {
        name_of(&self.file)
    }

    fn open_file(&self, path: &str) -> Opened {
        let state = self.state();
        let (reader, size_bytes) = state
            .staged
            .as_ref()
            .and_then(|staged| staged.contents.tar.open(path))
            .or_else(|| state.members.as_ref()?.open(path))
            .ok_or(OpenError::Missing)?;
        Ok((Box::new(reader), size_bytes))
    }

    fn write_blob(
        &self,
        digest: &Digest,
        blob: &mut BlobReader<&mut dyn Read>,
    ) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut member = self.staged(&mut self.state())?.tar.begin();
        blob.copy_to(&mut |bytes| member.write(bytes).map_err(|error| self.write_error(error)))?;
        self.staged(&mut self.state())?
            .tar
            .end(&blob_path(digest), &member)
            .map_err(|error| self.write_error(error))
    }

    fn change_index(&self, change: IndexChange) -> Result<Pushed, Error> {
        let mut state = self.state();
        let mut index = state.index.clone();
        if !change.apply(&mut index) {
            return Ok(Pushed::Present);
        }
        index_bytes(self, &index)?;
        self.staged(&mut state)?.changes.push(change);
        state.index = index;
        Ok(Pushed::Stored)
    }

    fn index(&self) -> Result<LayoutIndex, Error> {
        Ok(self.state().index.clone())
    }

    fn writes_in_sequence(&self) -> bool {
        true
    }

    fn finish_storage(&self) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let staged = state.staged.take();
        match &self.file {
            ArchiveFile::Path(path) => {
                // Blobs that nothing refers to are of no use to anyone.
                let changed = staged.filter(|staged| !staged.contents.changes.is_empty());
                if let Some(Staged { partial: Some(mut partial), mut contents }) = changed {
                    self.publish(path, &mut partial, &mut contents, state.members.as_ref())?;
                    let reopened = Self::open(&self.file)?;
                    *state = reopened.state.into_inner().unwrap_or_else(PoisonError::into_inner);
                }
                Ok(())
            }
            ArchiveFile::StandardStream => {
                state.staged = staged;
                self.staged(&mut state)?;
                let State { staged: Some(staged), members, .. } = &mut *state else {
                    return Ok(());
                };
                self.complete(&mut staged.contents, members.as_ref())?;
                let output = &mut io::stdout().lock();
                staged.contents.tar.copy_to(output).map_err(|error| self.write_error(error))
            }
        }
    }
}

#[derive(Debug)]
struct State {
    /// What the archive had when it was opened.
    members: Option<Members>,
    /// The index with all changes.
    index: LayoutIndex,
    /// What was pushed since.
    staged: Option<Staged>,
}

/// Is the new tar in its file.
#[derive(Debug)]
struct Staged {
    /// The file's name; for standard output it needs none.
    partial: Option<PartialFile>,
    contents: StagedTar,
}

/// Is the new tar.
#[derive(Debug)]
struct StagedTar {
    tar: TarWriter,
    /// How the index is to be changed.
    changes: Vec<IndexChange>,
}

impl Staged {
    fn create(file: &ArchiveFile) -> io::Result<Self> {
        let (partial, file) = match file {
            ArchiveFile::Path(path) => {
                let target = Target::of(path)?;
                remove_leftovers(&target.directory);
                let partial = PartialFile::create(&target.directory)?;
                let file = partial.file.try_clone()?;
                (Some(partial), file)
            }
            ArchiveFile::StandardStream => (None, temporary_file()?),
        };
        let mut tar = TarWriter::new(file);
        tar.add(MARKER, MARKER_CONTENT)?;
        Ok(Self { partial, contents: StagedTar { tar, changes: Vec::new() } })
    }
}

/// Is where an archive lies, with symbolic links resolved.
struct Target {
    directory: File,
    path: PathBuf,
    name: std::ffi::OsString,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            path => path?,
        };
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?,
            _ => File::open(".")?,
        };
        Ok(Self { directory, path, name })
    }

    /// Opens the archive as it is by now and waits for other writers; `None` if there is none.
    fn open_locked(&self) -> io::Result<Option<File>> {
        loop {
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            // Whoever had the lock before may have replaced the file.
            match self.path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => {
                    let (found, locked) = (found?, file.metadata()?);
                    if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) {
                        return Ok(Some(file));
                    }
                }
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

fn scan(place: &str, file: File) -> Result<Members, Error> {
    Members::scan(Arc::new(file))
        .map_err(|error| Error::NotALayout { place: place.to_owned(), reason: error.to_string() })
}

fn members_index(place: &str, members: &Members) -> Result<LayoutIndex, Error> {
    let opened = members.open(INDEX).ok_or(OpenError::Missing);
    read_index(place, opened.map(|(reader, size)| (Box::new(reader) as Box<_>, size)))
}

/// Opens a file; what can be read only once, such as a pipe, is kept in a temporary file.
fn open_or_spool(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() { Ok(file) } else { spool(&mut file) }
}

fn spool(input: &mut dyn Read) -> io::Result<File> {
    let mut file = temporary_file()?;
    if io::copy(&mut input.take(MAX_SPOOLED_BYTES), &mut file)? == MAX_SPOOLED_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.flush()?;
    Ok(file)
}

/// Creates a file without a name where there is room for large ones.
fn temporary_file() -> io::Result<File> {
    let directory = std::env::var_os("TMPDIR").filter(|directory| !directory.is_empty());
    tempfile::tempfile_in(directory.unwrap_or_else(|| LARGE_FILES.into()))
}

fn name_of(file: &ArchiveFile) -> String {
    format!("oci-archive:{file}")
}

/// Where temporary files may be large; `/tmp` is often in memory (Filesystem Hierarchy Standard
/// 3.0, `/var/tmp`).
const LARGE_FILES: &str = "/var/tmp";

/// The longest archive that is taken from a pipe: 1 TiB, the longest layer that is read.
const MAX_SPOOLED_BYTES: u64 = 1 << 40;
