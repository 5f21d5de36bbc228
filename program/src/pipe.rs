//! The ends of a program's pipes, none of which is ever waited for alone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use zeroize::Zeroizing;

/// Is an end of a pipe that may have something to wait for.
pub(crate) trait Waitable {
    fn poll(&self) -> Option<PollFd<'_>>;
}

/// Waits until one of the pipes is ready, or for `limit`.
pub(crate) fn wait_for_any(pipes: &[&dyn Waitable], limit: Duration) -> io::Result<()> {
    let mut fds: Vec<_> = pipes.iter().filter_map(|pipe| pipe.poll()).collect();
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Is what a program gets on its standard input, as far as it has not taken it yet.
pub(crate) struct Input<'a, W> {
    pipe: Option<W>,
    rest: &'a [u8],
}

impl<'a, W: Write + AsFd> Input<'a, W> {
    pub(crate) fn of(pipe: Option<W>, input: &'a [u8]) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            never_block(pipe.as_fd())?;
        }
        Ok(Self { pipe, rest: input })
    }

    /// Writes what the pipe takes, and closes it at the end of the input. A program that does not
    /// read its input may have an answer all the same.
    pub(crate) fn feed(&mut self) -> io::Result<()> {
        while let Some(pipe) = &mut self.pipe {
            if self.rest.is_empty() {
                self.pipe = None;
                break;
            }
            match pipe.write(self.rest) {
                Ok(count) => self.rest = &self.rest[count..],
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::BrokenPipe => self.pipe = None,
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

impl<W: AsFd> Waitable for Input<'_, W> {
    fn poll(&self) -> Option<PollFd<'_>> {
        Some(PollFd::from_borrowed_fd(self.pipe.as_ref()?.as_fd(), PollFlags::OUT))
    }
}

/// Is what a program writes to one of its outputs, up to a limit; the rest is dropped.
pub(crate) struct Output<R> {
    pipe: Option<R>,
    bytes: Zeroizing<Vec<u8>>,
    limit_bytes: usize,
    is_too_long: bool,
}

impl<R: Read + AsFd> Output<R> {
    pub(crate) fn of(pipe: Option<R>, limit_bytes: usize) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            never_block(pipe.as_fd())?;
        }
        // It never grows, so that no part of a secret stays behind in a smaller one.
        let bytes = Zeroizing::new(Vec::with_capacity(limit_bytes));
        Ok(Self { pipe, bytes, limit_bytes, is_too_long: false })
    }

    /// Takes what is in the pipe, and no more than a full pipe holds.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
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

    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

impl<R: AsFd> Waitable for Output<R> {
    fn poll(&self) -> Option<PollFd<'_>> {
        Some(readable(self.pipe.as_ref()?))
    }
}

/// Waits for something to read.
pub(crate) fn readable(pipe: &impl AsFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)
}

/// Makes reads and writes return at once.
pub(crate) fn never_block(pipe: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?)
}

/// What a pipe holds by default (`pipe(7)`).
const PIPE_BYTES: usize = 1 << 16;
