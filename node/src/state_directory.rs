//! The directory in which a node remembers what it has mounted.
//!
//! ```text
//! /run/osguard/            0700: the setuid programs of the layers are out of reach for users
//! ├── lock                 held (flock) while something is mounted or unmounted
//! ├── empty/               the second lower of an image of one layer, as overlayfs asks for two
//! ├── layers/<root hash>/  the layers, each mounted once
//! └── mounts/<id>.json     one record for each mounted image
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::record::{LayerName, MountRecord, RECORD_LIMIT_BYTES, SCHEMA};

/// Is the directory of the node's records and layer mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// Names the directory; nothing is made or read yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the layer `name` is mounted.
    pub fn layer(&self, name: &LayerName) -> PathBuf {
        self.layers().join(name.to_string())
    }

    /// Returns the directory of all layer mounts.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Reads all records, ordered by target.
    ///
    /// # Errors
    ///
    /// Fails when a record cannot be read or is no record: nothing may be mounted or unmounted in the dark.
    pub fn records(&self) -> Result<Vec<MountRecord>, StateError> {
        let directory = self.mounts();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::Read { path: directory, source }),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|source| StateError::Read { path: directory.clone(), source })?
                .path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(record) = read_record(&path)?
            {
                records.push(record);
            }
        }
        records.sort_by(|left, right| left.target.cmp(&right.target));
        Ok(records)
    }

    /// Makes the directory if need be, and waits until no other process works in it.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be made or written.
    pub fn lock(&self) -> Result<LockedState, StateError> {
        for directory in [&self.root, &self.layers(), &self.mounts(), &self.root.join("empty")] {
            make_directory(directory)?;
        }
        let path = self.root.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| StateError::Write { path: path.clone(), source })?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(StateError::Write { path, source: errno.into() }),
            }
        }
        Ok(LockedState { state: self.clone(), _lock: lock })
    }

    fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    fn record(&self, target: &Path) -> PathBuf {
        self.mounts().join(MountRecord::identifier(target)).with_extension("json")
    }
}

impl Default for StateDirectory {
    /// Names `/run/osguard`, which a restart of the machine empties, as it does the kernel.
    fn default() -> Self {
        Self::new("/run/osguard")
    }
}

/// Is the state directory while no other process works in it; the lock goes when the value or its process does.
#[derive(Debug)]
pub struct LockedState {
    state: StateDirectory,
    _lock: File,
}

impl LockedState {
    /// Returns the directory.
    pub fn directory(&self) -> &StateDirectory {
        &self.state
    }

    /// Returns an empty directory.
    pub fn empty(&self) -> PathBuf {
        self.state.root.join("empty")
    }

    /// Reads the record of `target`, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read or is no record.
    pub fn record(&self, target: &Path) -> Result<Option<MountRecord>, StateError> {
        read_record(&self.state.record(target))
    }

    /// Writes a record beside its place, and renames it there.
    ///
    /// # Errors
    ///
    /// Fails when the disk is full or a path is not UTF-8.
    pub fn write(&self, record: &MountRecord) -> Result<(), StateError> {
        let path = self.state.record(&record.target);
        let beside = path.with_extension("new");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| StateError::Unwritable { target: record.target.clone(), source })?;
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)
        });
        written.map_err(|source| {
            // A half-written file would stay for ever, as nothing else has its name.
            let _ = std::fs::remove_file(&beside);
            StateError::Write { path, source }
        })
    }

    /// Removes the record of `target`, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be written.
    pub fn remove(&self, target: &Path) -> Result<(), StateError> {
        let path = self.state.record(target);
        for path in [path.with_extension("new"), path] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::Write { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Says what is wrong with the state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file in it is no record.
    #[error("{path} is no mount record", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not parse.
        source: serde_json::Error,
    },
    /// A file or directory in it cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A record has a form that this version does not know.
    #[error("{path} has the schema {schema:?}; this version knows {SCHEMA:?}", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema that it names.
        schema: String,
    },
    /// A record cannot be expressed in JSON.
    #[error("cannot write down the mount at {target}", target = target.display())]
    Unwritable {
        /// Where the image was to be mounted.
        target: PathBuf,
        /// What cannot be expressed.
        source: serde_json::Error,
    },
    /// A file or directory in it cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Reads a record; `None` where there is no such file.
fn read_record(path: &Path) -> Result<Option<MountRecord>, StateError> {
    let failed = |source| StateError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut text = Vec::new();
    file.take(RECORD_LIMIT_BYTES).read_to_end(&mut text).map_err(failed)?;
    let record: MountRecord = serde_json::from_slice(&text)
        .map_err(|source| StateError::Malformed { path: path.to_owned(), source })?;
    if record.schema != SCHEMA {
        return Err(StateError::Schema { path: path.to_owned(), schema: record.schema });
    }
    Ok(Some(record))
}

fn make_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path().join("state"));
        (directory, state)
    }

    #[test]
    fn records_come_and_go() {
        let (_directory, state) = state();
        assert_eq!(state.records().unwrap(), []);
        let locked = state.lock().unwrap();
        let (first, second) = (record(Path::new("/a")), record(Path::new("/b")));
        locked.write(&second).unwrap();
        locked.write(&first).unwrap();
        assert_eq!(state.records().unwrap(), [first.clone(), second.clone()]);
        assert_eq!(locked.record(Path::new("/a")).unwrap(), Some(first));
        assert_eq!(locked.record(Path::new("/c")).unwrap(), None);
        locked.remove(Path::new("/a")).unwrap();
        locked.remove(Path::new("/a")).unwrap();
        assert_eq!(state.records().unwrap(), [second]);
    }

    #[test]
    fn half_written_record_is_not_seen_and_goes_with_its_target() {
        let (_directory, state) = state();
        let locked = state.lock().unwrap();
        let beside = state.record(Path::new("/a")).with_extension("new");
        std::fs::write(&beside, "{").unwrap();
        assert_eq!(state.records().unwrap(), []);
        locked.remove(Path::new("/a")).unwrap();
        assert!(!beside.exists());
    }

    #[test]
    fn garbage_and_other_schemas_are_refused() {
        let (_directory, state) = state();
        let locked = state.lock().unwrap();
        let mut foreign = record(Path::new("/a"));
        foreign.schema = "osguard.mount-record.v2".to_owned();
        locked.write(&foreign).unwrap();
        assert!(matches!(state.records(), Err(StateError::Schema { .. })));
        std::fs::write(state.record(Path::new("/a")), "{").unwrap();
        assert!(matches!(state.records(), Err(StateError::Malformed { .. })));
    }

    #[test]
    fn second_process_waits_for_the_first() {
        let (_directory, state) = state();
        let locked = state.lock().unwrap();
        let waiting = std::thread::spawn(move || state.lock().map(|_| ()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(locked);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn state_is_out_of_reach_for_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, state) = state();
        let _locked = state.lock().unwrap();
        let mode = std::fs::metadata(state.root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
