//! Images judged by the trust configuration.

use osguard_policy::trust::{Candidate, Comparison, Judge, LayerVerdict, Standing};
use osguard_registry::artifact::LayerSignature;
use osguard_registry::conversion::{ConversionError, Watch};
use osguard_registry::image::Image;
use osguard_registry::place::Place;
use osguard_registry::verification::{Content, Examined, ExaminedSignature, RootHashes, examine};

/// Is an image with the verdict on each of its layers.
pub(crate) struct JudgedImage {
    pub(crate) examined: Examined,
    /// The verdicts, in the order of the layers.
    pub(crate) verdicts: Vec<LayerVerdict>,
}

impl JudgedImage {
    /// Finds the signatures of an image and judges them.
    pub(crate) fn new(
        place: &dyn Place,
        image: &Image,
        root_hashes: RootHashes<'_>,
        judge: &Judge<'_>,
        watch: Watch<'_>,
    ) -> Result<Self, ConversionError> {
        let examined = examine_for(place, image, root_hashes, judge, watch)?;
        let verdicts = examined.layers.iter().map(|layer| {
            let candidates: Vec<_> = layer.signatures.iter().map(candidate).collect();
            judge.layer(&candidates)
        });
        let verdicts = verdicts.collect();
        Ok(Self { examined, verdicts })
    }

    /// Returns the standing of the image: that of its worst layer.
    ///
    /// Where a signature is missing that may have been in something unusable, there are signatures
    /// and none is valid.
    pub(crate) fn standing(&self) -> Standing {
        let worst = self.verdicts.iter().map(|verdict| verdict.standing).max();
        match worst {
            None | Some(Standing::NotSigned) if !self.examined.unusable.is_empty() => {
                Standing::NotTrusted
            }
            None => Standing::NotSigned,
            Some(worst) => worst,
        }
    }
}

/// Finds the signatures of an image; layers are read for those by somebody trusted.
pub(crate) fn examine_for(
    place: &dyn Place,
    image: &Image,
    root_hashes: RootHashes<'_>,
    judge: &Judge<'_>,
    watch: Watch<'_>,
) -> Result<Examined, ConversionError> {
    let counts = |found: &LayerSignature| judge.trusts(&found.claim.root_hash, &found.signature);
    examine(place, image, root_hashes, &counts, watch)
}

/// Returns a signature as the trust configuration takes it.
pub(crate) fn candidate(found: &ExaminedSignature) -> Candidate<'_> {
    Candidate {
        root_hash: &found.claim.root_hash,
        signature: &found.signature,
        comparison: match found.content {
            Content::Differs => Comparison::Differs,
            Content::Has(_) => Comparison::Equal,
            Content::Skipped => Comparison::Skipped,
        },
    }
}

/// Returns how a standing is called in reports.
pub(crate) fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Signed => "signed",
        Standing::Skipped => "skipped",
        Standing::Refused => "refused",
        Standing::ContentDiffers => "content differs",
        Standing::NotTrusted => "not trusted",
        Standing::NotSigned => "not signed",
    }
}
