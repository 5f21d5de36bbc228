//! Layers of two images.

use libverity::digest::Digest;

use crate::image::ImageLayer;

/// Is a layer of the two images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerComparison {
    /// The layer: that of the new image, or of the old one where only that has it.
    pub layer: ImageLayer,
    /// How it comes to be there.
    pub change: LayerChange,
}

/// Says what has become of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerChange {
    /// The new image has it, and the old one has no such layer.
    Added,
    /// Both images have it.
    Kept,
    /// Both images have the same archive, and the new one compressed in another way.
    Recompressed {
        /// The digest of the layer in the old image.
        old: Digest,
    },
    /// Only the old image has it.
    Removed,
}

pub(super) fn compare(old: &[ImageLayer], new: &[ImageLayer]) -> Vec<LayerComparison> {
    let change = |layer: &ImageLayer| {
        let same = |known: &&ImageLayer| known.diff_id == layer.diff_id;
        let is_kept = |known: &ImageLayer| known.descriptor.digest == layer.descriptor.digest;
        match old.iter().filter(same).any(is_kept) {
            true => LayerChange::Kept,
            false => old.iter().find(same).map_or(LayerChange::Added, |known| {
                LayerChange::Recompressed { old: known.descriptor.digest }
            }),
        }
    };
    let is_gone = |layer: &&ImageLayer| !new.iter().any(|known| known.diff_id == layer.diff_id);
    let compared =
        new.iter().map(|layer| LayerComparison { layer: layer.clone(), change: change(layer) });
    let removed = old
        .iter()
        .filter(is_gone)
        .map(|layer| LayerComparison { layer: layer.clone(), change: LayerChange::Removed });
    compared.chain(removed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;
    use crate::media_type::MediaType;

    #[test]
    fn layers_are_kept_recompressed_added_and_removed() {
        let layer = |blob: &str, archive: &str| ImageLayer {
            descriptor: Descriptor::of(MediaType::OCI_LAYER, blob.as_bytes()),
            diff_id: Digest::of(archive.as_bytes()),
        };
        let old = [layer("a", "A"), layer("b", "B"), layer("c", "C")];
        let new = [layer("a", "A"), layer("b2", "B"), layer("d", "D")];
        let changes: Vec<_> = compare(&old, &new).into_iter().map(|one| one.change).collect();
        assert_eq!(
            changes,
            [
                LayerChange::Kept,
                LayerChange::Recompressed { old: Digest::of(b"b") },
                LayerChange::Added,
                LayerChange::Removed,
            ]
        );
    }
}
