//! Volumes as other tools make them: EROFS by mkfs.erofs, a hash tree by veritysetup.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::command::{command, run};
use crate::error::{Error, Result};
use crate::tools::ErofsUtils;

/// Is a file with an image and, behind it, the superblock and the tree of dm-verity.
#[derive(Clone, Debug)]
pub struct VerityImage {
    path: PathBuf,
    root_hash: String,
    hash_offset_bytes: u64,
}

impl VerityImage {
    /// Writes everything below `directory` into `path`, as root's.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is no erofs-utils or no veritysetup.
    pub fn of_directory(directory: &Path, path: &Path) -> Result<Self> {
        run(ErofsUtils::V1_9
            .mkfs()?
            .args(["--quiet", "-Enoinline_data", "-b4096", "-T0", "--all-root"])
            .arg(path)
            .arg(directory))?;
        let hash_offset_bytes =
            fs::metadata(path).map_err(Error::io(path))?.len().next_multiple_of(4096);
        let file = fs::File::options().write(true).open(path).map_err(Error::io(path))?;
        file.set_len(hash_offset_bytes).map_err(Error::io(path))?;
        let format = run(command("veritysetup")?
            .arg("format")
            .args(["--hash", "sha256", "--salt"])
            .arg("00".repeat(32))
            .arg(format!("--data-blocks={}", hash_offset_bytes / 4096))
            .arg(format!("--hash-offset={hash_offset_bytes}"))
            .args([path, path]))?;
        let format = String::from_utf8_lossy(&format).into_owned();
        let root_hash = format.lines().find_map(|line| line.strip_prefix("Root hash:"));
        let root_hash = root_hash.ok_or_else(|| Error::unexpected("veritysetup", &format))?;
        Ok(Self {
            path: path.to_owned(),
            root_hash: root_hash.trim().to_owned(),
            hash_offset_bytes,
        })
    }

    /// Returns the image of the directory that `make` fills, made once and kept as `name` in the target directory.
    pub fn kept(name: &str, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let directory = cache::made_once(name, recipe, |directory| {
            let tree = directory.join("tree");
            cache::create_directories(&tree)?;
            make(&tree)?;
            let image = Self::of_directory(&tree, &directory.join("image"))?;
            fs::remove_dir_all(&tree).map_err(Error::io(&tree))?;
            let facts = format!("{} {}", image.root_hash, image.hash_offset_bytes);
            cache::write(&directory.join("facts"), facts.as_bytes())
        })?;
        let facts = directory.join("facts");
        let facts = fs::read_to_string(&facts).map_err(Error::io(&facts))?;
        let parsed = facts
            .split_once(' ')
            .and_then(|(root_hash, offset)| Some((root_hash.to_owned(), offset.parse().ok()?)));
        let (root_hash, hash_offset_bytes) =
            parsed.ok_or_else(|| Error::unexpected(name, &facts))?;
        Ok(Self { path: directory.join("image"), root_hash, hash_offset_bytes })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the root hash, in lower-case hexadecimal.
    pub fn root_hash(&self) -> &str {
        &self.root_hash
    }

    /// Returns where the image ends and the superblock of dm-verity starts.
    pub fn hash_offset_bytes(&self) -> u64 {
        self.hash_offset_bytes
    }
}
