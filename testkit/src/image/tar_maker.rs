//! Archives byte by byte, also such as no tar program would write.

/// Puts an archive together.
///
/// ```
/// use osguard_testkit::image::{TarHeader, TarMaker};
///
/// let tar = TarMaker::new()
///     .directory("bin", 0o755)
///     .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.note", b"any\0bytes")])
///     .entry(TarHeader { mode: 0o4755, uid: 7, ..TarHeader::file("bin/su") }, b"program")
///     .finish();
/// assert_eq!(tar.len() % 512, 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TarMaker {
    archive: Vec<u8>,
}

/// Is what the header of an entry says; the checksum is added.
#[derive(Clone, Debug, Default)]
pub struct TarHeader {
    /// The path; one of more than 100 bytes goes into a PAX header before the entry.
    pub name: Vec<u8>,
    /// The permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The modification time, in seconds since 1970.
    pub mtime: u64,
    /// The type: `0` a file, `1` a hard link, `2` a symlink, `5` a directory …
    pub typeflag: u8,
    /// Where a link leads; one of more than 100 bytes goes into a PAX header before the entry.
    pub link_name: Vec<u8>,
    /// The size in bytes that the header states, if that is not the size of the contents.
    pub stated_size_bytes: Option<u64>,
    /// The major and minor number of a device.
    pub device: (u32, u32),
}

impl TarHeader {
    /// Begins a directory of mode 0755.
    pub fn directory(name: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o755, ..Self::new(b'5', name) }
    }

    /// Begins a file of mode 0644.
    pub fn file(name: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o644, ..Self::new(b'0', name) }
    }

    /// Begins a hard link to the path `target`.
    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o644, link_name: target.as_ref().to_vec(), ..Self::new(b'1', name) }
    }

    /// Begins a symlink.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o777, link_name: target.as_ref().to_vec(), ..Self::new(b'2', name) }
    }

    fn new(typeflag: u8, name: impl AsRef<[u8]>) -> Self {
        Self { name: name.as_ref().to_vec(), typeflag, ..Self::default() }
    }

    /// Writes the block in the format `ustar` (POSIX.1-1988); numbers too large for their field
    /// keep their last digits.
    fn block(&self, size_bytes: u64) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let mut put = |offset: usize, width: usize, bytes: &[u8]| {
            let length = bytes.len().min(width);
            block[offset..offset + length].copy_from_slice(&bytes[..length]);
        };
        put(0, 100, &self.name);
        put(100, 8, &octal(self.mode.into(), 7));
        put(108, 8, &octal(self.uid.into(), 7));
        put(116, 8, &octal(self.gid.into(), 7));
        put(124, 12, &octal(self.stated_size_bytes.unwrap_or(size_bytes), 11));
        put(136, 12, &octal(self.mtime, 11));
        put(148, 8, b"        ");
        put(156, 1, &[self.typeflag]);
        put(157, 100, &self.link_name);
        put(257, 8, b"ustar\x0000");
        put(329, 8, &octal(self.device.0.into(), 7));
        put(337, 8, &octal(self.device.1.into(), 7));
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..154].copy_from_slice(&octal(sum, 6));
        block[154] = 0;
        block
    }
}

impl TarMaker {
    /// Begins an empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(self, name: impl AsRef<[u8]>, mode: u32) -> Self {
        self.entry(TarHeader { mode, ..TarHeader::directory(name) }, b"")
    }

    /// Adds a file of mode 0644.
    #[must_use]
    pub fn file(self, name: impl AsRef<[u8]>, contents: &[u8]) -> Self {
        self.entry(TarHeader::file(name), contents)
    }

    /// Adds a hard link to the path `target`.
    #[must_use]
    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(TarHeader::hard_link(name, target), b"")
    }

    /// Adds a symlink.
    #[must_use]
    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(TarHeader::symlink(name, target), b"")
    }

    /// Adds any entry.
    #[must_use]
    pub fn entry(self, header: TarHeader, contents: &[u8]) -> Self {
        let mut long: Vec<(&str, &[u8])> = Vec::new();
        for (key, value) in [("path", &header.name), ("linkpath", &header.link_name)] {
            if value.len() > NAME_BYTES {
                long.push((key, value));
            }
        }
        let maker = if long.is_empty() { self } else { self.pax(&long) };
        maker.raw(&header.block(contents.len() as u64)).filled(contents)
    }

    /// Adds PAX records (POSIX.1-2001) for the entry that follows.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'x', records)
    }

    /// Adds PAX records for all entries that follow.
    #[must_use]
    pub fn global_pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'g', records)
    }

    /// Adds bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.archive.extend_from_slice(bytes);
        self
    }

    /// Returns the archive with the two zero blocks at its end.
    pub fn finish(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK_BYTES]).archive
    }

    /// Returns the archive as it is, without an end.
    pub fn unfinished(self) -> Vec<u8> {
        self.archive
    }

    fn extended(self, typeflag: u8, records: &[(&str, &[u8])]) -> Self {
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let header = TarHeader { typeflag, ..TarHeader::file("pax") };
        self.raw(&header.block(records.len() as u64)).filled(&records)
    }

    fn filled(mut self, contents: &[u8]) -> Self {
        self.archive.extend_from_slice(contents);
        self.archive.resize(self.archive.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }
}

/// Writes `LENGTH KEY=VALUE \n`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    [length.to_string().as_bytes(), &rest].concat()
}

/// Writes the last `digits` octal digits of a number.
fn octal(number: u64, digits: usize) -> Vec<u8> {
    let text = format!("{number:0digits$o}");
    text.as_bytes()[text.len() - digits..].to_vec()
}

const BLOCK_BYTES: usize = 512;
const NAME_BYTES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{command, run_with_input};
    use crate::or_skip;

    #[test]
    fn gnu_tar_reads_every_entry() {
        let long = "directory/".repeat(20) + "file";
        let tar = TarMaker::new()
            .directory("directory", 0o711)
            .file(&long, b"contents")
            .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.note", b"any\0bytes")])
            .entry(TarHeader { mode: 0o4755, uid: 7, gid: 8, ..TarHeader::file("setuid") }, b"")
            .hard_link("hard", "setuid")
            .symlink("symbolic", &long)
            .finish();
        let Some(mut list) = or_skip(command("tar")) else { return };
        let list = list.args(["--list", "--verbose", "--numeric-owner", "--utc", "--full-time"]);
        let listed = run_with_input(list, &tar).unwrap();
        let listed = String::from_utf8(listed).unwrap();
        let words: Vec<Vec<&str>> =
            listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let zero = ["1970-01-01", "00:00:00"];
        assert_eq!(words[0], ["drwx--x--x", "0/0", "0", zero[0], zero[1], "directory"]);
        assert_eq!(words[1], ["-rw-r--r--", "0/0", "8", zero[0], zero[1], &long]);
        assert_eq!(words[2], ["-rwsr-xr-x", "7/8", "0", zero[0], "00:00:01.5", "setuid"]);
        assert_eq!(words[3][5..], ["hard", "link", "to", "setuid"]);
        assert_eq!(words[4][5..], ["symbolic", "->", &long]);
        assert_eq!(words.len(), 5);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("a", b"b"), b"6 a=b\n");
        assert_eq!(record("path", &[b'x'; 90]).len(), 99);
        assert_eq!(record("path", &[b'x'; 91]).len(), 101);
    }
}
