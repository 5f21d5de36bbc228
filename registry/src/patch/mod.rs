//! Patches: one small layer on top of an image, and everything else as it was.
//!
//! ```text
//! change ──▶ PatchLayer::build ──┐
//! image  ────────────────────────┴──▶ patched ──▶ Draft ──▶ publication::publish
//! ```
//!
//! The patched image has the configuration, the history, the annotations and the platform of the one before, and
//! these annotations beside:
//!
//! | annotation | value |
//! |---|---|
//! | `org.osguard.patch.diff-id` | the diffID of the layer that is the patch |
//! | `org.osguard.patch.origin-digest` | the digest of the image below the patch |
//! | `org.osguard.patch.origin-name` | the name by which it was patched, where it has one |
//!
//! The diffID tells whether the uppermost layer is a patch: an image that was built on a patched one may inherit
//! the annotations, and has other layers on top. Patching a patched image puts the new layer in the place of
//! the former one, and the origin stays the image below.

mod error;
mod layer;
mod lookup;

use std::collections::BTreeMap;
use std::time::Duration;

use der::DateTime;
use libverity::digest::Digest;

pub use self::error::PatchError;
pub use self::layer::{Addition, Change, PatchLayer};
use crate::carrying::SignedLayers;
use crate::draft::{Documents, Draft, DraftError, Layer, Step};
use crate::image::{Image, ImageLayer};
use crate::manifest::ManifestKind;
use crate::place::Place;

/// Says how a patched image comes from the one before.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// The name by which the image was found, without its digest.
    pub name: Option<String>,
    /// Whether a former patch stays below the new one.
    pub stacks: bool,
    /// When the patch was made, in seconds since 1970; without it the image keeps the date that it has, so that
    /// the same patch of the same image always is the same image.
    pub created: Option<u64>,
}

/// Returns `image` without the layer of a former patch, if it has one and `stacks` does not keep it: what a new
/// patch goes on top of.
///
/// # Errors
///
/// Returns [`PatchError::ForeignPatch`] for an image of which another tool says that it is patched, and not
/// by which layer, unless `stacks` keeps that layer in any case.
pub fn base(place: &dyn Place, image: &Image, stacks: bool) -> Result<Image, PatchError> {
    let former = former_patch(image);
    if stacks {
        return Ok(image.clone());
    }
    if former.is_some() {
        let mut base = image.clone();
        base.layers.pop();
        return Ok(base);
    }
    let documents = Documents::read(place, image)?;
    match documents.labels.get(COPA_LABEL) {
        Some(base) => {
            Err(PatchError::ForeignPatch { image: image.manifest.digest(), base: base.clone() })
        }
        None => Ok(image.clone()),
    }
}

/// Returns the image that `image` becomes with `patch` on top of its [`base`].
///
/// Signatures in its manifest stay where they are among `signed`.
///
/// # Errors
///
/// Fails where the image cannot be read, or would have more layers than can be mounted.
pub fn patched(
    place: &dyn Place,
    image: &Image,
    patch: &ImageLayer,
    lineage: &Lineage,
    signed: &SignedLayers,
) -> Result<Draft, PatchError> {
    let mut documents = Documents::read(place, image)?;
    documents.keep_signatures(signed)?;
    let is_replaced = !lineage.stacks && former_patch(image).is_some();
    if is_replaced {
        documents.layers.pop();
        if documents.history.last().is_some_and(|step| step.created_by == CREATED_BY) {
            documents.history.pop();
        }
    }
    let origin = match documents.annotations.get(ORIGIN_DIGEST) {
        Some(origin) if is_replaced => origin.clone(),
        _ => image.manifest.digest().to_string(),
    };
    if !is_replaced {
        documents.annotations.remove(ORIGIN_NAME);
        if let Some(name) = &lineage.name {
            documents.annotations.insert(ORIGIN_NAME.to_owned(), name.clone());
        }
    }
    let json =
        |source| DraftError::Json { document: "manifest", image: image.manifest.digest(), source };
    if let Some(created) = lineage.created.and_then(date) {
        documents.created = Some(created);
    }
    if !documents.history.is_empty() {
        let created = documents.created.clone();
        let comment = format!("patches {origin}");
        let step = Step::new(created.as_deref(), CREATED_BY, &comment).map_err(json)?;
        documents.history.push(step);
    }
    documents.layers.push(Layer::new(patch.clone()).map_err(json)?);
    let annotations = [(DIFF_ID, patch.diff_id.to_string()), (ORIGIN_DIGEST, origin)];
    documents.annotations.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
    Ok(documents.finish()?)
}

/// Returns the annotations by which the index of patched images names the index before.
pub fn lineage_annotations(origin: Digest, name: Option<&str>) -> BTreeMap<String, String> {
    let digest = (ORIGIN_DIGEST.to_owned(), origin.to_string());
    let name = name.map(|name| (ORIGIN_NAME.to_owned(), name.to_owned()));
    [digest].into_iter().chain(name).collect()
}

/// Returns the layer of a former patch: the uppermost one, if the manifest names just that.
pub fn former_patch(image: &Image) -> Option<&ImageLayer> {
    let ManifestKind::Image(manifest) = image.manifest.kind() else { return None };
    let named: Digest = manifest.annotations.get(DIFF_ID)?.parse().ok()?;
    image.layers.last().filter(|layer| layer.diff_id == named)
}

/// Returns a date as configurations have it (RFC 3339), `None` beyond the year 9999.
fn date(seconds: u64) -> Option<String> {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds)).ok()?;
    Some(date.to_string())
}

const DIFF_ID: &str = "org.osguard.patch.diff-id";
pub(crate) const ORIGIN_DIGEST: &str = "org.osguard.patch.origin-digest";
pub(crate) const ORIGIN_NAME: &str = "org.osguard.patch.origin-name";

/// The label by which Copa names the image that it has patched.
const COPA_LABEL: &str = "BaseImage";

/// What the history says of a patch.
const CREATED_BY: &str = "osguard patch";
