//! Why a tar archive is not read.

use std::fmt::Write as _;
use std::io;

use super::{
    BLOCK_BYTES, MAX_MEMBERS, MAX_METADATA_BYTES, MAX_PATH_BYTES, MAX_XATTR_NAME_BYTES,
    MAX_XATTR_VALUE_BYTES, MAX_XATTRS, METADATA_BYTES_PER_MEMBER,
};

/// Says where and why reading an archive ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The stream under the archive failed.
    #[error("cannot read the tar archive beyond byte {offset_bytes}")]
    Read {
        /// How much of the archive was read before.
        offset_bytes: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// The archive is damaged, or would not mean the same to every program that reads it.
    #[error("{}at byte {offset_bytes}: {reason}", member(path))]
    Refused {
        /// Where the member's header, or the first extension header before it, begins.
        offset_bytes: u64,
        /// The member's path as far as it is known; empty before that.
        path: Vec<u8>,
        /// What is wrong.
        reason: Refusal,
    },
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read { source, .. } => source,
            refused @ TarError::Refused { .. } => Self::new(io::ErrorKind::InvalidData, refused),
        }
    }
}

/// Says what is wrong with a member of an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The sum over the header is another one.
    #[error("the header's checksum is {found:o}, its bytes sum up to {expected:o} (octal)")]
    Checksum {
        /// The sum of the bytes.
        expected: i64,
        /// The sum that the header states.
        found: i64,
    },
    /// A device number exceeds the kernel's 12 + 20 bits.
    #[error("device number {major}:{minor} exceeds 4095:1048575")]
    DeviceNumber {
        /// The driver.
        major: u32,
        /// The device of that driver.
        minor: u32,
    },
    /// An extension header is followed by the end of the archive.
    #[error("an extension header stands at the end of the archive, with no member after it")]
    ExtensionAtEnd,
    /// Extension headers stand in an order that readers take differently.
    #[error("typeflag {:?} cannot stand after another extension header of the same member",
        char::from(*typeflag))]
    ExtensionOrder {
        /// The typeflag of the later one.
        typeflag: u8,
    },
    /// An extension header's payload is too long.
    #[error("an extension header of {size_bytes} bytes, at most {limit_bytes} are taken")]
    ExtensionTooLong {
        /// Its length.
        size_bytes: u64,
        /// Either [`super::MAX_EXTENSION_BYTES`] or, for names, [`MAX_PATH_BYTES`].
        limit_bytes: u64,
    },
    /// A global PAX header sets what readers apply to other members each, or only a member can have.
    #[error("a global PAX header sets {}: readers disagree about whose it is", shown(keyword))]
    GlobalKeyword {
        /// The keyword.
        keyword: Vec<u8>,
    },
    /// GNU tar's times of access and change lie where other readers see a prefix of the name.
    #[error(
        "the header has GNU tar's magic and a prefix: readers disagree about the name \
         (write the archive without --incremental)"
    )]
    GnuPrefix,
    /// The last twelve bytes of a header are used.
    #[error("the header's last 12 bytes are not zero (an archive of star?)")]
    HeaderPadding,
    /// A PAX keyword changes what other readers see and mkfs.erofs does not.
    #[error("PAX keyword {} is not supported: readers disagree about it", shown(keyword))]
    Keyword {
        /// The keyword.
        keyword: Vec<u8>,
    },
    /// A symbolic link's target exceeds [`super::MAX_LINK_TARGET_BYTES`], or a hard link's exceeds
    /// [`MAX_PATH_BYTES`].
    #[error("link target of {target_bytes} bytes, at most {limit_bytes} are taken")]
    LinkTargetTooLong {
        /// Its length.
        target_bytes: usize,
        /// The limit for links of this kind.
        limit_bytes: usize,
    },
    /// One zero block stands where two end an archive.
    #[error("a lone block of {BLOCK_BYTES} zeros stands between the members")]
    LoneZeroBlock,
    /// The header is not of the ustar family.
    #[error("the header's magic and version are {}, not those of ustar or GNU tar", shown(found))]
    Magic {
        /// The bytes of both fields.
        found: [u8; 8],
    },
    /// Names, targets and attributes of all members exceed [`MAX_METADATA_BYTES`] and what each may
    /// have.
    #[error(
        "names and attributes of all members so far take more than {MAX_METADATA_BYTES} bytes and \
         {METADATA_BYTES_PER_MEMBER} for each"
    )]
    Metadata,
    /// A GNU long name or link target holds a NUL that is not at its end.
    #[error("a GNU long name has a NUL within: {}", shown(name))]
    NameWithNul {
        /// The name.
        name: Vec<u8>,
    },
    /// The stream does not begin with a tar header.
    #[error("this is no tar archive: it begins with {}", shown(found))]
    NotTar {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A numeric field holds no number, or one that does not fit.
    #[error("the header's {field} is {}, which is no number that fits it", shown(found))]
    Number {
        /// The field's name.
        field: String,
        /// Its bytes.
        found: Vec<u8>,
    },
    /// The path exceeds [`MAX_PATH_BYTES`].
    #[error("path of {path_bytes} bytes, at most {MAX_PATH_BYTES} are taken")]
    PathTooLong {
        /// Its length.
        path_bytes: usize,
    },
    /// A PAX record is malformed.
    #[error("PAX record at byte {offset_bytes} of its header is not `LENGTH KEYWORD=VALUE`")]
    PaxRecord {
        /// Where in the header's payload it begins.
        offset_bytes: usize,
    },
    /// A PAX record's value does not fit its keyword.
    #[error("PAX keyword {} has the value {}", shown(keyword), shown(value))]
    PaxValue {
        /// The keyword.
        keyword: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Header and PAX header state different sizes; readers that take either see different
    /// members after this one (CVE-2025-62518).
    #[error("the header says {header_bytes} bytes, the PAX header before it {pax_bytes}")]
    SizeConflict {
        /// The size in the header.
        header_bytes: u64,
        /// The size in the PAX header.
        pax_bytes: u64,
    },
    /// A member that has no content states a size.
    #[error("typeflag {:?} has no content, and its header states {size_bytes} bytes",
        char::from(*typeflag))]
    SizeWithoutContent {
        /// The member's typeflag.
        typeflag: u8,
        /// The size it states.
        size_bytes: u64,
    },
    /// There are more than [`MAX_MEMBERS`] members.
    #[error("more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// There are more than [`MAX_XATTRS`] attributes.
    #[error("more than {MAX_XATTRS} extended attributes")]
    TooManyXattrs,
    /// The name ends in `/`, as only a directory's may.
    #[error("the name ends in \"/\" and typeflag {:?} is no directory's", char::from(*typeflag))]
    TrailingSlash {
        /// The member's typeflag.
        typeflag: u8,
    },
    /// The archive ends before the member does.
    #[error("the archive ends {missing_bytes} bytes too early")]
    Truncated {
        /// How much of the header or payload is missing.
        missing_bytes: u64,
    },
    /// The typeflag is of no kind that is read here.
    #[error("typeflag {} is not supported", shown(&[*typeflag]))]
    Typeflag {
        /// The typeflag.
        typeflag: u8,
    },
    /// An attribute's name is empty, has a NUL, or exceeds [`MAX_XATTR_NAME_BYTES`].
    #[error(
        "extended attribute {} has no name of 1 to {MAX_XATTR_NAME_BYTES} bytes without NUL",
        shown(name)
    )]
    XattrName {
        /// The name.
        name: Vec<u8>,
    },
    /// An attribute's value exceeds [`MAX_XATTR_VALUE_BYTES`].
    #[error(
        "extended attribute {} has {value_bytes} bytes, at most {MAX_XATTR_VALUE_BYTES} are taken",
        shown(name)
    )]
    XattrValue {
        /// The name.
        name: Vec<u8>,
        /// The length of the value.
        value_bytes: usize,
    },
}

fn member(path: &[u8]) -> String {
    if path.is_empty() { String::new() } else { format!("tar member {} ", shown(path)) }
}

/// Shows bytes from an archive in quotes, on one line and without control characters; at most
/// [`SHOWN_BYTES`] of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let (head, tail) = bytes.split_at(bytes.len().min(SHOWN_BYTES));
    let mut text = String::from("\"");
    for chunk in head.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push_str(if tail.is_empty() { "\"" } else { "\"…" });
    text
}

/// Is how much of a foreign text an error message shows.
const SHOWN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_shown_on_one_line() {
        assert_eq!(shown("é/\"x\"\n\u{1b}[2J".as_bytes()), r#""é/\"x\"\n\u{1b}[2J""#);
        assert_eq!(shown(b"a\xff\xfeb"), r#""a\xff\xfeb""#);
        assert_eq!(shown(&[b'a'; 300]), format!("\"{}\"…", "a".repeat(256)));
    }

    #[test]
    fn a_refusal_names_member_place_and_reason() {
        let error = TarError::Refused {
            offset_bytes: 1536,
            path: b"usr/bin/env".to_vec(),
            reason: Refusal::Typeflag { typeflag: b'S' },
        };
        assert_eq!(
            error.to_string(),
            "tar member \"usr/bin/env\" at byte 1536: typeflag \"S\" is not supported"
        );
    }
}
