//! The parser: the kernel's own, statement by statement.

use super::error::{SyntaxError, SyntaxErrorKind, SyntaxErrors};
use super::lexer::{Line, lines, until_nul, words};
use super::span::Span;
use super::tree::{
    DefaultRule, DigestValue, HeaderLine, Policy, Property, Rule, Spanned, Statement,
};
use crate::kernel_version::KernelVersion;
use crate::version::PolicyVersion;
use crate::vocabulary::{Action, Operation, PropertyName};

/// Parses a policy as `kernel` does when it is loaded under a new name.
///
/// # Errors
///
/// Returns what the kernel refuses, the first of it first; behind that the parser goes on with the next
/// line, up to a hundred errors.
///
/// Source: `security/ipe/policy_parser.c`, `digest.c` and `policy_fs.c`; `lib/parser.c`.
pub fn parse(text: &[u8], kernel: KernelVersion) -> Result<Policy, SyntaxErrors> {
    let mut parser = Parser {
        text: until_nul(text),
        is_utf16: is_utf16(text),
        kernel,
        header: None,
        statements: Vec::new(),
        errors: Vec::new(),
    };
    for line in lines(parser.text).filter(|line| line.code.start < line.code.end) {
        if let Err(kind) = parser.line(&line) {
            parser.refuse(kind, &line);
            if parser.errors.len() == MAX_ERRORS || parser.is_no_text() {
                break;
            }
        }
    }
    parser.finish()
}

/// The most errors that are found in one text.
const MAX_ERRORS: usize = 100;

/// Is what is wrong, and where.
type Wrong = (SyntaxErrorKind, Span);

struct Parser<'a> {
    text: &'a [u8],
    is_utf16: bool,
    kernel: KernelVersion,
    /// None before the first line; none in it where that line is wrong.
    header: Option<Option<HeaderLine>>,
    statements: Vec<Statement>,
    errors: Vec<SyntaxError>,
}

impl Parser<'_> {
    fn line(&mut self, line: &Line) -> Result<(), Wrong> {
        if self.header.is_none() {
            self.header = Some(None);
            self.header = Some(Some(self.header_line(line)?));
        } else {
            let statement = self.statement(line)?;
            self.statements.push(statement);
        }
        Ok(())
    }

    /// Source: `parse_header`.
    fn header_line(&self, line: &Line) -> Result<HeaderLine, Wrong> {
        let mut words = words(self.text, line.code);
        let mut value = |key: &'static str, example| {
            let Some(word) = words.next() else {
                return Err((
                    SyntaxErrorKind::HeaderIncomplete { missing: example },
                    Span::new(line.code.end, line.code.end),
                ));
            };
            match word.of(self.text).strip_prefix(key.as_bytes()) {
                Some(value) if !value.is_empty() => {
                    let span = Span::new(word.start + key.len(), word.end);
                    Ok(Spanned { value: value.to_vec(), span })
                }
                _ => Err((self.not_a_header(word), word)),
            }
        };
        let name = value("policy_name=", "policy_name=NAME")?;
        let version = value("policy_version=", "policy_version=1.0.0")?;
        let number: PolicyVersion = String::from_utf8_lossy(&version.value)
            .parse()
            .map_err(|error| (SyntaxErrorKind::Version(error), version.span))?;
        if let Some(word) = words.next() {
            return Err((SyntaxErrorKind::HeaderExpected { found: self.excerpt(word) }, word));
        }
        let version = Spanned { value: number, span: version.span };
        Ok(HeaderLine { name, version, span: line.code })
    }

    fn not_a_header(&self, word: Span) -> SyntaxErrorKind {
        if self.text.starts_with(b"\xef\xbb\xbf") {
            return SyntaxErrorKind::ByteOrderMark;
        }
        if self.is_utf16 {
            return SyntaxErrorKind::Utf16;
        }
        SyntaxErrorKind::HeaderExpected { found: self.excerpt(word) }
    }

    /// Source: `parse_rule`. The last word is read last, after all others were taken.
    fn statement(&self, line: &Line) -> Result<Statement, Wrong> {
        let mut words: Vec<_> = words(self.text, line.code).collect();
        let last = words.pop().unwrap_or(line.code);
        let mut is_default = false;
        let mut operation = None;
        let mut properties = Vec::new();
        for (index, &word) in words.iter().enumerate() {
            if index == 0 && word.of(self.text) == b"DEFAULT" {
                is_default = true;
            } else if operation.is_none() {
                operation = Some(self.operation(word)?);
            } else {
                properties.push(self.property(word)?);
            }
        }
        let action = self.action(last)?;
        let span = line.code;
        if is_default {
            return self.default_rule(DefaultRule { operation, action, span }, &properties);
        }
        let operation = operation.ok_or_else(|| {
            (SyntaxErrorKind::OperationExpected { found: self.excerpt(last) }, last)
        })?;
        Ok(Statement::Rule(Rule { operation, properties, action, span }))
    }

    fn default_rule(
        &self,
        default: DefaultRule,
        properties: &[Spanned<Property>],
    ) -> Result<Statement, Wrong> {
        if let Some(property) = properties.first() {
            return Err((SyntaxErrorKind::DefaultWithProperty, property.span));
        }
        let operation = default.operation.map(|operation| operation.value);
        let is_same = |statement: &Statement| {
            matches!(statement, Statement::Default(other)
                if other.operation.map(|operation| operation.value) == operation)
        };
        if self.statements.iter().any(is_same) {
            return Err((SyntaxErrorKind::DefaultRepeated { operation }, default.span));
        }
        Ok(Statement::Default(default))
    }

    fn operation(&self, word: Span) -> Result<Spanned<Operation>, Wrong> {
        let bytes = word.of(self.text);
        if bytes.starts_with(b"policy_name=") {
            return Err((SyntaxErrorKind::HeaderRepeated, word));
        }
        let Some(name) = bytes.strip_prefix(b"op=") else {
            return Err((SyntaxErrorKind::OperationExpected { found: self.excerpt(word) }, word));
        };
        let known = self.kernel.operations().iter();
        let found = known.copied().find(|operation| operation.keyword().as_bytes() == name);
        let value = found.ok_or_else(|| {
            let name = Span::new(word.start + 3, word.end);
            (SyntaxErrorKind::OperationUnknown { found: self.excerpt(name) }, word)
        })?;
        Ok(Spanned { value, span: word })
    }

    fn action(&self, word: Span) -> Result<Spanned<Action>, Wrong> {
        let value = match word.of(self.text) {
            b"action=ALLOW" => Action::Allow,
            b"action=DENY" => Action::Deny,
            _ => {
                return Err((SyntaxErrorKind::ActionExpected { found: self.excerpt(word) }, word));
            }
        };
        Ok(Spanned { value, span: word })
    }

    /// Source: `parse_property`.
    fn property(&self, word: Span) -> Result<Spanned<Property>, Wrong> {
        let unknown = || (SyntaxErrorKind::PropertyUnknown { found: self.excerpt(word) }, word);
        let bytes = word.of(self.text);
        let equals = bytes.iter().position(|&byte| byte == b'=').ok_or_else(unknown)?;
        let (key, value) = (&bytes[..equals], &bytes[equals + 1..]);
        let known = self.kernel.properties().iter().copied();
        let name =
            known.clone().find(|name| name.keyword().as_bytes() == key).ok_or_else(unknown)?;
        let span = Span::new(word.start + equals + 1, word.end);
        let truth = || match value {
            b"TRUE" => Ok(true),
            b"FALSE" => Ok(false),
            _ => {
                let found = self.excerpt(span);
                Err((SyntaxErrorKind::PropertyValue { property: name, found }, word))
            }
        };
        if name.takes_digest() && value.is_empty() {
            return Err(unknown());
        }
        let value = match name {
            PropertyName::BootVerified => Property::BootVerified(truth()?),
            PropertyName::DmVerityRootHash => Property::DmVerityRootHash(self.digest(span)?),
            PropertyName::DmVeritySignature => Property::DmVeritySignature(truth()?),
            PropertyName::FsVerityDigest => Property::FsVerityDigest(self.digest(span)?),
            PropertyName::FsVeritySignature => Property::FsVeritySignature(truth()?),
        };
        Ok(Spanned { value, span: word })
    }

    /// Source: `ipe_digest_parse`.
    fn digest(&self, span: Span) -> Result<DigestValue, Wrong> {
        let value = span.of(self.text);
        let Some(colon) = value.iter().position(|&byte| byte == b':') else {
            return Err((SyntaxErrorKind::DigestWithoutAlgorithm, span));
        };
        let digits = Span::new(span.start + colon + 1, span.end);
        let bytes = hex::decode(digits.of(self.text)).map_err(|error| {
            let span = match error {
                hex::FromHexError::InvalidHexCharacter { index, .. } => {
                    Span::new(digits.start + index, digits.start + index + 1)
                }
                _ => digits,
            };
            let reason = match error {
                hex::FromHexError::InvalidHexCharacter { c, .. } => format!("{c:?} is no digit"),
                _ => format!("it has {} digits", digits.of(self.text).len()),
            };
            (SyntaxErrorKind::DigestNotHexadecimal { reason }, span)
        })?;
        Ok(DigestValue { algorithm: value[..colon].to_vec(), bytes })
    }

    /// Takes note of what is wrong with a line.
    fn refuse(&mut self, (kind, span): Wrong, line: &Line) {
        let touches = |comment: Span| comment.start == line.code.end;
        let cut_by_comment = span.end == line.code.end && line.comment.is_some_and(touches);
        self.errors.push(SyntaxError { kind, span, kernel: self.kernel, cut_by_comment });
    }

    /// Tells whether what was found makes it pointless to go on.
    fn is_no_text(&self) -> bool {
        use SyntaxErrorKind::{ByteOrderMark, HeaderExpected, Utf16};

        matches!(&self.errors[..], [error]
            if matches!(error.kind, ByteOrderMark | Utf16)
                || matches!(&error.kind, HeaderExpected { found } if found.contains('\u{fffd}')))
    }

    fn finish(mut self) -> Result<Policy, SyntaxErrors> {
        let header = match self.header.take() {
            Some(header) => header,
            None => {
                let kind = match self.is_utf16 {
                    true => SyntaxErrorKind::Utf16,
                    false => SyntaxErrorKind::Empty,
                };
                self.refuse_all(kind, Span::default());
                None
            }
        };
        match header {
            Some(header) if self.errors.is_empty() => {
                let policy = Policy { kernel: self.kernel, header, statements: self.statements };
                let wrong = check_defaults(&policy).and_then(|()| check_name(&policy));
                wrong.map(|()| policy).map_err(|(kind, span)| SyntaxErrors {
                    errors: vec![SyntaxError {
                        kind,
                        span,
                        kernel: self.kernel,
                        cut_by_comment: false,
                    }],
                })
            }
            _ => Err(SyntaxErrors { errors: self.errors }),
        }
    }

    fn refuse_all(&mut self, kind: SyntaxErrorKind, span: Span) {
        self.errors.push(SyntaxError { kind, span, kernel: self.kernel, cut_by_comment: false });
    }

    /// Shortens what an error quotes, and makes it printable.
    fn excerpt(&self, word: Span) -> String {
        let bytes = word.of(self.text);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_EXCERPT)]);
        let printable = |character: char| match character.is_control() {
            true => '\u{fffd}',
            false => character,
        };
        let mut excerpt: String = text.chars().map(printable).take(MAX_EXCERPT).collect();
        if text.chars().count() > MAX_EXCERPT || bytes.len() > 4 * MAX_EXCERPT {
            excerpt.push('…');
        }
        excerpt
    }
}

/// Tells whether a text, which the kernel refuses in any case, is in UTF-16 of either byte order.
fn is_utf16(text: &[u8]) -> bool {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => *first != 0 && *second != 0,
        _ => false,
    }
}

/// Source: `validate_policy`.
fn check_defaults(policy: &Policy) -> Result<(), Wrong> {
    if policy.global_default().is_some() {
        return Ok(());
    }
    let operations = policy.kernel.operations().iter().copied();
    let missing: Vec<_> =
        operations.filter(|&operation| policy.default_of(operation).is_none()).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err((SyntaxErrorKind::DefaultsMissing { missing }, policy.header.span)),
    }
}

/// The name becomes a directory once all else was read.
///
/// Source: `security/ipe/policy_fs.c`, `ipe_new_policyfs_node`; `fs/namei.c`, `lookup_one_common`;
/// `fs/libfs.c`, `simple_lookup`.
fn check_name(policy: &Policy) -> Result<(), Wrong> {
    let name = &policy.header.name;
    if [&b"."[..], b".."].contains(&&name.value[..]) || name.value.contains(&b'/') {
        let name_text = String::from_utf8_lossy(&name.value).chars().take(MAX_EXCERPT).collect();
        return Err((SyntaxErrorKind::NameNotADirectory { name: name_text }, name.span));
    }
    match name.value.len() {
        bytes @ 256.. => Err((SyntaxErrorKind::NameTooLong { bytes }, name.span)),
        _ => Ok(()),
    }
}

/// How many characters of a word an error quotes.
const MAX_EXCERPT: usize = 60;
