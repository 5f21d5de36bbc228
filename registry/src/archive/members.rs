//! Where the files of a layout are within a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use libverity::tar::{EntryKind, TarError, TarReader};

/// Is the list of an archive's files.
#[derive(Clone, Debug)]
pub(super) struct Members {
    file: Arc<File>,
    sections: BTreeMap<String, Section>,
}

/// Is the place of one member's content in an archive, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset_bytes: u64,
    pub(super) size_bytes: u64,
}

impl Members {
    /// Reads the headers of an archive; payloads are passed over without reading them.
    pub(super) fn scan(file: Arc<File>) -> Result<Self, ScanError> {
        let length_bytes = file.metadata()?.len();
        let mut sections = BTreeMap::new();
        let mut tar = TarReader::new(Leaping { file: &file, position_bytes: 0, leap_bytes: 0 });
        while let Some(entry) = tar.next_entry()? {
            let Some(path) = layout_path(&entry.path) else { continue };
            let section = match entry.kind {
                EntryKind::Regular { size } => {
                    let offset_bytes = tar.position_bytes();
                    if offset_bytes.checked_add(size).is_none_or(|end| end > length_bytes) {
                        return Err(ScanError::Truncated { path });
                    }
                    tar.stream().leap_bytes = size;
                    Section { offset_bytes, size_bytes: size }
                }
                // What one archiver finds twice on a disk, it stores once.
                EntryKind::HardLink { target } => {
                    let target = layout_path(&target);
                    match target.and_then(|target| sections.get(&target).copied()) {
                        Some(section) => section,
                        None => return Err(ScanError::NotAFile { path }),
                    }
                }
                EntryKind::Directory => continue,
                _ => return Err(ScanError::NotAFile { path }),
            };
            if sections.insert(path.clone(), section).is_some() {
                return Err(ScanError::Twice { path });
            }
            if sections.len() > MAX_FILES {
                return Err(ScanError::TooMany { limit: MAX_FILES });
            }
        }
        Ok(Self { file, sections })
    }

    /// Opens the file at `path`, and returns its length in bytes.
    pub(super) fn open(&self, path: &str) -> Option<(SectionReader, u64)> {
        let section = self.sections.get(path)?;
        Some((SectionReader::new(Arc::clone(&self.file), *section), section.size_bytes))
    }

    /// Returns all files with their paths.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Section)> {
        self.sections.iter().map(|(path, section)| (path.as_str(), *section))
    }

    /// Returns the archive.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// Reads one member of an archive, however many others are read at the same time.
#[derive(Debug)]
pub(super) struct SectionReader {
    file: Arc<File>,
    section: Section,
}

impl SectionReader {
    pub(super) fn new(file: Arc<File>, section: Section) -> Self {
        Self { file, section }
    }
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Section { offset_bytes, size_bytes } = &mut self.section;
        let limit = usize::try_from(*size_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..limit], *offset_bytes)?;
        *offset_bytes += read as u64;
        *size_bytes -= read as u64;
        Ok(read)
    }
}

/// Says why an archive is not one of a layout.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("{path} is neither a file nor a hard link to one before it")]
    NotAFile { path: String },
    #[error("it is not a tar archive that can be read: {0}")]
    Tar(#[from] TarError),
    #[error("it has more than {limit} files")]
    TooMany { limit: usize },
    #[error("it ends within {path}")]
    Truncated { path: String },
    #[error("it has two files called {path}")]
    Twice { path: String },
}

/// Is the stream of headers under a [`TarReader`]: a payload that is passed over is not read from
/// the file, and whatever is in the buffer stands for it.
struct Leaping<'a> {
    file: &'a File,
    position_bytes: u64,
    /// How much of the payload ahead is passed over.
    leap_bytes: u64,
}

impl Read for Leaping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if self.leap_bytes > 0 {
            let leap = usize::try_from(self.leap_bytes).unwrap_or(usize::MAX).min(buffer.len());
            self.leap_bytes -= leap as u64;
            leap
        } else {
            self.file.read_at(buffer, self.position_bytes)?
        };
        self.position_bytes += read as u64;
        Ok(read)
    }
}

/// Returns a member's path if it is one of the files that a layout consists of.
fn layout_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let path = path.trim_start_matches("./");
    let is_blob = path.strip_prefix("blobs/sha256/").is_some_and(|name| {
        name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    (is_blob || path == "oci-layout" || path == "index.json").then(|| path.to_owned())
}

/// The most files of one archive. The largest that are exchanged hold a few hundred images with
/// some tens of blobs each; this many take about 20 MiB of memory.
const MAX_FILES: usize = 100_000;
