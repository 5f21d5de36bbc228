//! What the records say and what is there, made one at the start of the daemon.
//!
//! Records are written before anything is answered, and things are removed before their records. So what is there without
//! a record is half of something that was never answered, and goes. Mounts that have a record stay untouched: containers run
//! on them. Each is checked against the kernel's tables when a container next needs it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::chain;
use super::layers::Slot;
use super::store::{Content, Store, StoreError};
use super::unpack::is_there;
use crate::image_store::ImageStore;
use crate::mount::unmount;
use crate::mount_table::{MountTable, MountTableError};

/// Is what is to be looked through.
pub(crate) struct Places<'a> {
    pub(crate) store: &'a Store,
    pub(crate) images: &'a ImageStore,
    /// The directory of the snapshots' directories.
    pub(crate) snapshots: &'a Path,
    /// Where layers are mounted.
    pub(crate) mounts: &'a Path,
}

/// Says what the daemon goes on with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    /// Directories whose removal was begun.
    pub(crate) directories: Vec<u64>,
    /// Layers that no snapshot uses.
    pub(crate) unused_layers: Vec<u32>,
    /// Layers whose images are gone or cut off.
    pub(crate) damaged_layers: Vec<u32>,
    /// How many files, directories and mounts without a record were removed.
    pub(crate) removed: usize,
}

/// Removes what has no record.
pub(crate) fn reconcile(places: &Places<'_>) -> Result<Reconciled, ReconcileError> {
    let layers = places.store.layers()?;
    let mut reconciled =
        Reconciled { directories: places.store.removed_directories()?, ..Reconciled::default() };
    let mut numbers = HashSet::new();
    let mut images = HashSet::new();
    for (number, record) in &layers {
        numbers.insert(*number);
        images.insert(places.images.path(&record.layer_digest, record.profile.name()));
        if !places.store.is_used(*number)? {
            reconciled.unused_layers.push(*number);
        } else if !is_there(places.images, record) {
            tracing::error!(layer = %record.layer_digest, "the image of a layer is gone or cut off");
            reconciled.damaged_layers.push(*number);
        }
    }
    reconciled.removed += remove_mounts(places.mounts, &numbers)?;
    for path in entries(places.images.directory())? {
        if !images.contains(&path) {
            tracing::info!(file = %path.display(), "removing a file that has no record");
            fs::remove_file(&path).map_err(|source| ReconcileError::Remove { path, source })?;
            reconciled.removed += 1;
        }
    }
    let mut wanted: HashSet<u64> = reconciled.directories.iter().copied().collect();
    let snapshots = places.store.snapshots()?;
    let directories = snapshots.iter().filter(|(_, record)| record.content == Content::Directory);
    wanted.extend(directories.map(|(_, record)| record.id));
    for path in entries(places.snapshots)? {
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if id.is_none_or(|id| !wanted.contains(&id)) {
            tracing::info!(directory = %path.display(), "removing a directory that has no record");
            fs::remove_dir_all(&path).map_err(|source| ReconcileError::Remove { path, source })?;
            reconciled.removed += 1;
        }
    }
    Ok(reconciled)
}

/// Says why the daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReconcileError {
    /// The table of mounts cannot be read.
    #[error(transparent)]
    MountTable(#[from] MountTableError),
    /// A directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Unmounts layers that have no record; their devices go with that.
fn remove_mounts(mounts: &Path, numbers: &HashSet<u32>) -> Result<usize, ReconcileError> {
    let mut removed = 0;
    for path in entries(mounts)? {
        let slot = path.file_name().and_then(|name| Slot::parse(name.to_str()?));
        let Some(slot) = slot.filter(|slot| !numbers.contains(&slot.layer)) else { continue };
        tracing::info!(?slot, "removing a mount that has no record");
        // One that is busy, or that is not ours to remove, does no harm; its number may be taken again, and is then refused.
        match remove_mount(&path) {
            Ok(()) => removed += 1,
            Err(error) => tracing::warn!(error = %chain(&*error), "cannot be removed"),
        }
    }
    Ok(removed)
}

fn remove_mount(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    while MountTable::read()?.at(path).is_some_and(|mount| mount.file_system == "erofs") {
        unmount(path)?;
    }
    fs::remove_dir(path)?;
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, ReconcileError> {
    let failed = |source| ReconcileError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(failed)?,
    };
    entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::containerd::store::samples::layer;
    use crate::containerd::store::{LayerUse, SnapshotKind};

    #[test]
    fn what_has_no_record_goes_and_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let store = Store::open(root).unwrap();
        let images = ImageStore::new(root);
        let (snapshots, mounts) = (root.join("snapshots"), root.join("l"));
        for path in [images.directory(), &snapshots, &mounts] {
            fs::create_dir(path).unwrap();
        }
        let none = BTreeMap::new();
        let active = |key, content| {
            store.prepare(key, None, SnapshotKind::Active, &content, &none).unwrap().id
        };
        let kept = active("kept", Content::Directory);
        let gone = active("gone", Content::Directory);
        store.remove("gone").unwrap();
        for (id, name) in [(kept, "kept"), (gone, "gone"), (77, "unknown")] {
            fs::create_dir_all(snapshots.join(id.to_string()).join("fs").join(name)).unwrap();
        }
        let [used, unused] = ["used", "unused"].map(|name| {
            let record = layer(name);
            let path = images.path(&record.layer_digest, record.profile.name());
            fs::write(path, vec![0; 8192]).unwrap();
            store.record_layer(&record).unwrap()
        });
        let id = active("extract-1", Content::Unpacking);
        let layer_use =
            |layer| LayerUse { layer, chain_id: None, repositories: Vec::new(), image: None };
        store.attach(id, &layer_use(used)).unwrap();
        let cut = store.record_layer(&layer("cut")).unwrap();
        let id = active("extract-2", Content::Unpacking);
        store.attach(id, &layer_use(cut)).unwrap();
        fs::write(images.directory().join("left.partial"), "x").unwrap();
        for name in ["1", "99", "99u", "foreign"] {
            fs::create_dir(mounts.join(name)).unwrap();
        }

        let places =
            Places { store: &store, images: &images, snapshots: &snapshots, mounts: &mounts };
        let reconciled = reconcile(&places).unwrap();
        assert_eq!(
            reconciled,
            Reconciled {
                directories: vec![gone],
                unused_layers: vec![unused],
                damaged_layers: vec![cut],
                removed: 4,
            }
        );
        let names = |path: &Path| {
            let mut names: Vec<_> = entries(path)
                .unwrap()
                .iter()
                .map(|path| path.file_name().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&mounts), ["1", "foreign"]);
        assert_eq!(names(&snapshots).len(), 2);
        assert_eq!(names(images.directory()).len(), 2);
        assert_eq!(reconcile(&places).unwrap().removed, 0);
    }
}
