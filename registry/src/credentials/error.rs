//! What can go wrong while credentials are looked for.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::Source;

/// Says why it is not known with which credential a registry is to be addressed.
///
/// No message holds a secret or a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The entry of a registry cannot be used.
    #[error("the credential for {key:?} in {place} cannot be used: {reason}")]
    Entry {
        /// Where the entry is.
        place: Source,
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A configuration file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A credential helper did not answer.
    #[error("credential helper {helper}, named in {place}, gave no answer for {server}: {source}")]
    Helper {
        /// The helper's program.
        helper: String,
        /// What names the helper.
        place: Source,
        /// What the helper was asked for.
        server: String,
        /// What went wrong.
        source: HelperError,
    },
    /// A file or variable is not a configuration.
    #[error("{place} is not a configuration of credentials: {reason}")]
    Malformed {
        /// The file or variable.
        place: Source,
        /// What is wrong with it.
        reason: String,
    },
    /// A user name cannot be sent.
    #[error("the user name from {place} cannot be used: {reason}")]
    UserName {
        /// Where the user name is from.
        place: Source,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Says why a credential helper did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The helper reported a failure.
    #[error("it ended with {status}{}", said(message))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said, shortened to one line.
        message: String,
    },
    /// The answer is not what a helper answers.
    #[error("its answer is not a credential: {reason}")]
    Malformed {
        /// What is wrong with the answer.
        reason: String,
    },
    /// There is no such program.
    #[error("no directory of PATH has such a program")]
    Missing,
    /// The helper's name would not be that of a program.
    #[error("this is no name of a program")]
    Name,
    /// The helper cannot be run.
    #[error("it cannot be run: {0}")]
    Run(#[from] io::Error),
    /// The helper took too long and was killed.
    #[error("it took longer than {} seconds", limit.as_secs_f32())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// The answer is too long.
    #[error("its answer is longer than {limit_bytes} bytes")]
    TooLong {
        /// How long it may be.
        limit_bytes: usize,
    },
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
