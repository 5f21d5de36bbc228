//! Lines, comments and words, as the kernel cuts them.

use super::span::Span;

/// Is a line without the byte that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What counts: up to the comment, and without white space at the end.
    pub(crate) code: Span,
    /// From the `#` to the end of the line.
    pub(crate) comment: Option<Span>,
}

/// Returns the part of a text that the kernel reads: its functions for strings stop at a NUL byte.
pub(crate) fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Cuts a text into lines, at each LF and each CR; there is always one more than there are of those.
///
/// Source: `security/ipe/policy_parser.c`, `ipe_parse_policy`, `remove_comment` and
/// `remove_trailing_spaces`.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line> + '_ {
    let mut start = 0;
    text.split(|byte| b"\n\r".contains(byte)).map(move |line| {
        let end = start + line.len();
        let hash = line.iter().position(|&byte| byte == b'#');
        let code = &line[..hash.unwrap_or(line.len())];
        let length =
            code.iter().rposition(|byte| !SPACES.contains(byte)).map_or(0, |last| last + 1);
        let line = Line {
            code: Span::new(start, start + length),
            comment: hash.map(|hash| Span::new(start + hash, end)),
        };
        start = end + 1;
        line
    })
}

/// Cuts the code of a line into words, at spaces and tabs alone.
pub(crate) fn words(text: &[u8], code: Span) -> impl Iterator<Item = Span> + '_ {
    let mut start = code.start;
    code.of(text)
        .split(|byte| b" \t".contains(byte))
        .map(move |word| {
            let span = Span::new(start, start + word.len());
            start = span.end + 1;
            span
        })
        .filter(|span| span.start < span.end)
}

/// The kernel's `isspace`, which counts the no-break space of Latin-1 (`lib/ctype.c`).
const SPACES: &[u8] = b" \t\n\x0b\x0c\r\xa0";

#[cfg(test)]
mod tests {
    use super::*;

    /// Is the words of a line, and its comment.
    type Cut<'a> = (Vec<&'a [u8]>, Option<&'a [u8]>);

    fn cut(text: &[u8]) -> Vec<Cut<'_>> {
        lines(text)
            .map(|line| {
                let words = words(text, line.code).map(|span| span.of(text)).collect();
                (words, line.comment.map(|span| span.of(text)))
            })
            .collect()
    }

    #[test]
    fn lines_end_at_either_byte_and_words_at_spaces_and_tabs() {
        let expected: [Cut<'_>; 5] = [
            (vec![b"a", b"b"], None),
            (vec![], None),
            (vec![b"c"], Some(b"# d # e ")),
            (vec![b"f\x0bg"], None),
            (vec![], Some(b"#")),
        ];
        assert_eq!(cut(b"\t a \t b \xa0\x0b\r\nc# d # e \rf\x0bg\n #"), expected);
        assert_eq!(cut(b""), [(vec![], None)]);
        assert_eq!(until_nul(b"a\0b"), b"a");
    }
}
