//! What commands print: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::args::{GlobalArguments, OutputFormat};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::progress::Progress;

/// Is the result of a command, for people and for machines.
pub(crate) trait Report: Serialize {
    /// The name and version of the JSON form, such as `osguard.sign.v1`.
    const SCHEMA: &'static str;

    /// Writes the result for people.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Prints as the global flags ask for it.
#[derive(Debug)]
pub(crate) struct Output {
    format: OutputFormat,
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(crate) fn new(arguments: &GlobalArguments) -> Self {
        Self { format: arguments.output, quiet: arguments.quiet, verbose: arguments.verbose }
    }

    /// Prints the result of a command.
    pub(crate) fn report<R: Report>(&self, report: &R) -> Result<(), Failure> {
        self.report_to(io::stdout().lock(), report, "standard output")
    }

    /// Prints the result of a command whose standard output carries something else.
    pub(crate) fn report_aside<R: Report>(&self, report: &R) -> Result<(), Failure> {
        self.report_to(io::stderr().lock(), report, "standard error")
    }

    fn report_to<R: Report>(
        &self,
        stream: impl Write,
        report: &R,
        name: &str,
    ) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let mut out = io::BufWriter::new(stream);
        match self.format {
            OutputFormat::Json => {
                let versioned = Versioned { schema: R::SCHEMA, report };
                serde_json::to_writer_pretty(&mut out, &versioned)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(out))
            }
            OutputFormat::Text => report.text(&mut out),
        }
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from_error(ExitStatus::Failure, error).context(name))
    }

    /// Begins results of which each is a line: text, or a JSON object.
    pub(crate) fn lines(&self) -> LineOutput {
        LineOutput { format: self.format, quiet: self.quiet, out: io::BufWriter::new(io::stdout()) }
    }

    /// Says something that is no result and no failure, on standard error.
    pub(crate) fn warning(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("Warning: {message}");
        }
    }

    /// Says what is being done, where the user asked for it.
    pub(crate) fn detail(&self, message: impl std::fmt::Display) {
        if self.verbose {
            eprintln!("{message}");
        }
    }

    /// Returns how much a server says while it runs.
    pub(crate) fn log_level(&self) -> tracing::Level {
        match (self.quiet, self.verbose) {
            (true, _) => tracing::Level::ERROR,
            (false, true) => tracing::Level::DEBUG,
            (false, false) => tracing::Level::INFO,
        }
    }

    /// Starts to show progress: on a terminal only, and not where `--quiet` was given.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(!self.quiet && io::stderr().is_terminal())
    }

    /// Prints why a command failed and returns its exit status.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitStatus {
        if failure.is_broken_pipe() {
            return ExitStatus::Done;
        }
        match self.format {
            OutputFormat::Json => failure_as_json(failure),
            OutputFormat::Text => {
                eprintln!("Error: {failure}");
                for hint in failure.hints() {
                    eprintln!("Hint: {hint}");
                }
                failure.status()
            }
        }
    }
}

/// Prints results as they come.
pub(crate) struct LineOutput {
    format: OutputFormat,
    quiet: bool,
    out: io::BufWriter<io::Stdout>,
}

impl LineOutput {
    /// Prints a result; it appears with the next [`flush`](Self::flush) at the latest.
    pub(crate) fn line<R: Report>(&mut self, report: &R) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        match self.format {
            OutputFormat::Json => {
                let versioned = Versioned { schema: R::SCHEMA, report };
                serde_json::to_writer(&mut self.out, &versioned)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(self.out))
            }
            OutputFormat::Text => report.text(&mut self.out),
        }
        .map_err(unwritable)
    }

    /// Lets everything appear that was printed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(unwritable)
    }
}

fn unwritable(error: io::Error) -> Failure {
    Failure::from_error(ExitStatus::Failure, error).context("standard output")
}

/// Prints why a command failed as a JSON object on standard error, and returns its exit status.
pub(crate) fn failure_as_json(failure: &Failure) -> ExitStatus {
    let report = FailureReport {
        schema: "osguard.failure.v1",
        error: failure.to_string(),
        hints: failure.hints(),
        exit_code: failure.status().code(),
    };
    // A failure to print a failure has nowhere else to go.
    let _ = serde_json::to_writer_pretty(io::stderr().lock(), &report);
    eprintln!();
    failure.status()
}

#[derive(Serialize)]
struct Versioned<'a, R> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a R,
}

#[derive(Serialize)]
struct FailureReport<'a> {
    schema: &'static str,
    error: String,
    hints: &'a [String],
    exit_code: u8,
}
