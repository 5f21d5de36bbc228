//! Signatures that pass from one image to another: by whom they must be.

use libverity::digest::Digest;
use libverity::layer::{Discard, Profile};
use libverity::signer::Signer;
use osguard_admission::judgement::JudgedImage;
use osguard_policy::trust::{Judge, Standing};
use osguard_registry::artifact::LayerSignature;
use osguard_registry::carrying::{Carried, GoodSignature, SignedLayers};
use osguard_registry::conversion::convert_layer;
use osguard_registry::image::{Image, ImageLayer, PlacedImage};
use osguard_registry::signing::{SigningError, sign_layer};
use osguard_registry::verification::{Content, RootHashes};

use crate::command::verify::verdict;
use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;
use crate::root_hash::{How, Source};

/// Is who judges the signatures that are carried over, and where root hashes come from to compare them with.
pub(crate) struct Carrier<'a> {
    judge: &'a Judge<'a>,
    source: &'a Source,
    output: &'a Output,
}

impl<'a> Carrier<'a> {
    pub(crate) fn new(
        judge: &'a Judge<'a>,
        source: &'a Source,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        if judge.skips() {
            return Err(Failure::new(
                ExitStatus::Refused,
                format!(
                    "no signature can be carried over: the trust configuration skips {:?}",
                    judge.scope().name
                ),
            )
            .hint("--trust names certificates to verify them with; --unsigned leaves all signatures behind."));
        }
        if source.how() == How::Skip {
            return Err(Failure::new(
                ExitStatus::Usage,
                "a signature is carried over only if the layer was found to have its root hash",
            )
            .hint("--root-hash cached takes those that were computed here before."));
        }
        Ok(Self { judge, source, output })
    }

    /// Verifies all signatures of `image`, which is shown as `name`, and adds its layers with the good ones to `signed`.
    pub(crate) fn verify(
        &self,
        PlacedImage { place, image }: PlacedImage<'_>,
        name: &str,
        signed: &mut SignedLayers,
    ) -> Result<(), Failure> {
        if image.layers.is_empty() {
            return Ok(());
        }
        let progress = self.output.progress();
        let root_hashes = self.source.root_hashes();
        let judged = JudgedImage::new(place, image, root_hashes, self.judge, &watch(&progress))?;
        if let Some(failure) = verdict::failure(name, judged.standing(), &[&judged]) {
            return Err(failure.hint(
                "--unsigned makes the new image all the same, and leaves all signatures behind.",
            ));
        }
        for ((layer, examined), verdict) in
            image.layers.iter().zip(judged.examined.layers).zip(judged.verdicts)
        {
            let good = examined.signatures.into_iter().zip(verdict.signatures);
            let good = good.filter_map(|(found, verdict)| match found.content {
                Content::Has(profile) if verdict.standing == Standing::Signed => {
                    let signature =
                        LayerSignature { claim: found.claim, signature: found.signature };
                    Some(GoodSignature { signature, profile })
                }
                _ => None,
            });
            signed.add(layer.clone(), good.collect());
        }
        Ok(())
    }

    /// Keeps in mind what was computed of a layer, where such things are kept.
    pub(crate) fn keep(
        &self,
        layer: &ImageLayer,
        root_hashes: &[(Profile, libverity::digest::RootHash)],
    ) {
        if let RootHashes::Cached(cache) = self.source.root_hashes() {
            // What cannot be kept is computed again the next time.
            let _ = cache.keep(layer, root_hashes);
        }
    }
}

/// Signs layers that were compressed again, where that was asked for.
pub(crate) struct Resigning<'a> {
    /// Who signs, if anybody is to.
    pub(crate) signer: Option<&'a dyn Signer>,
    pub(crate) profiles: &'a [Profile],
    pub(crate) output: &'a Output,
}

/// Is what the layers of a new image are signed with.
#[derive(Default)]
pub(crate) struct Signatures {
    pub(crate) all: Vec<LayerSignature>,
    /// The layers whose signatures came from another image.
    pub(crate) carried: Vec<Digest>,
    /// The layers that were signed again because they were compressed again.
    pub(crate) resigned: Vec<Digest>,
}

impl Resigning<'_> {
    /// Finds the signatures of `layers`, which lie in the place of `image`.
    pub(crate) fn signatures(
        &self,
        image: PlacedImage<'_>,
        layers: &[ImageLayer],
        signed: &SignedLayers,
    ) -> Result<Signatures, Failure> {
        let mut signatures = Signatures::default();
        for layer in layers {
            let digest = layer.descriptor.digest;
            if signatures.all.iter().any(|known| known.claim.layer_digest == digest) {
                continue;
            }
            match (signed.of(layer), self.signer) {
                (Carried::Signed(found), _) => {
                    signatures.carried.push(digest);
                    signatures.all.extend(found);
                }
                (Carried::Recompressed { .. }, Some(signer)) => {
                    signatures.resigned.push(digest);
                    signatures.all.extend(self.sign(image, layer, signer)?);
                }
                (Carried::Recompressed { signed, .. }, None) => {
                    return Err(Failure::new(
                        ExitStatus::NotSigned,
                        format!(
                            "the layer {digest} is the layer {signed}, compressed in another way, and its signatures do \
                             not fit any more"
                        ),
                    )
                    .hint("--sign --resign signs it again; profiles by diffID outlive another compression."));
                }
                (Carried::Unsigned, _) => {
                    return Err(Failure::new(
                        ExitStatus::NotSigned,
                        format!(
                            "the layer {digest} of {} has no signature that could be carried over",
                            image.image.manifest.digest()
                        ),
                    )
                    .hint("`osguard sign` signs every layer of an image."));
                }
            }
        }
        Ok(signatures)
    }

    fn sign(
        &self,
        image: PlacedImage<'_>,
        layer: &ImageLayer,
        signer: &dyn Signer,
    ) -> Result<Vec<LayerSignature>, Failure> {
        let progress = self.output.progress();
        // The diffID is checked on the way: it is the very archive that was signed before.
        let converted =
            convert_layer(image.place, layer, self.profiles, &mut Discard, &watch(&progress))?;
        sign_layer(layer.descriptor.digest, &converted, signer)
            .map_err(|error| SigningError::from(error).into())
    }
}

/// Finds the image among `images` that is for the same platform as `image`.
pub(crate) fn counterpart<'a>(
    images: &'a [Image],
    image: &Image,
    name: &str,
) -> Result<&'a Image, Failure> {
    let is_exact = |other: &&Image| other.platform == image.platform;
    let fits = |other: &&Image| {
        other.platform.satisfies(&image.platform) || image.platform.satisfies(&other.platform)
    };
    images.iter().find(is_exact).or_else(|| images.iter().find(fits)).ok_or_else(|| {
        let platforms: Vec<_> = images.iter().map(|image| image.platform.to_string()).collect();
        Failure::new(
            ExitStatus::NotFound,
            format!(
                "{name} has nothing for {}; it is for {}",
                image.platform,
                platforms.join(", ")
            ),
        )
    })
}
