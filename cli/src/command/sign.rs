//! `osguard sign`.

use std::io::{self, Write};

use libverity::layer::Profile;
use libverity::signer::Signer;
use osguard_registry::artifact::Format;
use osguard_registry::reference::{ArchiveFile, Reference};
use osguard_registry::signing;
use serde::Serialize;

use crate::conversion::{warn_of_divergences, warn_of_profiles, watch};
use crate::destination::check_not_a_terminal;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::ImageArguments;
use crate::output::{Output, Report};
use crate::signed_manifest::SignedManifestReport;
use crate::signing::SigningArguments;
use crate::transfer::{in_words, way_name};
use crate::two_steps::{self, Assembly, TwoStepArguments};

/// Sign every layer of an image
///
/// Each layer is converted to its EROFS image, and the root hash of that image's hash tree is signed. The
/// signatures are attached to the image's manifest, which does not change. Signing again with the same key
/// changes nothing. An archive from standard input goes to standard output with its signatures.
#[derive(Debug, clap::Args)]
#[command(mut_arg("key", |key| key.required(false).required_unless_present_any(["prepare", "assemble"])))]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    #[command(flatten)]
    signing: SigningArguments,
    #[command(flatten)]
    two_steps: TwoStepArguments,
    /// By which profile to convert the layers; may be repeated
    #[arg(long, value_name = "NAME", default_value = Profile::ContainerdFullV1.name())]
    profile: Vec<Profile>,
    /// In which form to attach the signatures: standard, or prototype for older tools
    #[arg(long, value_name = "NAME", default_value = Format::Standard.name())]
    artifact_format: Format,
    /// Do everything but attach the signatures
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct SignReport {
    image: String,
    signer: String,
    artifact_format: Format,
    dry_run: bool,
    /// How the registry lists the signatures: by its `api` or by a `tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers_by: Option<&'static str>,
    manifests: Vec<SignedManifestReport>,
}

impl Report for SignReport {
    const SCHEMA: &'static str = "osguard.sign.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        writeln!(out, "Signer {}", self.signer)?;
        for manifest in &self.manifests {
            manifest.text(out)?;
        }
        if let Some(way) = self.referrers_by.filter(|_| !self.dry_run) {
            writeln!(out, "Signatures are listed by {}", in_words(way))?;
        }
        if self.dry_run {
            writeln!(out, "\nNothing was attached: this was a dry run.")?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut profiles = arguments.profile.clone();
    profiles.sort();
    profiles.dedup();
    let TwoStepArguments { prepare, assemble } = &arguments.two_steps;
    if let Some(file) = prepare {
        let certificates = arguments.signing.certificates()?;
        let found = arguments.image.find()?;
        let images = arguments.image.images(&found)?;
        return two_steps::prepare(file, &found, &images, &profiles, &certificates, output);
    }
    let assembly = match assemble {
        Some(file) => Some(Assembly::read(file, arguments.signing.certificates()?)?),
        None => None,
    };
    let signer: Box<dyn Signer>;
    let found;
    let images;
    match assembly {
        Some(assembly) => {
            profiles = assembly.profiles();
            found = arguments.image.find()?;
            images = assembly.images(&found)?;
            signer = Box::new(assembly.signer);
        }
        None => {
            signer = arguments.signing.signer()?;
            found = arguments.image.find()?;
            images = arguments.image.images(&found)?;
        }
    }
    output.detail(format_args!("Resolved to {}", found.reference));
    if !arguments.dry_run {
        check_not_a_terminal(&found.reference)?;
    }

    let mut manifests = Vec::new();
    for image in images {
        let progress = output.progress();
        let (place, watch) = (&*found.place, watch(&progress));
        let (signed, published) = if arguments.dry_run {
            (signing::sign(place, &image, &profiles, &*signer, &watch)?, None)
        } else {
            let format = arguments.artifact_format;
            let (signed, published) =
                signing::sign_and_publish(place, &image, &profiles, &*signer, format, &watch)?;
            (signed, Some(published))
        };
        for layer in &signed.layers {
            warn_of_divergences(&layer.divergences, output);
        }
        manifests.push(SignedManifestReport::of(&image, &signed, published.as_ref()));
    }
    warn_of_profiles(&profiles, output);
    let report = SignReport {
        image: found.reference.to_string(),
        signer: signer.certificate().subject(),
        artifact_format: arguments.artifact_format,
        dry_run: arguments.dry_run,
        referrers_by: found.place.referrers_way().map(way_name),
        manifests,
    };
    if arguments.dry_run {
        output.report(&report)?;
        return Ok(ExitStatus::Done);
    }
    found.place.finish()?;
    match &found.reference {
        // The signed archive has just gone there.
        Reference::Archive { file: ArchiveFile::StandardStream, .. } => {
            output.report_aside(&report)?;
        }
        _ => output.report(&report)?,
    }
    Ok(ExitStatus::Done)
}
