//! PAX headers: records that replace or add to the fields of a header.

use super::number::NotANumber;
use super::{
    DivergenceKind, MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES, MAX_XATTRS, Refusal, Timestamp,
    Xattr, libarchive,
};

/// Holds what the PAX headers before a member say about it.
///
/// A payload is a row of records `LENGTH KEYWORD=VALUE\n`, LENGTH in decimal digits and counting
/// the whole record. Later records win over earlier ones, and an empty value takes the earlier
/// ones back.
///
/// | keyword | value |
/// |---|---|
/// | `path`, `linkpath` | bytes without NUL |
/// | `size`, `uid`, `gid` | decimal digits |
/// | `mtime` | decimal seconds with an optional sign and fraction |
/// | `SCHILY.xattr.NAME` | the attribute's value, verbatim |
/// | `LIBARCHIVE.xattr.NAME` | the attribute's value in base 64, NAME percent-encoded |
/// | `GNU.sparse.*`, `SCHILY.devmajor`, `SCHILY.devminor`, `SCHILY.realsize` | refused: mkfs.erofs drops what other readers apply |
/// | all others | ignored |
///
/// A header for all members that follow has only what is ignored: see [`check_global`].
///
/// Source: POSIX.1-2017 `pax`, "pax Extended Header".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PaxAttributes {
    /// `path` as it is written.
    pub(super) path: Option<Vec<u8>>,
    /// `linkpath`.
    pub(super) link_target: Option<Vec<u8>>,
    /// `size`.
    pub(super) size_bytes: Option<u64>,
    /// `uid`.
    pub(super) uid: Option<u32>,
    /// `gid`.
    pub(super) gid: Option<u32>,
    /// `mtime`.
    pub(super) mtime: Option<Timestamp>,
    /// Both kinds of attributes; one that is named again keeps its place with the new value.
    pub(super) xattrs: Vec<Xattr>,
    /// What erofs-utils 1.8 reads differently.
    pub(super) divergences: Vec<DivergenceKind>,
}

impl PaxAttributes {
    /// Adds the records of a PAX header.
    ///
    /// # Errors
    ///
    /// Refuses records that are not formed as above, and values that their keyword does not have.
    pub(super) fn apply(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        for_each_record(payload, |record| self.apply_record(record))?;
        if is_misread_by_1_8(payload) {
            self.divergences.push(DivergenceKind::LongPaxHeader);
        }
        Ok(())
    }

    fn apply_record(&mut self, record: &Record<'_>) -> Result<(), Refusal> {
        let key = record.key;
        if let Some(name) = key.strip_prefix(SCHILY_XATTR) {
            return self.set_xattr(name.to_vec(), record.value.to_vec());
        }
        if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
            let value = libarchive::decode_value(record.value).ok_or_else(|| record.refused())?;
            self.divergences.push(DivergenceKind::LibarchiveXattr);
            return self.set_xattr(libarchive::decode_name(name), value);
        }
        if is_refused(key) {
            return Err(Refusal::Keyword { keyword: key.to_vec() });
        }
        match key {
            b"path" => self.path = self.unless_empty(record, Record::text)?,
            b"linkpath" => self.link_target = self.unless_empty(record, Record::text)?,
            b"size" => self.size_bytes = self.unless_empty(record, Record::number)?,
            b"uid" => self.uid = self.unless_empty(record, Record::number)?,
            b"gid" => self.gid = self.unless_empty(record, Record::number)?,
            b"mtime" => {
                let time = self.unless_empty(record, Record::time)?;
                if time.as_ref().is_some_and(|time| time.nanoseconds != time.old_nanoseconds) {
                    self.divergences.push(DivergenceKind::FractionalTime);
                }
                self.mtime = time.map(|time| time.timestamp());
            }
            _ => {}
        }
        Ok(())
    }

    fn unless_empty<'a, T>(
        &mut self,
        record: &Record<'a>,
        parse: impl FnOnce(&Record<'a>) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        if record.value.is_empty() {
            self.divergences.push(DivergenceKind::EmptyPaxValue);
            return Ok(None);
        }
        parse(record).map(Some)
    }

    fn set_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Refusal> {
        if name.is_empty() || name.len() > MAX_XATTR_NAME_BYTES || name.contains(&0) {
            return Err(Refusal::XattrName { name });
        }
        if value.len() > MAX_XATTR_VALUE_BYTES {
            return Err(Refusal::XattrValue { name, value_bytes: value.len() });
        }
        let count = self.xattrs.len();
        match self.xattrs.iter_mut().find(|xattr| xattr.name == name) {
            Some(xattr) => xattr.value = value,
            None if count == MAX_XATTRS => return Err(Refusal::TooManyXattrs),
            None => self.xattrs.push(Xattr { name, value }),
        }
        Ok(())
    }
}

/// Checks that a PAX header for all members that follow (`g`) says nothing that counts.
///
/// Readers disagree: mkfs.erofs begins with the member after the next, other programs with the next
/// one or never. What writers put there is a comment, such as Git's with the name of a commit.
///
/// # Errors
///
/// Refuses keywords that have a meaning before a member, and records that are malformed.
pub(super) fn check_global(payload: &[u8]) -> Result<(), Refusal> {
    for_each_record(payload, |record| {
        let key = record.key;
        let counts = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime")
            || key.starts_with(SCHILY_XATTR)
            || key.starts_with(LIBARCHIVE_XATTR)
            || is_refused(key);
        if counts { Err(Refusal::GlobalKeyword { keyword: key.to_vec() }) } else { Ok(()) }
    })
}

/// Tells whether erofs-utils 1.8 puts the payload of a PAX header together wrongly.
pub(super) const fn is_misread_by_1_8(payload: &[u8]) -> bool {
    payload.len() > OLD_PAYLOAD_BYTES
}

fn is_refused(key: &[u8]) -> bool {
    REFUSED_KEYWORDS.iter().any(|refused| key.starts_with(refused.as_bytes()))
}

fn for_each_record(
    payload: &[u8],
    mut take: impl FnMut(&Record<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut rest = payload;
    while !rest.is_empty() {
        let record = Record::split_from(&mut rest)
            .ok_or_else(|| Refusal::PaxRecord { offset_bytes: payload.len() - rest.len() })?;
        take(&record)?;
    }
    Ok(())
}

/// One record, without its length and its newline.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Cuts the first record off `payload`; `None` where it is malformed.
    fn split_from(payload: &mut &'a [u8]) -> Option<Self> {
        let digits = payload.iter().position(|&byte| byte == b' ')?;
        let record_bytes: usize = decimal(&payload[..digits]).ok()?;
        if record_bytes <= digits || payload[0] == b'0' {
            return None;
        }
        let (record, rest) = payload.split_at_checked(record_bytes)?;
        let record = record[digits + 1..].strip_suffix(b"\n")?;
        let equals_sign = record.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (&record[..equals_sign], &record[equals_sign + 1..]);
        if key.is_empty() || key.contains(&0) || key[0].is_ascii_whitespace() || key[0] == 0x0b {
            return None;
        }
        *payload = rest;
        Some(Self { key, value })
    }

    fn text(&self) -> Result<Vec<u8>, Refusal> {
        if self.value.contains(&0) { Err(self.refused()) } else { Ok(self.value.to_vec()) }
    }

    fn number<N: TryFrom<u64>>(&self) -> Result<N, Refusal> {
        decimal(self.value).map_err(|_| self.refused())
    }

    fn time(&self) -> Result<PaxTime, Refusal> {
        PaxTime::parse(self.value).map_err(|_| self.refused())
    }

    fn refused(&self) -> Refusal {
        Refusal::PaxValue { keyword: self.key.to_vec(), value: self.value.to_vec() }
    }
}

/// A time with what the two writers make of its fraction.
struct PaxTime {
    seconds: i64,
    /// The fraction scaled to nanoseconds and cut off there, counted upwards from `seconds`.
    nanoseconds: u32,
    /// The digits of the fraction taken for a count of nanoseconds, as erofs-utils 1.8 does; any
    /// other value than `nanoseconds` where that differs in another way.
    old_nanoseconds: u32,
}

impl PaxTime {
    fn parse(text: &[u8]) -> Result<Self, NotANumber> {
        let (negative, unsigned) = match text.strip_prefix(b"-") {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let point = unsigned.iter().position(|&byte| byte == b'.');
        let (whole, fraction) = match point {
            Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
            None => (unsigned, &b"0"[..]),
        };
        if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
            return Err(NotANumber);
        }
        let seconds: i64 = decimal(whole)?;
        let mut nanoseconds = 0;
        for place in 0..9 {
            let digit = fraction.get(place).map_or(0, |digit| digit - b'0');
            nanoseconds = nanoseconds * 10 + u32::from(digit);
        }
        if negative && nanoseconds > 0 {
            let seconds = (-seconds).checked_sub(1).ok_or(NotANumber)?;
            let nanoseconds = 1_000_000_000 - nanoseconds;
            return Ok(Self { seconds, nanoseconds, old_nanoseconds: u32::MAX });
        }
        let old_nanoseconds = decimal(fraction).unwrap_or(u32::MAX);
        let seconds = if negative { -seconds } else { seconds };
        Ok(Self { seconds, nanoseconds, old_nanoseconds })
    }

    const fn timestamp(&self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanoseconds: self.nanoseconds }
    }
}

/// Reads decimal digits and nothing else.
fn decimal<N: TryFrom<u64>>(digits: &[u8]) -> Result<N, NotANumber> {
    if digits.is_empty() {
        return Err(NotANumber);
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(NotANumber);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(NotANumber)?;
    }
    N::try_from(value).map_err(|_| NotANumber)
}

const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
/// Beyond this length erofs-utils 1.8 puts the payload together wrongly.
const OLD_PAYLOAD_BYTES: usize = 32768;
const REFUSED_KEYWORDS: [&str; 4] =
    ["GNU.sparse.", "SCHILY.devmajor", "SCHILY.devminor", "SCHILY.realsize"];

#[cfg(test)]
mod tests {
    use super::super::test_archive::pax_record;
    use super::*;

    fn applied(records: &[(&str, &[u8])]) -> Result<PaxAttributes, Refusal> {
        let mut attributes = PaxAttributes::default();
        let payload: Vec<u8> =
            records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        attributes.apply(&payload)?;
        Ok(attributes)
    }

    fn time_of(text: &str) -> Option<(i64, u32)> {
        let mtime = applied(&[("mtime", text.as_bytes())]).ok()?.mtime?;
        Some((mtime.seconds, mtime.nanoseconds))
    }

    #[test]
    fn every_keyword_reaches_its_field() {
        let attributes = applied(&[
            ("path", b"usr/\xff"),
            ("linkpath", b"target"),
            ("size", b"8589934592"),
            ("uid", b"70000"),
            ("gid", b"4294967295"),
            ("mtime", b"1700000000"),
            ("comment", b"ignored"),
            ("SCHILY.xattr.user.a", b"line\nwith=\0bytes"),
        ])
        .unwrap();
        assert_eq!(attributes.path.as_deref(), Some(&b"usr/\xff"[..]));
        assert_eq!(attributes.link_target.as_deref(), Some(&b"target"[..]));
        assert_eq!(attributes.size_bytes, Some(1 << 33));
        assert_eq!(attributes.uid, Some(70000));
        assert_eq!(attributes.gid, Some(u32::MAX));
        assert_eq!(attributes.mtime, Some(Timestamp { seconds: 1_700_000_000, nanoseconds: 0 }));
        let xattr = Xattr { name: b"user.a".to_vec(), value: b"line\nwith=\0bytes".to_vec() };
        assert_eq!(attributes.xattrs, [xattr]);
        assert_eq!(attributes.divergences, []);
    }

    #[test]
    fn later_records_win_and_empty_values_take_back() {
        let attributes = applied(&[("uid", b"1"), ("uid", b"2"), ("gid", b"3"), ("gid", b"")]);
        let attributes = attributes.unwrap();
        assert_eq!((attributes.uid, attributes.gid), (Some(2), None));
        assert_eq!(attributes.divergences, [DivergenceKind::EmptyPaxValue]);
    }

    #[test]
    fn a_repeated_attribute_keeps_its_place_with_the_last_value() {
        let attributes = applied(&[
            ("SCHILY.xattr.user.b", b"1"),
            ("SCHILY.xattr.user.a", b"2"),
            ("SCHILY.xattr.user.b", b""),
        ])
        .unwrap();
        let pairs: Vec<_> = attributes
            .xattrs
            .iter()
            .map(|xattr| (xattr.name.as_slice(), xattr.value.as_slice()))
            .collect();
        assert_eq!(pairs, [(&b"user.b"[..], &b""[..]), (b"user.a", b"2")]);
    }

    #[test]
    fn attributes_of_libarchive_are_decoded() {
        let attributes = applied(&[("LIBARCHIVE.xattr.user.%3d", b"Zm9v")]).unwrap();
        let xattr = Xattr { name: b"user.=".to_vec(), value: b"foo".to_vec() };
        assert_eq!(attributes.xattrs, [xattr]);
        assert_eq!(attributes.divergences, [DivergenceKind::LibarchiveXattr]);
        let refused = applied(&[("LIBARCHIVE.xattr.user.a", b"Zh==")]);
        assert!(matches!(refused, Err(Refusal::PaxValue { .. })));
    }

    #[test]
    fn times_are_scaled_truncated_and_rounded_down() {
        assert_eq!(time_of("1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(time_of("0.25"), Some((0, 250_000_000)));
        assert_eq!(time_of("1.0000000019"), Some((1, 1)));
        assert_eq!(time_of("-1"), Some((-1, 0)));
        assert_eq!(time_of("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time_of("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time_of("-0.0000000001"), Some((0, 0)));
        assert_eq!(time_of("9223372036854775807"), Some((i64::MAX, 0)));
        for text in ["1.", ".5", "1.5s", "+1", " 1", "1 ", "--1", "-", "9223372036854775808", "1e9"]
        {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_fraction_diverges_where_its_digits_are_no_nanoseconds() {
        let diverges = |text: &str| {
            let divergences = applied(&[("mtime", text.as_bytes())]).unwrap().divergences;
            divergences == [DivergenceKind::FractionalTime]
        };
        assert!(diverges("1.5"));
        assert!(diverges("1.1234567891"));
        assert!(diverges("-1.123456789"));
        assert!(!diverges("1.123456789"));
        assert!(!diverges("1.000"));
        assert!(!diverges("-1.0"));
        assert!(!diverges("1"));
    }

    #[test]
    fn malformed_records_are_refused_with_their_place() {
        let good = pax_record("uid", b"1");
        for bad in [
            &b"8 uid=1"[..],
            b"9 uid=1\n",
            b"7 uid=1\n",
            b"08 uid=1\n",
            b"+8 uid=1\n",
            b"8\tuid=1\n",
            b"9  uid=1\n",
            b"6 uid\n",
            b"5 =1\n",
            b"0 \n",
            b"1 \n",
            b"2 \n",
            b"99999999999999999999 uid=1\n",
            b"9 u\0id=1\n",
            b"\0\0\0\0",
            b"\n",
        ] {
            let payload = [&good[..], bad].concat();
            let refused = PaxAttributes::default().apply(&payload);
            let Err(Refusal::PaxRecord { offset_bytes }) = refused else {
                panic!("{}: {refused:?}", bad.escape_ascii())
            };
            assert_eq!(offset_bytes, good.len());
        }
    }

    #[test]
    fn values_that_their_keyword_does_not_have_are_refused() {
        for (key, value) in [
            ("path", &b"a\0b"[..]),
            ("linkpath", b"\0"),
            ("size", b"-1"),
            ("size", b"1x"),
            ("size", b"18446744073709551616"),
            ("uid", b"4294967296"),
            ("gid", b"-1"),
            ("mtime", b"now"),
        ] {
            let Err(Refusal::PaxValue { keyword, .. }) = applied(&[(key, value)]) else {
                panic!("{key}")
            };
            assert_eq!(keyword, key.as_bytes());
        }
    }

    #[test]
    fn keywords_that_readers_take_differently_are_refused() {
        for key in ["GNU.sparse.major", "SCHILY.realsize", "SCHILY.devmajor"] {
            assert!(matches!(applied(&[(key, b"1")]), Err(Refusal::Keyword { .. })), "{key}");
        }
    }

    #[test]
    fn a_global_header_says_nothing_that_counts() {
        for key in [
            "path",
            "linkpath",
            "size",
            "uid",
            "gid",
            "mtime",
            "SCHILY.xattr.user.a",
            "LIBARCHIVE.xattr.user.a",
            "GNU.sparse.name",
        ] {
            let refused = check_global(&pax_record(key, b""));
            assert!(matches!(refused, Err(Refusal::GlobalKeyword { .. })), "{key}");
        }
        let payload = [pax_record("comment", b"1"), pax_record("uname", b"root")].concat();
        assert_eq!(check_global(&payload), Ok(()));
        let cut = check_global(&payload[..payload.len() - 1]);
        assert_eq!(cut, Err(Refusal::PaxRecord { offset_bytes: 13 }));
    }

    #[test]
    fn attributes_beyond_the_limits_are_refused() {
        let named = |length: usize| {
            let key = format!("SCHILY.xattr.{}", "n".repeat(length));
            applied(&[(key.as_str(), b"v")])
        };
        assert!(named(MAX_XATTR_NAME_BYTES).is_ok());
        assert!(matches!(named(MAX_XATTR_NAME_BYTES + 1), Err(Refusal::XattrName { .. })));
        assert!(matches!(named(0), Err(Refusal::XattrName { .. })));

        let valued = |length: usize| applied(&[("SCHILY.xattr.user.a", &vec![b'v'; length])]);
        assert!(valued(MAX_XATTR_VALUE_BYTES).is_ok());
        assert!(matches!(valued(MAX_XATTR_VALUE_BYTES + 1), Err(Refusal::XattrValue { .. })));

        let keys: Vec<String> =
            (0..=MAX_XATTRS).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
        let records: Vec<_> = keys.iter().map(|key| (key.as_str(), &b"v"[..])).collect();
        assert!(applied(&records[1..]).is_ok());
        assert!(matches!(applied(&records), Err(Refusal::TooManyXattrs)));
    }

    #[test]
    fn a_payload_beyond_32_kib_diverges() {
        let long = vec![b'v'; 33000];
        let attributes = applied(&[("SCHILY.xattr.user.a", &long)]).unwrap();
        assert_eq!(attributes.divergences, [DivergenceKind::LongPaxHeader]);
    }
}
