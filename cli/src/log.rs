//! What servers say while they run: lines on standard error, for people or for machines.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// How the log is written.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// How log lines are written; --quiet leaves only errors, --verbose adds details
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    log_format: LogFormat,
}

/// Tells for whom the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For machines: one JSON object a line
    Json,
    /// For people
    #[default]
    Text,
}

impl LogArguments {
    /// Writes the log to standard error from now on.
    pub(crate) fn start(&self, output: &Output) -> Result<(), Failure> {
        let level = output.log_level();
        let ours = CRATES.map(|name| format!("{name}={level}")).join(",");
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(format!("error,{ours}")))
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        let started = match self.log_format {
            LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
            LogFormat::Text => subscriber.try_init(),
        };
        started.map_err(|error| {
            Failure::new(ExitStatus::Failure, format_args!("cannot start the log: {error}"))
        })
    }
}

/// Whose lines are written; libraries that we use say only what goes wrong.
const CRATES: [&str; 7] = [
    "libverity",
    "osguard",
    "osguard_admission",
    "osguard_hook",
    "osguard_node",
    "osguard_policy",
    "osguard_registry",
];
