//! Policies on trial, as commands see them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use osguard_node::securityfs::IpeTree;
use osguard_node::state_directory::StateDirectory;
use osguard_node::trial::{Trial, TrialError, WayBack};
use osguard_node::trial_guard::{self, Answer, GuardError, Request, Return};
use osguard_policy::version::PolicyVersion;
use serde::Serialize;

use super::preflight;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Whether a policy is tried, and how the former state comes back.
#[derive(Debug, clap::Args)]
pub(super) struct TrialArguments {
    /// Try it for this long, as 90s or 5m: then the former state comes back by itself, unless `osguard policy activate --confirm`
    /// runs before
    ///
    /// It also comes back when this command is killed, and when the policy denies osguard itself.
    #[arg(long = "try", id = "for_try", value_name = "TIME", value_parser = super::duration::parse)]
    for_try: Option<Duration>,
    /// The signed policy that comes back: the former rules under a version higher than that of the policy on trial, as `osguard
    /// policy rollback` signs them
    ///
    /// The kernel takes no lower version, so that without it only a state comes back in which nothing was denied.
    #[arg(long, value_name = "FILE")]
    fallback: Option<PathBuf>,
}

/// Is what is tried.
pub(super) struct TrialTerms<'a> {
    pub(super) name: &'a str,
    pub(super) version: PolicyVersion,
    /// How long denials are recorded only, before the trial proper.
    pub(super) soak: Duration,
    pub(super) at_boot: bool,
}

/// Is a trial that goes on.
#[derive(Serialize)]
pub(super) struct Pending {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) seconds_left: u64,
}

impl Pending {
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, version, seconds_left } = self;
        writeln!(
            out,
            "On trial: {name} {version}, for {seconds_left} s more; then the former state comes back"
        )?;
        writeln!(out, "`osguard policy activate --confirm` lets it stay, `--abort` ends it now")
    }
}

/// Writes for people what there is to know of a policy that is in force: whether it is at the next start, and for how long.
pub(super) fn what_follows(
    out: &mut dyn Write,
    boot_file: Option<&Path>,
    trial: Option<&Pending>,
) -> io::Result<()> {
    if let Some(file) = boot_file {
        writeln!(out, "systemd loads it at boot: {}", file.display())?;
    }
    trial.map_or(Ok(()), |pending| pending.text(out))
}

impl TrialArguments {
    pub(super) fn is_wanted(&self) -> bool {
        self.for_try.is_some()
    }

    /// Starts the guard, which brings the former state back.
    pub(super) fn begin(&self, tree: &IpeTree, terms: &TrialTerms<'_>) -> Result<(), Failure> {
        let fallback = self.fallback.as_deref().map(preflight::fallback).transpose()?;
        let way_back = WayBack::choose(tree, terms.name, terms.version, fallback.as_ref())?;
        let time = self.for_try.unwrap_or(SOAK_MARGIN) + terms.soak;
        let trial = Trial {
            name: terms.name.to_owned(),
            version: terms.version.to_string(),
            seconds: time.as_secs(),
            way_back,
            enforce: tree.enforce()?,
            at_boot: terms.at_boot,
        };
        trial_guard::start(&trial, &StateDirectory::default(), &["policy", "guard"])?;
        Ok(())
    }
}

/// Returns the trial that goes on.
pub(super) fn pending() -> Result<Option<Pending>, Failure> {
    match trial_guard::ask(&StateDirectory::default(), Request::Status)? {
        Answer::Pending { name, version, seconds_left } => {
            Ok(Some(Pending { name, version, seconds_left }))
        }
        _ => Ok(None),
    }
}

/// Ends the trial that goes on.
pub(super) fn end(request: Request) -> Result<Ended, Failure> {
    match trial_guard::ask(&StateDirectory::default(), request)? {
        Answer::Confirmed(trial) => Ok(Ended::Confirmed(trial)),
        Answer::Returned(outcome) => Ok(Ended::Returned(outcome)),
        Answer::NotInForce => Err(Failure::new(
            ExitStatus::Refused,
            "the policy on trial is not in force, so that there is nothing to confirm",
        )
        .hint("`osguard policy activate --abort` ends the trial.")),
        _ => Err(over()),
    }
}

/// Fails because there is no trial, or no more.
pub(super) fn over() -> Failure {
    Failure::new(ExitStatus::NotFound, "no policy is on trial")
        .hint("A trial that was not confirmed in time is over, and the former state is back; `osguard policy status` shows it.")
}

/// Says how a trial has ended.
pub(super) enum Ended {
    Confirmed(Trial),
    Returned(Return),
}

impl From<TrialError> for Failure {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::Deploy(error) => error.into(),
            TrialError::NoWayBack { .. } => Self::from_error(ExitStatus::Refused, error).hint(
                "`osguard policy rollback` signs the former rules under a higher version; name them with --fallback.",
            ),
            _ => Self::from_error(ExitStatus::Usage, error),
        }
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
    }
}

/// How long the guard waits after a soak for the rest of the deployment.
const SOAK_MARGIN: Duration = Duration::from_secs(60);
