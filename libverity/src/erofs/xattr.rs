//! Extended attributes, inline behind their inode.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | name filter: a zero bit for each name that may be present |
//! | 1 | number of shared attributes, 0 in what is written here |
//! | 7 | 0 |
//! | 4 each | places of shared attributes, in units of 4 bytes from the block that the superblock names |
//! | … | the attributes, each padded to 4 bytes |
//!
//! and one attribute:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | length of the name without its namespace |
//! | 1 | namespace |
//! | 2 | length of the value |
//! | … | name without its namespace, value |
//!
//! Source: Linux, `fs/erofs/erofs_fs.h`; the order is that of erofs-utils 1.9.4 (`lib/xattr.c`):
//! by name, a zero byte and value; equal ones as they came.

use std::cmp::Ordering;

use xxhash_rust::xxh32::xxh32;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::EntryPath;
use crate::tar::Xattr;

/// Collects the attributes of one inode in the order of their arrival.
///
/// An attribute that comes twice is kept twice: erofs-utils does so for a directory that is
/// announced twice.
#[derive(Debug, Default)]
pub(super) struct XattrList {
    xattrs: Vec<Xattr>,
    body_bytes: u32,
}

impl XattrList {
    /// Adds one attribute.
    pub(super) fn push(&mut self, xattr: Xattr) -> Result<(), XattrProblem> {
        let (_, suffix) = namespace(&xattr.name);
        if xattr.name.contains(&0) {
            return Err(XattrProblem::NulByte);
        }
        if suffix.len() > u8::MAX.into() {
            return Err(XattrProblem::NameTooLong);
        }
        if xattr.value.len() > u16::MAX.into() {
            return Err(XattrProblem::ValueTooLong);
        }
        let entry_bytes = (ENTRY_BYTES + suffix.len() + xattr.value.len()).next_multiple_of(4);
        let body_bytes = self.body_bytes.max(HEADER_BYTES) + entry_bytes as u32;
        if body_bytes > MAX_BODY_BYTES {
            return Err(XattrProblem::BodyTooLarge);
        }
        self.body_bytes = body_bytes;
        if self.xattrs.is_empty() {
            // Most files that have any have one, and a vector begins with room for four.
            self.xattrs.reserve_exact(1);
        }
        self.xattrs.push(xattr);
        Ok(())
    }

    /// Brings the attributes into the order in which they are written, and returns whether they
    /// came in another.
    pub(super) fn sort(&mut self) -> bool {
        let sorted = self.xattrs.is_sorted_by(|a, b| written_order(a, b) != Ordering::Greater);
        if !sorted {
            self.xattrs.sort_by(written_order);
        }
        !sorted
    }

    /// Returns how many bytes [`write`](Self::write) appends, a multiple of 4.
    pub(super) fn body_bytes(&self) -> u32 {
        self.body_bytes
    }

    /// Appends the attributes to `buffer` and returns whether their name filter is of use.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) -> bool {
        if self.xattrs.is_empty() {
            return false;
        }
        let mut present = 0_u32;
        for xattr in &self.xattrs {
            let (index, suffix) = namespace(&xattr.name);
            present |= filter_bit(index, suffix);
        }
        let header =
            BodyHeader { name_filter: (!present).into(), shared_count: 0, reserved: [0; 7] };
        buffer.extend_from_slice(header.as_bytes());
        for xattr in &self.xattrs {
            let (index, suffix) = namespace(&xattr.name);
            let entry = EntryHeader {
                name_bytes: suffix.len() as u8,
                name_index: index,
                value_bytes: (xattr.value.len() as u16).into(),
            };
            buffer.extend_from_slice(entry.as_bytes());
            buffer.extend_from_slice(suffix);
            buffer.extend_from_slice(&xattr.value);
            let written_bytes = ENTRY_BYTES + suffix.len() + xattr.value.len();
            buffer.resize(buffer.len() + written_bytes.next_multiple_of(4) - written_bytes, 0);
        }
        !present != 0
    }
}

/// Is what the area behind an inode says of its attributes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct XattrBody {
    /// The attributes in it.
    pub(super) xattrs: Vec<Xattr>,
    /// The places of those that it shares with other inodes, in units of 4 bytes.
    pub(super) shared: Vec<u32>,
    name_filter: u32,
}

impl XattrBody {
    /// Reads the whole area behind an inode.
    pub(super) fn parse(body: &[u8]) -> Result<Self, XattrError> {
        let (header, mut rest) =
            BodyHeader::read_from_prefix(body).map_err(|_| XattrError::Truncated)?;
        if header.reserved != [0; 7] {
            return Err(XattrError::Reserved);
        }
        let mut shared = Vec::with_capacity(header.shared_count.into());
        for _ in 0..header.shared_count {
            let place;
            (place, rest) = U32::read_from_prefix(rest).map_err(|_| XattrError::Truncated)?;
            shared.push(place.get());
        }
        let mut xattrs = Vec::new();
        while !rest.is_empty() {
            let (xattr, bytes) = parse_entry(rest)?;
            xattrs.push(xattr);
            rest = rest.get(bytes.next_multiple_of(4)..).ok_or(XattrError::Truncated)?;
        }
        Ok(Self { xattrs, shared, name_filter: header.name_filter.get() })
    }

    /// Checks that the name filter, by which the kernel denies attributes, lets `xattr` be found.
    pub(super) fn check_filter(&self, xattr: &Xattr) -> Result<(), XattrError> {
        let (index, suffix) = namespace(&xattr.name);
        if self.name_filter & filter_bit(index, suffix) != 0 {
            return Err(XattrError::Filtered { name: xattr.name[..].into() });
        }
        Ok(())
    }
}

/// Returns how many bytes the attribute takes, without padding, that starts with `header`.
pub(super) fn entry_bytes(header: [u8; ENTRY_BYTES]) -> usize {
    let header: EntryHeader = zerocopy::transmute!(header);
    ENTRY_BYTES + usize::from(header.name_bytes) + usize::from(header.value_bytes.get())
}

/// Reads the attribute at the start of `bytes`, and returns its size without padding.
pub(super) fn parse_entry(bytes: &[u8]) -> Result<(Xattr, usize), XattrError> {
    let (header, rest) = EntryHeader::read_from_prefix(bytes).map_err(|_| XattrError::Truncated)?;
    let value_bytes = usize::from(header.value_bytes.get());
    let (suffix, rest) =
        rest.split_at_checked(header.name_bytes.into()).ok_or(XattrError::Truncated)?;
    let value = rest.get(..value_bytes).ok_or(XattrError::Truncated)?;
    let prefix = match header.name_index {
        0 => &b""[..],
        index => NAMESPACES
            .iter()
            .find_map(|(known, prefix)| (*known == index).then_some(*prefix))
            .ok_or(XattrError::Namespace { index })?,
    };
    let name = [prefix, suffix].concat();
    if name.is_empty() || name.contains(&0) {
        return Err(XattrError::Name { name: name[..].into() });
    }
    let bytes = ENTRY_BYTES + suffix.len() + value_bytes;
    Ok((Xattr { name, value: value.to_vec() }, bytes))
}

/// Says why the attributes of a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XattrError {
    /// The name filter hides an attribute that is there.
    #[error("the name filter hides the attribute {name:?}")]
    Filtered {
        /// The attribute.
        name: EntryPath,
    },
    /// No attribute can have the name.
    #[error("{name:?} is no name of an attribute")]
    Name {
        /// The name.
        name: EntryPath,
    },
    /// The namespace of an attribute is unknown.
    #[error("an attribute is in the unknown namespace {index}")]
    Namespace {
        /// The number of the namespace.
        index: u8,
    },
    /// A field of unknown meaning is in use.
    #[error("the head of the attributes has something in a reserved field")]
    Reserved,
    /// A shared attribute lies outside the image.
    #[error("a shared attribute lies at byte {offset_bytes}, outside the image")]
    SharedOutside {
        /// Where it should be.
        offset_bytes: u64,
    },
    /// The attributes together are larger than those of any file here.
    #[error("the attributes take more than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// An attribute does not end with the area that holds it.
    #[error("the attributes end within one of them")]
    Truncated,
}

/// Says why an attribute cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XattrProblem {
    BodyTooLarge,
    NameTooLong,
    NulByte,
    ValueTooLong,
}

/// Splits a full name into the number of its namespace and the rest; number 0 is "none of these".
fn namespace(name: &[u8]) -> (u8, &[u8]) {
    NAMESPACES
        .iter()
        .find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)))
        .unwrap_or((0, name))
}

/// Returns the bit of the name filter that must be 0 where this name is present.
fn filter_bit(index: u8, suffix: &[u8]) -> u32 {
    1 << (xxh32(suffix, FILTER_SEED + u32::from(index)) % u32::BITS)
}

/// Compares as bytes of name, zero byte and value; no name has a zero byte in it.
fn written_order(a: &Xattr, b: &Xattr) -> Ordering {
    (&a.name, &a.value).cmp(&(&b.name, &b.value))
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct BodyHeader {
    name_filter: U32,
    shared_count: u8,
    reserved: [u8; 7],
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct EntryHeader {
    name_bytes: u8,
    name_index: u8,
    value_bytes: U16,
}

/// The namespaces, in the order in which their prefixes are tried.
const NAMESPACES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];
const HEADER_BYTES: u32 = size_of::<BodyHeader>() as u32;
/// The size of an attribute without name and value.
pub(super) const ENTRY_BYTES: usize = size_of::<EntryHeader>();
/// The inode counts the attributes in units of 4 bytes behind the header, plus 1, in 16 bits.
pub(super) const MAX_BODY_BYTES: u32 = HEADER_BYTES + (u16::MAX as u32 - 1) * 4;
/// `EROFS_XATTR_FILTER_SEED` of the kernel.
const FILTER_SEED: u32 = 0x25BB_E08F;

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str, value: &[u8]) -> Xattr {
        Xattr { name: name.into(), value: value.into() }
    }

    fn filter(names: &[&str]) -> u32 {
        let mut list = XattrList::default();
        for name in names {
            list.push(xattr(name, b"v")).unwrap();
        }
        let mut body = Vec::new();
        list.write(&mut body);
        u32::from_le_bytes(body[..4].try_into().unwrap())
    }

    #[test]
    fn name_filter_is_the_kernels() {
        assert_eq!(filter(&["user.a", "user.b", "security.capability"]), 0xdf5f_ffff);
        assert_eq!(filter(&["trusted.overlay.opaque"]), 0xffef_ffff);
        assert_eq!(filter(&["trusted.overlay.origin"]), 0xfffb_ffff);
    }

    #[test]
    fn body_has_header_names_and_padding() {
        let mut list = XattrList::default();
        list.push(xattr("user.b", b"22222")).unwrap();
        list.push(xattr("system.posix_acl_access", b"")).unwrap();
        assert!(list.sort());
        let mut body = vec![0xaa];
        assert!(list.write(&mut body));
        assert_eq!(body.len() as u32 - 1, list.body_bytes());
        assert_eq!(body[13..], *b"\0\x02\0\0\x01\x01\x05\0b22222\0\0");
    }

    #[test]
    fn order_is_by_name_then_value_and_a_prefix_comes_first() {
        let mut list = XattrList::default();
        for (name, value) in [("user.ab", "1"), ("user.a", "2"), ("user.a", "1"), ("user.a", "")] {
            list.push(xattr(name, value.as_bytes())).unwrap();
        }
        assert!(list.sort());
        assert!(!list.sort());
        let values: Vec<&[u8]> = list.xattrs.iter().map(|xattr| &xattr.value[..]).collect();
        assert_eq!(values, [&b""[..], b"1", b"2", b"1"]);
    }

    #[test]
    fn what_no_inode_can_hold_is_refused() {
        let mut list = XattrList::default();
        let long = format!("user.{}", "n".repeat(256));
        assert_eq!(list.push(xattr(&long, b"")), Err(XattrProblem::NameTooLong));
        assert_eq!(list.push(xattr("user.\0", b"")), Err(XattrProblem::NulByte));
        assert_eq!(list.push(xattr("user.a", &[0; 65536])), Err(XattrProblem::ValueTooLong));
        let widest = [0; 65535];
        for name in ["user.a", "user.b", "user.c"] {
            list.push(xattr(name, &widest)).unwrap();
        }
        // 262,148 bytes are all that the count in the inode can express.
        let rest = MAX_BODY_BYTES - list.body_bytes();
        let last = vec![0; rest as usize - 5];
        assert_eq!(
            list.push(xattr("user.d", &[&last[..], b"x"].concat())),
            Err(XattrProblem::BodyTooLarge)
        );
        list.push(xattr("user.d", &last)).unwrap();
        assert_eq!(list.body_bytes(), 262_148);
    }

    #[test]
    fn bodies_are_read_back_as_written() {
        let mut list = XattrList::default();
        for (name, value) in [
            ("user.a", &b"1"[..]),
            ("system.posix_acl_access", b""),
            ("security.capability", &[0; 20]),
            ("trusted.overlay.opaque", b"y"),
            ("other.namespace", b"\0"),
            ("user.", &[7; 65535]),
        ] {
            list.push(xattr(name, value)).unwrap();
        }
        let mut bytes = Vec::new();
        list.write(&mut bytes);
        let body = XattrBody::parse(&bytes).unwrap();
        assert_eq!(body.xattrs, list.xattrs);
        assert_eq!(body.shared, []);
        for xattr in &list.xattrs {
            assert_eq!(body.check_filter(xattr), Ok(()));
        }
        let hidden = XattrBody { name_filter: u32::MAX, ..body };
        let name = EntryPath::from(&b"user.a"[..]);
        assert_eq!(hidden.check_filter(&list.xattrs[0]), Err(XattrError::Filtered { name }));
    }

    #[test]
    fn bodies_that_no_inode_has_are_refused() {
        let mut list = XattrList::default();
        list.push(xattr("user.a", b"1")).unwrap();
        let mut bytes = Vec::new();
        list.write(&mut bytes);
        let change = |place: usize, value: u8| {
            let mut changed = bytes.clone();
            changed[place] = value;
            XattrBody::parse(&changed).unwrap_err()
        };
        for length in 0..bytes.len() {
            // The header alone is a body without attributes.
            let parsed = XattrBody::parse(&bytes[..length]);
            assert_eq!(parsed.is_ok(), length == HEADER_BYTES as usize, "{length} bytes");
        }
        assert_eq!(change(5, 1), XattrError::Reserved);
        assert_eq!(change(4, 3), XattrError::Truncated);
        assert_eq!(change(13, 5), XattrError::Namespace { index: 5 });
        assert_eq!(change(13, 0x81), XattrError::Namespace { index: 0x81 });
        assert_eq!(change(16, 0), XattrError::Name { name: EntryPath::from(&b"user.\0"[..]) });
        assert_eq!(change(12, 5), XattrError::Truncated);
    }

    #[test]
    fn places_of_shared_attributes_come_first() {
        let mut bytes = vec![0; 12];
        bytes[4] = 2;
        bytes.extend([1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, b'a', b'v', 0, 0]);
        let mut body = XattrBody::parse(&bytes).unwrap();
        body.xattrs.sort_by(written_order);
        assert_eq!(body.shared, [1, 256]);
        assert_eq!(body.xattrs, [xattr("user.a", b"v")]);
    }
}
