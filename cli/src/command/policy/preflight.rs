//! What is looked at before a policy is put in force.

use std::path::Path;

use libverity::certificate::Certificate;
use osguard_node::host_uses::host_uses;
use osguard_node::probe::{kernel_config, kernel_release, require_root};
use osguard_policy::blob::SignedPolicy;
use osguard_policy::diagnostic::Severity;
use osguard_policy::evaluate::Evaluator;
use osguard_policy::kernel_config::KernelConfig;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::lint::Linter;
use osguard_policy::simulation::{Simulation, simulate};
use osguard_policy::syntax::parse;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// What becomes of a policy that denies something vital.
#[derive(Debug, clap::Args)]
pub(super) struct SimulationArguments {
    /// Enforce it although this machine could not be run or mended any more, as far as anybody can tell
    #[arg(long)]
    enforce_even_if_this_machine_stops_working: bool,
}

/// Is what the machine was asked.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    /// How many objects are denied, if it was asked.
    pub(super) denied: Option<usize>,
}

/// Fails where the linter finds an error, and prints its warnings.
pub(super) fn lint(path: &Path, policy: &SignedPolicy, output: &Output) -> Result<(), Failure> {
    let mut linter = Linter::new(running_kernel()).blob(policy.as_bytes().len(), None);
    if let Some(config) = config() {
        linter = linter.config(config);
    }
    let found = linter.lint(policy.text());
    for diagnostic in &found {
        let place = match diagnostic.span {
            None => String::new(),
            Some(span) => {
                let place = osguard_policy::syntax::position(policy.text(), span.start);
                format!(":{}:{}", place.line, place.column)
            }
        };
        let message = format!("{}{place}: {}", path.display(), diagnostic.message);
        if diagnostic.severity == Severity::Error {
            let lint = format!("`osguard policy lint {}` shows the line.", path.display());
            return Err(Failure::new(ExitStatus::Usage, message).hint(lint));
        }
        output.warning(message);
    }
    Ok(())
}

/// Fails where the signature is not one that the kernel takes, whoever made it: by a certificate in the message itself. Whose
/// certificates the kernel trusts, only the kernel can tell.
pub(super) fn signature(path: &Path, policy: &SignedPolicy) -> Result<(), Failure> {
    let certificates = embedded_certificates(policy);
    if certificates.is_empty() {
        return Ok(());
    }
    policy.verify(&certificates).map(drop).map_err(|error| {
        Failure::from_error(ExitStatus::NotTrusted, error)
            .context(format!("{}: its signature", path.display()))
            .hint("Sign the policy again with `osguard policy sign`.")
    })
}

/// Fails where the policy of this text denies something vital.
pub(super) fn simulate_host(
    text: &[u8],
    arguments: &SimulationArguments,
    output: &Output,
) -> Result<Preflight, Failure> {
    let simulation = on_host(text)?;
    let denied = simulation.denied.len() + simulation.undecided.len();
    let vital = simulation.denied.iter().filter(|denied| denied.is_vital);
    let vital = vital.map(|denied| (&denied.object, &denied.actors));
    let undecided = simulation.undecided.iter().filter(|undecided| undecided.is_vital);
    let vital: Vec<_> =
        vital.chain(undecided.map(|undecided| (&undecided.object, &undecided.actors))).collect();
    if let Some((object, actors)) = vital.first() {
        let more = match vital.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let actor = actors.first().map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "under this policy this machine could not be run or mended any more: it would deny {object} to {actor}{more}"
        );
        if !arguments.enforce_even_if_this_machine_stops_working {
            return Err(Failure::new(ExitStatus::Refused, message).hint(
                "`osguard policy simulate FILE --host` shows all of it. Nothing was changed.",
            ));
        }
        output.warning(message);
    } else if denied > 0 {
        output.warning(format_args!(
            "{denied} objects that this machine has in use would be denied; `osguard policy simulate FILE --host` shows them"
        ));
    }
    Ok(Preflight { denied: Some(denied) })
}

/// Asks of this machine what a policy that the kernel takes would deny.
fn on_host(text: &[u8]) -> Result<Simulation, Failure> {
    require_root().map_err(super::failure::privilege)?;
    let policy = parse(text, running_kernel())
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error))?;
    let config = config();
    let evaluator = config.as_ref().map_or_else(Evaluator::new, Evaluator::with_config);
    Ok(simulate(&policy, evaluator, host_uses()?.uses))
}

/// Returns the configuration of the running kernel, where it can be read.
pub(super) fn config() -> Option<KernelConfig> {
    KernelConfig::read(&kernel_config()?).ok()
}

/// Returns the newest kernel whose language the running one surely knows.
fn running_kernel() -> KernelVersion {
    let release = kernel_release();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
    let running = (number(), number());
    let known = KernelVersion::ALL.into_iter().rev().find(|version| {
        let text = version.to_string();
        let (major, minor) = text.split_once('.').unwrap_or_default();
        (major.parse().unwrap_or(u32::MAX), minor.parse().unwrap_or(u32::MAX)) <= running
    });
    known.unwrap_or_default()
}

fn embedded_certificates(policy: &SignedPolicy) -> Vec<Certificate> {
    libverity::pkcs7::inspect(policy.as_bytes())
        .map(|message| message.certificates.into_iter().collect())
        .unwrap_or_default()
}

/// Reads the policy to which a trial falls back.
pub(super) fn fallback(path: &Path) -> Result<SignedPolicy, Failure> {
    let policy = SignedPolicy::read(crate::small_file::read(path)?)
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error).context(path.display()))?;
    signature(path, &policy)?;
    Ok(policy)
}
