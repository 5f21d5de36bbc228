//! Runs programs that other people wrote, such as credential helpers and signing plugins.
//!
//! A program gets its input, and its output is taken up to a limit and for a limited time. What it
//! writes is wiped from memory afterwards: it may be a secret. One that runs on is read as a [`Stream`].

mod pipe;
mod stream;

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use pipe::{Input, Output, wait_for_any};
pub use stream::Stream;

/// Runs a program to its end.
///
/// It stays in this process's group, so that it can ask the user on the terminal. It is killed when
/// it takes too long or writes too much; programs that it has left behind are not waited for.
pub fn run(command: &mut Command, input: &[u8], limits: Limits) -> Result<Answer, RunError> {
    let child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Running { child }.finish(input, limits)
}

/// Makes a message of a program fit into one line of an error.
pub fn one_line(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Says how much of a program is borne.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes that it may write to its standard output. Of its standard error, the first
    /// [`MAX_MESSAGE_BYTES`] are kept.
    pub answer_bytes: usize,
    /// How long it may take.
    pub time: Duration,
}

/// Is what a program left behind.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Zeroizing<Vec<u8>>,
    /// What it wrote to its standard error, cut off.
    pub stderr: Zeroizing<Vec<u8>>,
}

/// Says why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started, or not be talked to.
    #[error("it cannot be run: {0}")]
    Io(#[from] io::Error),
    /// It took too long, and was killed.
    #[error("it took longer than {} seconds", limit.as_secs_f64())]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
    /// It wrote too much, and was killed.
    #[error("it wrote more than {limit_bytes} bytes")]
    TooLong {
        /// How much it was allowed.
        limit_bytes: usize,
    },
}

/// The most bytes that are kept of a program's standard error.
pub const MAX_MESSAGE_BYTES: usize = 1 << 12;

/// Is a program that runs, and is killed when this is dropped.
struct Running {
    child: Child,
}

impl Running {
    /// Waits for the end of the program alone: something that it left behind may keep the pipes
    /// open for ever.
    fn finish(mut self, input: &[u8], limits: Limits) -> Result<Answer, RunError> {
        let started = Instant::now();
        let mut stdin = Input::of(self.child.stdin.take(), input)?;
        let mut stdout = Output::of(self.child.stdout.take(), limits.answer_bytes)?;
        let mut stderr = Output::of(self.child.stderr.take(), MAX_MESSAGE_BYTES)?;
        loop {
            let status = self.child.try_wait()?;
            stdin.feed()?;
            stdout.drain()?;
            stderr.drain()?;
            if stdout.is_too_long() {
                return Err(RunError::TooLong { limit_bytes: limits.answer_bytes });
            }
            if let Some(status) = status {
                return Ok(Answer {
                    status,
                    stdout: stdout.into_bytes(),
                    stderr: stderr.into_bytes(),
                });
            }
            let Some(remaining) = limits.time.checked_sub(started.elapsed()) else {
                return Err(RunError::TimedOut { limit: limits.time });
            };
            wait_for_any(&[&stdin, &stdout, &stderr], remaining.min(TICK))?;
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

/// How long the end of a program goes unnoticed that has left its pipes to another one.
const TICK: Duration = Duration::from_millis(20);

const MAX_MESSAGE_CHARACTERS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn limits(milliseconds: u64) -> Limits {
        Limits { answer_bytes: 1 << 20, time: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn input_and_output_that_no_pipe_holds_pass() {
        let input = vec![b'x'; 1 << 19];
        let answer = run(&mut shell("cat; echo done >&2"), &input, limits(30_000)).unwrap();
        assert!(answer.status.success());
        assert_eq!(*answer.stdout, input);
        assert_eq!(*answer.stderr, b"done\n");
    }

    #[test]
    fn input_that_nobody_reads_is_no_error() {
        let input = vec![b'x'; 1 << 19];
        let answer = run(&mut shell("echo answer; exit 3"), &input, limits(30_000)).unwrap();
        assert_eq!((answer.status.code(), &answer.stdout[..]), (Some(3), &b"answer\n"[..]));
    }

    #[test]
    fn too_slow_and_too_much_are_ended() {
        let error = run(&mut shell("exec sleep 100"), b"", limits(50)).unwrap_err();
        assert_eq!(error.to_string(), "it took longer than 0.05 seconds");
        let error = run(&mut shell("exec cat /dev/zero"), b"", limits(30_000)).unwrap_err();
        assert_eq!(error.to_string(), "it wrote more than 1048576 bytes");
        let answer = run(&mut shell("head -c 9999 /dev/zero >&2"), b"", limits(30_000)).unwrap();
        assert_eq!(answer.stderr.len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_program_that_another_one_outlives_has_ended() {
        let started = Instant::now();
        let answer = run(&mut shell("sleep 100 & echo answer"), b"", limits(60_000)).unwrap();
        assert_eq!(&answer.stdout[..], b"answer\n");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn messages_fit_into_a_line() {
        assert_eq!(one_line(b"  one\n\ttwo\x1b[31m  "), "one two [31m");
        assert_eq!(one_line(&[b'x'; 1000]).chars().count(), MAX_MESSAGE_CHARACTERS + 1);
    }
}
