//! Converted layers on disk, where they are found again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use rustix::fs::{FlockOperation, flock};

/// Is the directory of the EROFS images of layers: `<root>/layers/<layer digest>-<profile>.erofs`.
///
/// A file under its final name is complete. That it is also unchanged is not claimed: the kernel verifies each block
/// against the root hash, which comes from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStore {
    layers: PathBuf,
}

impl ImageStore {
    /// Names the directory; nothing is made yet.
    pub fn new(root: &Path) -> Self {
        Self { layers: root.join("layers") }
    }

    /// Returns the directory of the images.
    pub fn directory(&self) -> &Path {
        &self.layers
    }

    /// Returns where the image of a layer is or will be.
    pub fn path(&self, layer: &Digest, profile: &str) -> PathBuf {
        self.layers.join(format!("{}-{profile}.erofs", layer.hex()))
    }

    /// Returns of which layer an image is, by the name of its file; `None` for other files.
    pub fn layer_of(path: &Path) -> Option<Digest> {
        let name = path.file_name()?.to_str()?.strip_suffix(".erofs")?;
        let (digits, _profile) = name.split_once('-')?;
        format!("sha256:{digits}").parse().ok()
    }

    /// Finds the image of a layer, or opens a file to write it into.
    ///
    /// Where another process is writing the same image, this waits for it. What a killed process wrote is overwritten.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be made or written.
    pub fn find_or_begin(&self, layer: &Digest, profile: &str) -> Result<Entry, StoreError> {
        let path = self.path(layer, profile);
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| StoreError { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.layers)
            .map_err(failed(&self.layers))?;
        let beside = path.with_extension("partial");
        loop {
            if path.exists() {
                return Ok(Entry::Found(path));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&beside)
                .map_err(failed(&beside))?;
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(StoreError { path: beside, source: errno.into() }),
            }
            // While this process waited, the file may have got its final name, or may have been given up.
            if !is_same_file(&file, &beside) {
                continue;
            }
            file.set_len(0).map_err(failed(&beside))?;
            let layers = self.layers.clone();
            return Ok(Entry::Missing(PartialImage {
                file,
                layers,
                beside,
                path,
                committed: false,
            }));
        }
    }
}

impl Default for ImageStore {
    /// Names `/var/lib/osguard`.
    fn default() -> Self {
        Self::new(Path::new("/var/lib/osguard"))
    }
}

/// Is the answer to the question for an image.
#[derive(Debug)]
pub enum Entry {
    /// It is there.
    Found(PathBuf),
    /// It is to be written.
    Missing(PartialImage),
}

/// Is an image that is being written; dropped before [`commit`](Self::commit), it is removed.
#[derive(Debug)]
pub struct PartialImage {
    file: File,
    layers: PathBuf,
    beside: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl PartialImage {
    /// Returns the empty file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns where the file lies while it is written.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Returns the directory that it lies in.
    pub fn directory(&self) -> &Path {
        &self.layers
    }

    /// As [`commit`](Self::commit), for an image whose layer was not known when it was begun.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_as(
        mut self,
        store: &ImageStore,
        layer: &Digest,
        profile: &str,
    ) -> Result<PathBuf, StoreError> {
        self.path = store.path(layer, profile);
        self.commit()
    }

    /// Writes the image out to the disk and gives it its name.
    ///
    /// # Errors
    ///
    /// Fails when the disk is full or fails; the file is removed.
    pub fn commit(mut self) -> Result<PathBuf, StoreError> {
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.beside, &self.path))
            // The name as well outlives a crash of the machine.
            .and_then(|()| File::open(&self.layers)?.sync_all())
            .map_err(|source| StoreError { path: self.path.clone(), source })?;
        self.committed = true;
        Ok(self.path.clone())
    }
}

impl Drop for PartialImage {
    fn drop(&mut self) {
        if !self.committed {
            // The lock is still held, so the name is still this file's. A leftover would be overwritten.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// Says which file of the store cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}", path = path.display())]
pub struct StoreError {
    /// The file or directory.
    pub path: PathBuf,
    /// The kernel's answer.
    pub source: io::Error,
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn begin(store: &ImageStore, layer: &Digest) -> PartialImage {
        match store.find_or_begin(layer, "p").unwrap() {
            Entry::Missing(partial) => partial,
            Entry::Found(path) => panic!("{} is there", path.display()),
        }
    }

    #[test]
    fn image_is_found_only_once_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::new(directory.path());
        let layer = Digest::of(b"layer");
        let partial = begin(&store, &layer);
        partial.file().write_all(b"image").unwrap();
        assert!(!store.path(&layer, "p").exists());
        let path = partial.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"image");
        assert!(
            matches!(store.find_or_begin(&layer, "p"), Ok(Entry::Found(found)) if found == path)
        );
    }

    #[test]
    fn the_name_of_an_image_tells_its_layer() {
        let layer = Digest::of(b"layer");
        let path = ImageStore::default().path(&layer, "containerd-full-v1");
        assert_eq!(ImageStore::layer_of(&path), Some(layer));
        for other in ["", "/x.erofs", "/00-p.erofs", "/images/1"] {
            assert_eq!(ImageStore::layer_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn abandoned_image_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::new(directory.path());
        let partial = begin(&store, &Digest::of(b"layer"));
        let beside = partial.beside().to_owned();
        drop(partial);
        assert!(!beside.exists());
    }

    #[test]
    fn leftover_of_a_killed_process_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::new(directory.path());
        let layer = Digest::of(b"layer");
        let beside = store.path(&layer, "p").with_extension("partial");
        std::fs::create_dir_all(beside.parent().unwrap()).unwrap();
        std::fs::write(&beside, "half an image that was longer").unwrap();
        let partial = begin(&store, &layer);
        partial.file().write_all(b"image").unwrap();
        assert_eq!(std::fs::read(partial.commit().unwrap()).unwrap(), b"image");
    }

    #[test]
    fn second_writer_waits_and_finds_the_image() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::new(directory.path());
        let layer = Digest::of(b"layer");
        let partial = begin(&store, &layer);
        let waiting = std::thread::spawn(move || {
            matches!(store.find_or_begin(&layer, "p"), Ok(Entry::Found(_)))
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        partial.commit().unwrap();
        assert!(waiting.join().unwrap());
    }
}
