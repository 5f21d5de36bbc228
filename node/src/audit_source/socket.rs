//! The multicast group of the kernel's audit system (`AUDIT_NLGRP_READLOG`; `kernel/audit.c`,
//! `kauditd_send_multicast_skb`), which works beside auditd and journald.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

use super::{Lossy, PATIENCE, SourceError};

/// Reads each message as the line `type=1420 msg=audit(…): …`.
pub(super) struct AuditSocket {
    socket: OwnedFd,
    message: Box<[u8]>,
    /// The line at hand, and how much of it was given away.
    line: Vec<u8>,
    given_bytes: usize,
    losses: u64,
}

impl AuditSocket {
    pub(super) fn open() -> Result<Self, SourceError> {
        // Elsewhere the group exists as well, and stays empty for ever.
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        if let (Some(own), Some(first)) = (namespace("self"), namespace("1"))
            && own != first
        {
            return Err(SourceError::OtherNetwork);
        }
        let failed = |errno: Errno| {
            let source = io::Error::from(errno);
            match errno {
                Errno::PERM | Errno::ACCESS => SourceError::NoCapability { source },
                _ => SourceError::NoAudit { source },
            }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::AUDIT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(failed)?;
        // With root's rights the limit of the system does not count; what it gives otherwise has to do.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES));
        bind(&socket, &SocketAddrNetlink::new(0, READLOG_GROUP)).map_err(failed)?;
        Ok(Self {
            socket,
            message: vec![0; MESSAGE_LIMIT_BYTES].into_boxed_slice(),
            line: Vec::new(),
            given_bytes: 0,
            losses: 0,
        })
    }

    /// Receives a message into the line.
    fn receive(&mut self) -> io::Result<()> {
        let mut has_waited = false;
        loop {
            match recv(&self.socket, &mut *self.message, RecvFlags::empty()) {
                Ok((_, length)) => {
                    let message = &self.message[..length.min(self.message.len())];
                    if write_line(message, &mut self.line) {
                        self.given_bytes = 0;
                        return Ok(());
                    }
                }
                Err(Errno::NOBUFS) => self.losses += 1,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !has_waited => {
                    has_waited = true;
                    let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
                    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
                    match poll(&mut fds, Some(&patience)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for AuditSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given_bytes == self.line.len() {
            self.receive()?;
        }
        let rest = &self.line[self.given_bytes..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given_bytes += count;
        Ok(count)
    }
}

impl Lossy for AuditSocket {
    fn losses(&self) -> u64 {
        self.losses
    }
}

/// Makes a line of a message, `struct nlmsghdr` and text, and tells whether it is one.
///
/// | offset | size | field |
/// |-------:|-----:|-------|
/// | 0 | 4 | length; of the payload alone where the kernel's unicast habit shows, so nobody relies on it |
/// | 4 | 2 | type of the record |
/// | 6 | 2 | flags |
/// | 8 | 4 | sequence number |
/// | 12 | 4 | port |
/// | 16 | | text, perhaps with a NUL at its end |
fn write_line(message: &[u8], line: &mut Vec<u8>) -> bool {
    let Some((header, text)) = message.split_at_checked(HEADER_BYTES) else { return false };
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    line.clear();
    line.extend_from_slice(format!("type={kind} msg=").as_bytes());
    // A record of a program may hold the end of a line.
    line.extend(text[..end].iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    line.push(b'\n');
    true
}

const HEADER_BYTES: usize = 16;

/// The longest message: `MAX_AUDIT_MESSAGE_LENGTH`, 8,970 bytes, with its header and room to spare.
const MESSAGE_LIMIT_BYTES: usize = 16 << 10;

/// Room for some ten thousand records.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// The first group, `AUDIT_NLGRP_READLOG`, as a mask.
const READLOG_GROUP: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_lines() {
        let mut message = vec![0; HEADER_BYTES];
        message[4..6].copy_from_slice(&1420_u16.to_ne_bytes());
        message.extend_from_slice(b"audit(1.000:1): a=1\nb=2\0");
        let mut line = Vec::new();
        assert!(write_line(&message, &mut line));
        assert_eq!(line, b"type=1420 msg=audit(1.000:1): a=1 b=2\n");
        assert!(!write_line(&message[..15], &mut line));
    }

    #[test]
    fn the_socket_opens_or_says_why_not() {
        match AuditSocket::open() {
            Ok(mut socket) => {
                let mut buffer = [0; 64];
                match socket.read(&mut buffer) {
                    Ok(count) => assert!(buffer[..count].starts_with(b"type=")),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            Err(
                SourceError::NoCapability { .. }
                | SourceError::NoAudit { .. }
                | SourceError::OtherNetwork,
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
