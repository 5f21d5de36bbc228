//! Images on directories: all layers of an image, each verified by the kernel, stacked by overlayfs.
//!
//! ```text
//! target            overlay, source osguard-<id>
//! ├─ layers/<top>     EROFS ── /dev/dm-2 (verity, signed) ── /dev/loop2 ── image file
//! ├─ layers/…
//! └─ layers/<bottom>  EROFS ── /dev/dm-0 (verity, signed) ── /dev/loop0 ── image file
//! ```
//!
//! A record is on disk before the first of these is made, and every way back (an error, `unmount`, the next start after a
//! kill) is the same function over the same record. Loop devices free themselves with their last user, and so do the
//! verity devices, so that even a lost record leaves mounts only.

use std::io;
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;

use crate::dm::{DeviceMapper, DmError};
use crate::layer_device::{LayerError, LayerImage, mount_layer, remove_layer};
use crate::mount::{LOWER_LIMIT, MountError, Overlay, Upper, mount_overlay, unmount as detach};
use crate::mount_namespace::{MountNamespace, MountNamespaceError};
use crate::mount_table::{Mount, MountTable, MountTableError};
use crate::probe::{PrivilegeError, require_root};
use crate::record::{ImageRecord, LayerName, MountRecord, Phase, SCHEMA, UpperRecord};
use crate::state_directory::{LockedState, StateDirectory, StateError};

/// Says how an image is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Where writes go; without it the mount is read-only.
    pub upper: Option<UpperRecord>,
    /// Whether layers without signature are mounted too; an IPE policy will refuse to run anything from them.
    pub allow_unsigned: bool,
    /// The image that the layers are of, to be written down.
    pub image: Option<ImageRecord>,
}

/// Mounts the image that `layers` make up, the bottom one first, at `target`, which is made if it is not there.
///
/// All layers are verified before the first is mounted. What earlier, killed processes left behind is removed on the way.
///
/// # Errors
///
/// Fails without root, for a layer without signature unless the options allow it, for a target in use, and when the kernel
/// refuses a layer; nothing of the mount is left in any case.
pub fn mount(
    state: &StateDirectory,
    layers: &[LayerImage],
    target: &Path,
    options: &MountOptions,
) -> Result<MountRecord, ImageMountError> {
    require_root()?;
    let layers = unique_layers(layers, options)?;
    let locked = state.lock()?;
    let target = resolve(target)?;
    recover(&locked, Some(&target))?;
    let target_created = check_target(&locked, &target)?;
    let mut record = MountRecord {
        schema: SCHEMA.to_owned(),
        target,
        target_created,
        mount_namespace: MountNamespace::current()?,
        phase: Phase::Mounting,
        image: options.image.clone(),
        layers: layers.iter().map(|layer| layer.record()).collect(),
        upper: options.upper.clone(),
    };
    locked.write(&record)?;
    if let Err(error) = build(&locked, &layers, &record) {
        // Should this fail as well, the record stays, and `unmount` finishes the work.
        let _ = tear_down(&locked, &record);
        return Err(error);
    }
    record.phase = Phase::Mounted;
    locked.write(&record)?;
    Ok(record)
}

/// Unmounts the image at `target` and removes all that only it uses.
///
/// It also removes what a process that was killed while it mounted has left at `target`. Where there is nothing, nothing
/// happens.
///
/// # Errors
///
/// Fails with [`MountError::Busy`] while a process works in the mount, and when something else is mounted over it; the
/// record stays then, and a later call goes on. Fails also for a mount of another mount namespace.
pub fn unmount(state: &StateDirectory, target: &Path) -> Result<Unmounted, ImageMountError> {
    require_root()?;
    let locked = state.lock()?;
    let target = resolve(target)?;
    match locked.record(&target)? {
        Some(record) if is_elsewhere(&record)? => Err(ImageMountError::Elsewhere { target }),
        Some(record) => tear_down(&locked, &record),
        None => {
            // A process may have been killed before its record had its name.
            locked.remove(&target)?;
            Ok(Unmounted::default())
        }
    }
}

/// Lists the images of the node, ordered by target.
///
/// # Errors
///
/// Fails when a record or the table of mounts cannot be read.
pub fn list(state: &StateDirectory) -> Result<Vec<ListedMount>, ImageMountError> {
    let table = MountTable::read()?;
    let records = state.records()?;
    let listed = records.into_iter().map(|record| {
        let state = match is_elsewhere(&record)? {
            true => MountState::Elsewhere,
            false if is_complete(&record, &table) => MountState::Complete,
            false => MountState::Incomplete,
        };
        Ok(ListedMount { record, state })
    });
    listed.collect()
}

/// Removes what killed processes left behind: unfinished mounts, and layers that no mount uses.
///
/// # Errors
///
/// Fails without root, and when something that is left is in use.
pub fn collect_garbage(state: &StateDirectory) -> Result<Vec<Unmounted>, ImageMountError> {
    require_root()?;
    let locked = state.lock()?;
    let mut removed = recover(&locked, None)?;
    let orphans = orphans(&locked)?;
    if !orphans.is_empty() {
        let mapper = mapper_if_any()?;
        let mut unmounted = Unmounted { found: true, ..Unmounted::default() };
        for name in orphans {
            let directory = state.layer(&name);
            let gone = remove_layer(mapper.as_ref(), &name, &directory)
                .map_err(|source| ImageMountError::Removal { name: name.clone(), source })?;
            unmounted.note(name, gone);
        }
        removed.push(unmounted);
    }
    Ok(removed)
}

/// Says what was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmounted {
    /// Whether there was a record of the target.
    pub found: bool,
    /// The layers that nobody uses any more.
    pub layers: Vec<LayerName>,
    /// The devices that another mount namespace still uses; the kernel removes them with that last use.
    pub in_use_elsewhere: Vec<LayerName>,
}

impl Unmounted {
    fn note(&mut self, name: LayerName, gone: bool) {
        if gone {
            self.layers.push(name);
        } else {
            self.in_use_elsewhere.push(name);
        }
    }
}

/// Is an image of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMount {
    /// What is written down about it.
    pub record: MountRecord,
    /// Whether it is there.
    pub state: MountState,
}

/// Says whether a mount is there as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountState {
    /// It is.
    Complete,
    /// It is seen by the processes of another mount namespace only.
    Elsewhere,
    /// The process that made it died over it, or somebody took it apart by hand; unmounting removes what is left.
    Incomplete,
}

/// Says why an image is not mounted, or still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageMountError {
    /// The image is mounted at the target already.
    #[error("an image is mounted at {target} already", target = target.display())]
    AlreadyMounted {
        /// Where.
        target: PathBuf,
    },
    /// Something else is mounted over the image.
    #[error("a {file_system} is mounted over the image at {target}; unmount that first", target = target.display())]
    Covered {
        /// Where.
        target: PathBuf,
        /// The type of what is mounted over it.
        file_system: String,
    },
    /// The device mapper cannot be used.
    #[error(transparent)]
    DeviceMapper(#[from] DmError),
    /// The mount is not this namespace's.
    #[error("the image at {target} is mounted in another mount namespace; unmount it there, with `nsenter`", target = target.display())]
    Elsewhere {
        /// Where.
        target: PathBuf,
    },
    /// A layer cannot be verified or mounted.
    #[error("cannot mount the layer with the root hash {name}")]
    Layer {
        /// The layer.
        name: LayerName,
        /// Why.
        source: LayerError,
    },
    /// The image has no layers, or more than overlayfs stacks.
    #[error("the image has {count} layers; 1 to {LAYER_LIMIT} can be mounted")]
    LayerCount {
        /// The number of layers.
        count: usize,
    },
    /// The overlay cannot be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The mount namespace cannot be found out.
    #[error(transparent)]
    MountNamespace(#[from] MountNamespaceError),
    /// The table of mounts cannot be read.
    #[error(transparent)]
    MountTable(#[from] MountTableError),
    /// The process may not do this.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// A layer cannot be removed.
    #[error("cannot remove the layer with the root hash {name}")]
    Removal {
        /// The layer.
        name: LayerName,
        /// Why.
        source: LayerError,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The target cannot be used.
    #[error("cannot use {target} as the target of a mount", target = target.display())]
    Target {
        /// The target.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something else is mounted at the target.
    #[error("{target} is a mount point of {file_system} already", target = target.display())]
    TargetOccupied {
        /// The target.
        target: PathBuf,
        /// The type of what is mounted there.
        file_system: String,
    },
    /// A layer has no signature, and that was not allowed.
    #[error("the layer {image} has no signature for its root hash {root_hash}", image = image.display())]
    Unsigned {
        /// The image file of the layer.
        image: PathBuf,
        /// Its root hash.
        root_hash: RootHash,
    },
}

/// Checks number and signatures of the layers, and leaves out all but the topmost of those that occur again: what lies
/// under an equal layer cannot be seen, and overlayfs refuses to stack a directory on itself.
fn unique_layers<'a>(
    layers: &'a [LayerImage],
    options: &MountOptions,
) -> Result<Vec<&'a LayerImage>, ImageMountError> {
    let unsigned = layers.iter().find(|layer| !layer.is_signed());
    if let Some(layer) = unsigned
        && !options.allow_unsigned
    {
        return Err(ImageMountError::Unsigned {
            image: layer.image.clone(),
            root_hash: layer.root_hash.clone(),
        });
    }
    let mut seen = std::collections::HashSet::new();
    let mut unique: Vec<_> =
        layers.iter().rev().filter(|layer| seen.insert(layer.name())).collect();
    unique.reverse();
    if unique.is_empty() || unique.len() > LAYER_LIMIT {
        return Err(ImageMountError::LayerCount { count: unique.len() });
    }
    Ok(unique)
}

/// Makes all that the record lists.
fn build(
    locked: &LockedState,
    layers: &[&LayerImage],
    record: &MountRecord,
) -> Result<(), ImageMountError> {
    let target = &record.target;
    if record.target_created {
        std::fs::create_dir(target)
            .map_err(|source| ImageMountError::Target { target: target.clone(), source })?;
    }
    let mapper = DeviceMapper::open()?;
    let failed = |layer: &LayerImage| {
        let name = layer.name();
        |source| ImageMountError::Layer { name, source }
    };
    let mut devices = Vec::with_capacity(layers.len());
    for layer in layers {
        devices.push(layer.activate(&mapper).map_err(failed(layer))?);
    }
    for (layer, device) in layers.iter().zip(&devices) {
        let directory = locked.directory().layer(&layer.name());
        mount_layer(device, &directory).map_err(failed(layer))?;
    }
    let mut lowers: Vec<_> =
        layers.iter().rev().map(|layer| locked.directory().layer(&layer.name())).collect();
    if lowers.len() == 1 && record.upper.is_none() {
        lowers.push(locked.empty());
    }
    let source = record.overlay_source();
    let upper = record.upper.as_ref();
    let upper = upper.map(|upper| Upper { directory: &upper.directory, work: &upper.work });
    mount_overlay(&Overlay { source: &source, lowers: &lowers, upper }, target)?;
    Ok(())
}

/// Removes all that the record lists and no other record does, in the reverse order, and then the record.
fn tear_down(locked: &LockedState, record: &MountRecord) -> Result<Unmounted, ImageMountError> {
    loop {
        let table = MountTable::read()?;
        if !table.stacked_at(&record.target).any(|mount| is_overlay_of(record, mount)) {
            break;
        }
        if let Some(cover) = table.at(&record.target).filter(|mount| !is_overlay_of(record, mount))
        {
            return Err(ImageMountError::Covered {
                target: record.target.clone(),
                file_system: cover.file_system.clone(),
            });
        }
        detach(&record.target)?;
    }
    let others: Vec<_> = locked
        .directory()
        .records()?
        .into_iter()
        .filter(|other| other.target != record.target)
        .collect();
    let mapper = mapper_if_any()?;
    let mut unmounted = Unmounted { found: true, ..Unmounted::default() };
    for layer in record.layers.iter().rev() {
        let name = layer.name();
        if others.iter().any(|other| other.uses(&name)) {
            continue;
        }
        let directory = locked.directory().layer(&name);
        let gone = remove_layer(mapper.as_ref(), &name, &directory)
            .map_err(|source| ImageMountError::Removal { name: name.clone(), source })?;
        unmounted.note(name, gone);
    }
    if record.target_created {
        match std::fs::remove_dir(&record.target) {
            // Somebody else's files in it are not ours to remove.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(ImageMountError::Target {
                    target: record.target.clone(),
                    source: error,
                });
            }
            _ => {}
        }
    }
    locked.remove(&record.target)?;
    Ok(unmounted)
}

/// Takes apart what dead processes left unfinished. Whoever holds the lock knows that they are dead.
///
/// Leftovers of other targets than `wanted` that are in use stay: they are no reason to fail.
fn recover(locked: &LockedState, wanted: Option<&Path>) -> Result<Vec<Unmounted>, ImageMountError> {
    let table = MountTable::read()?;
    let mut removed = Vec::new();
    for record in locked.directory().records()? {
        if is_complete(&record, &table) || is_elsewhere(&record)? {
            continue;
        }
        match tear_down(locked, &record) {
            Ok(unmounted) => removed.push(unmounted),
            Err(error) if wanted.is_none_or(|target| target == record.target) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(removed)
}

/// Tells whether the mount is there as its record says, be it under something else.
fn is_complete(record: &MountRecord, table: &MountTable) -> bool {
    record.phase == Phase::Mounted
        && table.stacked_at(&record.target).any(|mount| is_overlay_of(record, mount))
}

fn is_overlay_of(record: &MountRecord, mount: &Mount) -> bool {
    mount.file_system == "overlay" && mount.source == *record.overlay_source()
}

/// Tells whether the mount belongs to another mount namespace that still lives; here, nothing of it can be seen.
///
/// To remove its directories from here would unmount them there.
fn is_elsewhere(record: &MountRecord) -> Result<bool, MountNamespaceError> {
    let namespace = record.mount_namespace;
    Ok(namespace != MountNamespace::current()? && namespace.is_alive())
}

/// Finds layers, mounted or as devices, that no record lists.
fn orphans(locked: &LockedState) -> Result<Vec<LayerName>, ImageMountError> {
    let layers = locked.directory().layers();
    let entries = std::fs::read_dir(&layers)
        .map_err(|source| StateError::Read { path: layers.clone(), source })?;
    let directories =
        entries.filter_map(|entry| LayerName::from_directory(entry.ok()?.file_name().to_str()?));
    let mut names: Vec<_> = directories.collect();
    if let Some(mapper) = mapper_if_any()? {
        names.extend(mapper.names()?.iter().filter_map(|name| LayerName::from_device(name)));
    }
    names.sort();
    names.dedup();
    let records = locked.directory().records()?;
    names.retain(|name| !records.iter().any(|record| record.uses(name)));
    Ok(names)
}

/// Opens the device mapper; on a kernel without one there are no devices to remove.
fn mapper_if_any() -> Result<Option<DeviceMapper>, DmError> {
    match DeviceMapper::open() {
        Ok(mapper) => Ok(Some(mapper)),
        Err(DmError::Unavailable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the target absolute and free of symbolic links; its last component need not exist.
fn resolve(target: &Path) -> Result<PathBuf, ImageMountError> {
    let failed = |source| ImageMountError::Target { target: target.to_owned(), source };
    match std::fs::canonicalize(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result.map_err(failed),
    }
    let absolute = std::path::absolute(target).map_err(failed)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(failed(io::ErrorKind::NotFound.into()));
    };
    match std::fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        // What is not there has no links; a record of it may exist.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(absolute),
        Err(source) => Err(failed(source)),
    }
}

/// Checks that the target is free; returns whether it has to be made.
fn check_target(locked: &LockedState, target: &Path) -> Result<bool, ImageMountError> {
    if locked.record(target)?.is_some() {
        return Err(ImageMountError::AlreadyMounted { target: target.to_owned() });
    }
    if let Some(mount) = MountTable::read()?.at(target) {
        return Err(ImageMountError::TargetOccupied {
            target: target.to_owned(),
            file_system: mount.file_system.clone(),
        });
    }
    let failed = |source| ImageMountError::Target { target: target.to_owned(), source };
    match std::fs::metadata(target) {
        Ok(metadata) if metadata.is_dir() => Ok(false),
        Ok(_) => Err(failed(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(failed(source)),
    }
}

/// One below what overlayfs stacks, as an image of one layer needs a second, empty directory.
const LAYER_LIMIT: usize = LOWER_LIMIT - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_device::tests::layer;
    use crate::record::tests::record;

    #[test]
    fn repeated_layer_is_stacked_once_where_it_is_topmost() {
        let layers = [layer("aa", true), layer("bb", true), layer("aa", true)];
        let unique = unique_layers(&layers, &MountOptions::default()).unwrap();
        let names: Vec<_> = unique.iter().map(|layer| layer.name()).collect();
        assert_eq!(names, [layers[1].name(), layers[2].name()]);
    }

    #[test]
    fn layers_are_counted() {
        let options = MountOptions::default();
        assert!(matches!(unique_layers(&[], &options), Err(ImageMountError::LayerCount { .. })));
        let many: Vec<_> = (0..=LAYER_LIMIT)
            .map(|index| {
                let mut layer = layer("aa", true);
                layer.root_hash = format!("{index:064x}").parse().unwrap();
                layer
            })
            .collect();
        assert!(unique_layers(&many[1..], &options).is_ok());
        assert!(matches!(
            unique_layers(&many, &options),
            Err(ImageMountError::LayerCount { count: 500 })
        ));
    }

    #[test]
    fn unsigned_layer_needs_leave() {
        let layers = [layer("aa", true), layer("bb", false)];
        let mut options = MountOptions::default();
        assert!(matches!(
            unique_layers(&layers, &options),
            Err(ImageMountError::Unsigned { root_hash, .. }) if root_hash == layers[1].root_hash
        ));
        options.allow_unsigned = true;
        assert_eq!(unique_layers(&layers, &options).unwrap().len(), 2);
    }

    #[test]
    fn targets_are_resolved_whether_they_exist_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link")).unwrap(), real);
        assert_eq!(resolve(&real.join("link/new")).unwrap(), real.join("new"));
        assert_eq!(resolve(&real.join("gone/new")).unwrap(), real.join("gone/new"));
    }

    #[test]
    fn unfinished_mount_is_taken_apart_and_shared_layers_stay() {
        if require_root().is_err() {
            return osguard_testkit::skip("root");
        }
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path().join("state"));
        let locked = state.lock().unwrap();
        let target = directory.path().canonicalize().unwrap().join("target");
        let unfinished = record(&target);
        let mut other = record(Path::new("/somewhere/else"));
        other.layers.remove(0);
        locked.write(&unfinished).unwrap();
        locked.write(&other).unwrap();
        std::fs::create_dir(&target).unwrap();
        for layer in &unfinished.layers {
            std::fs::create_dir(state.layer(&layer.name())).unwrap();
        }
        drop(locked);
        assert!(list(&state).unwrap().iter().all(|mount| mount.state == MountState::Incomplete));

        let unmounted = unmount(&state, &target).unwrap();
        assert_eq!(unmounted.layers, [unfinished.layers[0].name()]);
        assert!(!target.exists());
        assert!(!state.layer(&unfinished.layers[0].name()).exists());
        assert!(state.layer(&unfinished.layers[1].name()).exists());
        assert_eq!(state.records().unwrap(), [other]);
        assert_eq!(unmount(&state, &target).unwrap(), Unmounted::default());

        collect_garbage(&state).unwrap();
        assert_eq!(state.records().unwrap(), []);
        assert!(!state.layer(&unfinished.layers[1].name()).exists());
    }

    #[test]
    fn failed_mount_leaves_nothing() {
        if require_root().is_err() {
            return osguard_testkit::skip("root");
        }
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path().join("state"));
        let target = directory.path().join("target");
        mount(&state, &[layer("aa", true)], &target, &MountOptions::default()).unwrap_err();
        assert!(!target.exists());
        assert_eq!(state.records().unwrap(), []);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = mount(&state, &[layer("aa", true)], &file, &MountOptions::default());
        assert!(matches!(error, Err(ImageMountError::Target { .. })));
        let error =
            mount(&state, &[layer("aa", true)], Path::new("/proc"), &MountOptions::default());
        assert!(matches!(error, Err(ImageMountError::TargetOccupied { .. })));
    }
}
