//! How much a directory takes of the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Is what a snapshot takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// In bytes.
    pub(crate) size_bytes: u64,
    /// Files of all kinds; one with several names counts once.
    pub(crate) inodes: u64,
}

/// Adds up the directory at `root` and all below it. What vanishes meanwhile does not count: a container is writing there.
pub(crate) fn of_directory(root: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut several_names = std::collections::HashSet::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    let mut add = |path: &Path, directories: &mut Vec<PathBuf>| -> io::Result<()> {
        let Some(metadata) = if_there(fs::symlink_metadata(path))? else { return Ok(()) };
        if metadata.is_dir() {
            directories.push(path.to_owned());
        } else if metadata.nlink() > 1 && !several_names.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        usage.size_bytes += metadata.blocks() * BLOCK_BYTES;
        usage.inodes += 1;
        Ok(())
    };
    add(root, &mut directories)?;
    while let Some(directory) = directories.pop() {
        let Some(entries) = if_there(fs::read_dir(&directory))? else { continue };
        for entry in entries {
            add(&entry?.path(), &mut directories)?;
        }
    }
    Ok(usage)
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// What `st_blocks` counts, whatever the file system (`stat(2)`).
const BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("a/b/same")).unwrap();
        fs::write(directory.path().join("outside"), vec![1; 1_000_000]).unwrap();
        std::os::unix::fs::symlink(directory.path(), root.join("link")).unwrap();
        let usage = of_directory(&root).unwrap();
        assert_eq!(usage.inodes, 5);
        assert!((100_000..500_000).contains(&usage.size_bytes), "{usage:?}");
        assert_eq!(of_directory(&directory.path().join("none")).unwrap(), Usage::default());
    }
}
