//! HTTP/1.1 on a connection: heads of requests in, answers out.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::response::{Ending, Framing, Response};

/// Is the head of a request.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The port at which it arrived.
    pub(super) port: u16,
    pub(super) method: String,
    /// The path, percent-decoded.
    pub(super) path: String,
    /// What stands behind the question mark.
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    /// Whether the client wants to send more requests.
    pub(super) keep_alive: bool,
}

impl Head {
    /// Returns the first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    /// Returns the first parameter of this name in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().find_map(|(key, value)| (key == name).then_some(value))
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        form_urlencoded::parse(self.query.as_bytes())
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
    }

    /// Returns path and query.
    pub(super) fn target(&self) -> String {
        match self.query.as_str() {
            "" => self.path.clone(),
            query => format!("{}?{query}", self.path),
        }
    }

    fn parse(bytes: &[u8], port: u16) -> Result<Self, httparse::Error> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(bytes)?.is_partial() {
            return Err(httparse::Error::NewLine);
        }
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut head = Self {
            port,
            method: request.method.unwrap_or_default().to_owned(),
            path: text(&percent_encoding::percent_decode_str(path).collect::<Vec<u8>>()),
            query: query.to_owned(),
            headers: request
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), text(header.value)))
                .collect(),
            keep_alive: false,
        };
        let wish = head.header("Connection").unwrap_or_default().to_ascii_lowercase();
        head.keep_alive = request.version == Some(1) && wish != "close" || wish == "keep-alive";
        Ok(head)
    }
}

/// Is a connection; what is read from it goes through a buffer.
pub(super) struct Wire<S> {
    reader: BufReader<S>,
    port: u16,
}

/// Is what answers are written to and bodies read from, whatever carries it.
pub(super) trait Duplex: BufRead + Write {}

impl<S: Read + Write> Duplex for Wire<S> {}

impl<S: Read + Write> Wire<S> {
    /// Takes a connection that was made to this port.
    pub(super) fn new(stream: S, port: u16) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, stream), port }
    }

    /// Returns what carries the connection.
    pub(super) fn carrier(&mut self) -> &mut S {
        self.reader.get_mut()
    }

    /// Waits for the next request; `None` where the client has ended the connection instead.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for what is no head of HTTP/1, or one that is too long.
    pub(super) fn read_head(&mut self) -> io::Result<Option<Head>> {
        let mut bytes = Vec::new();
        // Clients try TLS first and send no line then, but wait for an answer.
        if self
            .reader
            .fill_buf()?
            .first()
            .is_some_and(|first| !matches!(first, b'A'..=b'Z' | b'\r'))
        {
            return Err(no_request("no request"));
        }
        loop {
            let left = MOST_HEAD_BYTES.saturating_sub(bytes.len() as u64);
            if (&mut self.reader).take(left).read_until(b'\n', &mut bytes)? == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(no_request("no end")) };
            }
            if bytes == b"\r\n" {
                // An empty line before a request is nothing (RFC 9112, section 2.2).
                bytes.clear();
            } else if bytes.ends_with(b"\r\n\r\n") {
                return Head::parse(&bytes, self.port).map(Some).map_err(no_request);
            }
        }
    }

    /// Sends an answer as far as it is to get; says how far that was. The bytes of its body follow
    /// the head unless `head_only`.
    pub(super) fn write_response(
        &mut self,
        mut response: Response,
        head_only: bool,
        keep_alive: bool,
    ) -> io::Result<Ending> {
        let most = match response.ending {
            Ending::NoAnswer => return Ok(Ending::NoAnswer),
            Ending::Cut { after } | Ending::Stall { after } => after,
            Ending::Whole => u64::MAX,
        };
        let chunked = response.framing == Framing::Chunks;
        let mut piece = response.head(keep_alive);
        let stream = self.reader.get_mut();
        let mut left = if head_only { 0 } else { response.length.min(most) };
        // The first piece goes out together with the head: most answers are one write.
        loop {
            let size = left.min(BUFFER_BYTES as u64);
            if chunked && size > 0 {
                write!(piece, "{size:x}\r\n")?;
            }
            if (&mut response.body).take(size).read_to_end(&mut piece)? as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if chunked && size > 0 {
                piece.extend(b"\r\n");
            }
            left -= size;
            if chunked && left == 0 && !head_only && response.ending == Ending::Whole {
                piece.extend(b"0\r\n\r\n");
            }
            stream.write_all(&piece)?;
            if left == 0 {
                stream.flush()?;
                return Ok(response.ending);
            }
            piece.clear();
        }
    }
}

impl<S: Read + Write> Read for Wire<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl<S: Read + Write> BufRead for Wire<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
    }
}

impl<S: Read + Write> Write for Wire<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reader.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.get_mut().flush()
    }
}

impl Response {
    fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut add = |name: &str, value: &str| {
            head.push_str(&format!("{name}: {value}\r\n"));
        };
        add("Docker-Distribution-Api-Version", "registry/2.0");
        let without_length = self.framing != Framing::Length;
        for (name, value) in &self.headers {
            if !(without_length && name.eq_ignore_ascii_case("Content-Length")) {
                add(name, value);
            }
        }
        // These two have no body at all (RFC 9110, section 8.6).
        let bodiless = matches!(self.status, 204 | 304);
        match self.framing {
            Framing::Chunks => add("Transfer-Encoding", "chunked"),
            Framing::Length if !bodiless && self.named("Content-Length").is_none() => {
                add("Content-Length", &self.length.to_string());
            }
            Framing::Close | Framing::Length => {}
        }
        if !keep_alive {
            add("Connection", "close");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn no_request(found: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, found.to_string())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unnamed",
    }
}

/// Is the largest piece that is read or written at once.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// Is the longest head that is read, the line of the request included.
const MOST_HEAD_BYTES: u64 = 64 << 10;

const MOST_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(input: &[u8]) -> Wire<io::Cursor<Vec<u8>>> {
        Wire::new(io::Cursor::new(input.to_vec()), 80)
    }

    #[test]
    fn reads_heads() {
        let mut wire = wire(
            b"\r\nGET /v2/a%2Fb/?n=1&last=%20x HTTP/1.1\r\nHost: h\r\nAccept:  a\r\n\r\n\
              PUT / HTTP/1.1\r\nConnection: Close\r\n\r\nHEAD / HTTP/1.0\r\n\r\n",
        );
        let head = wire.read_head().unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "/v2/a/b/"));
        assert_eq!(head.query, "n=1&last=%20x");
        assert_eq!(head.parameter("last").as_deref(), Some(" x"));
        assert_eq!(head.header("accept"), Some("a"));
        assert!(head.keep_alive);
        assert!(!wire.read_head().unwrap().unwrap().keep_alive);
        assert!(!wire.read_head().unwrap().unwrap().keep_alive);
        assert!(wire.read_head().unwrap().is_none());
    }

    #[test]
    fn refuses_what_is_no_head() {
        let endless = [b"GET / HTTP/1.1\r\n".as_slice(), &b"A: b\r\n".repeat(20_000)].concat();
        for bytes in
            [b"GET".as_slice(), b"GET / HTTP/2.0\r\n\r\n", b"\x16\x03\x01\r\n\r\n", &endless]
        {
            assert_eq!(wire(bytes).read_head().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
