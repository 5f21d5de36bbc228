//! Words from elsewhere on a terminal.

use std::fmt::{self, Write as _};

/// Writes a text without what a terminal would take for more than letters: control characters are escaped.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter.is_control() {
            true => write!(formatter, "{}", letter.escape_default()),
            false => formatter.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        let text = "\"ä\" \\ \u{1b}[31m\n\u{9b}";
        assert_eq!(Printable(text).to_string(), "\"ä\" \\ \\u{1b}[31m\\n\\u{9b}");
    }
}
