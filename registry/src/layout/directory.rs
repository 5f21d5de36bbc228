//! Layouts in directories.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;

use super::files::Files;
use super::index::LayoutIndex;
use super::storage::{
    IndexChange, MARKER_CONTENT, Opened, Storage, blob_path, check_marker, index_bytes,
};
use crate::blob::BlobReader;
use crate::error::Error;
use crate::place::Pushed;

/// Is a layout directory that was found or made.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
    files: Files,
}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchPlace`] if there is no directory, and [`Error::NotALayout`] if it has
    /// no `oci-layout` of version 1.0.0 or no `index.json`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let layout = Self::open_directory(directory)?;
        check_marker(&layout)?;
        layout.index()?;
        Ok(layout)
    }

    /// Opens a layout, and makes an empty one if the directory is missing or empty.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NotALayout`] if the directory has other content, and [`Error::Io`] if it
    /// cannot be made.
    pub fn create(directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Io {
            action: "create",
            object: name_of(directory),
            source,
        })?;
        let layout = Self::open_directory(directory)?;
        if let Err(Error::NotALayout { .. }) = check_marker(&layout)
            && layout.files.is_unused().map_err(|error| layout.io("list", error))?
        {
            let marker = layout.files.create_marker(MARKER_CONTENT);
            marker.map_err(|error| layout.io("create", error))?;
        }
        check_marker(&layout)?;
        let lock = layout.files.lock().map_err(|error| layout.io("lock", error))?;
        if let Err(Error::NotALayout { .. }) = layout.index() {
            let empty = index_bytes(&layout, &LayoutIndex::new())?;
            lock.replace_index(&empty).map_err(|error| layout.io("write the index of", error))?;
        }
        drop(lock);
        Ok(layout)
    }

    fn open_directory(directory: &Path) -> Result<Self, Error> {
        let place = || name_of(directory);
        match Files::open(directory) {
            Ok(files) => Ok(Self { directory: directory.to_owned(), files }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoSuchPlace { place: place() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::NotALayout {
                place: place(),
                reason: "it is not a directory".to_owned(),
            }),
            Err(source) => Err(Error::Io { action: "open", object: place(), source }),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, object: self.place_name(), source }
    }
}

impl Storage for Layout {
    fn place_name(&self) -> String {
        name_of(&self.directory)
    }

    fn open_file(&self, path: &str) -> Opened {
        let (file, size_bytes) = self.files.open_file(path)?;
        Ok((Box::new(file), size_bytes))
    }

    fn write_blob(
        &self,
        digest: &Digest,
        blob: &mut BlobReader<&mut dyn Read>,
    ) -> Result<(), Error> {
        let write = |source| Error::Io {
            action: "write",
            object: format!("{} of {}", blob_path(digest), self.place_name()),
            source,
        };
        let mut partial = self.files.partial().map_err(write)?;
        blob.copy_to(&mut |bytes| partial.file.write_all(bytes).map_err(write))?;
        self.files.publish_blob(partial, digest).map_err(write)
    }

    fn change_index(&self, change: IndexChange) -> Result<Pushed, Error> {
        let lock = self.files.lock().map_err(|error| self.io("lock", error))?;
        let mut index = self.index()?;
        if !change.apply(&mut index) {
            return Ok(Pushed::Present);
        }
        let bytes = index_bytes(self, &index)?;
        lock.replace_index(&bytes).map_err(|error| self.io("write the index of", error))?;
        Ok(Pushed::Stored)
    }
}

fn name_of(directory: &Path) -> String {
    format!("oci:{}", directory.display())
}
