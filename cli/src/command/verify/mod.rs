//! `osguard verify`.

mod report;
pub(crate) mod verdict;

use osguard_admission::judgement::{JudgedImage, name};
use osguard_policy::trust::{Judge, Standing};
use report::{ManifestReport, TrustReport, VerifyReport};

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::ImageArguments;
use crate::output::Output;
use crate::root_hash::{How, RootHashArguments, Source};
use crate::trust::TrustArguments;

/// Verify that every layer of an image is signed by somebody trusted
///
/// The root hash of each layer is computed anew, and each signature judged by the kernel's own rules. One good signature
/// for each layer is enough, unless a trust configuration asks for more; all others are shown with what is wrong with
/// them. Dates and revocations are checked here alone: the kernel asks for neither.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    root_hash: RootHashArguments,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let trust = arguments.trust.read(&arguments.image.reference()?, output)?;
    let judge = trust.judge()?;
    let source = match judge.skips() {
        // Nobody will look at the result.
        true => Source::none(),
        false => arguments.root_hash.source(output),
    };
    let found = arguments.image.find()?;
    let mut judged = Vec::new();
    for image in arguments.image.images(&found)? {
        let progress = output.progress();
        let (place, root_hashes) = (&*found.place, source.root_hashes());
        let verdict = JudgedImage::new(place, &image, root_hashes, &judge, &watch(&progress))?;
        judged.push((image, verdict));
    }
    let worst = judged.iter().map(|(_, judged)| judged.standing()).max();
    let worst = worst.unwrap_or(Standing::NotSigned);
    let reference = found.reference.to_string();
    output.report(&VerifyReport {
        image: reference.clone(),
        trust: TrustReport::of(&trust, &judge),
        root_hashes: source.how(),
        verdict: name(worst),
        manifests: judged
            .iter()
            .map(|(image, judged)| ManifestReport::of(image, judged, &judge))
            .collect(),
    })?;
    if source.how() == How::Skip && worst == Standing::Signed {
        output.warning(
            "the layers were not read: whether they have the signed root hashes is for the kernel to find out",
        );
    }
    conclude(
        &reference,
        worst,
        &judged.iter().map(|(_, judged)| judged).collect::<Vec<_>>(),
        &judge,
        output,
    )
}

fn conclude(
    image: &str,
    worst: Standing,
    judged: &[&JudgedImage],
    judge: &Judge<'_>,
    output: &Output,
) -> Result<ExitStatus, Failure> {
    if worst == Standing::Skipped {
        output.warning(format_args!(
            "nothing was verified: the trust configuration skips {:?}",
            judge.scope().name
        ));
    }
    match verdict::failure(image, worst, judged) {
        None => Ok(ExitStatus::Done),
        Some(failure) => Err(failure),
    }
}
