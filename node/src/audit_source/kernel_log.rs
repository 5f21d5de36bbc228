//! The kernel's log as a stream of lines (`/dev/kmsg`, `Documentation/ABI/testing/dev-kmsg`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Extent, Lossy, PATIENCE, SourceError};

/// Reads each entry as the lines that the device gives: the message, and indented what belongs to it.
pub(super) struct KernelLogReader {
    device: File,
    entry: Box<[u8]>,
    /// What of the entry is there and not given away yet.
    start: usize,
    end: usize,
    extent: Extent,
    losses: u64,
}

impl KernelLogReader {
    pub(super) fn open(extent: Extent) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Unreadable { path: KMSG.into(), source };
        let mut device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(KMSG)
            .map_err(failed)?;
        if extent.skips_past() {
            device.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        let entry = vec![0; ENTRY_LIMIT_BYTES].into_boxed_slice();
        Ok(Self { device, entry, start: 0, end: 0, extent, losses: 0 })
    }

    /// Reads an entry; tells whether there was one.
    fn receive(&mut self) -> io::Result<bool> {
        let mut has_waited = false;
        loop {
            match self.device.read(&mut self.entry) {
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    return Ok(count > 0);
                }
                Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                    // Entries were overwritten before they were read.
                    Some(Errno::PIPE) => self.losses += 1,
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN) if !self.extent.follows() => return Ok(false),
                    Some(Errno::AGAIN) if !has_waited => {
                        has_waited = true;
                        let mut fds =
                            [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
                        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
                        match poll(&mut fds, Some(&patience)) {
                            Ok(_) | Err(Errno::INTR) => {}
                            Err(errno) => return Err(errno.into()),
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Read for KernelLogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && !self.receive()? {
            return Ok(0);
        }
        let count = (self.end - self.start).min(buffer.len());
        buffer[..count].copy_from_slice(&self.entry[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl Lossy for KernelLogReader {
    fn losses(&self) -> u64 {
        self.losses
    }
}

const KMSG: &str = "/dev/kmsg";

/// A shorter buffer would be refused (`EINVAL`); the longest entry has 8 KiB with older kernels.
const ENTRY_LIMIT_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_an_end_unless_it_is_followed() {
        let mut reader = match KernelLogReader::open(Extent::Past) {
            Ok(reader) => reader,
            Err(error) => return osguard_testkit::skip(&format!("the kernel's log ({error})")),
        };
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        let mut reader = KernelLogReader::open(Extent::Future).unwrap();
        match reader.read(&mut [0; 100]) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            // Somebody logged something meanwhile.
            Ok(count) => assert!(count > 0),
        }
    }
}
