//! The tree that layers make, by GNU tar.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::cache::create_directories;
use crate::command::{command, run};
use crate::debian::files_in;
use crate::error::{Error, Result};

/// Unpacks a tar, not compressed, into a directory, with owners, times to the nanosecond and all
/// extended attributes. Whiteouts come out as the files that they are.
///
/// # Errors
///
/// [`Error::Missing`] if the caller is not root, who alone may give files away.
pub fn unpack(tar: &Path, directory: &Path) -> Result<()> {
    extract(tar, directory, &[])
}

/// Changes a directory as a layer, a tar that is not compressed, asks for: removes what it has
/// whiteouts for (OCI image specification, `layer.md`, section Whiteouts), then unpacks it.
///
/// A directory that the layer changes without an entry for it gets the time of the unpacking.
///
/// # Errors
///
/// As [`unpack`].
pub fn apply(tar: &Path, directory: &Path) -> Result<()> {
    let layer = tempfile::tempdir_in(directory.parent().unwrap_or(directory))
        .map_err(Error::io(directory))?;
    unpack(tar, layer.path())?;
    remove_hidden(layer.path(), directory)?;
    extract(tar, directory, &["--exclude=.wh.*"])
}

/// Removes from `lower` what `upper` has a whiteout for, or puts something of another type over.
fn remove_hidden(upper: &Path, lower: &Path) -> Result<()> {
    for path in files_in(upper)? {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if name == OPAQUE {
            for hidden in files_in(lower)? {
                remove(&hidden)?;
            }
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            remove(&below(lower, hidden))?;
        } else if let Some(covered) = metadata(&below(lower, name))? {
            let covering = fs::symlink_metadata(&path).map_err(Error::io(&path))?;
            if !(covering.is_dir() && covered.is_dir()) {
                remove(&below(lower, name))?;
            } else {
                remove_hidden(&path, &below(lower, name))?;
            }
        }
    }
    Ok(())
}

fn extract(tar: &Path, directory: &Path, options: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing(
            "root, who alone may unpack files with their owners".to_owned(),
        ));
    }
    create_directories(directory)?;
    run(command("tar")?
        .args(["--extract", "--numeric-owner", "--preserve-permissions", "--same-owner"])
        .args(["--xattrs", "--xattrs-include=*", "--delay-directory-restore"])
        .args(options)
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(directory))?;
    Ok(())
}

fn below(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(std::ffi::OsStr::from_bytes(name))
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match metadata(path)? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => fs::remove_dir_all(path).map_err(Error::io(path)),
        Some(_) => fs::remove_file(path).map_err(Error::io(path)),
    }
}

const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{TarMaker, Tree};
    use crate::or_skip;

    #[test]
    fn a_layer_hides_and_replaces_what_lies_below() {
        let directory = tempfile::tempdir().unwrap();
        let merged = directory.path().join("merged");
        let lower = TarMaker::new()
            .directory("kept", 0o755)
            .file("kept/gone", b"1")
            .file("kept/stays", b"2")
            .directory("emptied", 0o755)
            .file("emptied/old", b"3")
            .directory("becomes-a-file", 0o755)
            .file("becomes-a-file/x", b"4")
            .finish();
        let upper = TarMaker::new()
            .file("kept/.wh.gone", b"")
            .file("emptied/new", b"5")
            .file("emptied/.wh..wh..opq", b"")
            .file("becomes-a-file", b"6")
            .finish();
        for (name, tar) in [("lower", lower), ("upper", upper)] {
            let path = directory.path().join(name);
            fs::write(&path, tar).unwrap();
            if or_skip(apply(&path, &merged)).is_none() {
                return;
            }
        }
        let tree = Tree::of(&merged).unwrap();
        let paths: Vec<_> = tree.paths().map(String::from_utf8_lossy).collect();
        assert_eq!(paths, [".", "becomes-a-file", "emptied", "emptied/new", "kept", "kept/stays"]);
        assert_eq!(fs::read(merged.join("becomes-a-file")).unwrap(), b"6");
    }
}
