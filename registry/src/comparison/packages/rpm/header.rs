//! A header of rpm: what is known of a package.
//!
//! All numbers are big-endian. In a database there is neither the magic number nor the padding that it has in a package.
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 4 | number of entries, *n* |
//! | 4 | 4 | bytes of data, *d* |
//! | 8 | 16 *n* | entries: tag, type, offset in the data, count of values; 4 bytes each |
//! | 8 + 16 *n* | *d* | data |
//!
//! The first entry is a region: the entries of the package as it was signed. Those behind the region came when the package
//! was installed, and where both have a tag, they count.
//!
//! Source: rpm, `docs/manual/hregions.md`, and `lib/header.cc`, `hdrblobInit` and `headerImport`.

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Reads the header of a package.
///
/// # Errors
///
/// Returns [`HeaderError`] for bytes that are no header, and for a header that lacks name, version or release.
pub fn parse(blob: &[u8]) -> Result<Header, HeaderError> {
    let (raw, rest) = RawHeader::ref_from_prefix(blob)
        .map_err(|_| HeaderError::Length { expected: 8, found: blob.len() as u64 })?;
    let (count, data_bytes) = (raw.entries.get(), raw.data_bytes.get());
    if count > MAX_ENTRIES {
        return Err(HeaderError::Entries { found: count });
    }
    let expected = 8 + u64::from(count) * 16 + u64::from(data_bytes);
    if expected != blob.len() as u64 {
        return Err(HeaderError::Length { expected, found: blob.len() as u64 });
    }
    let length = HeaderError::Length { expected, found: blob.len() as u64 };
    let (entries, data) =
        <[RawEntry]>::ref_from_prefix_with_elems(rest, count as usize).map_err(|_| length)?;
    let index = Index { entries, data };
    Ok(Header {
        name: index.text(NAME)?.ok_or(HeaderError::Missing { tag: NAME })?,
        epoch: index.number(EPOCH)?,
        version: index.text(VERSION)?.ok_or(HeaderError::Missing { tag: VERSION })?,
        release: index.text(RELEASE)?.ok_or(HeaderError::Missing { tag: RELEASE })?,
        architecture: index.text(ARCHITECTURE)?.unwrap_or_default(),
    })
}

/// Is what is told of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// What counts before the version, where there is such.
    pub epoch: Option<u32>,
    /// The version of what is packaged.
    pub version: String,
    /// The version of the packaging.
    pub release: String,
    /// The architecture that it is for; empty for keys.
    pub architecture: String,
}

impl Header {
    /// Returns the version as rpm prints it with `%{EVR}`: the epoch, if there is one, version and release.
    pub fn full_version(&self) -> String {
        let Self { version, release, .. } = self;
        match self.epoch {
            Some(epoch) => format!("{epoch}:{version}-{release}"),
            None => format!("{version}-{release}"),
        }
    }
}

/// Says why bytes are no header of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There are more entries than rpm takes.
    #[error("it has {found} entries, more than {MAX_ENTRIES}")]
    Entries {
        /// How many it says it has.
        found: u32,
    },
    /// It is longer or shorter than it says.
    #[error("it has {found} bytes where it says {expected}")]
    Length {
        /// What it says, or at least needs.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// An entry is missing.
    #[error("it has no entry {tag}")]
    Missing {
        /// The number of the tag.
        tag: u32,
    },
    /// An entry has values of another type, or not one of them.
    #[error("its entry {tag} has {count} values of type {kind}")]
    Type {
        /// The number of the tag.
        tag: u32,
        /// The number of the type.
        kind: u32,
        /// How many values there are.
        count: u32,
    },
    /// The value of an entry is not within the data.
    #[error("the value of its entry {tag} is not within its data")]
    Value {
        /// The number of the tag.
        tag: u32,
    },
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    entries: U32,
    data_bytes: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    tag: U32,
    kind: U32,
    offset: U32,
    count: U32,
}

struct Index<'a> {
    entries: &'a [RawEntry],
    data: &'a [u8],
}

impl<'a> Index<'a> {
    /// Returns the bytes from the value of an entry on; `None` if there is no such entry.
    fn value(&self, tag: u32, kind: u32) -> Result<Option<&'a [u8]>, HeaderError> {
        let Some(entry) = self.entries.iter().rfind(|entry| entry.tag.get() == tag) else {
            return Ok(None);
        };
        let (found, count) = (entry.kind.get(), entry.count.get());
        if found != kind || count != 1 {
            return Err(HeaderError::Type { tag, kind: found, count });
        }
        let offset = usize::try_from(entry.offset.get()).ok();
        let value = offset.and_then(|offset| self.data.get(offset..));
        value.map(Some).ok_or(HeaderError::Value { tag })
    }

    fn number(&self, tag: u32) -> Result<Option<u32>, HeaderError> {
        let Some(value) = self.value(tag, TYPE_INT32)? else { return Ok(None) };
        let number = U32::read_from_prefix(value).map_err(|_| HeaderError::Value { tag })?;
        Ok(Some(number.0.get()))
    }

    fn text(&self, tag: u32) -> Result<Option<String>, HeaderError> {
        let Some(value) = self.value(tag, TYPE_STRING)? else { return Ok(None) };
        let end = value.iter().position(|byte| *byte == 0).ok_or(HeaderError::Value { tag })?;
        Ok(Some(String::from_utf8_lossy(&value[..end]).into_owned()))
    }
}

/// The most entries of a header (`HEADER_TAGS_MAX`).
const MAX_ENTRIES: u32 = 0xffff;

// `include/rpm/rpmtag.h`.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;
const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a header of entries: tag, type, bytes of the value.
    pub(crate) fn header(entries: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in entries {
            for number in [*tag, *kind, data.len() as u32, 1] {
                index.extend_from_slice(&number.to_be_bytes());
            }
            data.extend_from_slice(value);
        }
        let lengths = [entries.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
        [lengths, index, data].concat()
    }

    pub(crate) const HELLO: [(u32, u32, &[u8]); 5] = [
        (NAME, TYPE_STRING, b"hello\0"),
        (VERSION, TYPE_STRING, b"1.2~rc1\0"),
        (RELEASE, TYPE_STRING, b"3.el9\0"),
        (EPOCH, TYPE_INT32, &[0, 0, 0, 4]),
        (ARCHITECTURE, TYPE_STRING, b"noarch\0"),
    ];

    #[test]
    fn what_is_told_of_a_package_is_read() {
        let hello = parse(&header(&HELLO)).unwrap();
        assert_eq!((&*hello.name, &*hello.full_version()), ("hello", "4:1.2~rc1-3.el9"));
        assert_eq!(hello.architecture, "noarch");
        let key = parse(&header(&HELLO[..3])).unwrap();
        assert_eq!((&*key.full_version(), &*key.architecture), ("1.2~rc1-3.el9", ""));
    }

    #[test]
    fn of_two_entries_the_one_behind_counts() {
        let entries = [&HELLO[..], &[(NAME, TYPE_STRING, b"other\0")]].concat();
        assert_eq!(parse(&header(&entries)).unwrap().name, "other");
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let whole = header(&HELLO);
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err();
            assert!(matches!(error, HeaderError::Length { .. }), "{length}: {error}");
        }
        let longer = [&whole[..], b"\0"].concat();
        assert!(matches!(parse(&longer), Err(HeaderError::Length { .. })));
        let mut many = whole.clone();
        many[1] = 1;
        assert_eq!(parse(&many), Err(HeaderError::Entries { found: 0x1_0005 }));
        assert_eq!(parse(&header(&HELLO[..2])), Err(HeaderError::Missing { tag: RELEASE }));

        let with = |tag, kind, value| parse(&header(&[&HELLO[..], &[(tag, kind, value)]].concat()));
        let typed = HeaderError::Type { tag: EPOCH, kind: TYPE_STRING, count: 1 };
        assert_eq!(with(EPOCH, TYPE_STRING, b"4\0"), Err(typed));
        assert_eq!(with(NAME, TYPE_STRING, b"endless"), Err(HeaderError::Value { tag: NAME }));
        assert_eq!(with(EPOCH, TYPE_INT32, b"\0\0\x01"), Err(HeaderError::Value { tag: EPOCH }));
        let mut outside = whole;
        // The offset of the first entry.
        outside[8 + 8..8 + 12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&outside), Err(HeaderError::Value { tag: NAME }));
    }
}
