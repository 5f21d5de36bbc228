//! The fields of a record: `key=value`, separated by spaces.

/// Walks through the fields of a record in order. Words that are no fields are left out.
///
/// Three fields do not follow the rule that a quotation mark ends a value, and each has its own end: a `rule`
/// holds the names of algorithms in quotation marks, and the name of a policy may hold any byte but white space.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// Is the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// As it is: a number, a word, `?`, or a string in hexadecimal digits.
    Bare(&'a [u8]),
    /// Began with a quotation mark, and the record ends before the second one.
    CutOff(&'a [u8]),
    /// What was between quotation marks.
    Quoted(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.is_empty() {
                return None;
            }
            let key_end = self.rest.iter().position(|byte| *byte == b'=' || *byte == b' ');
            match key_end {
                Some(end) if self.rest[end] == b'=' => {
                    let key = &self.rest[..end];
                    let (value, rest) = value(key, &self.rest[end + 1..]);
                    self.rest = rest;
                    return Some((key, value));
                }
                Some(end) => self.rest = &self.rest[end..],
                None => self.rest = b"",
            }
        }
    }
}

/// Splits the value off that belongs to `key`.
fn value<'a>(key: &[u8], text: &'a [u8]) -> (Value<'a>, &'a [u8]) {
    let bare = || {
        let (word, rest) = text.split_at(word_end(text));
        (Value::Bare(word), rest)
    };
    let quotation_mark = match text.first() {
        Some(mark @ (b'"' | b'\'')) => *mark,
        _ => return bare(),
    };
    let inner = &text[1..];
    let end = match key {
        b"rule" => rule_end(inner),
        _ if key.ends_with(b"policy_name") || key.ends_with(b"pol_name") => {
            inner[..word_end(inner)].iter().rposition(|byte| *byte == b'"')
        }
        _ => inner.iter().position(|byte| *byte == quotation_mark),
    };
    match end {
        Some(end) => (Value::Quoted(&inner[..end]), &inner[end + 1..]),
        None => (Value::CutOff(inner), b""),
    }
}

/// Finds the quotation mark behind the action, with which every rule ends.
///
/// An algorithm can be named like an action, but not with a space in front: the kernel writes names with a space in
/// hexadecimal digits.
fn rule_end(text: &[u8]) -> Option<usize> {
    let ends = [&b"action=DENY\""[..], b"action=ALLOW\""].map(|action| {
        let position = text
            .windows(action.len())
            .enumerate()
            .position(|(at, window)| window == action && (at == 0 || text[at - 1] == b' '))?;
        Some(position + action.len() - 1)
    });
    let known = ends.into_iter().flatten().min();
    // An action of the future: the rule was always the last field.
    known.or_else(|| text.iter().rposition(|byte| *byte == b'"'))
}

fn word_end(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b' ').unwrap_or(text.len())
}

impl<'a> Value<'a> {
    /// Returns the string that the kernel wrote as untrusted: in quotation marks, or in hexadecimal digits where it holds a
    /// quotation mark, a space, a control character or a byte beyond ASCII. None where there is none.
    ///
    /// Source: `kernel/audit.c`, `audit_log_n_untrustedstring`.
    pub(super) fn untrusted(self) -> Option<Vec<u8>> {
        match self {
            Self::Bare(b"?" | b"(null)" | b"(none)" | b"") => None,
            Self::Bare(word) => Some(hex::decode(word).unwrap_or_else(|_| word.to_vec())),
            Self::CutOff(text) | Self::Quoted(text) => Some(text.to_vec()),
        }
    }

    /// Returns the bytes as they are; none for `?`.
    pub(super) fn literal(self) -> Option<&'a [u8]> {
        match self {
            Self::Bare(b"?" | b"(null)" | b"(none)" | b"") => None,
            Self::Bare(text) | Self::CutOff(text) | Self::Quoted(text) => Some(text),
        }
    }

    /// Parses a number, or whatever else reads itself from text.
    pub(super) fn parse<T: std::str::FromStr>(self) -> Option<T> {
        std::str::from_utf8(self.literal()?).ok()?.parse().ok()
    }

    /// Reads `0` or `1`.
    pub(super) fn truth(self) -> Option<bool> {
        match self.literal()? {
            b"0" | b"no" => Some(false),
            b"1" | b"yes" => Some(true),
            _ => None,
        }
    }

    /// Tells whether the record ended within the value.
    pub(super) fn is_cut_off(self) -> bool {
        matches!(self, Self::CutOff(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = |(key, value): (&[u8], Value<'_>)| match value {
            Value::Bare(word) => format!("{}={}", text(key), text(word)),
            Value::CutOff(word) => format!("{}=[{}", text(key), text(word)),
            Value::Quoted(word) => format!("{}=[{}]", text(key), text(word)),
        };
        Fields::of(body.as_bytes()).map(shown).collect()
    }

    #[test]
    fn fields_end_where_they_should() {
        let body = r#"a=1 noise b="x y" c='it is "so"' d= e=?"#;
        assert_eq!(shown(body), ["a=1", "b=[x y]", r#"c=[it is "so"]"#, "d=", "e=?"]);
        assert_eq!(shown(""), [""; 0]);
        assert_eq!(shown(r#"path="/cut"#), ["path=[/cut"]);
    }

    #[test]
    fn a_rule_holds_quotation_marks_and_fields_may_follow() {
        let rule = r#"op=EXECUTE dmverity_roothash="sha256":16B6 action=DENY"#;
        assert_eq!(
            shown(&format!(r#"ino=3 rule="{rule}" new="x""#)),
            ["ino=3".to_owned(), format!("rule=[{rule}]"), "new=[x]".to_owned()]
        );
        let hostile = r#"op=EXECUTE dmverity_roothash="action=DENY":AB action=ALLOW"#;
        assert_eq!(
            shown(&format!(r#"rule="{hostile}" action=DENY"#)),
            [format!("rule=[{hostile}]"), "action=DENY".to_owned()]
        );
        assert_eq!(shown(r#"rule="op=X action=LOG""#), ["rule=[op=X action=LOG]"]);
        assert_eq!(shown(r#"rule="op=EXECUTE dmver"#), ["rule=[op=EXECUTE dmver"]);
    }

    #[test]
    fn a_name_holds_quotation_marks_and_equals_signs() {
        assert_eq!(
            shown(r#"policy_name="a"b'c=" policy_version=1.0.0"#),
            [r#"policy_name=[a"b'c=]"#, "policy_version=1.0.0"]
        );
        assert_eq!(shown(r#"old_active_pol_name=? x=1"#), ["old_active_pol_name=?", "x=1"]);
    }

    #[test]
    fn untrusted_strings_are_decoded() {
        assert_eq!(Value::Quoted(b"/a").untrusted().unwrap(), b"/a");
        let memfd = Value::Bare(b"2F6D656D66643A6D202864656C6574656429");
        assert_eq!(memfd.untrusted().unwrap(), b"/memfd:m (deleted)");
        assert_eq!(Value::Bare(b"?").untrusted(), None);
        // A quoted string of digits is what it says.
        assert_eq!(Value::Quoted(b"2F61").untrusted().unwrap(), b"2F61");
        assert_eq!(Value::Bare(b"/old").untrusted().unwrap(), b"/old");
    }
}
