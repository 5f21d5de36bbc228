//! The root file system of the guest: a cpio archive that the kernel unpacks into memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Is an initramfs under construction.
pub(super) struct Initramfs {
    /// By path without a leading slash; a directory's path sorts before those below it.
    nodes: BTreeMap<String, Node>,
}

struct Node {
    /// Type and permissions, as in `st_mode`.
    mode: u32,
    contents: Vec<u8>,
}

impl Initramfs {
    /// Starts with the directories that `init.sh` mounts on, and with `/bin`, `/sbin` and `/lib`
    /// as links into `/usr`.
    pub(super) fn new() -> Self {
        let mut initramfs = Self { nodes: BTreeMap::new() };
        for directory in ["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"] {
            initramfs.insert(directory, DIRECTORY | 0o755, Vec::new());
        }
        for (link, target) in MERGED {
            initramfs.insert(link, SYMLINK | 0o777, target.into());
        }
        initramfs
    }

    /// Adds a file of this machine.
    pub(super) fn file(&mut self, guest_path: &str, path: &Path) -> Result<()> {
        let contents = fs::read(path).map_err(Error::io(path))?;
        let metadata = fs::metadata(path).map_err(Error::io(path))?;
        self.contents(guest_path, metadata.permissions().mode() & 0o7777, contents);
        Ok(())
    }

    /// Adds a file with these permissions, and the directories above it.
    pub(super) fn contents(&mut self, guest_path: &str, permissions: u32, contents: Vec<u8>) {
        let mut path = guest_path.trim_start_matches('/').to_owned();
        for (link, target) in MERGED {
            if let Some(below) = path.strip_prefix(link).filter(|below| below.starts_with('/')) {
                path = format!("{target}{below}");
                break;
            }
        }
        for (slash, _) in path.match_indices('/') {
            self.insert(&path[..slash], DIRECTORY | 0o755, Vec::new());
        }
        self.insert(&path, FILE | permissions, contents);
    }

    /// Writes the archive.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            entry(&mut archive, number, path, node);
        }
        entry(&mut archive, 0, "TRAILER!!!", &Node { mode: 0, contents: Vec::new() });
        archive
    }

    fn insert(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        self.nodes.insert(path.to_owned(), Node { mode, contents });
    }
}

/// Appends one entry in the format `newc` (kernel: `Documentation/driver-api/early-userspace/
/// buffer-format.rst`): thirteen fields of eight hexadecimal digits, the name and the contents,
/// both filled up to a multiple of four bytes.
fn entry(archive: &mut Vec<u8>, number: u32, path: &str, node: &Node) {
    let size = u32::try_from(node.contents.len()).expect("a file of less than 4 GiB");
    let name_size = u32::try_from(path.len() + 1).expect("a short path");
    let (owner, links, time, device, checksum) = (0, 1, 0, 0, 0);
    let fields = [
        number, node.mode, owner, owner, links, time, size, device, device, device, device,
        name_size, checksum,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    fill(archive);
    archive.extend_from_slice(&node.contents);
    fill(archive);
}

fn fill(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Are the links of a system whose programs and libraries all lie in `/usr`.
const MERGED: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/bin")];
