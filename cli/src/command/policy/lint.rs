//! `osguard policy lint`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use osguard_policy::diagnostic::{Diagnostic, Severity};
use osguard_policy::kernel_config::KernelConfig;
use osguard_policy::lint::Linter;
use serde::Serialize;

use super::source::{FileArguments, KernelArguments, Kind, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::small_file;

/// Find what the kernel would refuse, and what it would take though nobody means it
///
/// The kernel refuses a policy with an error number and not a word; here is the line, the column and a
/// way out. Texts and signed policies are looked at. docs/policy-lints.md describes every number with
/// an example. The exit code is 1 where there are errors.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    #[command(flatten)]
    kernel: KernelArguments,
    /// The configuration of the kernel, such as /boot/config-6.12 or /proc/config.gz: finds what it
    /// was built without
    #[arg(long, value_name = "FILE")]
    kernel_config: Option<PathBuf>,
    /// Let warnings count as errors
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Serialize)]
struct LintReport {
    kernel: String,
    files: Vec<FileReport>,
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    kind: Kind,
    diagnostics: Vec<DiagnosticReport>,
}

#[derive(Serialize)]
struct DiagnosticReport {
    severity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// What the kernel answers, where it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    message: String,
    help: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceReport>,
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct PlaceReport {
    line: usize,
    column: usize,
    offset: usize,
    length: usize,
}

impl Report for LintReport {
    const SCHEMA: &'static str = "osguard.policy.lint.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for diagnostic in self.files.iter().flat_map(|file| &file.diagnostics) {
            writeln!(out, "{}", diagnostic.shown)?;
        }
        let files = counted(self.files.len(), "file");
        let [errors, warnings] =
            [(self.errors, "error"), (self.warnings, "warning")].map(|(count, what)| match count {
                0 => format!("no {what}s"),
                _ => counted(count, what),
            });
        writeln!(out, "{files}, for Linux {}: {errors}, {warnings}", self.kernel)
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let config = arguments.kernel_config.as_deref().map(kernel_config).transpose()?;
    let mut files = Vec::new();
    for path in &arguments.files.files {
        let source = Source::read(path)?;
        let mut linter = Linter::new(arguments.kernel.kernel);
        if let Some(config) = &config {
            linter = linter.config(config.clone());
        }
        if let Some(bytes) = source.blob_bytes {
            let is_named = path.extension().is_some_and(|ending| ending == "p7b");
            let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_named);
            linter = linter.blob(bytes, stem);
        }
        let found = match source.refused() {
            Some(refused) => vec![refused],
            None => linter.lint(&source.text),
        };
        let diagnostics = found.iter().map(|diagnostic| report(diagnostic, &source)).collect();
        files.push((FileReport { file: source.name, kind: source.kind, diagnostics }, found));
    }
    let count = |severity| {
        files.iter().flat_map(|(_, found)| found).filter(|one| one.severity == severity).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    output.report(&LintReport {
        kernel: arguments.kernel.kernel.to_string(),
        files: files.into_iter().map(|(report, _)| report).collect(),
        errors,
        warnings,
    })?;
    match errors > 0 || arguments.deny_warnings && warnings > 0 {
        true => Ok(ExitStatus::Failure),
        false => Ok(ExitStatus::Done),
    }
}

fn report(diagnostic: &Diagnostic, source: &Source) -> DiagnosticReport {
    let place = diagnostic.span.map(|span| {
        let position = osguard_policy::syntax::position(&source.text, span.start);
        PlaceReport {
            line: position.line,
            column: position.column,
            offset: span.start,
            length: span.end - span.start,
        }
    });
    DiagnosticReport {
        severity: diagnostic.severity.to_string(),
        code: diagnostic.code,
        errno: diagnostic.errno.map(|errno| errno.to_string()),
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
        place,
        shown: diagnostic.show(&source.name, &source.text).to_string(),
    }
}

fn kernel_config(path: &Path) -> Result<KernelConfig, Failure> {
    KernelConfig::read(&small_file::read(path)?)
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error).context(path.display()))
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
