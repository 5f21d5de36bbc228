//! Corrupt blocks as they are reported.

use std::fmt;
use std::io::{self, Write};

use libverity::digest::RootHash;
use libverity::verity::{Fault, FaultyBlock};
use serde::Serialize;

use crate::printable::Printable;

/// Describes one corrupt block.
#[derive(Serialize)]
pub(super) struct FaultReport {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<usize>,
    index: u64,
    offset_bytes: u64,
    expected: String,
    found: String,
    /// The file that the block belongs to, where the data are an EROFS image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<FileReport>,
    #[serde(skip)]
    line: String,
}

/// Names the file that a block belongs to, by what the image says.
#[derive(Serialize)]
pub(super) struct FileReport {
    pub(super) path: String,
    /// `content`, `inode` or `superblock`.
    pub(super) part: &'static str,
    /// Where the block starts in the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset_bytes: Option<u64>,
    /// How many further names have a part in the block.
    pub(super) further_names: u64,
}

impl fmt::Display for FileReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Printable(&self.path);
        match self.offset_bytes {
            Some(offset_bytes) => write!(formatter, "byte {offset_bytes} of {path}")?,
            None => write!(formatter, "the {} of {path}", self.part)?,
        }
        match self.further_names {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

impl FaultReport {
    pub(super) fn new(fault: &Fault) -> Self {
        let (kind, level, index) = match fault.block {
            FaultyBlock::Data { index } => ("data", None, index),
            FaultyBlock::Hash { level, index } => ("hash", Some(level), index),
        };
        Self {
            kind,
            level,
            index,
            offset_bytes: fault.offset_bytes,
            expected: RootHash::from_bytes(fault.expected.clone()).to_string(),
            found: RootHash::from_bytes(fault.found.clone()).to_string(),
            file: None,
            line: fault.to_string(),
        }
    }

    /// Returns where a data block starts in the data.
    pub(super) fn data_offset_bytes(&self) -> Option<u64> {
        self.level.is_none().then_some(self.offset_bytes)
    }
}

/// Writes a line for each block that is listed, and how many more there are.
pub(super) fn write_list(
    listed: &[FaultReport],
    count: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    for fault in listed {
        match &fault.file {
            Some(file) => writeln!(out, "{}; it has {file}", fault.line)?,
            None => writeln!(out, "{}", fault.line)?,
        }
    }
    let more = count - listed.len() as u64;
    if more > 0 {
        writeln!(out, "… and {more} more corrupt blocks")?;
    }
    Ok(())
}

/// How many corrupt blocks are described one by one.
pub(super) const LISTED_FAULTS: usize = 1000;
