//! `osguard policy format`.

use std::io::{self, Write};
use std::path::Path;

use osguard_policy::format::{FormatError, format};
use serde::Serialize;

use super::source::{FileArguments, KernelArguments, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::new_file::NewFile;
use crate::output::{Output, Report};

/// Print policies in their canonical form
///
/// Spaces, blank lines, digits and the order of properties are put straight; comments stay, and so does
/// the order of the rules, for the first that matches decides. The form means the same to the kernel.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    #[command(flatten)]
    kernel: KernelArguments,
    /// Print nothing but which files have another form; the exit code is 1 if there are any
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Rewrite the files that have another form
    #[arg(long)]
    write: bool,
}

#[derive(Serialize)]
struct FormatReport {
    files: Vec<FileReport>,
    #[serde(skip)]
    prints_policies: bool,
    #[serde(skip)]
    verb: &'static str,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    is_canonical: bool,
    #[serde(serialize_with = "lossy")]
    policy: Vec<u8>,
}

impl Report for FormatReport {
    const SCHEMA: &'static str = "osguard.policy.format.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for FileReport { file, is_canonical, policy } in &self.files {
            if self.prints_policies {
                out.write_all(policy)?;
            } else if !is_canonical {
                writeln!(out, "{file} {}", self.verb)?;
            }
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut files = Vec::new();
    for path in &arguments.files.files {
        let source = Source::read(path)?;
        source.must_be_text()?;
        let policy =
            format(&source.text, arguments.kernel.kernel).map_err(|error| match error {
                FormatError::Syntax(errors) => source.wrong(&errors),
                nul => Failure::from_error(ExitStatus::Usage, nul).context(&source.name),
            })?;
        let is_canonical = policy == source.text;
        files.push(FileReport { file: source.name, is_canonical, policy });
    }
    // All are known to be good before the first is touched.
    if arguments.write {
        for (path, file) in arguments.files.files.iter().zip(&files) {
            if !file.is_canonical && path != Path::new("-") {
                rewrite(path, &file.policy).map_err(|error| Failure::writing(path, error))?;
            }
        }
    }
    let is_odd = files.iter().any(|file| !file.is_canonical);
    output.report(&FormatReport {
        files,
        prints_policies: !arguments.check && !arguments.write,
        verb: if arguments.write { "is rewritten" } else { "has another form" },
    })?;
    match arguments.check && is_odd {
        true => Ok(ExitStatus::Failure),
        false => Ok(ExitStatus::Done),
    }
}

fn rewrite(path: &Path, policy: &[u8]) -> io::Result<()> {
    let file = NewFile::create(path)?;
    file.file().write_all(policy)?;
    file.complete()
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
