//! `osguard policy new`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::wanted::WantedArguments;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::network::NetworkArguments;
use crate::output::{Output, Report};

/// Write the policy of a node as text
///
/// Under this policy the kernel executes only files on dm-verity volumes whose root hash is signed
/// by a key in its keyrings, or on those that --pin names.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    wanted: WantedArguments,
    /// The file to write, which must not exist [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct NewReport {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    policy: String,
}

impl Report for NewReport {
    const SCHEMA: &'static str = "osguard.policy.new.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.file {
            None => out.write_all(self.policy.as_bytes()),
            Some(file) => {
                writeln!(out, "Policy {} {}: {}", self.name, self.version, file.display())
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let policy = arguments.wanted.policy(&arguments.network, output)?;
    let text = policy.to_string();
    if let Some(path) = &arguments.file {
        super::write_new(path, text.as_bytes())?;
    }
    output.report(&NewReport {
        name: policy.name().to_string(),
        version: policy.version().to_string(),
        file: arguments.file.clone(),
        policy: text,
    })?;
    Ok(ExitStatus::Done)
}
