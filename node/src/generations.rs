//! The generations of an image on a node: those that containerd has and those that are mounted, with the layers that they
//! share and the devices that are active.
//!
//! A new image that shares all but one layer with the one before adds one device to those that are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use osguard_registry::reference::Reference;

use crate::active_devices::{ActiveDevice, ActiveDevicesError, active_devices};
use crate::containerd::images::{self, ContainerdImage};
use crate::image_mount::{self, ImageMountError};
use crate::image_store::ImageStore;
use crate::record::{ImageRecord, MountRecord};
use crate::state_directory::StateDirectory;

/// Finds all images of the repository, directory or archive that `image` names, whatever their tags and digests: in all
/// namespaces of the containerd at the socket `containerd`, if there is one, and among the mounts of `state`.
///
/// # Errors
///
/// Fails where records or sysfs cannot be read. What containerd does not tell is told as not known.
pub fn generations(
    image: &Reference,
    state: &StateDirectory,
    containerd: &Path,
) -> Result<Generations, GenerationsError> {
    let mut found = Generations::default();
    let is_wanted =
        |name: &str| name.parse::<Reference>().is_ok_and(|reference| reference.is_beside(image));
    if containerd.exists() {
        match ask(containerd, is_wanted) {
            Ok(images) => images.into_iter().for_each(|image| found.add_image(image)),
            Err(reason) => found.unknown.push(format!("{}: {reason}", containerd.display())),
        }
    }
    for mount in image_mount::list(state)? {
        match &mount.record.image {
            Some(image) if is_wanted(&image.name) => found.add_mount(&mount.record, image),
            _ => {}
        }
    }
    found.add_devices(&active_devices()?);
    Ok(found)
}

/// Is what a node has of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The images, those of containerd before those that are mounted.
    pub generations: Vec<Generation>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// Is one of the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its name, with the tag.
    pub name: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Where it is.
    pub holder: Holder,
    /// Its layers, the bottom one first.
    pub layers: Vec<GenerationLayer>,
}

/// Says where an image is on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// In containerd.
    Containerd {
        /// The namespace.
        namespace: String,
    },
    /// On a directory.
    Mount {
        /// Which.
        target: PathBuf,
    },
}

/// Is a layer of one of the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationLayer {
    /// Its digest.
    pub digest: Digest,
    /// Whether an image with another manifest has it as well.
    pub is_shared: bool,
    /// Its devices: at most one with a signature and one without.
    pub devices: Vec<ActiveDevice>,
}

/// Says why it cannot be told what there is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationsError {
    /// The devices cannot be listed.
    #[error(transparent)]
    Devices(#[from] ActiveDevicesError),
    /// The mounted images cannot be listed.
    #[error(transparent)]
    Mounts(#[from] ImageMountError),
}

fn ask(
    containerd: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<ContainerdImage>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let images = runtime.block_on(images::list(containerd, is_wanted));
    images.map_err(|status| status.message().to_owned())
}

impl Generations {
    fn add_image(&mut self, image: ContainerdImage) {
        let ContainerdImage { namespace, name, manifest } = image;
        match manifest {
            Ok((manifest, layers)) => {
                let holder = Holder::Containerd { namespace };
                self.add(name, manifest, holder, layers);
            }
            Err(reason) => {
                self.unknown.push(format!("{name} in the namespace {namespace}: {reason}"));
            }
        }
    }

    fn add_mount(&mut self, record: &MountRecord, image: &ImageRecord) {
        let layers = record.layers.iter().filter_map(|layer| ImageStore::layer_of(&layer.image));
        let holder = Holder::Mount { target: record.target.clone() };
        self.add(image.name.clone(), image.manifest, holder, layers.collect());
    }

    fn add(&mut self, name: String, manifest: Digest, holder: Holder, layers: Vec<Digest>) {
        let layers = layers.into_iter().map(|digest| GenerationLayer {
            digest,
            is_shared: false,
            devices: Vec::new(),
        });
        self.generations.push(Generation { name, manifest, holder, layers: layers.collect() });
    }

    /// Marks what is shared, now that all images are there, and what is active.
    fn add_devices(&mut self, devices: &[ActiveDevice]) {
        let mut manifests: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for generation in &self.generations {
            for layer in &generation.layers {
                manifests.entry(layer.digest).or_default().push(generation.manifest);
            }
        }
        for Generation { manifest, layers, .. } in &mut self.generations {
            for layer in layers {
                layer.is_shared = manifests[&layer.digest].iter().any(|other| other != manifest);
                let own = devices.iter().filter(|device| device.digest == Some(layer.digest));
                layer.devices = own.cloned().collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LayerName;

    fn image(name: &str, layers: &[&[u8]]) -> ContainerdImage {
        let layers = layers.iter().map(|layer| Digest::of(layer)).collect();
        ContainerdImage {
            namespace: "k8s.io".to_owned(),
            name: name.to_owned(),
            manifest: Ok((Digest::of(name.as_bytes()), layers)),
        }
    }

    #[test]
    fn shared_layers_and_active_devices_are_told() {
        let mut found = Generations::default();
        found.add_image(image("app:v1", &[b"base", b"old"]));
        found.add_image(image("app:v2", &[b"base", b"new"]));
        found.add_image(ContainerdImage {
            manifest: Err("it is gone".to_owned()),
            ..image("app:v3", &[])
        });
        let layer = LayerName { root_hash: "ab".repeat(32).parse().unwrap(), signed: true };
        let device = ActiveDevice {
            kernel_name: "dm-0".to_owned(),
            layer,
            digest: Some(Digest::of(b"base")),
        };
        found.add_devices(&[device]);
        let told: Vec<_> = found
            .generations
            .iter()
            .flat_map(|generation| &generation.layers)
            .map(|layer| (layer.is_shared, layer.devices.len()))
            .collect();
        assert_eq!(told, [(true, 1), (false, 0), (true, 1), (false, 0)]);
        assert_eq!(found.unknown, ["app:v3 in the namespace k8s.io: it is gone"]);
    }

    #[test]
    fn two_names_of_one_image_share_nothing() {
        let mut found = Generations::default();
        for name in ["app:v1", "app:latest"] {
            let manifest = Ok((Digest::of(b"the same"), vec![Digest::of(b"base")]));
            found.add_image(ContainerdImage { manifest, ..image(name, &[]) });
        }
        found.add_devices(&[]);
        assert!(found.generations.iter().all(|generation| !generation.layers[0].is_shared));
    }
}
