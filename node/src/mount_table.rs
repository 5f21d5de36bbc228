//! The table of mounts: `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::device_number::DeviceNumber;

/// Is the list of mounts that this process sees, in the order in which the kernel lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountTable(Vec<Mount>);

impl MountTable {
    /// Reads the table of the calling process.
    ///
    /// # Errors
    ///
    /// Fails when `/proc` is not mounted, and on a line that is none of mountinfo's.
    pub fn read() -> Result<Self, MountTableError> {
        Self::read_file(MOUNTINFO)
    }

    /// Reads the table of another process, whose paths start at that process's root.
    ///
    /// # Errors
    ///
    /// Fails as [`read`](Self::read), and when there is no such process.
    pub fn of_process(process: u32) -> Result<Self, MountTableError> {
        Self::read_file(&format!("/proc/{process}/mountinfo"))
    }

    /// Returns the mount that the kernel knows by this number (`statx(2)`, `stx_mnt_id`).
    pub fn with_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    fn read_file(file: &str) -> Result<Self, MountTableError> {
        let bytes = std::fs::read(file)
            .map_err(|source| MountTableError::Unreadable { file: file.to_owned(), source })?;
        Self::parse(&bytes)
    }

    /// Returns the mount that one meets at `mount_point`: the last of those stacked there.
    pub fn at(&self, mount_point: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.mount_point == mount_point)
    }

    /// Lists all mounts, in the order in which the kernel does.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mount> {
        self.0.iter()
    }

    /// Lists all mounts that are stacked at `mount_point`, the lowest first.
    pub fn stacked_at(&self, mount_point: &Path) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.mount_point == mount_point)
    }

    fn parse(bytes: &[u8]) -> Result<Self, MountTableError> {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mounts = lines.map(|line| {
            Mount::parse(line).ok_or_else(|| MountTableError::Malformed {
                line: String::from_utf8_lossy(line).into_owned(),
            })
        });
        mounts.collect::<Result<_, _>>().map(Self)
    }
}

/// Is one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of the mount, which no two mounts of a machine have at the same time.
    pub id: u64,
    /// The device number of the file system: that of its block device, or one of the kernel's own.
    pub device: DeviceNumber,
    /// Which directory of the file system is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The type of the file system, such as `erofs`.
    pub file_system: String,
    /// What was mounted, in the words of whoever mounted it.
    pub source: OsString,
    /// The options of the file system, `NAME` or `NAME=VALUE`.
    pub options: Vec<OsString>,
}

impl Mount {
    /// Parses `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let device = std::str::from_utf8(words.nth(1)?).ok()?.parse().ok()?;
        let root = PathBuf::from(unescape(words.next()?));
        let mount_point = PathBuf::from(unescape(words.next()?));
        // The number of optional fields varies; a lone hyphen ends them.
        words.find(|word| *word == b"-")?;
        let file_system = String::from_utf8(words.next()?.to_vec()).ok()?;
        let source = unescape(words.next()?);
        let options = words.next().unwrap_or_default().split(|byte| *byte == b',');
        let options = options.map(unescape).collect();
        Some(Self { id, device, root, mount_point, file_system, source, options })
    }

    /// Returns the values of the option `name`, which may be there several times; that of a flag is empty.
    pub fn option<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.options.iter().filter_map(move |option| {
            let rest = option.as_bytes().strip_prefix(name.as_bytes())?;
            match rest.split_first() {
                None => Some(OsStr::new("")),
                Some((b'=', value)) => Some(OsStr::from_bytes(value)),
                Some(_) => None,
            }
        })
    }
}

/// Says why the table of mounts is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountTableError {
    /// A line is none of mountinfo's.
    #[error("{MOUNTINFO} holds a line of unknown form: {line:?}")]
    Malformed {
        /// The line.
        line: String,
    },
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Undoes the octal escapes of space, tab, newline and backslash (`fs/seq_file.c`, `mangle_path`).
fn unescape(word: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| tail.get(..3)).flatten().and_then(octal);
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

const MOUNTINFO: &str = "/proc/self/mountinfo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_table_has_the_proc_file_system() {
        let table = MountTable::read().unwrap();
        assert_eq!(table.at(Path::new("/proc")).unwrap().file_system, "proc");
        assert_eq!(table.at(Path::new("/no/such/mount")), None);
    }

    #[test]
    fn topmost_of_stacked_mounts_is_met() {
        let table = MountTable::parse(
            b"36 35 98:0 / /a\\040b rw shared:1 master:2 - ext3 /dev/root rw\n\
              37 36 0:31 / /a\\040b ro - overlay osguard\\0111 ro,lowerdir=x\\054y\\075z\n",
        )
        .unwrap();
        let mount = table.at(Path::new("/a b")).unwrap();
        assert_eq!(mount.file_system, "overlay");
        assert_eq!(mount.source, "osguard\t1");
        assert_eq!(mount.device, DeviceNumber { major: 0, minor: 31 });
        assert_eq!((mount.id, mount.root.as_path()), (37, Path::new("/")));
        assert_eq!(table.with_id(36).unwrap().file_system, "ext3");
        assert_eq!(table.stacked_at(Path::new("/a b")).count(), 2);
        assert_eq!(mount.option("lowerdir").collect::<Vec<_>>(), ["x,y=z"]);
        assert_eq!(mount.option("ro").collect::<Vec<_>>(), [""]);
        assert_eq!(mount.option("lower").count(), 0);
    }

    #[test]
    fn foreign_lines_are_refused() {
        for line in ["x", "36 35 98:0 / /a rw shared:1", "36 35 98 / /a rw - ext3 a b"] {
            assert!(MountTable::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
