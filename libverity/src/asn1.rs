//! Reads ASN.1 as the kernel's decoder does.
//!
//! The kernel's decoder (`lib/asn1_decoder.c`) is neither a DER nor a full BER decoder, and what it
//! accepts decides whether a signature is valid on a node. What differs from DER:
//!
//! * Lengths may be longer than needed, but have at most two bytes after the first.
//! * Where a constructed type is expected, the bit that says so is not looked at.
//! * Bytes after the outermost element are not looked at.
//!
//! Indefinite lengths are refused here although the kernel reads them: what it makes of a content
//! in pieces is not what was signed, so such a message is worth nothing to it either.

/// Walks over the elements of one encoding, or of the contents of one constructed element.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// Is one element: tag, contents, and the whole encoding that holds both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    pub(crate) encoding: &'a [u8],
}

/// Says why bytes are not the expected ASN.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Asn1Error {
    /// An element has an indefinite length, which DER does not have.
    #[error(
        "it has elements of indefinite length (BER), and the kernel does not put their pieces together"
    )]
    IndefiniteLength,
    /// A constructed element holds more than its type allows.
    #[error("an element holds more than it should")]
    LeftOver,
    /// A length has more than two bytes, so that the element would be longer than 65,535 bytes.
    #[error("a length has more than two bytes")]
    LongLength,
    /// A tag has more than one byte.
    #[error("a tag has more than one byte")]
    LongTag,
    /// The bytes end within an element, or where an element is required.
    #[error("it is cut short")]
    Truncated,
    /// Another element stands where one with the tag `expected` is required.
    #[error("an element has the tag {found:#04x} where {expected:#04x} is required")]
    UnexpectedTag {
        /// The tag that the type requires.
        expected: u8,
        /// The tag that is there.
        found: u8,
    },
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next element, whatever its type.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, Asn1Error> {
        let &[tag, first_length, ..] = self.rest else {
            return Err(Asn1Error::Truncated);
        };
        if tag & TAG_NUMBER == TAG_NUMBER {
            return Err(Asn1Error::LongTag);
        }
        let length_bytes = match first_length {
            ..0x80 => 0,
            0x80 => return Err(Asn1Error::IndefiniteLength),
            0x81 | 0x82 => usize::from(first_length - 0x80),
            _ => return Err(Asn1Error::LongLength),
        };
        let header = 2 + length_bytes;
        let length = match self.rest.get(2..header).ok_or(Asn1Error::Truncated)? {
            [] => usize::from(first_length),
            bytes => bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)),
        };
        let encoding = self.rest.get(..header + length).ok_or(Asn1Error::Truncated)?;
        self.rest = &self.rest[encoding.len()..];
        Ok(Element { tag, contents: &encoding[header..], encoding })
    }

    /// Reads the next element, which has to have the tag `expected`.
    pub(crate) fn required(&mut self, expected: u8) -> Result<Element<'a>, Asn1Error> {
        match self.rest.first() {
            None => Err(Asn1Error::Truncated),
            Some(&found) if !fits(expected, found) => {
                Err(Asn1Error::UnexpectedTag { expected, found })
            }
            Some(_) => self.any(),
        }
    }

    /// Reads the next element if it has the tag `expected`.
    pub(crate) fn optional(&mut self, expected: u8) -> Result<Option<Element<'a>>, Asn1Error> {
        match self.rest.first() {
            Some(&found) if fits(expected, found) => self.any().map(Some),
            _ => Ok(None),
        }
    }

    /// Reads the next element if there is one, whatever its type.
    pub(crate) fn optional_any(&mut self) -> Result<Option<Element<'a>>, Asn1Error> {
        if self.is_at_end() { Ok(None) } else { self.any().map(Some) }
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<(), Asn1Error> {
        if self.is_at_end() { Ok(()) } else { Err(Asn1Error::LeftOver) }
    }
}

impl<'a> Element<'a> {
    /// Starts to read what a constructed element holds.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.contents)
    }

    /// Reads the elements of a `SET OF` or a `SEQUENCE OF`, each of which has to have the tag
    /// `expected`. There has to be one at least.
    pub(crate) fn for_each<E: From<Asn1Error>>(
        &self,
        expected: u8,
        mut read: impl FnMut(Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut elements = self.reader();
        loop {
            read(elements.required(expected)?)?;
            if elements.is_at_end() {
                return Ok(());
            }
        }
    }
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag of a context-specific constructed element, `[number]`.
pub(crate) const fn constructed_context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of a context-specific primitive element, `[number] IMPLICIT` of a primitive type.
pub(crate) const fn primitive_context(number: u8) -> u8 {
    0x80 | number
}

fn fits(expected: u8, found: u8) -> bool {
    (expected ^ found) & !(expected & CONSTRUCTED) == 0
}

const TAG_NUMBER: u8 = 0x1f;
const CONSTRUCTED: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_one_after_the_other() {
        let mut reader = Reader::new(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x04, 0x81, 0x01, 0xff]);
        let sequence = reader.required(SEQUENCE).unwrap();
        assert_eq!(sequence.encoding, [0x30, 0x03, 0x02, 0x01, 0x05]);
        let mut inner = sequence.reader();
        assert_eq!(inner.required(INTEGER).unwrap().contents, [5]);
        inner.finish().unwrap();
        assert!(reader.optional(INTEGER).unwrap().is_none());
        assert_eq!(reader.any().unwrap().contents, [0xff]);
        assert!(reader.optional_any().unwrap().is_none());
        assert_eq!(reader.required(INTEGER).unwrap_err(), Asn1Error::Truncated);
    }

    #[test]
    fn the_constructed_bit_counts_only_for_primitive_types() {
        assert!(Reader::new(&[0x10, 0]).required(SEQUENCE).is_ok());
        let found = Reader::new(&[0x24, 0]).required(OCTET_STRING).unwrap_err();
        assert_eq!(found, Asn1Error::UnexpectedTag { expected: 0x04, found: 0x24 });
    }

    #[test]
    fn what_the_kernel_cannot_read_is_refused() {
        for (bytes, error) in [
            (&[][..], Asn1Error::Truncated),
            (&[0x30], Asn1Error::Truncated),
            (&[0x30, 0x01], Asn1Error::Truncated),
            (&[0x30, 0x82, 0x00], Asn1Error::Truncated),
            (&[0x30, 0x80, 0x00, 0x00], Asn1Error::IndefiniteLength),
            (&[0x30, 0x83, 0x00, 0x00, 0x00], Asn1Error::LongLength),
            (&[0x3f, 0x00], Asn1Error::LongTag),
        ] {
            assert_eq!(Reader::new(bytes).any().unwrap_err(), error, "{bytes:02x?}");
        }
    }
}
