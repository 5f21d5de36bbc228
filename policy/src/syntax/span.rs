//! Places in a text.

use std::ops::Range;

/// Is a piece of a text, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// Is the piece from `start` to `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the bytes of the piece, none where the text is another one and shorter.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(Range::from(self)).unwrap_or_default()
    }

    /// Returns the piece from the start of this to the end of `last`.
    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start..span.end
    }
}

/// Is a place as editors name it: both numbers start with 1, and a column is a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Returns the line and the column of an offset; LF, CR and CRLF each end a line.
pub fn position(text: &[u8], offset: usize) -> Position {
    let before = &text[..offset.min(text.len())];
    let mut line = 1;
    let mut start = 0;
    for (index, &byte) in before.iter().enumerate() {
        let ends_line = byte == b'\n' || (byte == b'\r' && text.get(index + 1) != Some(&b'\n'));
        if ends_line {
            line += 1;
            start = index + 1;
        }
    }
    Position { line, column: characters(&before[start..]) + 1 }
}

/// Counts characters of UTF-8; a byte that belongs to none counts as one.
pub(crate) fn characters(bytes: &[u8]) -> usize {
    bytes.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_ending_counts_once() {
        let text = b"a\nb\r\nc\rd\n\xc3\xa4x\xffy";
        let at = |offset| {
            let Position { line, column } = position(text, offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (2, 1));
        assert_eq!(at(5), (3, 1));
        assert_eq!(at(7), (4, 1));
        assert_eq!(at(9), (5, 1));
        assert_eq!(at(11), (5, 2));
        assert_eq!(at(13), (5, 4));
        assert_eq!(at(1000), (5, 5));
    }
}
