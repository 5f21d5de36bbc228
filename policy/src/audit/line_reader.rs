//! Lines of any length in constant memory.

use std::io::{self, Read};

/// Splits what a source gives into lines, and leaves out those that are too long.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: Box<[u8]>,
    /// What of the buffer is filled and not yet given away.
    start: usize,
    end: usize,
    /// The line at hand is too long, and its rest is thrown away.
    skips: bool,
    is_at_end: bool,
}

/// Is what comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing will come any more.
    End,
    /// Nothing is there at the moment.
    Idle,
    /// A line, without its end.
    Text(&'a [u8]),
    /// A line of more than [`LINE_LIMIT_BYTES`], which was left out.
    TooLong,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = vec![0; LINE_LIMIT_BYTES + 1].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, skips: false, is_at_end: false }
    }

    pub(super) fn source(&self) -> &R {
        &self.source
    }

    /// Returns the next line; a last one without an end counts once the source has ended.
    pub(super) fn next(&mut self) -> io::Result<Line<'_>> {
        let mut searched = self.start;
        loop {
            let newline = self.buffer[searched..self.end].iter().position(|byte| *byte == b'\n');
            if let Some(position) = newline {
                let (start, end) = (self.start, searched + position);
                self.start = end + 1;
                return Ok(match std::mem::take(&mut self.skips) {
                    true => Line::TooLong,
                    false => Line::Text(&self.buffer[start..end]),
                });
            }
            if self.is_at_end {
                let (start, end) = (self.start, self.end);
                self.start = end;
                return Ok(match std::mem::take(&mut self.skips) {
                    true => Line::TooLong,
                    false if start == end => Line::End,
                    false => Line::Text(&self.buffer[start..end]),
                });
            }
            if self.skips {
                (self.start, self.end) = (0, 0);
            } else if self.end == self.buffer.len() {
                if self.start == 0 {
                    self.skips = true;
                    self.end = 0;
                } else {
                    self.buffer.copy_within(self.start..self.end, 0);
                    (self.start, self.end) = (0, self.end - self.start);
                }
            }
            searched = self.end;
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(count) => self.end += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(Line::Idle),
                    _ => return Err(error),
                },
            }
        }
    }
}

/// The longest line that is read. The kernel's longest record has 8,970 bytes (`MAX_AUDIT_MESSAGE_LENGTH`); a journal may
/// write each byte of it as a number of three digits and a comma, beside fields of its own.
pub(super) const LINE_LIMIT_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one by one, with nothing to read between them.
    struct Pieces(Vec<Option<Vec<u8>>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let Some(mut piece) = self.0.remove(0) else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            let rest = piece.split_off(count);
            if !rest.is_empty() {
                self.0.insert(0, Some(rest));
            }
            Ok(count)
        }
    }

    fn shown(reader: &mut LineReader<impl Read>) -> String {
        match reader.next().unwrap() {
            Line::End => "end".to_owned(),
            Line::Idle => "idle".to_owned(),
            Line::Text(line) => {
                format!("{} bytes {}", line.len(), line.escape_ascii()).chars().take(20).collect()
            }
            Line::TooLong => "too long".to_owned(),
        }
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let pieces = [Some("a\nb"), None, Some("c\n\nlast"), None];
        let pieces = pieces.map(|piece| piece.map(|piece| piece.as_bytes().to_vec()));
        let mut reader = LineReader::new(Pieces(pieces.to_vec()));
        let all: Vec<_> = (0..7).map(|_| shown(&mut reader)).collect();
        let expected =
            ["1 bytes a", "idle", "2 bytes bc", "0 bytes ", "idle", "4 bytes last", "end"];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_the_next_line_is_not() {
        let long = vec![b'x'; LINE_LIMIT_BYTES + 1];
        let longer = vec![b'x'; 1 << 20];
        let fits = vec![b'y'; LINE_LIMIT_BYTES];
        let text = [&b"a"[..], &long, &longer, &fits, b"b", &longer].join(&b'\n');
        let mut reader = LineReader::new(&text[..]);
        let all: Vec<_> = (0..7).map(|_| shown(&mut reader)).collect();
        let fits = format!("{LINE_LIMIT_BYTES} bytes yyyyyyy");
        let expected = ["1 bytes a", "too long", "too long", &fits, "1 bytes b", "too long", "end"];
        assert_eq!(all, expected);
    }
}
