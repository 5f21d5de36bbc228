//! Distinguished names, as people write and compare them.

use std::str::FromStr;

use der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

/// Is a distinguished name: attributes such as `CN`, each with a text, in any order.
///
/// It is written as `C=DE, O=Example, CN=release`: pairs with a comma or a semicolon between them,
/// and a backslash before each of `,;+"\<>=#` that is part of a value. Attributes have the names of
/// RFC 4514, `S` besides `ST`, or a dotted number.
///
/// Source: RFC 4514, sections 2 and 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    attributes: Vec<(ObjectIdentifier, String)>,
}

impl DistinguishedName {
    /// Reads the encoding of a Name; attributes that are no text are left out.
    pub(crate) fn from_der(encoding: &[u8]) -> Option<Self> {
        let name = Name::from_der(encoding).ok()?;
        let attributes = name
            .iter()
            .filter_map(|attribute| text(attribute).map(|text| (attribute.oid, text.to_owned())));
        Some(Self { attributes: attributes.collect() })
    }

    /// Tells whether each attribute of `wanted` is in this name, with the same text and just once.
    pub fn contains(&self, wanted: &Self) -> bool {
        wanted.attributes.iter().all(|(kind, text)| {
            let mut found = self.attributes.iter().filter(|(found, _)| found == kind);
            found.next().is_some_and(|(_, found)| found == text) && found.next().is_none()
        })
    }

    /// Tells whether both names have the same attributes, in whatever order.
    pub fn is_same(&self, other: &Self) -> bool {
        self.attributes.len() == other.attributes.len() && self.contains(other)
    }

    /// Tells whether the name has an attribute, by its name or number.
    pub fn has(&self, attribute: &str) -> bool {
        attribute_type(attribute)
            .is_some_and(|kind| self.attributes.iter().any(|(found, _)| *found == kind))
    }
}

impl FromStr for DistinguishedName {
    type Err = DistinguishedNameError;

    fn from_str(text: &str) -> Result<Self, DistinguishedNameError> {
        let mut attributes: Vec<(ObjectIdentifier, String)> = Vec::new();
        for pair in pairs(text)? {
            let attribute = parse_pair(&pair)
                .ok_or_else(|| DistinguishedNameError::Attribute { attribute: pair.clone() })?;
            if attributes.iter().any(|(known, _)| *known == attribute.0) {
                return Err(DistinguishedNameError::Repeated { attribute: pair });
            }
            attributes.push(attribute);
        }
        Ok(Self { attributes })
    }
}

/// Says why a text is no distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DistinguishedNameError {
    /// A part of it is not `NAME=TEXT`.
    #[error("{attribute:?} is not an attribute of a name, such as CN=release or O=Example")]
    Attribute {
        /// The part.
        attribute: String,
    },
    /// Several attributes are joined by `+`.
    #[error("{attribute:?} joins attributes with `+`; write a comma, or `\\+` for the sign itself")]
    Joined {
        /// The part.
        attribute: String,
    },
    /// An attribute is there twice.
    #[error("{attribute:?} repeats an attribute, of which a name has one each")]
    Repeated {
        /// The second one.
        attribute: String,
    },
}

/// Splits a name at its separators, and leaves escapes as they are.
fn pairs(text: &str) -> Result<Vec<String>, DistinguishedNameError> {
    let mut pairs = vec![String::new()];
    let mut is_escaped = false;
    for character in text.chars() {
        let last = pairs.last_mut().unwrap_or_else(|| unreachable!("there is always one"));
        match character {
            ',' | ';' if !is_escaped => pairs.push(String::new()),
            '+' if !is_escaped => {
                return Err(DistinguishedNameError::Joined { attribute: last.trim().to_owned() });
            }
            _ => last.push(character),
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    Ok(pairs.iter().map(|pair| trimmed(pair).to_owned()).collect())
}

/// Takes white space off, but none at the end that is escaped.
fn trimmed(pair: &str) -> &str {
    let pair = pair.trim_start();
    let shorter = pair.trim_end();
    let escapes = shorter.bytes().rev().take_while(|&byte| byte == b'\\').count();
    match pair[shorter.len()..].chars().next() {
        Some(escaped) if escapes % 2 == 1 => &pair[..shorter.len() + escaped.len_utf8()],
        _ => shorter,
    }
}

fn parse_pair(pair: &str) -> Option<(ObjectIdentifier, String)> {
    let (name, value) = pair.split_once('=')?;
    let kind = attribute_type(name.trim())?;
    let value = value.trim_start();
    let escapes = value.bytes().rev().take_while(|&byte| byte == b'\\').count();
    if escapes % 2 == 1 {
        return None;
    }
    let attribute: AttributeTypeAndValue = format!("{kind}={value}").parse().ok()?;
    let value = text(&attribute)?;
    (!value.is_empty()).then(|| (kind, value.to_owned()))
}

fn attribute_type(name: &str) -> Option<ObjectIdentifier> {
    let upper = name.to_ascii_uppercase();
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == upper);
    known.map(|(_, kind)| *kind).or_else(|| ObjectIdentifier::new(name).ok())
}

/// Returns the text of an attribute, `None` if it is none.
fn text(attribute: &AttributeTypeAndValue) -> Option<&str> {
    let value = &attribute.value;
    match value.tag() {
        Tag::Ia5String => Ia5StringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::PrintableString => PrintableStringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::TeletexString => TeletexStringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::Utf8String => Utf8StringRef::try_from(value).ok().map(|text| text.as_str()),
        _ => None,
    }
}

/// Source: RFC 4514, section 3, and what is usual besides.
const ATTRIBUTES: [(&str, ObjectIdentifier); 12] = {
    const fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(text)
    }
    [
        ("C", oid("2.5.4.6")),
        ("CN", oid("2.5.4.3")),
        ("DC", oid("0.9.2342.19200300.100.1.25")),
        ("EMAILADDRESS", oid("1.2.840.113549.1.9.1")),
        ("L", oid("2.5.4.7")),
        ("O", oid("2.5.4.10")),
        ("OU", oid("2.5.4.11")),
        ("S", oid("2.5.4.8")),
        ("SERIALNUMBER", oid("2.5.4.5")),
        ("ST", oid("2.5.4.8")),
        ("STREET", oid("2.5.4.9")),
        ("UID", oid("0.9.2342.19200300.100.1.1")),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn names_are_compared_attribute_by_attribute() {
        let subject = name("C=US, ST=WA, O=Example Inc, CN=release");
        for part in ["O=Example Inc", "cn=release;C=US", "S=WA,2.5.4.10=Example Inc"] {
            assert!(subject.contains(&name(part)), "{part}");
        }
        for other in ["O=Example", "CN=Release", "OU=x", "O=Example Inc, L=x"] {
            assert!(!subject.contains(&name(other)), "{other}");
        }
        assert!(subject.is_same(&name("CN=release,O=Example Inc,ST=WA,C=US")));
        assert!(!subject.is_same(&name("CN=release")));
        assert!(subject.has("ST") && !subject.has("L"));
    }

    #[test]
    fn an_attribute_that_is_there_twice_counts_for_nothing() {
        let twice = DistinguishedName {
            attributes: [name("O=a").attributes, name("O=b").attributes].concat(),
        };
        assert!(!twice.contains(&name("O=a")) && !twice.contains(&name("O=b")));
    }

    #[test]
    fn separators_may_be_escaped() {
        assert_eq!(name(r"O=a\, b; CN= c\+d").attributes[0].1, "a, b");
        assert_eq!(name(r"O=a, CN= c\+d").attributes[1].1, "c+d");
        assert_eq!(name("CN=a\\ ").attributes[0].1, "a ");
        assert_eq!(name(r"CN=\C3\A4").attributes[0].1, "ä");
        // White space may have more than one byte.
        assert!("CN=a\\\u{2000}\u{2000}".parse::<DistinguishedName>().is_err());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "CN", "CN=", "=a", "CN=a,", "XY=a", r"CN=a\", "CN=a,CN=b", "CN=a+O=b"] {
            assert!(text.parse::<DistinguishedName>().is_err(), "{text}");
        }
    }
}
