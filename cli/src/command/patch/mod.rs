//! `osguard patch`.

mod additions;
pub(crate) mod carrying;
pub(crate) mod publishing;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use libverity::layer::{ConvertedLayer, Profile};
use libverity::signer::Signer;
use osguard_policy::trust::Judge;
use osguard_registry::artifact::annotations::{self, Keys};
use osguard_registry::artifact::{Format, LayerSignature};
use osguard_registry::carrying::SignedLayers;
use osguard_registry::draft::Draft;
use osguard_registry::embedding::embed_into;
use osguard_registry::image::{Image, ImageLayer, PlacedImage};
use osguard_registry::image_path::ImagePath;
use osguard_registry::patch::{
    Change, Lineage, PatchError, PatchLayer, base, former_patch, lineage_annotations, patched,
};
use osguard_registry::platform::Platform;
use osguard_registry::publication::{NewImage, NewLayer};
use osguard_registry::signing::{SigningError, is_by, sign_layer};

use self::additions::{Added, changes, image_path};
use self::carrying::{Carrier, Resigning, Signatures, counterpart};
use self::publishing::Origin;
use self::report::PatchReport;
use crate::command::layer::directory_options::{DirectoryOptionsArguments, source_date_epoch};
use crate::conversion::{warn_of_divergences, warn_of_profiles, watch};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, IMAGE_HELP, is_standard_stream, parse};
use crate::network::NetworkArguments;
use crate::output::Output;
use crate::root_hash::RootHashArguments;
use crate::signing::SigningArguments;
use crate::trust::TrustArguments;

/// Put one layer on top of an image, and keep the signatures of all others
///
/// What is in the directory or archive comes to lie over the files of the image; paths that are removed get whiteouts.
/// Configuration, history and annotations stay. The signatures of the other layers are verified and attached to the new
/// image, and only the new layer is signed. The tag is written after everything else, for all platforms. A former patch
/// is replaced.
#[derive(Debug, clap::Args)]
#[command(mut_arg("key", |key| key.required(false).requires("sign")))]
#[command(mut_arg("cert", |cert| cert.requires("sign")))]
#[command(mut_arg("passphrase_fd", |number| number.requires("sign")))]
#[command(mut_arg("passphrase_file", |file| file.requires("sign")))]
#[command(mut_arg("plugin_config", |config| config.requires("sign")))]
// Without this the group that tells whether there is a key stays empty, for it has groups within.
#[command(mut_group("SigningArguments", |group| group.arg("key")))]
pub(crate) struct Arguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP)]
    image: String,
    /// Add the files in this directory, or in this tar archive; for an index, one for each platform
    #[arg(long, value_name = "[PLATFORM=]DIR|TAR")]
    add: Vec<Added>,
    /// Remove this file or directory of the image; may be repeated
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    remove: Vec<ImagePath>,
    /// The tag that the patched image gets, beside the image
    #[arg(long, value_name = "NEW")]
    tag: String,
    /// Patch only the image for this platform, such as linux/amd64; the tag then names it alone
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Put the new layer on top of a former patch, and not in its place
    #[arg(long)]
    stack: bool,
    #[command(flatten)]
    directory: DirectoryOptionsArguments,
    /// Leave all signatures behind, and verify none
    #[arg(long, conflicts_with = "sign")]
    unsigned: bool,
    /// Take the signatures of this image, of which IMAGE is a copy with layers that were compressed again
    #[arg(long, value_name = "IMAGE", conflicts_with = "unsigned")]
    origin: Option<String>,
    /// Sign layers again that were compressed again since they were signed
    #[arg(long, requires = "sign")]
    resign: bool,
    /// Sign the new layer
    #[arg(long, requires = "key")]
    sign: bool,
    #[command(flatten)]
    signing: Option<SigningArguments>,
    /// By which profile to convert the new layer; may be repeated [default: containerd-full-v1]
    #[arg(long, value_name = "NAME")]
    profile: Vec<Profile>,
    /// In which form to attach the signatures: standard, or prototype for older tools [default: standard]
    #[arg(long, value_name = "NAME")]
    artifact_format: Option<Format>,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    root_hash: RootHashArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Is one platform's image with its patch, before anything is stored.
struct Patched {
    image: Image,
    layer: PatchLayer,
    converted: ConvertedLayer,
    draft: Draft,
    signatures: Signatures,
    /// The former patch whose place the layer has taken.
    former: Option<libverity::digest::Digest>,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let signer = arguments.signer()?;
    let options = arguments.directory.options()?;
    let origin =
        Origin::find(parse(&arguments.image)?, &arguments.tag, &arguments.network, output)?;
    let images = origin.images(arguments.platform.as_ref())?;
    let removed: BTreeSet<_> = arguments.remove.iter().cloned().collect();
    let changes = changes(&images, &arguments.add, &removed, options)?;

    let signer = signer.as_deref();
    if arguments.unsigned {
        let patched = arguments.patch(&origin, images, &changes, None, signer, output)?;
        return arguments.publish(&origin, patched, signer, None, output);
    }
    let trust = arguments.trust.read(&origin.reference, output)?;
    let judge = trust.judge()?;
    let source = arguments.root_hash.source(output);
    let carrier = Carrier::new(&judge, &source, output)?;
    let patched = arguments.patch(&origin, images, &changes, Some(&carrier), signer, output)?;
    arguments.publish(&origin, patched, signer, Some(&judge), output)
}

impl Arguments {
    /// Makes the new images; nothing is stored yet.
    fn patch(
        &self,
        origin: &Origin,
        images: Vec<Image>,
        changes: &[Change],
        carrier: Option<&Carrier<'_>>,
        signer: Option<&dyn Signer>,
        output: &Output,
    ) -> Result<Vec<Patched>, Failure> {
        let signed_origin = SignedOrigin::find(self, origin)?;
        let lineage = Lineage {
            name: origin.name(),
            stacks: self.stack,
            created: source_date_epoch()?.and_then(|epoch| u64::try_from(epoch).ok()),
        };
        let profiles = self.profiles();
        let place = &*origin.found.place;
        let mut patched_images = Vec::new();
        for (image, change) in images.into_iter().zip(changes) {
            let below = base(place, &image, self.stack)?;
            let former = former_patch(&image).filter(|_| !self.stack);
            let former = former.map(|layer| layer.descriptor.digest);
            let progress = output.progress();
            let layer = PatchLayer::build(place, &below, change, &watch(&progress))?;
            let converted = layer.convert(&profiles)?;
            warn_of_divergences(&converted.divergences, output);
            let mut signed = SignedLayers::default();
            if let Some(carrier) = carrier {
                signed_origin.verify(carrier, origin, &below, &mut signed)?;
                let root_hashes: Vec<_> = converted
                    .images
                    .iter()
                    .map(|image| (image.profile, image.root_hash.clone()))
                    .collect();
                carrier.keep(layer.layer(), &root_hashes);
            }
            let mut draft = patched(place, &image, layer.layer(), &lineage, &signed)?;
            let mut signatures = Signatures::default();
            if carrier.is_some() {
                let resigning = Resigning {
                    signer: signer.filter(|_| self.resign),
                    profiles: &profiles,
                    output,
                };
                let image = PlacedImage { place, image: &below };
                signatures = resigning.signatures(image, &below.layers, &signed)?;
            }
            if let Some(signer) = signer {
                let made = sign_layer(layer.layer().descriptor.digest, &converted, signer);
                let made = made.map_err(SigningError::from)?;
                draft = embedded_as_before(draft, &made, signer)?;
                signatures.all.extend(made);
            }
            patched_images.push(Patched { image, layer, converted, draft, signatures, former });
        }
        if signer.is_some() {
            warn_of_profiles(&profiles, output);
        }
        Ok(patched_images)
    }

    /// Stores the new images, and tells what was done.
    fn publish(
        &self,
        origin: &Origin,
        mut patched: Vec<Patched>,
        signer: Option<&dyn Signer>,
        judge: Option<&Judge<'_>>,
        output: &Output,
    ) -> Result<ExitStatus, Failure> {
        let drafts: Vec<_> = patched.iter().map(|one| &one.draft).collect();
        let annotations: BTreeMap<_, _> =
            lineage_annotations(origin.found.descriptor.digest, origin.name().as_deref());
        let index = origin.index(&drafts, self.platform.is_some(), annotations, output)?;
        let signatures: Vec<_> =
            patched.iter_mut().map(|one| std::mem::take(&mut one.signatures.all)).collect();
        let images: Vec<_> = patched
            .iter()
            .zip(signatures)
            .map(|(one, signatures)| NewImage {
                draft: one.draft.clone(),
                layers: vec![NewLayer::Made(&one.layer)],
                signatures,
            })
            .collect();
        let is_own = signer.map(is_by);
        let is_valid = |found: &LayerSignature| {
            is_own.as_ref().is_some_and(|is_own| is_own(found))
                || judge.is_some_and(|judge| judge.trusts(&found.claim.root_hash, &found.signature))
        };
        let format = self.artifact_format.unwrap_or(Format::Standard);
        let published = origin.publish(&images, index.as_ref(), format, &is_valid, output)?;
        if signer.is_none() && !self.unsigned {
            output.warning("the new layer is not signed: `osguard sign` signs what is missing");
        }
        let report = PatchReport::of(origin, &patched, index.as_ref(), signer, &published);
        match is_standard_stream(&origin.reference) {
            // The patched archive has just gone there.
            true => output.report_aside(&report)?,
            false => output.report(&report)?,
        }
        Ok(ExitStatus::Done)
    }

    /// Opens the key, if the new layer is to be signed.
    fn signer(&self) -> Result<Option<Box<dyn Signer>>, Failure> {
        match &self.signing {
            Some(signing) => signing.signer().map(Some),
            None if self.sign => Err(Failure::new(ExitStatus::Usage, "--sign needs --key")),
            None => Ok(None),
        }
    }

    fn profiles(&self) -> Vec<Profile> {
        let mut profiles = self.profile.clone();
        profiles.sort();
        profiles.dedup();
        if profiles.is_empty() { vec![Profile::default()] } else { profiles }
    }
}

/// Writes the signatures of the new layer into the manifest, if those of other layers are in there: then a node may look
/// nowhere else.
fn embedded_as_before(
    mut draft: Draft,
    made: &[LayerSignature],
    signer: &dyn Signer,
) -> Result<Draft, Failure> {
    let is_embedded = |layer: &ImageLayer| {
        annotations::parse(&layer.descriptor, Keys::Osguard).is_ok_and(|found| found.is_some())
    };
    if draft.layers.iter().any(is_embedded) {
        let embedded = embed_into(&draft.manifest, made, Keys::Osguard, &is_by(signer));
        draft.manifest =
            embedded.map_err(|error| Failure::from_error(ExitStatus::Failure, error))?;
    }
    Ok(draft)
}

/// Is the image whose signatures are taken: the one that is patched, unless another one was named.
struct SignedOrigin {
    other: Option<(Found, Vec<Image>)>,
}

impl SignedOrigin {
    fn find(arguments: &Arguments, origin: &Origin) -> Result<Self, Failure> {
        let Some(name) = &arguments.origin else { return Ok(Self { other: None }) };
        let found = Found::at(&parse(name)?, origin.network())?;
        let images = Image::all(&*found.place, &found.descriptor, None)?;
        Ok(Self { other: Some((found, images)) })
    }

    /// Verifies the signatures of `below`, or of the image for its platform that was named.
    fn verify(
        &self,
        carrier: &Carrier<'_>,
        origin: &Origin,
        below: &Image,
        signed: &mut SignedLayers,
    ) -> Result<(), Failure> {
        let (found, image) = match &self.other {
            None => (&origin.found, below),
            Some((found, images)) => {
                (found, counterpart(images, below, &found.reference.to_string())?)
            }
        };
        let name = found.reference.to_string();
        carrier.verify(PlacedImage { place: &*found.place, image }, &name, signed)
    }
}

impl From<PatchError> for Failure {
    fn from(error: PatchError) -> Self {
        let (status, hint) = match &error {
            PatchError::Conversion(_) | PatchError::Draft(_) | PatchError::Place(_) => {
                return match error {
                    PatchError::Conversion(error) => error.into(),
                    PatchError::Draft(error) => error.into(),
                    PatchError::Place(error) => error.into(),
                    other => Self::from_error(ExitStatus::Failure, other),
                };
            }
            PatchError::Contradiction { .. } => (
                ExitStatus::Usage,
                "What is added takes the place of what is there; it need not be removed before.",
            ),
            PatchError::ForeignPatch { .. } => (
                ExitStatus::Usage,
                "--stack puts the new layer on top of whatever is there; patching the image that the label names \
                 leaves the former patch out.",
            ),
            PatchError::NotADirectory { target: Some(_), .. } => {
                (ExitStatus::Usage, "Name the directory that the link leads to.")
            }
            PatchError::NotADirectory { .. } => {
                return Self::from_error(ExitStatus::Usage, error);
            }
            PatchError::NothingToRemove { .. } => {
                return Self::from_error(ExitStatus::NotFound, error);
            }
            _ => return Self::from_error(ExitStatus::Failure, error),
        };
        Self::from_error(status, error).hint(hint)
    }
}
