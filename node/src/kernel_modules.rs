//! The modules that the kernel has loaded, and the files that they are loaded from (`depmod(8)`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Lists the loaded modules with their files, ordered by name; none for a module whose file is not to be found, as that of one
/// that only the initramfs had.
///
/// # Errors
///
/// Fails where `/proc` is not mounted. A kernel without modules has none.
pub(crate) fn loaded_modules(
    root: &Path,
    release: &str,
) -> io::Result<Vec<(String, Option<PathBuf>)>> {
    let loaded = match std::fs::read_to_string(root.join("proc/modules")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<_> = loaded.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let directories = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path).join(release));
    let files = directories.iter().find_map(|directory| files(directory));
    let files = files.unwrap_or_default();
    Ok(names.into_iter().map(|name| (name.to_owned(), files.get(name).cloned())).collect())
}

/// Reads `modules.dep`: a line for each module, which starts with its path below the directory and a colon.
fn files(directory: &Path) -> Option<BTreeMap<String, PathBuf>> {
    let text = std::fs::read_to_string(directory.join("modules.dep")).ok()?;
    let paths = text.lines().filter_map(|line| line.split(':').next());
    Some(paths.filter_map(|path| Some((module_name(path)?, directory.join(path)))).collect())
}

/// Returns the name of the module in a file such as `kernel/drivers/md/dm-verity.ko.xz`, as the kernel writes it.
fn module_name(path: &str) -> Option<String> {
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_with_their_files() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("proc")).unwrap();
        std::fs::create_dir_all(at("lib/modules/6.12.1")).unwrap();
        std::fs::write(
            at("proc/modules"),
            "loop 45056 0 - Live 0x0\ndm_verity 1 0 - Live 0x0\nx 1\n",
        )
        .unwrap();
        let list =
            "kernel/drivers/md/dm-verity.ko.xz: kernel/x.ko.xz\nkernel/drivers/block/loop.ko:\n";
        std::fs::write(at("lib/modules/6.12.1/modules.dep"), list).unwrap();
        let found = loaded_modules(root.path(), "6.12.1").unwrap();
        let file = |path: &str| Some(at("lib/modules/6.12.1/kernel/drivers").join(path));
        assert_eq!(
            found,
            [
                ("dm_verity".to_owned(), file("md/dm-verity.ko.xz")),
                ("loop".to_owned(), file("block/loop.ko")),
                ("x".to_owned(), None),
            ]
        );
        let other = loaded_modules(root.path(), "7.2").unwrap();
        assert!(other.iter().all(|(_, file)| file.is_none()));
        assert_eq!(loaded_modules(&at("nowhere"), "7.2").unwrap(), []);
    }
}
