//! The body of a request, read while it arrives.

use std::io::{self, BufRead as _, Read};

use super::http::{Duplex, Head};

/// Reads one body off a connection, and asks for it if the client waits to be asked.
pub(super) struct RequestBody<'w> {
    wire: &'w mut dyn Duplex,
    rest: Rest,
    received_bytes: u64,
    cut_after: Option<u64>,
}

/// Is what of a body has not been read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// How its end is told.
    pub(super) framing: Incoming,
    /// Whether the client waits for a `100 Continue` (RFC 9110, section 10.1.1).
    pub(super) awaited: bool,
}

/// Is how the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// In chunks, with so many bytes left in the present one.
    Chunks {
        /// Bytes of data.
        left: u64,
        /// Whether one chunk has been read already, whose line end comes before the next.
        begun: bool,
    },
    /// By a length, of which so many bytes are left; 0 is a body that has been read.
    Length(u64),
}

impl Rest {
    /// Is what the head announces.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for a length that is no number or comes with chunks.
    pub(super) fn announced(head: &Head) -> io::Result<Self> {
        let length = head.header("Content-Length");
        let chunked = head.header("Transfer-Encoding");
        let framing = match (length, chunked) {
            (None, None) => Incoming::Length(0),
            (Some(length), None) => {
                let digits = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse().ok().filter(|_| digits);
                Incoming::Length(length.ok_or_else(|| malformed("Content-Length"))?)
            }
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {
                Incoming::Chunks { left: 0, begun: false }
            }
            _ => return Err(malformed("Transfer-Encoding")),
        };
        let expects = head.header("Expect").unwrap_or_default();
        let awaited =
            expects.eq_ignore_ascii_case("100-continue") && framing != Incoming::Length(0);
        Ok(Self { framing, awaited })
    }

    /// Tells whether so little is left that it is better read than the connection given up.
    pub(super) fn is_small(&self) -> bool {
        let small = match self.framing {
            Incoming::Chunks { .. } => false,
            Incoming::Length(left) => left <= SMALL_BYTES,
        };
        small && !self.awaited
    }
}

impl<'w> RequestBody<'w> {
    pub(super) fn new(wire: &'w mut dyn Duplex, rest: Rest) -> Self {
        Self { wire, rest, received_bytes: 0, cut_after: None }
    }

    /// Fails when more than so many bytes of data are read, if there are more.
    pub(super) fn cut_after(mut self, bytes: Option<u64>) -> Self {
        self.cut_after = bytes;
        self
    }

    /// Returns how many bytes of data have been read.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Returns what has not been read.
    pub(super) fn rest(&self) -> Rest {
        self.rest
    }

    /// Reads it to its end and forgets it.
    pub(super) fn discard(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }

    /// Returns how many bytes of data can be read next; 0 at the end.
    fn available(&mut self) -> io::Result<u64> {
        match &mut self.rest.framing {
            Incoming::Length(left) => Ok(*left),
            Incoming::Chunks { left: 0, begun } => {
                if *begun {
                    read_line(self.wire)?;
                }
                let left = chunk_size(&read_line(self.wire)?)?;
                if left == 0 {
                    // Trailers, then an empty line.
                    while !read_line(self.wire)?.is_empty() {}
                    self.rest.framing = Incoming::Length(0);
                } else {
                    self.rest.framing = Incoming::Chunks { left, begun: true };
                }
                Ok(left)
            }
            Incoming::Chunks { left, .. } => Ok(*left),
        }
    }
}

impl Read for RequestBody<'_> {
    /// Reads data.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] where the client has cut the connection,
    /// [`io::ErrorKind::ConnectionAborted`] where the connection is to be cut.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.awaited {
            self.wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.wire.flush()?;
            self.rest.awaited = false;
        }
        let mut available = self.available()?;
        if available == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(bytes) = self.cut_after {
            available = available.min(bytes.saturating_sub(self.received_bytes));
            if available == 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let room = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let read = self.wire.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &mut self.rest.framing {
            Incoming::Chunks { left, .. } | Incoming::Length(left) => *left -= read as u64,
        }
        self.received_bytes += read as u64;
        Ok(read)
    }
}

/// Reads a line that tells of a chunk, without its end.
fn read_line(wire: &mut dyn Duplex) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    wire.take(MOST_LINE_BYTES).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(line.to_vec()),
        None if line.len() as u64 == MOST_LINE_BYTES => Err(malformed("chunk")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads the size of a chunk, behind which extensions may stand (RFC 9112, section 7.1).
fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let line = str::from_utf8(line).map_err(|_| malformed("chunk"))?;
    let size = line.split(';').next().unwrap_or_default().trim_end();
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(size, 16).ok().filter(|_| digits).ok_or_else(|| malformed("chunk"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

const MOST_LINE_BYTES: u64 = 4 << 10;

const SMALL_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::http::Wire;
    use super::*;

    /// Reads the body of the first request, and the path of the second.
    fn read(requests: &str) -> io::Result<(String, String)> {
        let mut wire = Wire::new(io::Cursor::new(requests.as_bytes().to_vec()), 80);
        let head = wire.read_head()?.unwrap();
        let mut text = String::new();
        RequestBody::new(&mut wire, Rest::announced(&head)?).read_to_string(&mut text)?;
        Ok((text, wire.read_head()?.unwrap().path))
    }

    #[test]
    fn reads_bodies_and_not_a_byte_more() {
        let next = "GET /next HTTP/1.1\r\n\r\n";
        for (request, body) in [
            ("GET / HTTP/1.1\r\n\r\n", ""),
            ("PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "abc"),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nab\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: z\r\n\r\n",
                "ab0123456789",
            ),
        ] {
            assert_eq!(read(&format!("{request}{next}")).unwrap(), (body.into(), "/next".into()));
        }
    }

    #[test]
    fn refuses_what_does_not_end_or_does_not_say_where() {
        for (rest, expected) in [
            ("Content-Length: 3\r\n\r\nab", io::ErrorKind::UnexpectedEof),
            ("Content-Length: +3\r\n\r\nabc", io::ErrorKind::InvalidData),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", io::ErrorKind::InvalidData),
            ("Transfer-Encoding: gzip\r\n\r\n", io::ErrorKind::InvalidData),
            ("Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n", io::ErrorKind::InvalidData),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\na", io::ErrorKind::UnexpectedEof),
        ] {
            let found = read(&format!("PUT / HTTP/1.1\r\n{rest}")).unwrap_err();
            assert_eq!(found.kind(), expected, "{rest}");
        }
    }
}
