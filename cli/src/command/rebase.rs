//! `osguard rebase`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use libverity::digest::Digest;
use osguard_registry::artifact::{Format, LayerSignature};
use osguard_registry::carrying::SignedLayers;
use osguard_registry::draft::Draft;
use osguard_registry::image::{Image, PlacedImage};
use osguard_registry::manifest::Manifest;
use osguard_registry::platform::Platform;
use osguard_registry::publication::{NewImage, NewLayer, PublishedImages};
use osguard_registry::rebase::{RebaseError, rebase};
use osguard_registry::reference::{Reference, Selector};
use serde::Serialize;

use crate::command::patch::carrying::{Carrier, Resigning, Signatures, counterpart};
use crate::command::patch::publishing::{Origin, artifacts};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, IMAGE_HELP, is_standard_stream, parse, short};
use crate::network::NetworkArguments;
use crate::output::{Output, Report};
use crate::root_hash::RootHashArguments;
use crate::trust::TrustArguments;

/// Put other base layers below an application, with their signatures
///
/// The layers have to prove that the image was built on the old base: its lowest ones must have the same diffIDs, all of
/// them and in the same order. Nothing is built and nothing is signed: the new base's layers bring their signatures along,
/// and the application's keep theirs. The configuration stays the application's.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP)]
    image: String,
    /// The image that it was built on
    #[arg(long, value_name = "IMAGE")]
    old_base: String,
    /// The image whose layers take the place of the old base's
    #[arg(long, value_name = "IMAGE")]
    new_base: String,
    /// The tag that the new image gets, beside the image
    #[arg(long, value_name = "NEW")]
    tag: String,
    /// Take only the image for this platform, such as linux/amd64; the tag then names it alone
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Leave all signatures behind, and verify none
    #[arg(long)]
    unsigned: bool,
    /// In which form to attach the signatures: standard, or prototype for older tools
    #[arg(long, value_name = "NAME", default_value = Format::Standard.name())]
    artifact_format: Format,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    root_hash: RootHashArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct RebaseReport {
    image: String,
    old_base: String,
    new_base: String,
    rebased: String,
    digest: Digest,
    tag: String,
    /// What had the tag before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
    stored: usize,
    stored_bytes: u64,
    manifests: Vec<ManifestReport>,
}

#[derive(Serialize)]
struct ManifestReport {
    platform: String,
    origin: Digest,
    digest: Digest,
    /// The layers of the old base that went.
    old_layers: Vec<Digest>,
    /// The layers of the new base that came.
    new_layers: Vec<Digest>,
    /// The layers whose signatures were carried over.
    carried: Vec<Digest>,
    artifacts: Vec<Digest>,
}

/// Is one of the two bases.
struct Base {
    found: Found,
    images: Vec<Image>,
    /// Its name without digest, where it lies in a registry.
    name: Option<String>,
}

/// Is one platform's image on its new base.
struct Rebased {
    draft: Draft,
    signatures: Signatures,
    old: Image,
    new: Image,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let origin =
        Origin::find(parse(&arguments.image)?, &arguments.tag, &arguments.network, output)?;
    let images = origin.images(arguments.platform.as_ref())?;
    let old = Base::find(&arguments.old_base, &arguments.network)?;
    let new = Base::find(&arguments.new_base, &arguments.network)?;
    if arguments.unsigned {
        let rebased = arguments.rebase(&origin, &images, &old, &new, None, output)?;
        return arguments.publish(&origin, rebased, &old, &new, &|_| false, output);
    }
    let trust = arguments.trust.read(&origin.reference, output)?;
    let judge = trust.judge()?;
    let source = arguments.root_hash.source(output);
    let carrier = Carrier::new(&judge, &source, output)?;
    let rebased = arguments.rebase(&origin, &images, &old, &new, Some(&carrier), output)?;
    let is_valid = |found: &LayerSignature| judge.trusts(&found.claim.root_hash, &found.signature);
    arguments.publish(&origin, rebased, &old, &new, &is_valid, output)
}

impl Base {
    fn find(text: &str, network: &NetworkArguments) -> Result<Self, Failure> {
        let reference = parse(text)?;
        let name = match (&reference, reference.selector()) {
            (Reference::Registry(_), Selector::Tag(_)) => Some(reference.to_string()),
            _ => None,
        };
        let found = Found::at(&reference, &network.network(&reference, None)?)?;
        let images = Image::all(&*found.place, &found.descriptor, None)?;
        Ok(Self { found, images, name })
    }

    fn image(&self, application: &Image) -> Result<&Image, Failure> {
        counterpart(&self.images, application, &self.found.reference.to_string())
    }

    fn placed<'a>(&'a self, image: &'a Image) -> PlacedImage<'a> {
        PlacedImage { place: &*self.found.place, image }
    }
}

impl Arguments {
    /// Makes the new images; nothing is stored yet.
    fn rebase(
        &self,
        origin: &Origin,
        images: &[Image],
        old: &Base,
        new: &Base,
        carrier: Option<&Carrier<'_>>,
        output: &Output,
    ) -> Result<Vec<Rebased>, Failure> {
        let mut all = Vec::new();
        for image in images {
            let (old_image, new_image) = (old.image(image)?, new.image(image)?);
            let application = PlacedImage { place: &*origin.found.place, image };
            let (old_base, new_base) = (old.placed(old_image), new.placed(new_image));
            // What is no base is told before anything is read.
            let unsigned = SignedLayers::default();
            rebase(application, old_base, new_base, None, &unsigned)?;

            let mut signed = SignedLayers::default();
            if let Some(carrier) = carrier {
                carrier.verify(new_base, &new.found.reference.to_string(), &mut signed)?;
                let own = Image {
                    layers: image.layers[old_image.layers.len()..].to_vec(),
                    ..image.clone()
                };
                let own = PlacedImage { image: &own, ..application };
                carrier.verify(own, &origin.found.reference.to_string(), &mut signed)?;
            }
            let draft = rebase(application, old_base, new_base, new.name.as_deref(), &signed)?;
            let signatures = match carrier {
                None => Signatures::default(),
                Some(_) => {
                    let nobody = Resigning { signer: None, profiles: &[], output };
                    nobody.signatures(application, &draft.layers, &signed)?
                }
            };
            let (old, new) = (old_image.clone(), new_image.clone());
            all.push(Rebased { draft, signatures, old, new });
        }
        Ok(all)
    }

    /// Stores the new images, and tells what was done.
    fn publish(
        &self,
        origin: &Origin,
        mut rebased: Vec<Rebased>,
        old: &Base,
        new: &Base,
        is_valid: &dyn Fn(&LayerSignature) -> bool,
        output: &Output,
    ) -> Result<ExitStatus, Failure> {
        let drafts: Vec<_> = rebased.iter().map(|one| &one.draft).collect();
        let index = origin.index(&drafts, self.platform.is_some(), BTreeMap::new(), output)?;
        let signatures: Vec<_> =
            rebased.iter_mut().map(|one| std::mem::take(&mut one.signatures.all)).collect();
        let images = rebased.iter().zip(signatures).map(|(one, signatures)| NewImage {
            draft: one.draft.clone(),
            layers: one
                .new
                .layers
                .iter()
                .map(|layer| NewLayer::Placed(&*new.found.place, &layer.descriptor))
                .collect(),
            signatures,
        });
        let images: Vec<_> = images.collect();
        let published =
            origin.publish(&images, index.as_ref(), self.artifact_format, is_valid, output)?;
        let report = RebaseReport::of(origin, &rebased, [old, new], index.as_ref(), &published);
        match is_standard_stream(&origin.reference) {
            // The new archive has just gone there.
            true => output.report_aside(&report)?,
            false => output.report(&report)?,
        }
        Ok(ExitStatus::Done)
    }
}

impl RebaseReport {
    fn of(
        origin: &Origin,
        rebased: &[Rebased],
        [old, new]: [&Base; 2],
        index: Option<&Manifest>,
        published: &PublishedImages,
    ) -> Self {
        let first = rebased.first().map(|one| &one.draft.manifest);
        let digest = index.or(first).map_or(origin.found.descriptor.digest, Manifest::digest);
        let layers = |image: &Image| {
            image.layers.iter().map(|layer| layer.descriptor.digest).collect::<Vec<_>>()
        };
        let manifest = |(one, signatures): (&Rebased, &Option<_>)| ManifestReport {
            platform: one.draft.platform.to_string(),
            origin: one.draft.origin,
            digest: one.draft.manifest.digest(),
            old_layers: layers(&one.old),
            new_layers: layers(&one.new),
            carried: one.signatures.carried.clone(),
            artifacts: artifacts(signatures.as_ref()),
        };
        Self {
            image: origin.found.reference.to_string(),
            old_base: old.found.reference.to_string(),
            new_base: new.found.reference.to_string(),
            rebased: origin.at(digest),
            digest,
            tag: origin.tag(),
            replaced: origin.replaced_by(digest),
            stored: published.stored,
            stored_bytes: published.stored_bytes,
            manifests: rebased.iter().zip(&published.signatures).map(manifest).collect(),
        }
    }
}

impl Report for RebaseReport {
    const SCHEMA: &'static str = "osguard.rebase.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        writeln!(out, "  on {} instead of {}", self.new_base, self.old_base)?;
        write!(out, "Rebased to {} as {}", self.rebased, self.tag)?;
        match &self.replaced {
            Some(replaced) => writeln!(out, ", which replaces {replaced}")?,
            None => writeln!(out)?,
        }
        for manifest in &self.manifests {
            let ManifestReport { digest, platform, origin, .. } = manifest;
            writeln!(out, "\nManifest {digest} ({platform})")?;
            writeln!(out, "  of {origin}")?;
            for layer in &manifest.old_layers {
                let stays = manifest.new_layers.contains(layer);
                if !stays {
                    writeln!(out, "  layer {}  gone", short(*layer))?;
                }
            }
            for layer in &manifest.carried {
                writeln!(out, "  layer {}  signatures carried over", short(*layer))?;
            }
            for artifact in &manifest.artifacts {
                writeln!(out, "The signatures are in {artifact}")?;
            }
        }
        let blobs = if self.stored == 1 { "blob" } else { "blobs" };
        writeln!(out, "\nStored {} {blobs} of {} bytes", self.stored, self.stored_bytes)
    }
}

impl From<RebaseError> for Failure {
    fn from(error: RebaseError) -> Self {
        match error {
            RebaseError::Draft(error) => error.into(),
            RebaseError::NotABase { .. } => Self::from_error(ExitStatus::Usage, error)
                .hint("--old-base takes the very image that the application was built on."),
            error => Self::from_error(ExitStatus::Usage, error),
        }
    }
}
