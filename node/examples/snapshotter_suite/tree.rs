//! Trees that are changed and compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Changes the tree below a directory.
pub(crate) type Change<'a> = &'a dyn Fn(&Path);

pub(crate) fn file(root: &Path, path: &str, content: &str, mode: u32) {
    let path = root.join(path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn directory(root: &Path, path: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn remove(root: &Path, path: &str) {
    let path = root.join(path);
    match fs::symlink_metadata(&path).unwrap().is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

pub(crate) fn owner(root: &Path, path: &str, id: u32) {
    std::os::unix::fs::lchown(root.join(path), Some(id), Some(id)).unwrap();
}

/// Checks that two trees hold the same, but for times.
pub(crate) fn assert_same(expected: &Path, found: &Path) {
    assert_eq!(descriptions(expected), descriptions(found));
}

fn descriptions(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = match metadata.is_dir() {
                true => "directory".to_owned(),
                false => format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap())),
            };
            let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
            let relative = path.strip_prefix(root).unwrap().to_owned();
            found.insert(relative, format!("{mode:o} {uid}:{gid} {content}"));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    found
}
