//! Everything that a directory holds, in a form to compare and to print.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::debian::files_in;
use crate::error::{Error, Result};

/// Is the tree below a directory: for each path a description of type, permissions, owner,
/// modification time, size and digest, target, device, hard links and extended attributes.
///
/// Two trees are equal if no program could tell them apart, but for inode numbers, the size and
/// the links of directories, and the times of access and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    descriptions: BTreeMap<Vec<u8>, String>,
}

impl Tree {
    /// Reads the tree below a directory, which is itself in it as `.`.
    pub fn of(directory: &Path) -> Result<Self> {
        let mut reader = Reader { root: directory, seen: HashMap::new(), tree: BTreeMap::new() };
        reader.read(b".")?;
        Ok(Self { descriptions: reader.tree })
    }

    /// Parses what [`Tree::print`] wrote, for example in a virtual machine.
    pub fn parse(printed: &[u8]) -> Result<Self> {
        let line = |line: &str| {
            let (path, description) = line.split_once(' ')?;
            Some((unescaped(path)?, description.to_owned()))
        };
        let text = String::from_utf8_lossy(printed);
        let descriptions: Option<_> = text.lines().map(line).collect();
        let descriptions =
            descriptions.ok_or_else(|| Error::unexpected("a printed tree", &text))?;
        Ok(Self { descriptions })
    }

    /// Prints one line for each path; bytes of the path that are not printable ASCII as `\xHH`.
    pub fn print(&self) -> String {
        let line =
            |(path, description): (&Vec<u8>, &String)| format!("{} {description}\n", escaped(path));
        self.descriptions.iter().map(line).collect()
    }

    /// Returns the paths, relative to the directory, in the order of their bytes.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.descriptions.keys().map(Vec::as_slice)
    }

    /// Returns one line for each path that is different in the tree `found`, up to 20 of them.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let paths = self.descriptions.keys().chain(found.descriptions.keys());
        let paths: std::collections::BTreeSet<_> = paths.collect();
        let of = |tree: &Self, path| {
            tree.descriptions.get(path).map_or_else(|| "nothing".to_owned(), String::clone)
        };
        paths
            .into_iter()
            .filter(|path| self.descriptions.get(*path) != found.descriptions.get(*path))
            .map(|path| {
                format!("{}: expected {}, found {}", escaped(path), of(self, path), of(found, path))
            })
            .take(20)
            .collect()
    }

    /// Returns the program `osguard-tree DIRECTORY`, which prints a tree, for a virtual machine.
    pub fn program() -> Result<PathBuf> {
        crate::binary::built("osguard-tree")
    }
}

struct Reader<'a> {
    root: &'a Path,
    /// The first path of each file that has several, by device and inode.
    seen: HashMap<(u64, u64), Vec<u8>>,
    tree: BTreeMap<Vec<u8>, String>,
}

impl Reader<'_> {
    fn read(&mut self, path: &[u8]) -> Result<()> {
        let absolute = self.root.join(OsStr::from_bytes(path));
        let metadata = fs::symlink_metadata(&absolute).map_err(Error::io(&absolute))?;
        let description = format!(
            "{} {:04o} {}:{} {}.{:09}{}",
            self.contents(path, &absolute, &metadata)?,
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            attributes(&absolute)?
        );
        self.tree.insert(path.to_vec(), description);
        if metadata.is_dir() {
            for file in files_in(&absolute)? {
                let name = file.file_name().unwrap_or_default().as_bytes();
                let parent: &[u8] = if path == b"." { b"" } else { &[path, b"/"].concat() };
                self.read(&[parent, name].concat())?;
            }
        }
        Ok(())
    }

    fn contents(&mut self, path: &[u8], absolute: &Path, metadata: &Metadata) -> Result<String> {
        let kind = metadata.file_type();
        let mut contents = if kind.is_dir() {
            return Ok("directory".to_owned());
        } else if kind.is_file() {
            let digest = digest(absolute).map_err(Error::io(absolute))?;
            format!("file size={} sha256={digest}", metadata.len())
        } else if kind.is_symlink() {
            let target = fs::read_link(absolute).map_err(Error::io(absolute))?;
            format!("symlink target={}", escaped(target.as_os_str().as_bytes()))
        } else if kind.is_char_device() || kind.is_block_device() {
            let kind = if kind.is_char_device() { "character" } else { "block" };
            let device = metadata.rdev();
            format!("{kind} {}:{}", rustix::fs::major(device), rustix::fs::minor(device))
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            "socket".to_owned()
        };
        if metadata.nlink() > 1 {
            let first =
                self.seen.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.to_vec());
            contents += &format!(" links={} first={}", metadata.nlink(), escaped(first));
        }
        Ok(contents)
    }
}

/// Returns the SHA-256 digest of a file in hexadecimal digits.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn attributes(path: &Path) -> Result<String> {
    let mut names = vec![0; ATTRIBUTE_LIMIT_BYTES];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Err(Errno::NOTSUP) => 0,
        length => length.map_err(|error| Error::io(path)(error.into()))?,
    };
    let mut names: Vec<_> =
        names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut attributes = String::new();
    for name in names {
        let mut value = vec![0; ATTRIBUTE_LIMIT_BYTES];
        match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value) {
            Ok(length) => {
                attributes += &format!(" {}={}", escaped(name), escaped(&value[..length]));
            }
            // The kernel looks into lists of access rights and capabilities before it shows them.
            Err(Errno::INVAL | Errno::NODATA) => attributes += &format!(" {}?", escaped(name)),
            Err(error) => return Err(Error::io(path)(error.into())),
        }
    }
    Ok(attributes)
}

fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'!'..=b'~' if *byte != b'\\' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(escape).collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((literal, escape)) = rest.split_once("\\x") {
        bytes.extend_from_slice(literal.as_bytes());
        bytes.push(u8::from_str_radix(escape.get(..2)?, 16).ok()?);
        rest = &escape[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Linux keeps names and each value within this (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const ATTRIBUTE_LIMIT_BYTES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_trees_apart() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| directory.path().join(OsStr::from_bytes(name));
        fs::create_dir(at(b"sub")).unwrap();
        fs::write(at(b"sub/na\xefve name"), b"1").unwrap();
        fs::hard_link(at(b"sub/na\xefve name"), at(b"sub/other")).unwrap();
        std::os::unix::fs::symlink("no where", at(b"link")).unwrap();
        let tree = Tree::of(directory.path()).unwrap();
        let printed = tree.print();
        assert!(
            printed.contains("sub/na\\xefve\\x20name file size=1 sha256=6b86b273"),
            "{printed}"
        );
        assert!(printed.contains("links=2 first=sub/na\\xefve\\x20name"), "{printed}");
        assert!(printed.contains("link symlink target=no\\x20where"), "{printed}");
        assert_eq!(Tree::parse(printed.as_bytes()).unwrap(), tree);

        fs::write(at(b"sub/other"), b"2").unwrap();
        let differences = tree.differences(&Tree::of(directory.path()).unwrap());
        assert_eq!(differences.len(), 2, "{differences:?}");
        fs::remove_file(at(b"link")).unwrap();
        let differences = tree.differences(&Tree::of(directory.path()).unwrap());
        assert!(differences.iter().any(|line| line.contains("found nothing")), "{differences:?}");
    }
}
