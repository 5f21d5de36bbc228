//! How a command fails on an image that is not signed as the trust configuration asks for it.

use osguard_admission::judgement::{JudgedImage, Refusal};
use osguard_policy::trust::{Finding, Standing};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Returns why the image `image` is not accepted, whose worst layer in `judged` stands at `worst`; `None` if it is, or if
/// nothing was to be verified.
pub(crate) fn failure(image: &str, worst: Standing, judged: &[&JudgedImage]) -> Option<Failure> {
    Some(match worst {
        Standing::Signed | Standing::Skipped => return None,
        Standing::Refused => refused(image, judged),
        Standing::ContentDiffers => Failure::new(
            ExitStatus::ContentDiffers,
            format!("{image} is not what was signed: a root hash differs"),
        )
        .hint("Sign it again if you know why it changed; if not, do not run it."),
        Standing::NotTrusted => Failure::new(
            ExitStatus::NotTrusted,
            format!("{image} has signatures, but none that is valid and trusted for every layer"),
        )
        .hint("--trust names the certificates of the signers that you trust."),
        Standing::NotSigned => {
            Failure::new(ExitStatus::NotSigned, format!("{image} has layers without a signature"))
                .hint("`osguard sign` signs every layer of an image.")
        }
    })
}

/// Fails with the first reason for which a layer is refused that the kernel would take.
fn refused(image: &str, judged: &[&JudgedImage]) -> Failure {
    let refusal = judged.iter().find_map(|image| image.refusal());
    let (finding, reason) = match refusal {
        Some(Refusal { finding, reason }) => (finding, reason),
        None => (None, "a layer has no good signature".to_owned()),
    };
    let hint = match finding {
        Some(Finding::Invalid { .. }) => {
            "Sign it again with a certificate that is valid, or have the scope say validity = \"log\"."
        }
        Some(Finding::RevokedSigner { .. }) => {
            "Sign it again with another key; `osguard key coverage` shows what else the key has signed."
        }
        Some(Finding::RevokedRootHash { .. }) => "Do not run it: take a version that was mended.",
        _ => "Have those sign whose signatures are missing.",
    };
    Failure::new(
        ExitStatus::Refused,
        format!("{image} is refused by the trust configuration: {reason}"),
    )
    .hint(hint)
}
