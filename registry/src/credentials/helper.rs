//! Credential helpers: programs that keep credentials for docker and podman.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use osguard_program::{Limits, RunError, one_line, run};
use serde::Deserialize;

use super::file::reason_without_values;
use super::{Credential, HelperError, Secret};

/// Returns the name of the program that is the helper `name`.
pub(super) fn program_name(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Asks the helper `name`, which is looked for in `path`, for the credential for `server`.
///
/// Returns `None` if the helper has none.
///
/// Source: README of docker/docker-credential-helpers, "Development"; `client/client.go` and
/// `credentials/error.go` there.
pub(super) fn ask(
    name: &str,
    server: &str,
    path: &OsStr,
    time_limit: Duration,
) -> Result<Option<Credential>, HelperError> {
    let limits = Limits { answer_bytes: MAX_ANSWER_BYTES, time: time_limit };
    let answer = run(Command::new(find(name, path)?).arg("get"), server.as_bytes(), limits)?;
    if !answer.status.success() {
        let output = String::from_utf8_lossy(&answer.stdout);
        if output.trim() == NOT_FOUND {
            return Ok(None);
        }
        // The protocol has the message on standard output; where a credential is, it stays secret.
        let message = match output.trim() {
            "" => one_line(&answer.stderr),
            text if text.starts_with('{') => String::new(),
            text => one_line(text.as_bytes()),
        };
        return Err(HelperError::Failed { status: answer.status, message });
    }
    let response: Response = serde_json::from_slice(&answer.stdout)
        .map_err(|error| HelperError::Malformed { reason: reason_without_values(&error) })?;
    Ok(match response.username.as_str() {
        "" if response.secret.expose().is_empty() => None,
        TOKEN_USER => Some(Credential::IdentityToken { token: response.secret }),
        _ => Some(Credential::Basic { username: response.username, password: response.secret }),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    username: String,
    secret: Secret,
}

impl From<RunError> for HelperError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::TimedOut { limit } => Self::TimedOut { limit },
            RunError::TooLong { limit_bytes } => Self::TooLong { limit_bytes },
            RunError::Io(error) => Self::Run(error),
        }
    }
}

/// Finds the helper's program, which no relative directory is trusted to have.
fn find(name: &str, path: &OsStr) -> Result<PathBuf, HelperError> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(HelperError::Name);
    }
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program_name(name)))
        .find(|program| program.is_file())
        .ok_or(HelperError::Missing)
}

/// What a helper prints that has no credential for the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The user name of an identity token.
const TOKEN_USER: &str = "<token>";

/// Some twenty times the longest tokens that are known.
const MAX_ANSWER_BYTES: usize = 1 << 16;
