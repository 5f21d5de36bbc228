//! Whom a command trusts: certificates in files and directories.

use std::path::{Path, PathBuf};

use libverity::certificate::Certificate;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;
use crate::small_file;

/// Which certificates count as trust anchors.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustArguments {
    /// Trust the certificates in this file, or in all files of this directory; may be repeated
    #[arg(long, value_name = "FILE|DIR", required = true)]
    trust: Vec<PathBuf>,
}

impl TrustArguments {
    /// Reads the certificates; at least one.
    pub(crate) fn anchors(&self, output: &Output) -> Result<Vec<Certificate>, Failure> {
        let mut anchors = Vec::new();
        for path in &self.trust {
            for file in files(path).map_err(|error| Failure::reading(path, error))? {
                anchors.extend(certificates(&file)?);
            }
        }
        for anchor in &anchors {
            if let Err(reason) = anchor.loadable() {
                let subject = anchor.subject();
                output.warning(format_args!(
                    "the kernel would not load the certificate of {subject}: {reason}"
                ));
            }
        }
        if anchors.is_empty() {
            return Err(Failure::new(ExitStatus::Usage, "--trust names no certificate"));
        }
        Ok(anchors)
    }
}

/// Lists a file alone, or the files of a directory in the order of their names.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let contents = small_file::read(path)?;
    Certificate::all_from_file_contents(&contents).map_err(|error| {
        Failure::from_error(ExitStatus::Usage, error).context(path.display()).hint(
            "--trust takes certificates in PEM or DER, or directories that hold nothing else.",
        )
    })
}
