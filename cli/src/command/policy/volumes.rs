//! Volumes that a policy names one by one: where their root hashes come from.

use std::fs::File;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::layer::{Discard, LayerFile, LayerFileError, Profile};
use libverity::pkcs7::verify_root_hash;
use osguard_node::device_number::DeviceNumber;
use osguard_node::verity_volume::VerityVolumes;
use osguard_registry::conversion::convert_layer;
use osguard_registry::image::Image;
use osguard_registry::signatures;

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::Found;
use crate::network::NetworkArguments;
use crate::output::Output;

/// Names volumes: one by its root hash, that of a file or of a device, or all layers of an image.
#[derive(Clone, Debug)]
pub(super) enum Volumes {
    Device(PathBuf),
    File(PathBuf),
    Image(String),
    RootHash(RootHash),
}

impl Volumes {
    /// Reads what was typed: 64 digits, a path with a slash in front (or `./`), or an image.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            if text.len() != ROOT_HASH_DIGITS {
                let found = text.len();
                return Err(format!(
                    "a root hash has {ROOT_HASH_DIGITS} digits, and this has {found}"
                ));
            }
            let root_hash = text.parse().map(Self::RootHash);
            return root_hash.map_err(|error: libverity::digest::RootHashError| error.to_string());
        }
        if text.starts_with("/dev/") {
            return Ok(Self::Device(text.into()));
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::File(text.into()));
        }
        match text.parse::<osguard_registry::reference::Reference>() {
            Ok(_) => Ok(Self::Image(text.to_owned())),
            Err(error) => Err(format!(
                "neither a root hash of 64 digits, nor a file as in ./layer.erofs, nor a device in /dev, nor an image: {error}"
            )),
        }
    }

    /// Returns the root hashes, worked out anew from the bytes by each of `profiles`: what a signature or
    /// an annotation says of an image counts for nothing here.
    pub(super) fn root_hashes(
        &self,
        profiles: &[Profile],
        network: &NetworkArguments,
        output: &Output,
    ) -> Result<Vec<RootHash>, Failure> {
        match self {
            Self::RootHash(root_hash) => Ok(vec![root_hash.clone()]),
            Self::Device(path) => Ok(vec![of_device(path)?]),
            Self::File(path) => Ok(vec![of_file(path, output)?]),
            Self::Image(image) => of_image(image, profiles, network, output),
        }
    }
}

/// Collects the root hashes of all that was named.
pub(super) fn root_hashes(
    volumes: &[Volumes],
    profiles: &[Profile],
    network: &NetworkArguments,
    output: &Output,
) -> Result<Vec<RootHash>, Failure> {
    let mut all = Vec::new();
    for one in volumes {
        all.extend(one.root_hashes(profiles, network, output)?);
    }
    Ok(all)
}

/// Collects the root hashes of images that the keys of `certificates` have signed, whatever is in the layers: a signature is
/// good for the root hash that it is over, and for that alone.
pub(super) fn signed_by(
    volumes: &[Volumes],
    certificates: &[Certificate],
    network: &NetworkArguments,
) -> Result<Vec<RootHash>, Failure> {
    let mut root_hashes = Vec::new();
    for one in volumes {
        let Volumes::Image(image) = one else {
            return Err(Failure::new(
                ExitStatus::Usage,
                "--signed-by looks for signatures in images, and something else is named as well",
            ));
        };
        let found = Found::parse(image, network)?;
        for image in Image::all(&*found.place, &found.descriptor, None)? {
            for candidate in signatures::find(&*found.place, &image.manifest)? {
                let Ok(artifact) = candidate.outcome else { continue };
                root_hashes.extend(artifact.signatures.into_iter().filter_map(|one| {
                    let root_hash = one.claim.root_hash;
                    let accepted = verify_root_hash(&root_hash, &one.signature, certificates);
                    accepted.is_ok().then_some(root_hash)
                }));
            }
        }
    }
    root_hashes.sort();
    root_hashes.dedup();
    match root_hashes.is_empty() {
        false => Ok(root_hashes),
        true => Err(Failure::new(
            ExitStatus::NotSigned,
            "no signature in these images is by such a key",
        )
        .hint("`osguard inspect IMAGE` shows who has signed.")),
    }
}

/// Reads the root hash from the table that runs on a device.
fn of_device(path: &Path) -> Result<RootHash, Failure> {
    let node = std::fs::metadata(path).map_err(|error| Failure::reading(path, error))?;
    let failed = |error| Failure::from_error(ExitStatus::Failure, error).context(path.display());
    let volume = match node.file_type().is_block_device() {
        true => {
            let volumes = VerityVolumes::open().map_err(failed)?;
            volumes.volume(DeviceNumber::of_node(&node)).map_err(failed)?
        }
        false => None,
    };
    match volume {
        Some(volume) => Ok(RootHash::from_bytes(volume.root_hash.bytes)),
        None => Err(Failure::new(
            ExitStatus::NotFound,
            format!("{} is no dm-verity volume", path.display()),
        )
        .hint("`veritysetup status` and `dmsetup table --target verity` show those that are.")),
    }
}

fn of_file(path: &Path, output: &Output) -> Result<RootHash, Failure> {
    let failed = |error: LayerFileError| {
        Failure::from_error(ExitStatus::Failure, error)
            .context(path.display())
            .hint("A layer's image is needed, as `osguard layer build` writes it.")
    };
    let file = File::open(path).map_err(|error| Failure::reading(path, error))?;
    let layer = LayerFile::open(file).map_err(failed)?;
    let label = path.display().to_string();
    let size_bytes = layer.image().facts().size_bytes();
    let mut data = output.progress().reading(&label, size_bytes, layer.data().map_err(failed)?);
    Ok(layer.hash(&mut data).map_err(failed)?.root_hash)
}

fn of_image(
    image: &str,
    profiles: &[Profile],
    network: &NetworkArguments,
    output: &Output,
) -> Result<Vec<RootHash>, Failure> {
    let found = Found::parse(image, network)?;
    let mut root_hashes = Vec::new();
    for image in Image::all(&*found.place, &found.descriptor, None)? {
        let progress = output.progress();
        for layer in &image.layers {
            let converted =
                convert_layer(&*found.place, layer, profiles, &mut Discard, &watch(&progress))?;
            root_hashes.extend(converted.images.into_iter().map(|built| built.root_hash));
        }
    }
    Ok(root_hashes)
}

/// Of SHA-256, by which all of osguard's volumes are made.
const ROOT_HASH_DIGITS: usize = 64;
