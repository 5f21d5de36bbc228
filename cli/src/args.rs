//! What can be typed: the global flags and the list of commands.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use libverity::sha256::Backend;

use crate::command;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Sign container images so that the Linux kernel itself refuses what is unsigned
///
/// osguard signs every layer of an image with its dm-verity root hash, keeps the signatures beside
/// the image, mounts the layers so that the kernel verifies every block it reads, and writes the
/// IPE policy under which the kernel runs nothing else.
#[derive(Debug, Parser)]
#[command(name = "osguard", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every command has.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArguments {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    #[arg(help_heading = "Output")]
    pub(crate) output: OutputFormat,
    /// Print nothing but errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Say more about what is done
    #[arg(long, short, global = true, help_heading = "Output", conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// With which lanes SHA-256 is computed, for measurements: portable, sha-ni-2, sha-ni-4 or avx2-8
    ///
    /// All compute the same; without this flag it is the one that is fastest on this processor.
    #[arg(long, global = true, value_name = "NAME", env = "OSGUARD_SHA256_BACKEND", hide = true)]
    pub(crate) sha256_backend: Option<Backend>,
}

/// Tells for whom results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For machines: one JSON object whose `schema` names its version
    Json,
    /// For people
    #[default]
    Text,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Admission(command::admission::Command),
    #[command(subcommand)]
    Audit(command::audit::Command),
    Completions(command::completions::Arguments),
    Copy(command::copy::Arguments),
    Diff(command::diff::Arguments),
    #[command(subcommand)]
    Hook(command::hook::Command),
    Inspect(command::inspect::Arguments),
    #[command(subcommand)]
    Key(command::key::Command),
    #[command(subcommand)]
    Layer(command::layer::Command),
    Man(command::man::Arguments),
    #[command(subcommand)]
    Node(command::node::Command),
    Patch(command::patch::Arguments),
    #[command(subcommand)]
    Policy(command::policy::Command),
    Push(command::push::Arguments),
    Rebase(command::rebase::Arguments),
    Sign(command::sign::Arguments),
    #[command(subcommand)]
    Verity(command::verity::Command),
    Verify(command::verify::Arguments),
    Version(command::version::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Admission(command) => command.run(output),
            Self::Audit(command) => command.run(output),
            Self::Completions(arguments) => command::completions::run(arguments),
            Self::Copy(arguments) => command::copy::run(arguments, output),
            Self::Diff(arguments) => command::diff::run(arguments, output),
            Self::Hook(command) => command.run(output),
            Self::Inspect(arguments) => command::inspect::run(arguments, output),
            Self::Key(command) => command.run(output),
            Self::Layer(command) => command.run(output),
            Self::Man(arguments) => command::man::run(arguments),
            Self::Node(command) => command.run(output),
            Self::Patch(arguments) => command::patch::run(arguments, output),
            Self::Policy(command) => command.run(output),
            Self::Push(arguments) => command::push::run(arguments, output),
            Self::Rebase(arguments) => command::rebase::run(arguments, output),
            Self::Sign(arguments) => command::sign::run(arguments, output),
            Self::Verity(command) => command.run(output),
            Self::Verify(arguments) => command::verify::run(arguments, output),
            Self::Version(arguments) => command::version::run(arguments, output),
        }
    }
}

/// Prints the help or version that was asked for, or what is wrong with the command line, and
/// returns the exit status.
pub(crate) fn usage(error: &clap::Error) -> ExitStatus {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let status = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitStatus::Done,
        _ if is_verity(&words) => command::verity::WRONG_PARAMETERS,
        _ => ExitStatus::Usage,
    };
    if status != ExitStatus::Done && wants_json(&words) {
        return output::failure_as_json(&failure(error, status));
    }
    // Where neither standard output nor standard error can be written, nothing is left to say.
    let _ = error.print();
    status
}

/// Takes apart what the parser says: the first paragraph is the error.
fn failure(error: &clap::Error, status: ExitStatus) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let paragraph = paragraph.trim().trim_start_matches("error: ").trim_start_matches("tip: ");
        paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let failure = Failure::new(status, paragraphs.next().unwrap_or_default());
    paragraphs.fold(failure, Failure::hint)
}

/// Tells whether the first word that is a command, and not a flag or its value, is `verity`.
fn is_verity(words: &[OsString]) -> bool {
    let commands = Arguments::command();
    let is_command = |word: &&OsString| {
        commands.get_subcommands().any(|command| command.get_name() == word.as_os_str())
    };
    words.iter().find(is_command).is_some_and(|word| word == "verity")
}

/// Tells whether words that could not be parsed ask for JSON all the same.
fn wants_json(words: &[OsString]) -> bool {
    let flag_and_value = words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    flag_and_value || words.iter().any(|word| word == "--output=json")
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done                                   10  not signed
  1  a failure not listed here              11  signed, but no signature is valid and trusted
  2  wrong usage or configuration           12  the content is not what was signed
  3  no such image, tag, file or device     13  refused by policy
  4  the registry failed or refused
`osguard verity` keeps the exit codes of veritysetup.";
