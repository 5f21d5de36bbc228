//! Extended attributes, inline behind their inode.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | name filter: a zero bit for each name that may be present |
//! | 1 | number of shared attributes, 0 |
//! | 7 | 0 |
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
use zerocopy::{Immutable, IntoBytes};

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
            present |= 1 << (xxh32(suffix, FILTER_SEED + u32::from(index)) % u32::BITS);
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

/// Compares as bytes of name, zero byte and value; no name has a zero byte in it.
fn written_order(a: &Xattr, b: &Xattr) -> Ordering {
    (&a.name, &a.value).cmp(&(&b.name, &b.value))
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct BodyHeader {
    name_filter: U32,
    shared_count: u8,
    reserved: [u8; 7],
}

#[derive(IntoBytes, Immutable)]
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
const ENTRY_BYTES: usize = size_of::<EntryHeader>();
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
}
