//! Other base layers below an application.
//!
//! An application image is what its builder has put on top of the layers of a base image. Where its lowest layers are
//! those of a base, all of them and in their order, others can be put in their place, and nothing of the application has
//! to be built again. What compares is the diffID: a registry or a builder may have compressed a layer again.
//!
//! The configuration stays the application's: what is started, the environment, labels. The history is the new base's and
//! then the application's. The annotations `org.opencontainers.image.base.digest` and `.name` name the new base.

use libverity::digest::Digest;

use crate::carrying::SignedLayers;
use crate::draft::{Documents, Draft, DraftError, Layer, Step};
use crate::image::{Image, ImageLayer, PlacedImage};
use crate::media_type::MediaType;
use crate::patch::{ORIGIN_DIGEST, ORIGIN_NAME};
use crate::platform::Platform;

/// Returns `application` on the layers of `new_base` instead of those of `old_base`; `name` is that of the new base.
///
/// Signatures in the manifests stay where they are among `signed`.
///
/// # Errors
///
/// Returns [`RebaseError::NotABase`] where the layers do not prove that the application was built on the old base, and
/// the others that [`RebaseError`] lists.
pub fn rebase(
    application: PlacedImage<'_>,
    old_base: PlacedImage<'_>,
    new_base: PlacedImage<'_>,
    name: Option<&str>,
    signed: &SignedLayers,
) -> Result<Draft, RebaseError> {
    let [app, old, new] = [application, old_base, new_base].map(|placed| placed.image);
    check_platform(app, old)?;
    check_platform(app, new)?;
    check_prefix(app, old)?;
    let count = old.layers.len();
    let mut documents = Documents::read(application.place, app)?;
    let old_documents = Documents::read(old_base.place, old)?;
    let new_documents = Documents::read(new_base.place, new)?;

    let json =
        |source| DraftError::Json { document: "manifest", image: app.manifest.digest(), source };
    let is_docker = app.manifest.descriptor().media_type == MediaType::DOCKER_MANIFEST;
    let mut layers = Vec::new();
    for layer in &new.layers {
        let mut descriptor = layer.descriptor.clone();
        descriptor.media_type = in_manifests_of(is_docker, descriptor.media_type);
        let layer = ImageLayer { descriptor, diff_id: layer.diff_id };
        layers.push(Layer::new(layer).map_err(json)?);
    }
    layers.extend(documents.layers.drain(..).skip(count));
    documents.layers = layers;
    documents.keep_signatures(signed)?;

    match history(&documents, &old_documents, &new_documents, count) {
        Some(history) => documents.history = history,
        // A history with another number of layers than there are is worse than none: some tools refuse the image.
        None => documents.forget_history(),
    }
    documents.annotations.remove(BASE_NAME);
    for annotation in [ORIGIN_DIGEST, ORIGIN_NAME] {
        documents.annotations.remove(annotation);
    }
    documents.annotations.insert(BASE_DIGEST.to_owned(), new.manifest.digest().to_string());
    if let Some(name) = name {
        documents.annotations.insert(BASE_NAME.to_owned(), name.to_owned());
    }
    Ok(documents.finish()?)
}

/// Says why an image does not get another base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebaseError {
    /// The new image cannot be described.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The layers do not prove that the application was built on the base.
    #[error("{application} was not built on {base}: {}", difference(*layer, expected, found.as_deref()))]
    NotABase {
        /// The application.
        application: Digest,
        /// The base.
        base: Digest,
        /// The place of the first layer that differs, counted from 0.
        layer: usize,
        /// The diffID of the base's layer at that place.
        expected: Box<Digest>,
        /// The diffID of the application's layer there, if it has that many.
        found: Option<Box<Digest>>,
    },
    /// A base has no layers.
    #[error("{base} has no layers, and so nothing is built on it")]
    NoLayers {
        /// The base.
        base: Digest,
    },
    /// A base is for another platform.
    #[error("{base} is for {found}, and the application {application} is for {expected}")]
    OtherPlatform {
        /// The base.
        base: Digest,
        /// The application.
        application: Digest,
        /// What the application is for.
        expected: Box<Platform>,
        /// What the base is for.
        found: Box<Platform>,
    },
}

fn difference(layer: usize, expected: &Digest, found: Option<&Digest>) -> String {
    let number = layer + 1;
    match found {
        Some(found) => format!(
            "layer {number} of the base has the diffID {expected}, and that of the application {found}"
        ),
        None => format!("the base has a layer {number} ({expected}), and the application has none"),
    }
}

fn check_platform(application: &Image, base: &Image) -> Result<(), RebaseError> {
    let (wanted, found) = (&application.platform, &base.platform);
    if found.satisfies(wanted) || wanted.satisfies(found) {
        return Ok(());
    }
    Err(RebaseError::OtherPlatform {
        base: base.manifest.digest(),
        application: application.manifest.digest(),
        expected: Box::new(wanted.clone()),
        found: Box::new(found.clone()),
    })
}

fn check_prefix(application: &Image, base: &Image) -> Result<(), RebaseError> {
    if base.layers.is_empty() {
        return Err(RebaseError::NoLayers { base: base.manifest.digest() });
    }
    for (number, layer) in base.layers.iter().enumerate() {
        let found = application.layers.get(number).map(|layer| layer.diff_id);
        if found != Some(layer.diff_id) {
            return Err(RebaseError::NotABase {
                application: application.manifest.digest(),
                base: base.manifest.digest(),
                layer: number,
                expected: Box::new(layer.diff_id),
                found: found.map(Box::new),
            });
        }
    }
    Ok(())
}

/// Returns the history of the new base with that of the application behind it, `None` where one of them does not say how
/// its layers came about.
fn history(
    application: &Documents,
    old_base: &Documents,
    new_base: &Documents,
    count: usize,
) -> Option<Vec<Step>> {
    let with_layers = |steps: &[Step]| steps.iter().filter(|step| !step.is_empty_layer).count();
    // The application's own layers are there already, behind those of the new base.
    let all = application.layers.len();
    let own = all.checked_sub(new_base.layers.len())?;
    let is_told = with_layers(&application.history) == count + own
        && with_layers(&new_base.history) == new_base.layers.len();
    if !is_told {
        return None;
    }
    let old = &old_base.history;
    let starts_with_old = application.history.len() >= old.len()
        && with_layers(old) == count
        && old.iter().zip(&application.history).all(|(one, other)| one.is_same(other));
    let end = match starts_with_old {
        true => old.len(),
        // The step behind the last one that has made a layer of the base.
        false => {
            let mut left = count;
            application.history.iter().position(|step| {
                left -= usize::from(!step.is_empty_layer && left > 0);
                left == 0
            })? + 1
        }
    };
    let own = application.history.get(end..)?;
    Some([&new_base.history, own].concat())
}

/// Returns the media type that stands for the same kind of layer in manifests of Docker's, or in those of OCI.
fn in_manifests_of(is_docker: bool, media_type: MediaType) -> MediaType {
    let (from, to) = match is_docker {
        true => (&OCI_LAYERS, &DOCKER_LAYERS),
        false => (&DOCKER_LAYERS, &OCI_LAYERS),
    };
    match from.iter().position(|known| *known == media_type.as_str()) {
        Some(number) => MediaType::new(to[number]),
        None => media_type,
    }
}

/// Plain, and compressed with gzip and zstd.
const OCI_LAYERS: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
];
const DOCKER_LAYERS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";
