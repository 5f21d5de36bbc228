//! The process that brings the former state back when a trial ends without a word.
//!
//! It is started before the policy on trial comes into force, and from then on executes and maps nothing: IPE is asked
//! only when something is executed or made executable, so that even a policy that denies this very program cannot stop it.
//! It lives in a session of its own, holds all of its memory, and outlives the command that started it.
//!
//! On its socket `<state>/policy-trial.sock` it takes one [`Request`] a connection and answers with one [`Answer`], each a
//! line of JSON.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MlockAllFlags, mlockall};
use serde::{Deserialize, Serialize};

use crate::deploy::{DeployError, is_active, loaded_version};
use crate::securityfs::{EnforceFile, IpeTree, SecurityfsError};
use crate::state_directory::{StateDirectory, StateError};
use crate::trial::{Trial, WayBack};

/// Starts the guard as a process of its own, by running this program with `arguments`, which has to call [`run`]; returns
/// once it is ready to bring the former state back.
///
/// # Errors
///
/// Fails when another trial goes on, and when the process is not ready.
pub fn start(trial: &Trial, state: &StateDirectory, arguments: &[&str]) -> Result<(), GuardError> {
    if let Ok(Answer::Pending { name, version, .. }) = ask(state, Request::Status) {
        return Err(GuardError::Busy { name, version });
    }
    let started = |source| GuardError::Start { source };
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(started)?;
    let text = serde_json::to_vec(trial).map_err(io::Error::from).map_err(started)?;
    let written = child.stdin.take().map(|mut input| input.write_all(&text));
    written.transpose().map_err(started)?;
    let mut line = String::new();
    let output = child.stdout.take().map(|output| output.take(ANSWER_LIMIT_BYTES));
    if let Some(output) = output {
        BufReader::new(output).read_line(&mut line).map_err(started)?;
    }
    match line.trim_end() {
        READY => Ok(()),
        words => Err(GuardError::NotReady { words: words.to_owned() }),
    }
}

/// Is the guard: reads the trial from standard input, says on standard output that it is ready, waits, and brings the former
/// state back unless the trial is confirmed.
///
/// # Errors
///
/// Fails before it is ready only.
pub fn run(state: &StateDirectory) -> Result<(), GuardError> {
    let prepared = Guard::prepare(state);
    let words = match &prepared {
        Ok(_) => READY.to_owned(),
        Err(error) => error.to_string(),
    };
    // Whoever has started this may be gone already; the trial is over at its deadline then.
    let _ = writeln!(io::stdout(), "{words}");
    prepared?.watch();
    Ok(())
}

/// Asks the guard; [`Answer::NoTrial`] where there is none.
///
/// # Errors
///
/// Fails without root.
pub fn ask(state: &StateDirectory, request: Request) -> Result<Answer, GuardError> {
    let path = socket_path(state);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(Answer::NoTrial);
        }
        Err(source) => return Err(GuardError::Socket { path, source }),
    };
    let failed = |source| GuardError::Socket { path: path.clone(), source };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut text = serde_json::to_vec(&request).map_err(io::Error::from).map_err(failed)?;
    text.push(b'\n');
    (&stream).write_all(&text).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_LIMIT_BYTES)).read_line(&mut line).map_err(failed)?;
    serde_json::from_str(&line).map_err(|error| failed(error.into()))
}

/// Is what the guard can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Bring the former state back now.
    Abort,
    /// Let the policy stay, and end.
    Confirm,
    /// Say what goes on.
    Status,
}

/// Is what the guard answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The policy stays.
    Confirmed(Trial),
    /// There is no trial.
    NoTrial,
    /// The policy on trial is not in force, so that there is nothing to confirm.
    NotInForce,
    /// The trial goes on.
    Pending {
        /// The name of the policy.
        name: String,
        /// Its version.
        version: String,
        /// How long it goes on.
        seconds_left: u64,
    },
    /// The former state is back, and how.
    Returned(Return),
}

/// Says how the former state came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Return {
    /// The way that was chosen failed, so that denials are recorded only.
    Emergency {
        /// What has failed.
        error: String,
    },
    /// The policy on trial was not in force, so that nothing was to be done.
    Nothing,
    /// It came back on the way that was chosen.
    Planned,
}

/// Says why there is no guard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// Another policy is on trial.
    #[error("the policy {name} {version} is on trial; confirm or abort that first")]
    Busy {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// A file of IPE cannot be opened.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Its memory cannot be held.
    #[error("the guard of the trial cannot hold its memory")]
    Memory {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process has said something else than that it is ready.
    #[error("the guard of the trial is not ready: {words}")]
    NotReady {
        /// What it has said.
        words: String,
    },
    /// The socket cannot be made or used.
    #[error("the guard of the trial cannot be reached at {path}", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process does not start, or gets no trial.
    #[error("the guard of the trial does not start")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// The directory of the socket cannot be made.
    #[error(transparent)]
    State(#[from] StateError),
}

struct Guard {
    trial: Trial,
    tree: IpeTree,
    /// Kept open, as the last resort.
    enforce: EnforceFile,
    fallback: Vec<u8>,
    listener: UnixListener,
    socket: PathBuf,
    deadline: Instant,
}

impl Guard {
    fn prepare(state: &StateDirectory) -> Result<Self, GuardError> {
        let start = |source| GuardError::Start { source };
        let trial: Trial = serde_json::from_reader(io::stdin().lock().take(TRIAL_LIMIT_BYTES))
            .map_err(|error| start(error.into()))?;
        let tree = IpeTree::open().map_err(|error| start(io::Error::other(error)))?;
        let enforce = tree.open_enforce().map_err(DeployError::Securityfs)?;
        let fallback = match &trial.way_back {
            WayBack::Update { pkcs7 } => {
                hex::decode(pkcs7).map_err(|error| start(io::Error::other(error)))?
            }
            _ => Vec::new(),
        };
        leave_session();
        // Two guards at the same time would each bring back the state before the other's.
        let _lock = state.lock()?;
        let socket = socket_path(state);
        let listener = listen(&socket)
            .map_err(|source| GuardError::Socket { path: socket.clone(), source })?;
        mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
            .map_err(|errno| GuardError::Memory { source: errno.into() })?;
        let deadline = Instant::now() + Duration::from_secs(trial.seconds);
        Ok(Self { trial, tree, enforce, fallback, listener, socket, deadline })
    }

    /// Waits for a request or for the deadline.
    fn watch(self) {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.bring_back();
                break;
            }
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut events = [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)];
            // Interrupted or not, the deadline is looked at next.
            if !matches!(poll(&mut events, Some(&timeout)), Ok(count) if count > 0) {
                continue;
            }
            if let Ok((stream, _)) = self.listener.accept()
                && self.answer(&stream)
            {
                break;
            }
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Answers a request, and tells whether the trial is over.
    fn answer(&self, stream: &UnixStream) -> bool {
        let mut line = String::new();
        // Somebody who connects and says nothing must not hold up the deadline.
        let patience = self.deadline.saturating_duration_since(Instant::now()).min(PATIENCE);
        if stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).is_err()
            || BufReader::new(stream.take(ANSWER_LIMIT_BYTES)).read_line(&mut line).is_err()
        {
            return false;
        }
        let (answer, is_over) = match serde_json::from_str(&line) {
            Ok(Request::Abort) => (Answer::Returned(self.bring_back()), true),
            Ok(Request::Confirm) if self.is_in_force() => {
                (Answer::Confirmed(self.trial.clone()), true)
            }
            Ok(Request::Confirm) => (Answer::NotInForce, false),
            Ok(Request::Status) => (self.pending(), false),
            Err(_) => return false,
        };
        let mut text = serde_json::to_vec(&answer).unwrap_or_default();
        text.push(b'\n');
        // A confirmation that nobody gets to hear is none: whoever asked was killed meanwhile.
        let is_heard = (&*stream).write_all(&text).is_ok();
        is_over && (is_heard || !matches!(answer, Answer::Confirmed(_)))
    }

    fn pending(&self) -> Answer {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let Trial { name, version, .. } = self.trial.clone();
        Answer::Pending { name, version, seconds_left: left.as_secs() }
    }

    fn is_in_force(&self) -> bool {
        let name = &self.trial.name;
        let version = loaded_version(&self.tree, name).ok().flatten();
        version.is_some_and(|version| version.to_string() == self.trial.version)
            && is_active(&self.tree, name).unwrap_or(false)
    }

    fn bring_back(&self) -> Return {
        // A policy that somebody has put in force since then is not this guard's to undo.
        if !self.is_in_force() {
            let _ = self.enforce.write(self.trial.enforce);
            return Return::Nothing;
        }
        let returned = match &self.trial.way_back {
            WayBack::Activate { name } => self.tree.activate(name),
            WayBack::StopEnforcing => self.enforce.write(false),
            WayBack::Update { .. } => self.tree.update(&self.trial.name, &self.fallback),
        };
        let restored = returned.and_then(|()| match self.trial.way_back {
            WayBack::StopEnforcing => Ok(()),
            _ => self.enforce.write(self.trial.enforce),
        });
        let outcome = match restored {
            Ok(()) => Return::Planned,
            Err(error) => {
                let _ = self.enforce.write(false);
                Return::Emergency { error: in_words(&error) }
            }
        };
        log(&self.trial, &outcome);
        outcome
    }
}

/// Leaves whatever could end this process along with the command that started it: session, control group, shortage of memory.
fn leave_session() {
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/sys/fs/cgroup/cgroup.procs", "0");
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Takes the place of what a killed guard has left; two are told apart by the caller's lock.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Says in the kernel's log what has happened, as nobody else may be there to hear it.
fn log(trial: &Trial, outcome: &Return) {
    let Trial { name, version, .. } = trial;
    let text = match outcome {
        Return::Emergency { error } => {
            format!(
                "the trial of policy {name} {version} is over, and the former policy did not come back: {error}; denials are recorded only"
            )
        }
        _ => format!("the trial of policy {name} {version} is over, and the former state is back"),
    };
    let kmsg = OpenOptions::new().write(true).open("/dev/kmsg");
    let _ = kmsg.and_then(|mut kmsg| kmsg.write_all(format!("<5>osguard: {text}").as_bytes()));
}

fn in_words(error: &SecurityfsError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn socket_path(state: &StateDirectory) -> PathBuf {
    state.root().join("policy-trial.sock")
}

const READY: &str = "ready";
/// How long either side waits for the other's line.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has a trial in it, and that has a signed policy in two digits for each of at most 65,535 bytes.
const ANSWER_LIMIT_BYTES: u64 = TRIAL_LIMIT_BYTES + 4096;
const TRIAL_LIMIT_BYTES: u64 = 1 << 18;
