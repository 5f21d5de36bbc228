//! `osguard audit`.

mod event_report;
mod explain;
mod failure;
pub(crate) mod known_policy;
mod records;
mod suggest;
mod tail;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Follow what the kernel denies, explain it, and find the least that helps
///
/// IPE records each denial in the audit system, with neither container nor reason. `tail` follows these records and
/// joins them with process, container and volume; `explain` says which rule decided and why it was true; `suggest`
/// says for all denials together what to sign, to move or to pin.
///
/// Records are read wherever they are: the audit socket of the kernel (`socket`), the journal (`journal`), the
/// files of auditd (`auditd`), the log of the kernel (`kernel-log`), a file, or standard input (`-`). In a file,
/// they may have been written by any of these.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Explain(explain::Arguments),
    Suggest(suggest::Arguments),
    Tail(tail::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Explain(arguments) => explain::run(arguments, output),
            Self::Suggest(arguments) => suggest::run(arguments, output),
            Self::Tail(arguments) => tail::run(arguments, output),
        }
    }
}
