//! The devices and mounts of layers: at most one of each for a layer with its signature, and one for it without.
//!
//! ```text
//! /var/lib/osguard/l/7     EROFS ── /dev/dm-3 osguard-<root hash> (verity, signed) ── /dev/loop3 ── layers/<digest>-<profile>.erofs
//! /var/lib/osguard/l/7u    the same without a signature, where a repository's mode allows that
//! ```
//!
//! They are made when a container first needs them, also after a restart of the machine, and stay until no snapshot has the
//! layer any more. Each time the kernel verifies the signature anew. A restart of the daemon finds them where they are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use libverity::digest::Digest;
use libverity::verity::GeometryError;

use super::config::SignatureMode;
use super::locks::Locks;
use super::metrics::{ActivationResult, Metrics};
use super::signature_directory::SignatureDirectory;
use super::store::{LayerRecord, LayerUse, Store, StoreError};
use crate::device_number::DeviceNumber;
use crate::dm::{DeviceMapper, DmError, VerityDevice};
use crate::image_store::ImageStore;
use crate::layer_device::{LayerError, LayerImage, Refusals, mount_layer, remove_layer};
use crate::record::LayerName;

/// Mounts layers and unmounts them.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) mounts: PathBuf,
    pub(crate) images: ImageStore,
    pub(crate) store: Arc<Store>,
    pub(crate) directories: Vec<SignatureDirectory>,
    pub(crate) metrics: Arc<Metrics>,
    locks: Locks<u32>,
    active: Mutex<HashMap<Slot, Mounted>>,
}

/// Is what is mounted in a place.
#[derive(Clone, Copy, Debug)]
struct Mounted {
    device: DeviceNumber,
    /// How many signatures were known then; with another one, the kernel is asked again.
    signatures: usize,
}

/// Is one of the two places of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    pub(crate) layer: u32,
    pub(crate) signed: bool,
}

impl Slot {
    /// Returns both places of a layer.
    pub(crate) fn both(layer: u32) -> [Self; 2] {
        [true, false].map(|signed| Self { layer, signed })
    }

    /// Returns the name of the directory, as short as can be: it stands in a mount option once for each layer.
    pub(crate) fn directory(self) -> String {
        format!("{}{}", self.layer, if self.signed { "" } else { "u" })
    }

    /// Parses the name of a directory; `None` for one of somebody else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('u');
        let signed = digits.is_none();
        let layer = digits.unwrap_or(text).parse().ok()?;
        let slot = Self { layer, signed };
        (slot.directory() == text).then_some(slot)
    }
}

impl Layers {
    pub(crate) fn new(
        mounts: PathBuf,
        images: ImageStore,
        store: Arc<Store>,
        directories: Vec<SignatureDirectory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            mounts,
            images,
            store,
            directories,
            metrics,
            locks: Locks::default(),
            active: Mutex::default(),
        }
    }

    /// Mounts a layer as `mode` asks for, unless it is mounted already; returns where.
    pub(crate) async fn activate(
        self: &Arc<Self>,
        used: &LayerUse,
        mode: SignatureMode,
    ) -> Result<PathBuf, ActivationError> {
        let layer = used.layer;
        let lock = self.locks.lock(&layer).await;
        let (layers, origin) = (Arc::clone(self), used.origin());
        let work = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            layers.activate_locked(layer, mode, &origin)
        });
        work.await.unwrap_or_else(|error| Err(ActivationError::Thread { source: error }))
    }

    /// Asks the kernel whether it accepts one of the signatures of a layer; the device is gone afterwards.
    ///
    /// Returns why not, if it does not.
    pub(crate) async fn prove(
        self: &Arc<Self>,
        layer: u32,
    ) -> Result<Result<(), Unsigned>, ActivationError> {
        let lock = self.locks.lock(&layer).await;
        let layers = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            if layers.mounted(Slot { layer, signed: true }).is_some() {
                return Ok(Ok(()));
            }
            let record = layers.record(layer)?;
            let image = layers.image(&record, layers.signatures(layer, &record)?)?;
            Ok(open_signed(image)?.map(drop))
        });
        work.await.unwrap_or_else(|error| Err(ActivationError::Thread { source: error }))
    }

    /// Unmounts a layer that no snapshot uses, and removes its devices; returns `false`, having done nothing, where a snapshot
    /// uses it again.
    pub(crate) async fn deactivate(self: &Arc<Self>, layer: u32) -> Result<bool, ActivationError> {
        let lock = self.locks.lock(&layer).await;
        let layers = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            if layers.store.is_used(layer)? {
                return Ok(false);
            }
            let Some(record) = layers.store.layer(layer)? else { return Ok(true) };
            for slot in Slot::both(layer) {
                layers.remove(slot, &record)?;
            }
            Ok(true)
        });
        work.await.unwrap_or_else(|error| Err(ActivationError::Thread { source: error }))
    }

    /// Returns the signatures that are known of a layer here: those that came with it, and those in the directories.
    pub(crate) fn signatures(
        &self,
        layer: u32,
        record: &LayerRecord,
    ) -> Result<Vec<Vec<u8>>, ActivationError> {
        let mut signatures = self.store.signatures(layer)?;
        for directory in &self.directories {
            match directory.find(&record.root_hash) {
                Ok(found) => signatures.extend(found),
                Err(error) => tracing::warn!(
                    error = %crate::containerd::chain(&error),
                    "a directory of signatures cannot be read"
                ),
            }
        }
        let mut seen = std::collections::HashSet::new();
        signatures.retain(|signature| seen.insert(signature.clone()));
        Ok(signatures)
    }

    /// Counts the mounts that were made or found since the start, with signatures and without.
    pub(crate) fn active_counts(&self) -> [usize; 2] {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = active.keys().filter(|slot| slot.signed).count();
        [signed, active.len() - signed]
    }

    fn activate_locked(
        &self,
        layer: u32,
        mode: SignatureMode,
        origin: &str,
    ) -> Result<PathBuf, ActivationError> {
        if mode != SignatureMode::Off
            && let Some(directory) = self.mounted(Slot { layer, signed: true })
        {
            return Ok(directory);
        }
        let begun = Instant::now();
        let record = self.record(layer)?;
        let unsigned = Slot { layer, signed: false };
        let mut known = 0;
        if mode != SignatureMode::Off {
            let signatures = self.signatures(layer, &record)?;
            known = signatures.len();
            if mode == SignatureMode::Prefer
                && let Some(directory) = self.mounted_with(unsigned, Some(known))
            {
                return Ok(directory);
            }
            let image = self.image(&record, signatures)?;
            match open_signed(image)? {
                Ok(device) => {
                    let directory = self.mount(Slot { layer, signed: true }, &device, known)?;
                    self.metrics.activated(ActivationResult::Signed, begun.elapsed());
                    return Ok(directory);
                }
                Err(reason) if mode == SignatureMode::Require => {
                    self.metrics.activated(ActivationResult::Refused, begun.elapsed());
                    return Err(ActivationError::Refused {
                        origin: origin.to_owned(),
                        layer: record.layer_digest,
                        reason: reason.to_string(),
                    });
                }
                Err(reason) => {
                    tracing::warn!(layer = %record.layer_digest, origin, %reason, "mounted without a signature");
                }
            }
        }
        let device = match self.mounted(unsigned) {
            Some(directory) if mode == SignatureMode::Off => return Ok(directory),
            _ => self.image(&record, Vec::new())?.activate(&DeviceMapper::open()?)?,
        };
        let directory = self.mount(unsigned, &device, known)?;
        self.metrics.activated(ActivationResult::Unsigned, begun.elapsed());
        Ok(directory)
    }

    /// Mounts a device, and remembers it.
    fn mount(
        &self,
        slot: Slot,
        device: &VerityDevice,
        signatures: usize,
    ) -> Result<PathBuf, ActivationError> {
        let directory = self.directory(slot);
        mount_layer(device, &directory)?;
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.insert(slot, Mounted { device: device.number(), signatures });
        Ok(directory)
    }

    /// Returns where a layer is mounted, if it is there as it was left: nobody else mounts or unmounts there, but somebody
    /// might.
    fn mounted(&self, slot: Slot) -> Option<PathBuf> {
        self.mounted_with(slot, None)
    }

    /// As [`Self::mounted`]; if `signatures` is given, only where as many were known then.
    fn mounted_with(&self, slot: Slot, signatures: Option<usize>) -> Option<PathBuf> {
        let mounted = {
            let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            *active.get(&slot)?
        };
        if signatures.is_some_and(|count| count != mounted.signatures) {
            return None;
        }
        let directory = self.directory(slot);
        let metadata = std::fs::metadata(&directory).ok()?;
        (DeviceNumber::of_file_system(&metadata) == mounted.device).then_some(directory)
    }

    fn remove(&self, slot: Slot, record: &LayerRecord) -> Result<(), ActivationError> {
        let name = LayerName { root_hash: record.root_hash.clone(), signed: slot.signed };
        let mapper = mapper_if_any()?;
        let gone = remove_layer(mapper.as_ref(), &name, &self.directory(slot))?;
        self.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        if !gone {
            tracing::info!(%name, "the device goes with its last user");
        }
        Ok(())
    }

    fn record(&self, layer: u32) -> Result<LayerRecord, ActivationError> {
        Ok(self.store.layer(layer)?.ok_or(StoreError::LayerGone { layer })?)
    }

    fn image(
        &self,
        record: &LayerRecord,
        signatures: Vec<Vec<u8>>,
    ) -> Result<LayerImage, ActivationError> {
        let path = self.images.path(&record.layer_digest, record.profile.name());
        let root_hash = record.root_hash.clone();
        let (profile, size_bytes) = (record.profile, record.image_size_bytes);
        Ok(LayerImage::of_profile(path, profile, root_hash, size_bytes, signatures)?)
    }

    fn directory(&self, slot: Slot) -> PathBuf {
        self.mounts.join(slot.directory())
    }
}

/// Says why a layer counts as not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsigned {
    /// There is no signature.
    #[error("there is no signature of its root hash {root_hash}")]
    None {
        /// The root hash.
        root_hash: String,
    },
    /// The kernel accepts none.
    #[error("the kernel accepts no signature of it: {refusals}")]
    Refused {
        /// What it says to each of them.
        refusals: Refusals,
    },
}

/// Says why a layer is not mounted, or still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ActivationError {
    /// The device mapper cannot be used.
    #[error(transparent)]
    DeviceMapper(#[from] DmError),
    /// The record of the layer cannot be.
    #[error("no image can be of the size that is recorded")]
    Geometry(#[from] GeometryError),
    /// The kernel does not mount or unmount it.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// It is not signed as its repository asks for.
    #[error("signatures are required for {origin}, and layer {layer} is refused: {reason}")]
    Refused {
        /// The image, or the repositories.
        origin: String,
        /// The digest of the layer.
        layer: Digest,
        /// Why it counts as not signed, and what was of no use.
        reason: String,
    },
    /// The records cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work broke off.
    #[error("the work broke off")]
    Thread {
        /// Why.
        source: tokio::task::JoinError,
    },
}

impl ActivationError {
    /// Tells whether the image on the disk is not what it was.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Layer(LayerError::Corrupt { .. } | LayerError::NotErofs { .. }))
    }
}

/// Makes the device of a layer with one of its signatures; says why not where the kernel accepts none.
fn open_signed(image: LayerImage) -> Result<Result<VerityDevice, Unsigned>, ActivationError> {
    if !image.is_signed() {
        return Ok(Err(Unsigned::None { root_hash: image.root_hash.to_string() }));
    }
    match image.activate(&DeviceMapper::open()?) {
        Ok(device) => Ok(Ok(device)),
        Err(LayerError::Signatures { refusals, .. }) => Ok(Err(Unsigned::Refused { refusals })),
        Err(error) => Err(error.into()),
    }
}

/// Opens the device mapper; on a kernel without one, and for a user who may not, there are no devices of ours.
fn mapper_if_any() -> Result<Option<DeviceMapper>, DmError> {
    match DeviceMapper::open() {
        Ok(mapper) => Ok(Some(mapper)),
        Err(DmError::Unavailable { .. } | DmError::NotPermitted { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_tell_layer_and_signature() {
        for slot in Slot::both(17) {
            assert_eq!(Slot::parse(&slot.directory()), Some(slot));
        }
        assert_eq!(Slot { layer: 17, signed: true }.directory(), "17");
        for text in ["", "u", "017", "+1", "1U", "1uu", "4294967296", "x"] {
            assert_eq!(Slot::parse(text), None, "{text}");
        }
    }
}
