//! What is costly to make is made once for a checkout and kept in its target directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Is the directory `target/` of this checkout, or the one that `CARGO_TARGET_DIR` names.
///
/// A relative `CARGO_TARGET_DIR` is ignored: it is relative to a directory that only cargo knows.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(directory) if directory.is_absolute() => directory,
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// Returns the directory `name` below [`target_directory`], which `make` has filled.
///
/// `make` runs when the directory is not there or was made from another `recipe`; it gets an empty
/// directory that is renamed into place only when `make` has succeeded. Of several processes that
/// ask at once, one makes it and the others wait.
pub fn made_once(
    name: &str,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let finished = target_directory().join(name);
    let stamp = beside(&finished, "made-from");
    let _lock = lock(name)?;
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == recipe) {
        return Ok(finished);
    }
    let unfinished = beside(&finished, "unfinished");
    remove_file(&stamp)?;
    remove_directory(&finished)?;
    remove_directory(&unfinished)?;
    create_directories(&unfinished)?;
    make(&unfinished)?;
    fs::rename(&unfinished, &finished).map_err(Error::io(&finished))?;
    write(&stamp, recipe.as_bytes())?;
    Ok(finished)
}

/// Waits until no other process holds the lock `name`, and holds it until the file is dropped.
pub fn lock(name: &str) -> Result<File> {
    let path = beside(&target_directory().join(name), "lock");
    create_directories(path.parent().unwrap_or(&path))?;
    let file = File::create(&path).map_err(Error::io(&path))?;
    file.lock().map_err(Error::io(&path))?;
    Ok(file)
}

/// Returns `path.word`; a dot that is in the name already, as in a version, stays.
fn beside(path: &Path, word: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(word);
    path.into()
}

pub(crate) fn create_directories(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io(path))
}

pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<()> {
    File::create(path).and_then(|mut file| file.write_all(contents)).map_err(Error::io(path))
}

fn remove_directory(path: &Path) -> Result<()> {
    removed(path, fs::remove_dir_all(path))
}

fn remove_file(path: &Path) -> Result<()> {
    removed(path, fs::remove_file(path))
}

fn removed(path: &Path, result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_again_only_from_another_recipe() {
        let name = format!("testkit/cache-{}", std::process::id());
        let made = |recipe: &str| {
            let mut ran = false;
            let directory = made_once(&name, recipe, |directory| {
                ran = true;
                write(&directory.join("contents"), recipe.as_bytes())
            })
            .unwrap();
            (ran, fs::read_to_string(directory.join("contents")).unwrap())
        };
        assert_eq!(made("one"), (true, "one".to_owned()));
        assert_eq!(made("one"), (false, "one".to_owned()));
        assert_eq!(made("two"), (true, "two".to_owned()));
        assert!(made_once(&name, "three", |_| Err(Error::Missing("flour".to_owned()))).is_err());
        assert_eq!(made("three"), (true, "three".to_owned()));
        let finished = target_directory().join(&name);
        fs::remove_dir_all(&finished).unwrap();
        fs::remove_file(beside(&finished, "made-from")).unwrap();
        fs::remove_file(beside(&finished, "lock")).unwrap();
    }
}
