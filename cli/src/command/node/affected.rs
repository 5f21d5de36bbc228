//! `osguard node affected`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::RootHash;
use osguard_node::affected::{Affected, AffectedError, AffectedMount, AffectedProcess, affected};
use osguard_node::state_directory::StateDirectory;
use serde::Serialize;

use super::Places;
use crate::command::audit::known_policy;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Tell what runs here from layers that a policy denies
///
/// A policy ends nothing that runs. A container on a layer that was taken back goes on until it starts a program, and then
/// fails. This lists such processes, with their containers and pods, and the mounted images with such layers: before the
/// policy is put in force, and afterwards. Programs that lie on no signed layer are left to `osguard policy simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy, text or signed [default: the one in force]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

#[derive(Serialize)]
struct AffectedReport {
    policy: String,
    processes: Vec<ProcessReport>,
    mounts: Vec<MountReport>,
    /// What could not be found out.
    unknown: Vec<String>,
    processes_looked_at: usize,
}

#[derive(Serialize)]
struct ProcessReport {
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    path: PathBuf,
    /// `sha256:` and the root hash of the volume.
    root_hash: String,
}

#[derive(Serialize)]
struct MountReport {
    target: PathBuf,
    root_hashes: Vec<RootHash>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let known = match &arguments.policy {
        Some(path) => known_policy::read(path)?,
        None => known_policy::in_force().ok_or_else(|| {
            Failure::new(ExitStatus::NotFound, "no policy is in force that could be read")
                .hint("--policy names the one that is to be.")
        })?,
    };
    let state = StateDirectory::new(&arguments.places.state);
    let found = affected(&known.policy, &state)?;
    output.report(&AffectedReport::of(known.name, found))?;
    Ok(ExitStatus::Done)
}

impl AffectedReport {
    fn of(policy: String, found: Affected) -> Self {
        let process = |process: AffectedProcess| {
            let (mut container, mut pod, mut image) = (None, None, None);
            if let Some(found) = process.container {
                container = Some(found.name.unwrap_or_else(|| found.id.short().to_owned()));
                pod = found.pod.or(found.id.pod);
                image = found.image;
            }
            let files = process.files.into_iter();
            let files = files.map(|(path, root_hash)| FileReport { path, root_hash }).collect();
            ProcessReport { pid: process.id, name: process.name, container, pod, image, files }
        };
        let mount = |AffectedMount { target, root_hashes }| MountReport { target, root_hashes };
        Self {
            policy,
            processes: found.processes.into_iter().map(process).collect(),
            mounts: found.mounts.into_iter().map(mount).collect(),
            unknown: found.unknown,
            processes_looked_at: found.looked_at,
        }
    }
}

impl Report for AffectedReport {
    const SCHEMA: &'static str = "osguard.node.affected.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.processes.is_empty() && self.mounts.is_empty() {
            writeln!(out, "Nothing here runs from layers that {} denies", self.policy)?;
        }
        for process in &self.processes {
            write!(out, "process {} ({})", process.pid, process.name.escape_debug())?;
            if let Some(container) = &process.container {
                write!(out, "  container {container}")?;
            }
            if let Some(pod) = &process.pod {
                write!(out, "  pod {pod}")?;
            }
            if let Some(image) = &process.image {
                write!(out, "  image {image}")?;
            }
            writeln!(out)?;
            for FileReport { path, root_hash } in &process.files {
                writeln!(out, "  {} on {root_hash}", path.display())?;
            }
        }
        for MountReport { target, root_hashes } in &self.mounts {
            writeln!(out, "mounted {}", target.display())?;
            for root_hash in root_hashes {
                writeln!(out, "  root hash {root_hash}")?;
            }
        }
        for unknown in &self.unknown {
            writeln!(out, "not known: {unknown}")?;
        }
        let count = self.processes_looked_at;
        writeln!(out, "{count} processes were looked at under {}", self.policy)
    }
}

impl From<AffectedError> for Failure {
    fn from(error: AffectedError) -> Self {
        match error {
            AffectedError::Host(error) => error.into(),
            AffectedError::Mounts(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
