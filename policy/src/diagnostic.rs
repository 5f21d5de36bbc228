//! What is to be said about a policy, and how it is shown.

use std::fmt;

use libverity::errno::Errno;

use crate::syntax::{Position, Span, SyntaxError, position};

/// Is one thing to be said about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The number of the lint; none where the kernel itself refuses.
    pub code: Option<&'static str>,
    /// The number with which the kernel refuses, if it does.
    pub errno: Option<Errno>,
    /// What is wrong.
    pub message: String,
    /// Where; none where it is not in the text.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: String,
}

/// Tells how bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy works and may be meant so.
    Warning,
    /// The kernel refuses it, or it cannot be meant so.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl Diagnostic {
    /// Returns the place of the first character, if it has one.
    pub fn position(&self, text: &[u8]) -> Option<Position> {
        self.span.map(|span| position(text, span.start))
    }

    /// Shows it with the line of the text that it is about.
    pub fn show<'a>(&'a self, file: &'a str, text: &'a [u8]) -> Shown<'a> {
        Shown { diagnostic: self, file, text }
    }
}

impl From<&SyntaxError> for Diagnostic {
    fn from(error: &SyntaxError) -> Self {
        Self {
            severity: Severity::Error,
            code: None,
            errno: Some(error.errno()),
            message: error.to_string(),
            span: Some(error.span),
            help: error.help(),
        }
    }
}

/// Is a diagnostic with file, line, column, and a caret under what is meant.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    file: &'a str,
    text: &'a [u8],
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { severity, code, errno, message, span, help } = self.diagnostic;
        let label = match (code, errno) {
            (Some(code), Some(errno)) => format!("[{code}, {errno}]"),
            (Some(code), None) => format!("[{code}]"),
            (None, Some(errno)) => format!("[{errno}]"),
            (None, None) => String::new(),
        };
        writeln!(formatter, "{severity}{label}: {}", printable(message))?;
        let margin = match span {
            Some(span) => excerpt(formatter, self.file, self.text, *span)?,
            None => {
                writeln!(formatter, " --> {}", printable(self.file))?;
                1
            }
        };
        writeln!(formatter, "{:margin$} = help: {}", "", printable(help))
    }
}

/// Shows a line and what is meant in it, and returns how wide the line's number is.
fn excerpt(
    formatter: &mut fmt::Formatter<'_>,
    file: &str,
    text: &[u8],
    span: Span,
) -> Result<usize, fmt::Error> {
    let Position { line, column } = position(text, span.start);
    let number = line.to_string();
    let margin = number.len();
    let is_end = |byte: &u8| b"\n\r".contains(byte);
    let at = span.start.min(text.len());
    let start = text[..at].iter().rposition(is_end).map_or(0, |end| end + 1);
    let end = text[at..].iter().position(is_end).map_or(text.len(), |end| at + end);
    // Of a long line, a window around the place is shown.
    let from = start.max(at.saturating_sub(WINDOW_BEFORE_BYTES));
    let to = end.min(at + WINDOW_BEHIND_BYTES);
    let meant = Span::new(at, span.end.clamp(at, to));
    let before = shown(&text[from..at]);
    let [cut_before, cut_behind] = [from > start, to < end].map(|cut| if cut { "…" } else { "" });
    let width = shown(meant.of(text)).chars().count().max(1);
    let indent = before.chars().count() + cut_before.chars().count();
    writeln!(formatter, "{:margin$}--> {}:{line}:{column}", "", printable(file))?;
    writeln!(formatter, "{:margin$} |", "")?;
    let line = shown(&text[at..to]);
    writeln!(formatter, "{number} | {cut_before}{before}{line}{cut_behind}")?;
    writeln!(formatter, "{:margin$} | {:indent$}{}", "", "", "^".repeat(width))?;
    Ok(margin)
}

/// Makes bytes printable, one character for one: nothing in a policy may move a terminal's cursor.
fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown.extend(chunk.valid().chars().map(|character| match character {
            '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            other => other,
        }));
        shown.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    shown
}

fn printable(text: &str) -> String {
    shown(text.as_bytes())
}

const WINDOW_BEFORE_BYTES: usize = 60;

const WINDOW_BEHIND_BYTES: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8], start: usize, end: usize) -> String {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code: None,
            errno: Some(Errno::EBADMSG),
            message: "this is wrong".to_owned(),
            span: Some(Span::new(start, end)),
            help: "write something else".to_owned(),
        };
        diagnostic.show("node.policy", text).to_string()
    }

    #[test]
    fn the_caret_is_under_what_is_meant() {
        let text = b"first\n\xc3\xa4\tsecond\x1b line\r\nthird";
        assert_eq!(
            of(text, 9, 15),
            "error[EBADMSG]: this is wrong\n \
             --> node.policy:2:3\n  \
             |\n\
             2 | ä second\u{fffd} line\n  \
             |   ^^^^^^\n  \
             = help: write something else\n"
        );
    }

    #[test]
    fn the_end_of_a_text_has_a_place_too() {
        assert!(of(b"", 0, 0).contains("node.policy:1:1\n  |\n1 | \n  | ^\n"));
        assert!(of(b"a\nb", 3, 3).contains("node.policy:2:2\n  |\n2 | b\n  |  ^\n"));
        assert!(of(b"a", 70, 90).contains("node.policy:1:2"));
    }

    #[test]
    fn of_a_long_line_a_piece_is_shown() {
        let text = [b"a".repeat(5000), b"wrong".to_vec(), b"b".repeat(5000)].concat();
        let shown = of(&text, 5000, 5005);
        assert!(shown.contains("node.policy:1:5001\n"), "{shown}");
        assert!(shown.contains("| …aaa") && shown.contains("bbb…\n"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
        let column = |line: &str, what| line.find(what).map(|byte| line[..byte].chars().count());
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(column(lines[3], "wrong"), column(lines[4], "^^^^^"));
    }
}
