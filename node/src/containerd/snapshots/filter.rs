//! Which snapshots are listed: containerd's filters.
//!
//! ```text
//! filter   = selector { "," selector }           all of them must hold
//! selector = path [ ( "==" | "!=" | "~=" ) value ]   without a value: it is there
//! path     = field { "." field }                 name, parent, kind, labels.KEY
//! field    = identifier | quoted
//! value    = quoted | anything up to a comma
//! ```
//!
//! Quoted texts stand in `"`, `/` or `|` and have Go's escapes. Source: containerd, `pkg/filters`.

use regex::{Regex, RegexBuilder};

use crate::containerd::store::SnapshotRecord;

/// Is a set of filters, of which one has to hold; without any, everything is listed.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    /// Parses filters.
    pub(crate) fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, FilterError> {
        let texts = texts.iter().map(AsRef::as_ref);
        texts.map(Filter::parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn match_snapshot(&self, name: &str, record: &SnapshotRecord) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.matches(name, record))
    }
}

/// Says where a text stops being a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{filter:?} is no filter: {expected} expected at byte {offset}")]
pub(crate) struct FilterError {
    filter: String,
    offset: usize,
    expected: &'static str,
}

#[derive(Debug)]
struct Filter(Vec<Selector>);

impl Filter {
    fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_BYTES {
            let filter = text.chars().take(100).collect();
            let expected = "no more than 16384 bytes";
            return Err(FilterError { filter, offset: MAX_FILTER_BYTES, expected });
        }
        let mut parser = Parser { text, offset: 0 };
        let mut selectors = Vec::new();
        parser.skip_spaces();
        if parser.rest().is_empty() {
            return Ok(Self(selectors));
        }
        loop {
            selectors.push(parser.selector()?);
            parser.skip_spaces();
            match parser.next() {
                None => return Ok(Self(selectors)),
                Some(',') => parser.skip_spaces(),
                Some(other) => {
                    parser.offset -= other.len_utf8();
                    return Err(parser.expected("a comma"));
                }
            }
        }
    }

    fn matches(&self, name: &str, record: &SnapshotRecord) -> bool {
        self.0.iter().all(|selector| selector.matches(name, record))
    }
}

#[derive(Debug)]
struct Selector {
    path: Vec<String>,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Equal(String),
    Matches(Regex),
    NotEqual(String),
    Present,
}

impl Selector {
    fn matches(&self, name: &str, record: &SnapshotRecord) -> bool {
        let value = self.value(name, record);
        match &self.condition {
            Condition::Present => value.is_some(),
            Condition::Equal(expected) => value == Some(expected),
            // What is not there counts as empty.
            Condition::NotEqual(unwanted) => value.unwrap_or_default() != unwanted,
            Condition::Matches(regex) => regex.is_match(value.unwrap_or_default()),
        }
    }

    fn value<'a>(&self, name: &'a str, record: &'a SnapshotRecord) -> Option<&'a str> {
        match self.path.split_first()? {
            (field, []) if field == "name" => Some(name),
            (field, []) if field == "parent" => Some(record.parent.as_deref().unwrap_or_default()),
            (field, []) if field == "kind" => Some(record.kind.name()),
            (field, key) if field == "labels" && !key.is_empty() => {
                record.labels.get(&key.join(".")).map(String::as_str)
            }
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector, FilterError> {
        let mut path = vec![self.field()?];
        while self.take(".") {
            path.push(self.field()?);
        }
        self.skip_spaces();
        let condition = if self.take("==") {
            Condition::Equal(self.value()?)
        } else if self.take("!=") {
            Condition::NotEqual(self.value()?)
        } else if self.take("~=") {
            let pattern = self.value()?;
            let built = RegexBuilder::new(&pattern).size_limit(MAX_REGEX_BYTES).build();
            Condition::Matches(built.map_err(|_| self.expected("a regular expression"))?)
        } else {
            Condition::Present
        };
        Ok(Selector { path, condition })
    }

    fn field(&mut self) -> Result<String, FilterError> {
        if let Some(quoted) = self.quoted()? {
            return Ok(quoted);
        }
        let is_in_field = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
        let rest = self.rest();
        let length = rest.find(|char| !is_in_field(char)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.expected("a field"));
        }
        self.offset += length;
        Ok(rest[..length].to_owned())
    }

    fn value(&mut self) -> Result<String, FilterError> {
        self.skip_spaces();
        if let Some(quoted) = self.quoted()? {
            return Ok(quoted);
        }
        let rest = self.rest();
        let length = rest.find(',').unwrap_or(rest.len());
        let value = rest[..length].trim_end();
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        self.offset += length;
        Ok(value.to_owned())
    }

    /// Takes a quoted text, if one is next.
    fn quoted(&mut self) -> Result<Option<String>, FilterError> {
        let Some(quote @ ('"' | '/' | '|')) = self.rest().chars().next() else { return Ok(None) };
        self.offset += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.expected("the closing quote")),
                Some(char) if char == quote => return Ok(Some(text)),
                Some('\\') => text.push(self.escape(quote)?),
                Some(char) => text.push(char),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, FilterError> {
        let digits = match self.next() {
            Some('a') => return Ok('\x07'),
            Some('b') => return Ok('\x08'),
            Some('f') => return Ok('\x0c'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\x0b'),
            Some(char) if char == '\\' || char == quote => return Ok(char),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.expected("an escape sequence")),
        };
        let code = self.rest().get(..digits).and_then(|text| u32::from_str_radix(text, 16).ok());
        let char = code.and_then(char::from_u32);
        let char = char.ok_or_else(|| self.expected("hexadecimal digits of a character"))?;
        self.offset += digits;
        Ok(char)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.offset += next.len_utf8();
        Some(next)
    }

    fn take(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.offset += token.len();
        }
        is_next
    }

    fn skip_spaces(&mut self) {
        self.offset = self.text.len() - self.rest().trim_start().len();
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError { filter: self.text.to_owned(), offset: self.offset, expected }
    }
}

/// Room for a label of 4096 bytes in each of several selectors.
const MAX_FILTER_BYTES: usize = 16 << 10;

/// How large a compiled regular expression may be.
const MAX_REGEX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::store::{Content, SnapshotKind, Time};

    fn matches(filter: &str) -> bool {
        let record = SnapshotRecord {
            id: 1,
            kind: SnapshotKind::Active,
            parent: Some("p".to_owned()),
            labels: [("l", "1"), ("containerd.io/gc.root", "check-walk"), ("a.b", "x,y")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            created: Time::now(),
            updated: Time::now(),
            content: Content::Nothing,
        };
        Filters::parse(&[filter]).unwrap().match_snapshot("default/1/a", &record)
    }

    #[test]
    fn selectors_hold_for_what_they_name() {
        for filter in [
            "",
            "name==default/1/a",
            "parent==p",
            "kind==active",
            "kind!=view",
            "labels.l",
            "labels.l==1",
            "labels.l == 1",
            "labels.\"containerd.io/gc.root\"==check-walk",
            "labels.\"containerd.io/gc.root\"==\"check-walk\"",
            "labels.a.b==\"x,y\"",
            "labels.\"a\".b==|x,y|",
            "labels.none!=1",
            "name~=^default/[0-9]+/",
            "name~=/^default\\/1/",
            "name~=\"a$\"",
            "kind==active,labels.\"containerd.io/gc.root\"==check-walk , labels.l",
            "name==\"\\x64efault\\u002f1/a\"",
        ] {
            assert!(matches(filter), "{filter}");
        }
        for filter in [
            "name==default/1",
            "kind==view",
            "labels.none",
            "labels.l==2",
            "labels.l!=1",
            "labels",
            "size",
            "size==1",
            "name~=^a",
            "kind==active,labels.none",
        ] {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn one_filter_of_several_is_enough() {
        let record = SnapshotRecord {
            id: 1,
            kind: SnapshotKind::View,
            parent: None,
            labels: Default::default(),
            created: Time::now(),
            updated: Time::now(),
            content: Content::Nothing,
        };
        let filters = |texts: &[&str]| Filters::parse(texts).unwrap().match_snapshot("v", &record);
        assert!(filters(&["kind==active", "name==v"]));
        assert!(!filters(&["kind==active", "name==w"]));
        assert!(filters(&[]));
        assert!(filters(&["parent==\"\""]));
    }

    #[test]
    fn other_texts_are_refused_where_they_go_wrong() {
        for (filter, offset) in [
            ("=", 0),
            ("name==", 6),
            ("name=x", 4),
            ("name==x,", 8),
            ("name,,parent", 5),
            ("labels.", 7),
            ("labels.\"x", 9),
            ("name==\"\\q\"", 9),
            ("name==\"\\ud800\"", 9),
            ("name~=(", 7),
            ("name x", 5),
        ] {
            let error = Filters::parse(&[filter]).unwrap_err();
            assert_eq!(error.offset, offset, "{error}");
        }
        let long = format!("name=={}", "x".repeat(MAX_FILTER_BYTES));
        assert!(Filters::parse(&[long]).is_err());
        let large = "name~=(a{1000}){1000}";
        assert!(Filters::parse(&[large]).is_err());
    }
}
