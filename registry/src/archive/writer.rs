//! The tar of an archive that is being written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::members::{Members, Section, SectionReader};

/// Writes members one after the other, each of them read back from where it was written.
///
/// Headers are the same for the same content: mode 644, owner 0, time 0.
#[derive(Debug)]
pub(super) struct TarWriter {
    file: Arc<File>,
    end_bytes: u64,
    sections: BTreeMap<String, Section>,
}

impl TarWriter {
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), end_bytes: 0, sections: BTreeMap::new() }
    }

    /// Opens a file that was written.
    pub(super) fn open(&self, path: &str) -> Option<(SectionReader, u64)> {
        let section = self.sections.get(path)?;
        Some((SectionReader::new(Arc::clone(&self.file), *section), section.size_bytes))
    }

    /// Begins a member; its header is written when it is finished.
    pub(super) fn begin(&self) -> MemberWriter {
        let offset_bytes = self.end_bytes + BLOCK_BYTES;
        MemberWriter { file: Arc::clone(&self.file), offset_bytes, size_bytes: 0 }
    }

    /// Makes what was written a member called `path`. One that is dropped instead is overwritten
    /// by the next.
    pub(super) fn end(&mut self, path: &str, member: &MemberWriter) -> io::Result<()> {
        let size_bytes = member.size_bytes;
        self.file.write_all_at(&header(path, size_bytes), self.end_bytes)?;
        let padding = [0; BLOCK_BYTES as usize];
        let padding_bytes = size_bytes.wrapping_neg() % BLOCK_BYTES;
        let end_bytes = member.offset_bytes + size_bytes;
        self.file.write_all_at(&padding[..padding_bytes as usize], end_bytes)?;
        self.end_bytes = end_bytes + padding_bytes;
        let section = Section { offset_bytes: member.offset_bytes, size_bytes };
        self.sections.insert(path.to_owned(), section);
        Ok(())
    }

    /// Writes a member whose content is at hand.
    pub(super) fn add(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut member = self.begin();
        member.write(content)?;
        self.end(path, &member)
    }

    /// Takes over a member of another archive as it is; its content is checked when it is used.
    pub(super) fn take_over(
        &mut self,
        path: &str,
        from: &Members,
        section: Section,
    ) -> io::Result<()> {
        let mut member = self.begin();
        let mut content = SectionReader::new(Arc::clone(from.file()), section);
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => member.write(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if member.size_bytes != section.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end(path, &member)
    }

    /// Returns where the members end, to come back to with [`TarWriter::rewind`].
    pub(super) fn mark(&self) -> Mark {
        Mark { end_bytes: self.end_bytes, paths: self.sections.keys().cloned().collect() }
    }

    /// Forgets what was written after `mark`.
    pub(super) fn rewind(&mut self, mark: &Mark) {
        self.end_bytes = mark.end_bytes;
        self.sections.retain(|path, _| mark.paths.binary_search(path).is_ok());
    }

    /// Writes the end of the archive and cuts off what a dropped member has left behind it.
    pub(super) fn close(&self) -> io::Result<()> {
        self.file.set_len(self.end_bytes)?;
        self.file.set_len(self.end_bytes + 2 * BLOCK_BYTES)
    }

    /// Copies the closed archive to `output`.
    pub(super) fn copy_to(&self, output: &mut dyn io::Write) -> io::Result<()> {
        let whole = Section { offset_bytes: 0, size_bytes: self.end_bytes + 2 * BLOCK_BYTES };
        let mut reader = SectionReader::new(Arc::clone(&self.file), whole);
        io::copy(&mut reader, output)?;
        output.flush()
    }
}

/// Writes the content of one member.
#[derive(Debug)]
pub(super) struct MemberWriter {
    file: Arc<File>,
    offset_bytes: u64,
    size_bytes: u64,
}

impl MemberWriter {
    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all_at(content, self.offset_bytes + self.size_bytes)?;
        self.size_bytes += content.len() as u64;
        Ok(())
    }
}

/// Is a place between two members.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    end_bytes: u64,
    paths: Vec<String>,
}

/// Returns the header of a regular file.
///
/// | offset | bytes | field | value |
/// |---|---|---|---|
/// | 0 | 100 | name | `path` |
/// | 100 | 8 | mode | `0000644` |
/// | 108 | 8 | user | `0000000` |
/// | 116 | 8 | group | `0000000` |
/// | 124 | 12 | size | 11 octal digits, or from 8 GiB on base 256 after a byte `0x80` |
/// | 136 | 12 | time | `00000000000` |
/// | 148 | 8 | checksum | 6 octal digits, NUL, space |
/// | 156 | 1 | typeflag | `0` |
/// | 257 | 8 | magic and version | `ustar`, NUL, `00` |
///
/// Sources: POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
fn header(path: &str, size_bytes: u64) -> [u8; BLOCK_BYTES as usize] {
    let mut block = [0; BLOCK_BYTES as usize];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    if size_bytes < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size_bytes:011o}").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size_bytes.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

const BLOCK_BYTES: u64 = 512;

const COPY_BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use libverity::tar::{EntryKind, TarReader};

    use super::*;

    #[test]
    fn headers_are_read_by_our_own_reader() {
        for size in [0, 1, (1 << 33) - 1, 1 << 33, u64::MAX >> 24] {
            let path = format!("blobs/sha256/{}", "a".repeat(64));
            let block = header(&path, size);
            let entry = TarReader::new(&block[..]).next_entry().unwrap().unwrap();
            assert_eq!(entry.path, path.as_bytes());
            assert_eq!(entry.kind, EntryKind::Regular { size });
            assert_eq!((entry.mode, entry.uid, entry.gid), (0o644, 0, 0));
        }
    }

    #[test]
    fn dropped_and_rewound_members_leave_no_trace() {
        let mut tar = TarWriter::new(tempfile::tempfile().unwrap());
        tar.add("oci-layout", b"1").unwrap();
        tar.begin().write(&[7; 5000]).unwrap();
        let mark = tar.mark();
        tar.add("index.json", &[8; 600]).unwrap();
        tar.rewind(&mark);
        assert!(tar.open("index.json").is_none());
        tar.add("index.json", b"2").unwrap();
        tar.close().unwrap();
        let mut bytes = Vec::new();
        tar.copy_to(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 6 * 512);
        let mut reader = TarReader::new(&bytes[..]);
        for expected in [&b"oci-layout"[..], b"index.json"] {
            assert_eq!(reader.next_entry().unwrap().unwrap().path, expected);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
        assert!(reader.divergences().is_empty());
        let mut content = String::new();
        tar.open("index.json").unwrap().0.read_to_string(&mut content).unwrap();
        assert_eq!(content, "2");
    }
}
