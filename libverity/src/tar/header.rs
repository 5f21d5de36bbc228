//! The header of a tar member.

use std::fmt;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::number::{NotANumber, parse_octal, parse_octal_or_binary};
use super::{BLOCK_BYTES, DeviceNumber, Refusal};

/// Is one header block whose checksum and magic are right.
///
/// The other fields are only read when they are asked for: which of them count depends on the
/// extension headers before it.
///
/// | offset | size | field | form |
/// |---|---|---|---|
/// | 0 | 100 | name | bytes up to a NUL |
/// | 100 | 8 | mode | octal |
/// | 108 | 8 | uid | octal or base 256 |
/// | 116 | 8 | gid | octal or base 256 |
/// | 124 | 12 | size | octal or base 256 |
/// | 136 | 12 | mtime | octal or base 256, may be negative |
/// | 148 | 8 | checksum | octal: the sum of all bytes with these eight taken as spaces |
/// | 156 | 1 | typeflag | a character |
/// | 157 | 100 | linkname | bytes up to a NUL |
/// | 257 | 6 | magic | `ustar\0`, or `ustar ` in archives of GNU tar |
/// | 263 | 2 | version | ` \0` in archives of GNU tar, otherwise not looked at |
/// | 265 | 64 | uname, gname | not looked at: ids are numeric |
/// | 329 | 8 | devmajor | octal or base 256 |
/// | 337 | 8 | devminor | octal or base 256 |
/// | 345 | 155 | prefix | bytes up to a NUL, before `/` and name |
/// | 500 | 12 | padding | zero |
///
/// Source: POSIX.1-2017 `pax`, "ustar Interchange Format".
pub(super) struct Header(RawHeader);

impl Header {
    /// Checks the block of an archive for being a header.
    ///
    /// # Errors
    ///
    /// Refuses a wrong checksum, a wrong magic and padding that is not zero.
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, Refusal> {
        let raw: RawHeader = zerocopy::transmute!(*block);
        let stored = parse_octal(&raw.checksum).map_err(|_| raw.not_a_number(Field::Checksum))?;
        let computed = raw.checksums();
        if !computed.contains(&stored) {
            return Err(Refusal::Checksum { expected: computed[0], found: stored });
        }
        if !(raw.magic == *b"ustar\0" || raw.has_gnu_magic()) {
            let mut found = [0; 8];
            found[..6].copy_from_slice(&raw.magic);
            found[6..].copy_from_slice(&raw.version);
            return Err(Refusal::Magic { found });
        }
        if raw.padding != [0; 12] {
            return Err(Refusal::HeaderPadding);
        }
        Ok(Self(raw))
    }

    /// Returns the character that says what the member is.
    pub(super) const fn typeflag(&self) -> u8 {
        self.0.typeflag
    }

    /// Joins prefix and name.
    ///
    /// # Errors
    ///
    /// Refuses a prefix in a header of GNU tar, where these bytes mean times of access and change
    /// to some readers and a prefix to others.
    pub(super) fn path(&self) -> Result<Vec<u8>, Refusal> {
        let name = until_nul(&self.0.name);
        let prefix = until_nul(&self.0.prefix);
        if prefix.is_empty() {
            return Ok(name.to_vec());
        }
        if self.0.has_gnu_magic() {
            return Err(Refusal::GnuPrefix);
        }
        let slash: &[u8] = if prefix.ends_with(b"/") { b"" } else { b"/" };
        Ok([prefix, slash, name].concat())
    }

    /// Returns the target of a link.
    pub(super) fn link_target(&self) -> &[u8] {
        until_nul(&self.0.link_name)
    }

    /// Reads the permission bits; the file type that some writers put above them is cut off.
    pub(super) fn mode(&self) -> Result<u16, Refusal> {
        let mode = parse_octal(&self.0.mode).map_err(|_| self.0.not_a_number(Field::Mode))?;
        match u16::try_from(mode) {
            Ok(mode) => Ok(mode & 0o7777),
            Err(_) => Err(self.0.not_a_number(Field::Mode)),
        }
    }

    /// Reads the numeric user.
    pub(super) fn uid(&self) -> Result<u32, Refusal> {
        self.unsigned(Field::Uid)
    }

    /// Reads the numeric group.
    pub(super) fn gid(&self) -> Result<u32, Refusal> {
        self.unsigned(Field::Gid)
    }

    /// Reads the length of the payload, in bytes.
    pub(super) fn size_bytes(&self) -> Result<u64, Refusal> {
        self.unsigned(Field::Size)
    }

    /// Tells whether the size field holds nothing at all, as in headers whose size only a PAX
    /// header says.
    pub(super) fn size_is_empty(&self) -> bool {
        self.0.size == [0; 12]
    }

    /// Reads the time of the last modification, in seconds.
    pub(super) fn mtime_seconds(&self) -> Result<i64, Refusal> {
        parse_octal_or_binary(&self.0.mtime).map_err(|_| self.0.not_a_number(Field::Mtime))
    }

    /// Reads the number of the device.
    ///
    /// # Errors
    ///
    /// Refuses numbers beyond the kernel's 12 bits for the driver and 20 for the device.
    pub(super) fn device_number(&self) -> Result<DeviceNumber, Refusal> {
        let major = self.unsigned(Field::DeviceMajor)?;
        let minor = self.unsigned(Field::DeviceMinor)?;
        if major > MAX_DEVICE_MAJOR || minor > MAX_DEVICE_MINOR {
            return Err(Refusal::DeviceNumber { major, minor });
        }
        Ok(DeviceNumber { major, minor })
    }

    /// Reads a field that cannot be negative.
    fn unsigned<N: TryFrom<i64>>(&self, field: Field) -> Result<N, Refusal> {
        parse_octal_or_binary(self.0.field(field))
            .and_then(|number| N::try_from(number).map_err(|_| NotANumber))
            .map_err(|_| self.0.not_a_number(field))
    }
}

/// Tells whether a block is one of the zero blocks that end an archive.
pub(super) fn is_zero_block(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// Names a numeric field of the header.
#[derive(Clone, Copy)]
enum Field {
    Checksum,
    DeviceMajor,
    DeviceMinor,
    Gid,
    Mode,
    Mtime,
    Size,
    Uid,
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Checksum => "checksum",
            Self::DeviceMajor => "device major number",
            Self::DeviceMinor => "device minor number",
            Self::Gid => "gid",
            Self::Mode => "mode",
            Self::Mtime => "modification time",
            Self::Size => "size",
            Self::Uid => "uid",
        })
    }
}

/// The block as it lies in the archive.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) name: [u8; 100],
    pub(super) mode: [u8; 8],
    pub(super) uid: [u8; 8],
    pub(super) gid: [u8; 8],
    pub(super) size: [u8; 12],
    pub(super) mtime: [u8; 12],
    checksum: [u8; 8],
    pub(super) typeflag: u8,
    pub(super) link_name: [u8; 100],
    magic: [u8; 6],
    version: [u8; 2],
    user_name: [u8; 32],
    group_name: [u8; 32],
    pub(super) device_major: [u8; 8],
    pub(super) device_minor: [u8; 8],
    prefix: [u8; 155],
    padding: [u8; 12],
}

impl RawHeader {
    /// Returns a header without anything but the magic.
    pub(super) fn empty() -> Self {
        Self { magic: *b"ustar\0", version: *b"00", ..Self::new_zeroed() }
    }

    /// Writes the checksum over all other fields.
    pub(super) fn seal(&mut self) {
        let [sum, _] = self.checksums();
        self.checksum.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    /// Sums the bytes as unsigned numbers and, as some old writers did, as signed ones.
    fn checksums(&self) -> [i64; 2] {
        let mut sums = [8 * i64::from(b' '); 2];
        for (offset, &byte) in self.as_bytes().iter().enumerate() {
            if !CHECKSUM_BYTES.contains(&offset) {
                sums[0] += i64::from(byte);
                sums[1] += i64::from(byte.cast_signed());
            }
        }
        sums
    }

    /// Tells whether the header is of GNU tar, which takes one with its magic and another version
    /// for that of an older form, without devices.
    fn has_gnu_magic(&self) -> bool {
        self.magic == *b"ustar " && self.version == *b" \0"
    }

    fn field(&self, field: Field) -> &[u8] {
        match field {
            Field::Checksum => &self.checksum,
            Field::DeviceMajor => &self.device_major,
            Field::DeviceMinor => &self.device_minor,
            Field::Gid => &self.gid,
            Field::Mode => &self.mode,
            Field::Mtime => &self.mtime,
            Field::Size => &self.size,
            Field::Uid => &self.uid,
        }
    }

    fn not_a_number(&self, field: Field) -> Refusal {
        Refusal::Number { field: field.to_string(), found: self.field(field).to_vec() }
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

const CHECKSUM_BYTES: std::ops::Range<usize> = 148..156;
const MAX_DEVICE_MAJOR: u32 = (1 << 12) - 1;
const MAX_DEVICE_MINOR: u32 = (1 << 20) - 1;

const _: () = assert!(size_of::<RawHeader>() == BLOCK_BYTES);

#[cfg(test)]
mod tests {
    use super::super::test_archive::HeaderBlock;
    use super::*;

    #[test]
    fn a_plain_header_is_read_field_by_field() {
        let header = Header::parse(&HeaderBlock::new("usr/bin/env", b'0').block()).unwrap();
        assert_eq!(header.typeflag(), b'0');
        assert_eq!(header.path().unwrap(), b"usr/bin/env");
        assert_eq!(header.mode().unwrap(), 0o644);
        assert_eq!(header.uid().unwrap(), 0);
        assert_eq!(header.mtime_seconds().unwrap(), 0);
        assert_eq!(header.size_bytes().unwrap(), 0);
    }

    #[test]
    fn prefix_and_name_are_joined_by_one_slash() {
        for prefix in [&b"usr/share"[..], b"usr/share/"] {
            let block = HeaderBlock::new("doc", b'5').set(345, prefix).block();
            assert_eq!(Header::parse(&block).unwrap().path().unwrap(), b"usr/share/doc");
        }
        let full = HeaderBlock::new(&"n".repeat(100), b'0').set(345, &[b'p'; 155]).block();
        assert_eq!(Header::parse(&full).unwrap().path().unwrap().len(), 256);
    }

    #[test]
    fn a_prefix_under_the_gnu_magic_is_refused() {
        let block = HeaderBlock::new("f", b'0').set(257, b"ustar  \0").set(345, b"1234").block();
        assert!(matches!(Header::parse(&block).unwrap().path(), Err(Refusal::GnuPrefix)));
        let gnu = HeaderBlock::new("f", b'0').set(257, b"ustar  \0").block();
        assert_eq!(Header::parse(&gnu).unwrap().path().unwrap(), b"f");
    }

    #[test]
    fn a_wrong_checksum_is_refused_with_both_sums() {
        let mut block = HeaderBlock::new("f", b'0').block();
        block[0] = b'g';
        let right = i64::from(b'g') - i64::from(b'f');
        let Err(Refusal::Checksum { expected, found }) = Header::parse(&block) else { panic!() };
        assert_eq!(expected - found, right);
    }

    #[test]
    fn a_checksum_over_signed_bytes_is_accepted() {
        let mut block = HeaderBlock::new("\u{e9}", b'0').block();
        let unsigned = parse_octal(&block[CHECKSUM_BYTES]).unwrap();
        block[148..156].copy_from_slice(format!("{:06o}\0 ", unsigned - 2 * 256).as_bytes());
        assert!(Header::parse(&block).is_ok());
    }

    #[test]
    fn other_formats_are_refused_by_their_magic() {
        for magic in [&b"\0\0\0\0\0\0"[..], b"ustaR\0", b"ustarX", b"ustar 00", b"ustar  X"] {
            let block = HeaderBlock::new("f", b'0').set(257, magic).block();
            assert!(matches!(Header::parse(&block), Err(Refusal::Magic { .. })));
        }
    }

    #[test]
    fn padding_must_be_zero() {
        let block = HeaderBlock::new("f", b'0').set(508, b"tar\0").block();
        assert!(matches!(Header::parse(&block), Err(Refusal::HeaderPadding)));
    }

    #[test]
    fn a_file_type_above_the_mode_is_cut_off() {
        let mode = |text| {
            let block = HeaderBlock::new("f", b'0').set(100, text).block();
            Header::parse(&block).unwrap().mode()
        };
        assert_eq!(mode(b"0104755\0").unwrap(), 0o4755);
        assert!(matches!(mode(b"1000644\0"), Err(Refusal::Number { .. })), "beyond 16 bits");
        assert!(matches!(mode(b"\x80\0\0\0\0\0\x01\xa4"), Err(Refusal::Number { .. })));
    }

    #[test]
    fn ids_beyond_32_bits_and_negative_ones_are_refused() {
        let uid = |text| {
            let block = HeaderBlock::new("f", b'0').set(108, text).block();
            Header::parse(&block).unwrap().uid()
        };
        assert_eq!(uid(b"\x80\0\0\0\xff\xff\xff\xff").unwrap(), u32::MAX);
        for field in [&b"\x80\0\0\x01\0\0\0\0"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff", &[0; 8]] {
            assert!(matches!(uid(field), Err(Refusal::Number { .. })));
        }
    }

    #[test]
    fn devices_beyond_the_kernels_bits_are_refused() {
        let device = |major, minor| {
            let block = HeaderBlock::new("d", b'3').set(329, major).set(337, minor).block();
            Header::parse(&block).unwrap().device_number()
        };
        assert_eq!(
            device(b"0007777\0", b"3777777\0").unwrap(),
            DeviceNumber { major: 4095, minor: 1_048_575 }
        );
        assert!(matches!(
            device(b"0010000\0", b"0000000\0"),
            Err(Refusal::DeviceNumber { major: 4096, minor: 0 })
        ));
        assert!(matches!(
            device(b"0000000\0", b"4000000\0"),
            Err(Refusal::DeviceNumber { major: 0, minor: 1_048_576 })
        ));
    }
}
