//! What an image would execute on a node that mounts its layers as volumes.

use std::path::PathBuf;

use libverity::erofs::Reader;
use libverity::layer::{ImageFile, Profile};
use osguard_policy::evaluate::Volume;
use osguard_policy::simulation::{EntryPoint, ImageUses, ImageVolume, image_uses as uses_of};
use osguard_policy::syntax::DigestValue;
use osguard_registry::conversion::convert_layer;
use osguard_registry::image::Image;
use osguard_registry::platform::Platform;
use osguard_registry::signatures;

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::Found;
use crate::network::NetworkArguments;
use crate::output::Output;

/// Is an image with what it executes.
pub(super) struct FoundUses {
    /// The image, by its digest.
    pub(super) reference: String,
    pub(super) uses: ImageUses,
}

/// Converts the layers as a node does, and looks into them; each takes as much room among temporary files as its image
/// for a while.
pub(super) fn image_uses(
    image: &str,
    platform: Option<&Platform>,
    network: &NetworkArguments,
    output: &Output,
) -> Result<FoundUses, Failure> {
    let found = Found::parse(image, network)?;
    let image = match platform {
        None if found.descriptor.media_type.is_manifest() => {
            Image::load(&*found.place, &found.descriptor)?
        }
        None => Image::choose(&*found.place, &found.descriptor, Some(&Platform::host()))?,
        some => Image::choose(&*found.place, &found.descriptor, some)?,
    };
    let claims: Vec<_> = signatures::find(&*found.place, &image.manifest)?
        .into_iter()
        .filter_map(|candidate| candidate.outcome.ok())
        .flat_map(|artifact| artifact.signatures)
        .map(|signature| (signature.claim.layer_digest, signature.claim.root_hash))
        .collect();
    let directory = std::env::temp_dir();
    let failed = |error| Failure::writing(&directory, error);
    let mut volumes = Vec::new();
    for layer in &image.layers {
        // Without a name, so that it is gone with the process.
        let file = tempfile::tempfile_in(&directory).map_err(failed)?;
        let mut sink = ImageFile::new(&file, &directory).map_err(failed)?;
        let progress = output.progress();
        let profiles = [Profile::default()];
        let converted =
            convert_layer(&*found.place, layer, &profiles, &mut sink, &watch(&progress))?;
        let digest = layer.descriptor.digest;
        for built in converted.images {
            let is_signed = claims.contains(&(digest, built.root_hash.clone()));
            let bytes = built.root_hash.as_bytes().to_vec();
            let root_hash = DigestValue { algorithm: b"sha256".to_vec(), bytes };
            let reader = Reader::open(file.try_clone().map_err(failed)?).map_err(|error| {
                Failure::from_error(ExitStatus::Failure, error).context(format!("layer {digest}"))
            })?;
            volumes.push(ImageVolume { reader, volume: Volume { root_hash, is_signed } });
        }
    }
    let entry = EntryPoint {
        command: image.start.command,
        search: image.start.search.into_iter().map(PathBuf::from).collect(),
        working_directory: image.start.working_directory.into(),
    };
    let uses = uses_of(&volumes, &entry)
        .map_err(|error| Failure::from_error(ExitStatus::Failure, error))?;
    Ok(FoundUses { reference: found.reference.to_string(), uses })
}
