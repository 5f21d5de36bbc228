//! Credential helpers: programs that keep credentials for docker and podman.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Deserialize;
use zeroize::Zeroizing;

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
    let answer = Running::start(&find(name, path)?, server)?.finish(time_limit)?;
    if !answer.status.success() {
        let output = String::from_utf8_lossy(&answer.stdout);
        if output.trim() == NOT_FOUND {
            return Ok(None);
        }
        // The protocol has the message on standard output; where a credential is, it stays secret.
        let message = match output.trim() {
            "" => one_line(&String::from_utf8_lossy(&answer.stderr)),
            text if text.starts_with('{') => String::new(),
            text => one_line(text),
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

/// Is a helper that runs, and is killed when this is dropped.
///
/// It stays in this process's group, so that it can ask the user on the terminal.
struct Running {
    child: Child,
}

struct Answer {
    status: ExitStatus,
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
}

impl Running {
    fn start(program: &PathBuf, server: &str) -> Result<Self, HelperError> {
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let running = Self { child };
        if let Some(mut input) = input {
            // Never blocks: the pipe is empty and holds more than any name. A helper that does not
            // read its input may have the answer all the same.
            match input.write_all(server.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
                _ => {}
            }
        }
        Ok(running)
    }

    /// Waits for the end of the program alone: something that it left behind may keep the pipes
    /// open for ever.
    fn finish(mut self, time_limit: Duration) -> Result<Answer, HelperError> {
        let started = Instant::now();
        let mut stdout = Output::of(self.child.stdout.take(), MAX_ANSWER_BYTES)?;
        let mut stderr = Output::of(self.child.stderr.take(), MAX_MESSAGE_BYTES)?;
        loop {
            let status = self.child.try_wait()?;
            stdout.drain()?;
            stderr.drain()?;
            if stdout.is_too_long {
                return Err(HelperError::TooLong { limit_bytes: MAX_ANSWER_BYTES });
            }
            if let Some(status) = status {
                return Ok(Answer { status, stdout: stdout.bytes, stderr: stderr.bytes });
            }
            let Some(remaining) = time_limit.checked_sub(started.elapsed()) else {
                return Err(HelperError::TimedOut { limit: time_limit });
            };
            wait_for_any(&[&stdout, &stderr], remaining.min(TICK))?;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is what a helper writes to one of its outputs, up to a limit; the rest is dropped.
struct Output<R> {
    pipe: Option<R>,
    bytes: Zeroizing<Vec<u8>>,
    limit_bytes: usize,
    is_too_long: bool,
}

impl<R: Read + AsFd> Output<R> {
    fn of(pipe: Option<R>, limit_bytes: usize) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        let bytes = Zeroizing::new(Vec::with_capacity(limit_bytes));
        Ok(Self { pipe, bytes, limit_bytes, is_too_long: false })
    }

    /// Takes what is in the pipe, and no more than a full pipe holds.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = Zeroizing::new([0; 4096]);
        for _ in 0..PIPE_BYTES / buffer.len() {
            let Some(pipe) = &mut self.pipe else { break };
            match pipe.read(buffer.as_mut_slice()) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let kept = count.min(self.limit_bytes - self.bytes.len());
                    self.bytes.extend_from_slice(&buffer[..kept]);
                    self.is_too_long |= kept < count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Is an output that may have an end to wait for.
trait Waitable {
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

impl<R: AsFd> Waitable for Output<R> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}

fn wait_for_any(outputs: &[&dyn Waitable], limit: Duration) -> io::Result<()> {
    let mut fds: Vec<_> = outputs
        .iter()
        .filter_map(|output| Some(PollFd::from_borrowed_fd(output.fd()?, PollFlags::IN)))
        .collect();
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a message fit into one line of an error.
fn one_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What a helper prints that has no credential for the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The user name of an identity token.
const TOKEN_USER: &str = "<token>";

/// Some twenty times the longest tokens that are known.
const MAX_ANSWER_BYTES: usize = 1 << 16;

const MAX_MESSAGE_BYTES: usize = 1 << 12;

const MAX_MESSAGE_CHARACTERS: usize = 300;

/// What a pipe holds by default (`pipe(7)`).
const PIPE_BYTES: usize = 1 << 16;

/// How long the end of a helper goes unnoticed that has left its pipes to another program.
const TICK: Duration = Duration::from_millis(20);
