//! Headers of members, for archives of our own.

use zerocopy::IntoBytes;

use super::error::shown;
use super::header::RawHeader;
use super::{BLOCK_BYTES, Entry, EntryKind, Timestamp};

/// Returns the headers of a member, behind which an archive has its content, filled up with zeros
/// to a block.
///
/// They are always the same for the same member, and [`TarReader`](super::TarReader) reads just it
/// from them: a ustar header, and before it a PAX header for
///
/// | what | where |
/// |---|---|
/// | a name or link target longer than 100 bytes | `path`, `linkpath` |
/// | extended attributes, sorted by name, the value as it is | `SCHILY.xattr.NAME` |
/// | a time before 1970, or with a fraction of a second, in nine digits | `mtime` |
///
/// Numbers beyond the octal digits of their field are in base 256. Names of owners are left out.
///
/// # Errors
///
/// Refuses an attribute whose name a PAX header cannot hold.
///
/// ```
/// use libverity::tar::{END_MARKER_BYTES, Entry, EntryKind, TarReader, Timestamp, encode_member};
///
/// let entry = Entry {
///     path: b"etc".to_vec(),
///     kind: EntryKind::Directory,
///     mode: 0o755,
///     uid: 0,
///     gid: 0,
///     mtime: Timestamp::default(),
///     xattrs: Vec::new(),
/// };
/// let mut archive = encode_member(&entry)?;
/// archive.resize(archive.len() + END_MARKER_BYTES, 0);
/// assert_eq!(TarReader::new(&archive[..]).next_entry()?, Some(entry));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_member(entry: &Entry) -> Result<Vec<u8>, EncodeError> {
    let mut records = Records::default();
    let header = header(entry, &mut records);
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.sort_by(|one, other| one.name.cmp(&other.name));
    for xattr in xattrs {
        if xattr.name.contains(&b'=') {
            return Err(EncodeError::XattrName {
                path: entry.path.clone(),
                name: xattr.name.clone(),
            });
        }
        records.add(&[XATTR_KEYWORD, &xattr.name].concat(), &xattr.value);
    }
    let mut bytes = records.into_member();
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

/// Says why a member has no headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An attribute's name has what ends it in a PAX header.
    #[error("{}: a tar archive cannot hold the extended attribute {}", shown(path), shown(name))]
    XattrName {
        /// The member.
        path: Vec<u8>,
        /// The attribute.
        name: Vec<u8>,
    },
}

fn header(entry: &Entry, records: &mut Records) -> RawHeader {
    let mut raw = RawHeader::empty();
    let (typeflag, size_bytes) = match entry.kind {
        EntryKind::BlockDevice(_) => (b'4', 0),
        EntryKind::CharacterDevice(_) => (b'3', 0),
        EntryKind::Directory => (b'5', 0),
        EntryKind::Fifo => (b'6', 0),
        EntryKind::HardLink { .. } => (b'1', 0),
        EntryKind::Regular { size } => (b'0', size),
        EntryKind::Symlink { .. } => (b'2', 0),
    };
    raw.typeflag = typeflag;
    raw.mode = number(u64::from(entry.mode & 0o7777));
    raw.uid = number(entry.uid.into());
    raw.gid = number(entry.gid.into());
    raw.size = number(size_bytes);
    raw.mtime = number(u64::try_from(entry.mtime.seconds).unwrap_or(0));
    if entry.mtime.seconds < 0 || entry.mtime.nanoseconds != 0 {
        records.add(b"mtime", time(entry.mtime).as_bytes());
    }
    let mut name = entry.path.clone();
    if matches!(entry.kind, EntryKind::Directory) {
        name.push(b'/');
    }
    text(&mut raw.name, b"path", &name, records);
    match &entry.kind {
        EntryKind::HardLink { target } | EntryKind::Symlink { target } => {
            text(&mut raw.link_name, b"linkpath", target, records);
        }
        EntryKind::BlockDevice(device) | EntryKind::CharacterDevice(device) => {
            raw.device_major = number(device.major.into());
            raw.device_minor = number(device.minor.into());
        }
        _ => {}
    }
    raw.seal();
    raw
}

/// Puts a name into its field, or into a record where it is too long.
fn text(field: &mut [u8; 100], keyword: &[u8], value: &[u8], records: &mut Records) {
    let in_field = &value[..value.len().min(field.len())];
    field[..in_field.len()].copy_from_slice(in_field);
    if value.len() > field.len() {
        records.add(keyword, value);
    }
}

/// Writes octal digits with a NUL behind them, or base 256 where there is not room enough.
fn number<const BYTES: usize>(value: u64) -> [u8; BYTES] {
    let mut field = [0; BYTES];
    let digits = format!("{value:0width$o}", width = BYTES - 1);
    if digits.len() < BYTES {
        field[..BYTES - 1].copy_from_slice(digits.as_bytes());
        return field;
    }
    // Only the fields of 12 bytes hold more than 32 bits, and those of 8 have room for seven bytes.
    let bytes = value.to_be_bytes();
    let count = bytes.len().min(BYTES - 1);
    field[BYTES - count..].copy_from_slice(&bytes[bytes.len() - count..]);
    field[0] = 0x80;
    field
}

/// Writes a time in decimal, as a PAX header has it.
fn time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), NANOSECONDS_PER_SECOND - nanoseconds),
    };
    match nanoseconds {
        0 => format!("{sign}{seconds}"),
        _ => format!("{sign}{seconds}.{nanoseconds:09}"),
    }
}

/// Gathers the records of a PAX header.
#[derive(Default)]
struct Records {
    payload: Vec<u8>,
}

impl Records {
    /// Adds `LENGTH KEYWORD=VALUE` and a newline, where the length counts itself.
    fn add(&mut self, keyword: &[u8], value: &[u8]) {
        let rest_bytes = keyword.len() + value.len() + 3;
        let mut record_bytes = rest_bytes + 1;
        while record_bytes != rest_bytes + record_bytes.to_string().len() {
            record_bytes = rest_bytes + record_bytes.to_string().len();
        }
        self.payload.extend_from_slice(format!("{record_bytes} ").as_bytes());
        self.payload.extend_from_slice(keyword);
        self.payload.push(b'=');
        self.payload.extend_from_slice(value);
        self.payload.push(b'\n');
    }

    /// Returns header and payload, or nothing where there are no records.
    fn into_member(self) -> Vec<u8> {
        if self.payload.is_empty() {
            return Vec::new();
        }
        let mut raw = RawHeader::empty();
        raw.name[..PAX_NAME.len()].copy_from_slice(PAX_NAME);
        raw.typeflag = b'x';
        raw.mode = number(0o644);
        raw.uid = number(0);
        raw.gid = number(0);
        raw.size = number(self.payload.len() as u64);
        raw.mtime = number(0);
        raw.seal();
        let mut bytes = raw.as_bytes().to_vec();
        bytes.extend_from_slice(&self.payload);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }
}

const XATTR_KEYWORD: &[u8] = b"SCHILY.xattr.";
const PAX_NAME: &[u8] = b"././@PaxHeader";
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::tar::{DeviceNumber, END_MARKER_BYTES, TarReader, Xattr};

    fn file(path: &[u8]) -> Entry {
        Entry {
            path: path.to_vec(),
            kind: EntryKind::Regular { size: 0 },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn records_count_their_own_length() {
        for value_bytes in [0, 1, 88, 89, 90, 91, 986, 987, 988, 989, 99_000] {
            let mut records = Records::default();
            records.add(b"path", &vec![b'v'; value_bytes]);
            let text = String::from_utf8(records.payload).unwrap();
            let (length, _) = text.split_once(' ').unwrap();
            assert_eq!(length.parse(), Ok(text.len()), "{value_bytes}");
        }
    }

    #[test]
    fn times_are_decimal_numbers() {
        for (seconds, nanoseconds, text) in [
            (1, 5, "1.000000005"),
            (-1, 0, "-1"),
            (-2, 500_000_000, "-1.500000000"),
            (-1, 999_999_999, "-0.000000001"),
        ] {
            assert_eq!(time(Timestamp { seconds, nanoseconds }), text);
        }
    }

    #[test]
    fn an_attribute_that_would_end_early_is_refused() {
        let xattrs = vec![Xattr { name: b"user.a=b".to_vec(), value: Vec::new() }];
        let entry = Entry { xattrs, ..file(b"f") };
        assert_eq!(
            encode_member(&entry).unwrap_err().to_string(),
            "\"f\": a tar archive cannot hold the extended attribute \"user.a=b\""
        );
    }

    #[test]
    fn an_ordinary_member_has_one_header() {
        assert_eq!(encode_member(&file(&[b'n'; 100])).unwrap().len(), BLOCK_BYTES);
        assert_eq!(encode_member(&file(&[b'n'; 101])).unwrap().len(), 3 * BLOCK_BYTES);
    }

    fn any_path() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![b'a'..=b'z', 0x80_u8..=0xff, Just(b'\n'), Just(b' ')];
        vec(vec(byte, 1..130), 1..4).prop_map(|names| names.join(&b'/'))
    }

    fn any_kind() -> impl Strategy<Value = EntryKind> {
        let device = (0..4096_u32, 0..1_048_576_u32)
            .prop_map(|(major, minor)| DeviceNumber { major, minor });
        prop_oneof![
            device.clone().prop_map(EntryKind::BlockDevice),
            device.prop_map(EntryKind::CharacterDevice),
            Just(EntryKind::Directory),
            Just(EntryKind::Fifo),
            any_path().prop_map(|target| EntryKind::HardLink { target }),
            any_path().prop_map(|target| EntryKind::Symlink { target }),
            Just(EntryKind::Regular { size: 0 }),
        ]
    }

    prop_compose! {
        fn any_entry()(
            path in any_path(),
            kind in any_kind(),
            mode in 0_u16..0o10_000,
            uid in any::<u32>(),
            gid in 0_u32..1000,
            seconds in prop_oneof![-5_i64..5, any::<i32>().prop_map(i64::from), Just(1_i64 << 40)],
            nanoseconds in prop_oneof![Just(0), 0_u32..1_000_000_000],
            xattrs in btree_map("user\\.[a-z]{1,9}", vec(any::<u8>(), 0..300), 0..4),
        ) -> Entry {
            let xattrs = xattrs
                .into_iter()
                .map(|(name, value)| Xattr { name: name.into_bytes(), value })
                .collect();
            Entry { path, kind, mode, uid, gid, mtime: Timestamp { seconds, nanoseconds }, xattrs }
        }
    }

    proptest! {
        #[test]
        fn members_are_read_back(entries in vec(any_entry(), 0..5)) {
            let mut archive: Vec<u8> =
                entries.iter().flat_map(|entry| encode_member(entry).unwrap()).collect();
            archive.resize(archive.len() + END_MARKER_BYTES, 0);
            let mut reader = TarReader::new(&archive[..]);
            for entry in entries {
                prop_assert_eq!(reader.next_entry().unwrap(), Some(entry));
            }
            prop_assert_eq!(reader.next_entry().unwrap(), None);
        }

        #[test]
        fn every_size_is_read_back(size in prop_oneof![0..=1_u64 << 34, Just(i64::MAX as u64)]) {
            let entry = Entry { kind: EntryKind::Regular { size }, ..file(b"f") };
            let archive = encode_member(&entry).unwrap();
            prop_assert_eq!(TarReader::new(&archive[..]).next_entry().unwrap(), Some(entry));
        }
    }
}
