//! `osguard policy simulate`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::host_uses::{HostError, host_uses};
use osguard_node::probe::require_root;
use osguard_policy::evaluate::{Evaluator, Facts};
use osguard_policy::simulation::{Denied, JitRuntime, Simulation, Undecided, simulate};
use osguard_policy::syntax::Policy;
use osguard_registry::platform::Platform;
use serde::Serialize;

use super::image_uses::image_uses;
use super::source::{KernelArguments, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::network::NetworkArguments;
use crate::output::{Output, Report};

/// Tell what a policy would deny on this machine, or in an image
///
/// Of this machine: the program and the executable memory of every process, the programs of units, of the container
/// runtime and of Kubernetes, with interpreters and libraries, and the kernel modules in use. Of an image: its entry point
/// and its setuid programs, and runtimes that compile while they run. The exit code is 13 where something would break.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// The policy: text or signed; - is standard input
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Ask of this machine; needs root
    #[arg(long, group = "what")]
    host: bool,
    /// Ask of an image, whose layers are taken for signed if they have a signature of their root hash; may be repeated
    #[arg(long, value_name = "IMAGE", group = "what")]
    image: Vec<String>,
    /// Which image of an index [default: this machine's platform]
    #[arg(long, value_name = "PLATFORM", requires = "image")]
    platform: Option<Platform>,
    /// Name everyone who needs what is denied, and not only the first three
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    kernel: KernelArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct SimulateReport {
    name: String,
    version: String,
    subjects: Vec<SubjectReport>,
    #[serde(skip)]
    names_all: bool,
}

/// Is what came out for the machine or for one image.
#[derive(Serialize)]
struct SubjectReport {
    /// `host`, or the image by its digest.
    subject: String,
    objects: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<usize>,
    denied: Vec<DeniedReport>,
    undecided: Vec<UndecidedReport>,
    /// What programs ask for and is not there.
    missing: Vec<PathBuf>,
    /// Of what compiles while it runs and could do without.
    remedies: Vec<String>,
    /// Loaded modules without a file on this machine.
    modules_without_file: Vec<String>,
}

#[derive(Serialize)]
struct DeniedReport {
    operation: &'static str,
    object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash: Option<String>,
    signed: bool,
    rule: String,
    vital: bool,
    actors: Vec<String>,
}

#[derive(Serialize)]
struct UndecidedReport {
    operation: &'static str,
    object: String,
    reason: String,
    vital: bool,
    actors: Vec<String>,
}

impl Report for SimulateReport {
    const SCHEMA: &'static str = "osguard.policy.simulate.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (number, subject) in self.subjects.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            subject.text(self, out)?;
        }
        Ok(())
    }
}

impl SubjectReport {
    fn text(&self, whole: &SimulateReport, out: &mut dyn Write) -> io::Result<()> {
        let SimulateReport { name, version, names_all, .. } = whole;
        let (name, objects) = (name.escape_debug(), self.objects);
        write!(out, "Policy {name} {version} on {}: {objects} objects", self.subject)?;
        if let Some(processes) = self.processes {
            write!(out, " of {processes} processes, units and modules")?;
        }
        writeln!(out)?;
        for denied in &self.denied {
            let vital = if denied.vital { ", VITAL" } else { "" };
            writeln!(out, "Denied{vital}: {} {}", denied.operation, denied.object)?;
            let volume = match (&denied.root_hash, denied.signed) {
                (None, _) => "on no dm-verity volume".to_owned(),
                (Some(root_hash), true) => format!("on the signed volume {root_hash}"),
                (Some(root_hash), false) => format!("on the volume {root_hash}, not signed"),
            };
            writeln!(out, "  {volume}; {}", denied.rule)?;
            writeln!(out, "  for {}", listed(&denied.actors, *names_all))?;
        }
        for undecided in &self.undecided {
            let vital = if undecided.vital { ", VITAL" } else { "" };
            let UndecidedReport { operation, object, reason, .. } = undecided;
            writeln!(out, "Not known{vital}: {operation} {object}: it {reason}")?;
            writeln!(out, "  for {}", listed(&undecided.actors, *names_all))?;
        }
        for missing in &self.missing {
            writeln!(out, "Not in the image: {}", missing.display())?;
        }
        for remedy in &self.remedies {
            writeln!(out, "Hint: {remedy}")?;
        }
        if !self.modules_without_file.is_empty() {
            let modules = self.modules_without_file.join(", ");
            writeln!(out, "Loaded from files that are not here any more: {modules}")?;
        }
        match (self.denied.len(), self.undecided.len()) {
            (0, 0) => writeln!(out, "Nothing of it is denied"),
            (denied, 0) => writeln!(out, "{denied} denied"),
            (denied, undecided) => writeln!(out, "{denied} denied, {undecided} not known"),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let source = Source::read(&arguments.policy)?;
    let policy = source.policy(arguments.kernel.kernel)?;
    let mut subjects = Vec::new();
    if arguments.host {
        subjects.push(on_host(&policy)?);
    }
    for image in &arguments.image {
        let found = image_uses(image, arguments.platform.as_ref(), &arguments.network, output)?;
        let simulation = simulate(&policy, Evaluator::new(), found.uses.uses);
        let mut report = report(found.reference, &simulation);
        report.missing = found.uses.missing;
        report.remedies = remedies(&found.uses.runtimes);
        subjects.push(report);
    }
    let is_broken =
        subjects.iter().any(|subject| !subject.denied.is_empty() || !subject.undecided.is_empty());
    output.report(&SimulateReport {
        name: String::from_utf8_lossy(&policy.header.name.value).into_owned(),
        version: policy.header.version.value.to_string(),
        subjects,
        names_all: arguments.all,
    })?;
    Ok(if is_broken { ExitStatus::Refused } else { ExitStatus::Done })
}

/// Asks of this machine, with the configuration of its kernel where that can be read.
fn on_host(policy: &Policy) -> Result<SubjectReport, Failure> {
    require_root().map_err(super::failure::privilege)?;
    let config = super::preflight::config();
    let evaluator = config.as_ref().map_or_else(Evaluator::new, Evaluator::with_config);
    let found = host_uses()?;
    let simulation = simulate(policy, evaluator, found.uses);
    let mut report = report("this machine".to_owned(), &simulation);
    report.processes = Some(found.processes);
    report.modules_without_file = found.modules_without_file;
    Ok(report)
}

fn report(subject: String, simulation: &Simulation) -> SubjectReport {
    let actors = |actors: &[osguard_policy::simulation::Actor]| {
        actors.iter().map(ToString::to_string).collect()
    };
    let denied = |denied: &Denied| {
        let Facts { volume, .. } = &denied.facts;
        DeniedReport {
            operation: denied.operation.keyword(),
            object: denied.object.to_string(),
            root_hash: volume.as_ref().map(|volume| volume.root_hash.to_string()),
            signed: volume.as_ref().is_some_and(|volume| volume.is_signed),
            rule: denied.by.clone(),
            vital: denied.is_vital,
            actors: actors(&denied.actors),
        }
    };
    let undecided = |undecided: &Undecided| UndecidedReport {
        operation: undecided.operation.keyword(),
        object: undecided.object.to_string(),
        reason: undecided.reason.clone(),
        vital: undecided.is_vital,
        actors: actors(&undecided.actors),
    };
    SubjectReport {
        subject,
        objects: simulation.objects,
        processes: None,
        denied: simulation.denied.iter().map(denied).collect(),
        undecided: simulation.undecided.iter().map(undecided).collect(),
        missing: Vec::new(),
        remedies: Vec::new(),
        modules_without_file: Vec::new(),
    }
}

fn remedies(runtimes: &[(PathBuf, JitRuntime)]) -> Vec<String> {
    let mut remedies: Vec<_> = runtimes
        .iter()
        .filter_map(|(_, runtime)| Some(format!("{}: {}", runtime.name, runtime.remedy?)))
        .collect();
    remedies.sort();
    remedies.dedup();
    remedies
}

fn listed(actors: &[String], all: bool) -> String {
    let shown = if all { actors.len() } else { actors.len().min(SHOWN_ACTORS) };
    let names = actors[..shown].join(", ");
    match actors.len() - shown {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
            .hint("Root of the machine itself is needed, with the processes of all in sight.")
    }
}

/// More bury the others.
const SHOWN_ACTORS: usize = 3;
