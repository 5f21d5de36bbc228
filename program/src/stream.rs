//! Programs that are read for as long as they run.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::PollFd;

use crate::pipe::{Output, Waitable, never_block, readable, wait_for_any};
use crate::{MAX_MESSAGE_BYTES, RunError, Running, TICK, one_line};

/// Is the output of a program that runs on, such as `journalctl --follow`.
///
/// Nothing of it is kept. The program is killed when the value is dropped. Reading says
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing has come for a while, and fails with what the program has said when
/// it ended badly.
pub struct Stream {
    running: Running,
    stdout: ChildStdout,
    stderr: Output<ChildStderr>,
    patience: Duration,
}

impl Stream {
    /// Starts a program that gets no input. Reading waits for `patience` at most.
    ///
    /// # Errors
    ///
    /// Fails when the program cannot be started.
    pub fn start(command: &mut Command, patience: Duration) -> Result<Self, RunError> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut running = Running { child };
        let stdout = running
            .child
            .stdout
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        never_block(stdout.as_fd())?;
        let stderr = Output::of(running.child.stderr.take(), MAX_MESSAGE_BYTES)?;
        Ok(Self { running, stdout, stderr, patience })
    }

    /// Waits for the end of a program that has closed its output.
    fn end(&mut self) -> io::Result<usize> {
        for _ in 0..END_TICKS {
            self.stderr.drain()?;
            match self.running.child.try_wait()? {
                Some(status) if status.success() => return Ok(0),
                Some(status) => {
                    let message = one_line(self.stderr.bytes());
                    return Err(io::Error::other(match message.is_empty() {
                        true => status.to_string(),
                        false => message,
                    }));
                }
                None => std::thread::sleep(TICK),
            }
        }
        Ok(0)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut has_waited = false;
        loop {
            self.stderr.drain()?;
            match self.stdout.read(buffer) {
                Ok(0) if !buffer.is_empty() => return self.end(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_waited => {
                    has_waited = true;
                    wait_for_any(&[&Alone(&self.stdout)], self.patience)?;
                }
                other => return other,
            }
        }
    }
}

/// The output alone is waited for: a program that only complains has nothing to read.
struct Alone<'a>(&'a ChildStdout);

impl Waitable for Alone<'_> {
    fn poll(&self) -> Option<PollFd<'_>> {
        Some(readable(self.0))
    }
}

/// How many ticks a program may live on after it has closed its output.
const END_TICKS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(script: &str) -> Stream {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Stream::start(&mut command, Duration::from_millis(20)).unwrap()
    }

    /// Reads to the end, and counts how often there was nothing.
    fn read(mut stream: Stream) -> (String, u32, Option<String>) {
        let (mut text, mut idle) = (Vec::new(), 0);
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return (String::from_utf8(text).unwrap(), idle, None),
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => idle += 1,
                Err(error) => {
                    return (String::from_utf8(text).unwrap(), idle, Some(error.to_string()));
                }
            }
        }
    }

    #[test]
    fn what_comes_is_read_as_it_comes() {
        let (text, idle, error) = read(stream("echo one; sleep 0.3; echo two"));
        assert_eq!((text.as_str(), error), ("one\ntwo\n", None));
        assert!(idle > 0);
        let (text, _, _) = read(stream("yes | head -c 1000000; head -c 1000000 /dev/zero >&2"));
        assert_eq!(text.len(), 1_000_000);
    }

    #[test]
    fn a_bad_end_says_why() {
        let (text, _, error) = read(stream("echo one; echo 'no such unit' >&2; exit 1"));
        assert_eq!((text.as_str(), error.as_deref()), ("one\n", Some("no such unit")));
        let (_, _, error) = read(stream("exit 3"));
        assert_eq!(error.as_deref(), Some("exit status: 3"));
    }

    #[test]
    fn a_dropped_program_is_killed() {
        let stream = stream("exec sleep 1000");
        let process = std::path::PathBuf::from(format!("/proc/{}", stream.running.child.id()));
        assert!(process.exists());
        drop(stream);
        assert!(!process.exists());
    }
}
