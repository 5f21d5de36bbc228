//! Around a record: what says that a line is one, of which type, and to which event it belongs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Names an event: all records about one system call carry the same time and serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Milliseconds since 1970.
    pub time_milliseconds: u64,
    /// The number that the kernel gave, counted from its start.
    pub serial: u64,
}

impl EventId {
    /// Returns the time as people read it, in UTC.
    pub fn utc(self) -> Utc {
        Utc { milliseconds: self.time_milliseconds }
    }
}

/// Is a time, written as `2026-11-29 05:03:42.368Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    milliseconds: u64,
}

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, milliseconds) = (self.milliseconds / 1000, self.milliseconds % 1000);
        // Years begin in March, so that the day that comes every fourth year is the last of one.
        let days = seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
        )
    }
}

impl fmt::Display for EventId {
    /// Writes it as the kernel does, `1795425188.368:4`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.time_milliseconds / 1000, self.time_milliseconds % 1000);
        write!(formatter, "{seconds}.{rest:03}:{}", self.serial)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let parsed = || {
            let (time, serial) = text.split_once(':')?;
            let (seconds, milliseconds) = time.split_once('.')?;
            let milliseconds: u16 =
                milliseconds.parse().ok().filter(|_| milliseconds.len() == 3)?;
            let seconds: u64 = seconds.parse().ok()?;
            Some(Self {
                time_milliseconds: seconds.checked_mul(1000)?.checked_add(milliseconds.into())?,
                serial: serial.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| EventIdError { text: text.chars().take(40).collect() })
    }
}

/// Says that a text names no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no event; 1795425188.368:4 would be one")]
pub struct EventIdError {
    /// The start of the text.
    pub text: String,
}

/// Tells what a record is about, as far as it matters here.
///
/// Source: `include/uapi/linux/audit.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    DmControl,
    DmEvent,
    EndOfEvent,
    IpeAccess,
    IpeConfigChange,
    IpePolicyLoad,
    MacStatus,
    /// A record all the same.
    Other,
    ProcessTitle,
    SystemCall,
}

impl RecordType {
    pub(super) const fn of_number(number: u16) -> Self {
        match number {
            1300 => Self::SystemCall,
            1320 => Self::EndOfEvent,
            1327 => Self::ProcessTitle,
            1338 => Self::DmControl,
            1339 => Self::DmEvent,
            1404 => Self::MacStatus,
            1420 => Self::IpeAccess,
            1421 => Self::IpeConfigChange,
            1422 => Self::IpePolicyLoad,
            _ => Self::Other,
        }
    }

    /// Reads a name of libaudit or journald: `IPE_ACCESS`, `UNKNOWN[1420]`, `AUDIT1420`, `1420`.
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        let unknown = name.strip_prefix(b"UNKNOWN[").and_then(|name| name.strip_suffix(b"]"));
        let digits = unknown.or_else(|| name.strip_prefix(b"AUDIT")).unwrap_or(name);
        if let Ok(number) = std::str::from_utf8(digits).unwrap_or_default().parse() {
            return Some(Self::of_number(number));
        }
        let is_name =
            |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        if name.is_empty() || !name.iter().all(is_name) {
            return None;
        }
        Some(match name {
            b"DM_CTRL" => Self::DmControl,
            b"DM_EVENT" => Self::DmEvent,
            b"EOE" => Self::EndOfEvent,
            b"IPE_ACCESS" => Self::IpeAccess,
            b"IPE_CONFIG_CHANGE" => Self::IpeConfigChange,
            b"IPE_POLICY_LOAD" => Self::IpePolicyLoad,
            b"MAC_STATUS" => Self::MacStatus,
            b"PROCTITLE" => Self::ProcessTitle,
            b"SYSCALL" => Self::SystemCall,
            _ => Self::Other,
        })
    }
}

/// Is a record with what was around it taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) kind: RecordType,
    pub(super) id: Option<EventId>,
    pub(super) body: Cow<'a, [u8]>,
}

impl<'a> Envelope<'a> {
    /// Finds the record in a line of a log.
    ///
    /// | in | a line is |
    /// |---|---|
    /// | the kernel's log | `[   12.345678] audit: type=1420 audit(T:N): BODY` |
    /// | `/dev/kmsg` | `5,339,5140900,-;audit: type=1420 audit(T:N): BODY` |
    /// | auditd's files | `[node=NAME ]type=UNKNOWN[1420] msg=audit(T:N): BODY`, or `type=IPE_ACCESS` |
    /// | a journal as text | `Nov 29 05:03:42 host audit[498]: IPE_ACCESS BODY`, or `AUDIT1420` |
    ///
    /// What a program has written into the log as its own message is none of these: only the start of a line
    /// counts, and what stands before the first `: ` names the kernel.
    pub(super) fn of_line(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_ascii();
        if let Some(envelope) = Self::of_message(line) {
            return Some(envelope);
        }
        if line.starts_with(b"node=") {
            let (_, rest) = split_once(line, b" ")?;
            return Self::of_message(rest);
        }
        let (head, tail) = split_once(line, b": ")?;
        let is_kmsg = match split_once(head, b",") {
            Some((priority, rest)) if rest.contains(&b';') => {
                // The facility is behind three bits; only the kernel writes as 0.
                let priority: u16 = std::str::from_utf8(priority).ok()?.parse().ok()?;
                if priority >> 3 != 0 {
                    return None;
                }
                true
            }
            _ => false,
        };
        let tag = without_process(head).rsplit(|byte| b" ];".contains(byte)).next()?;
        let message = match tag {
            b"audit" => tail,
            b"kernel" => {
                let tail = match tail.first() {
                    Some(b'[') => split_once(tail, b"] ")?.1,
                    _ => tail,
                };
                tail.strip_prefix(b"audit: ")?
            }
            _ => return None,
        };
        let envelope = Self::of_message(message)?;
        Some(match is_kmsg {
            true => Self { body: Cow::Owned(unescaped(&envelope.body)), ..envelope },
            false => envelope,
        })
    }

    /// Takes a record that begins with its type.
    pub(super) fn of_message(message: &'a [u8]) -> Option<Self> {
        let (name, rest) = split_once(message, b" ").unwrap_or((message, b""));
        let Some(name) = name.strip_prefix(b"type=") else {
            // In a journal, where the event is told by another field.
            let kind = RecordType::of_name(name)?;
            let is_known = !matches!(kind, RecordType::Other) || name.starts_with(b"AUDIT");
            let is_name = name.first().is_some_and(u8::is_ascii_alphabetic);
            let envelope = Self { kind, id: None, body: Cow::Borrowed(body(rest)) };
            return (is_known && is_name).then_some(envelope);
        };
        let kind = RecordType::of_name(name)?;
        let rest = rest.strip_prefix(b"msg=").unwrap_or(rest).strip_prefix(b"audit(")?;
        let (id, rest) = split_once(rest, b")")?;
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let rest = rest.trim_ascii_start().strip_prefix(b":")?;
        Some(Self { kind, id, body: Cow::Borrowed(body(rest)) })
    }
}

/// Takes the number of a process off the end, as in `audit[498]`.
fn without_process(head: &[u8]) -> &[u8] {
    let without = head.strip_suffix(b"]").and_then(|head| {
        let digits = head.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        head[..head.len() - digits].strip_suffix(b"[")
    });
    without.unwrap_or(head)
}

/// Cuts off what auditd adds behind a record when its format is ENRICHED: a separator, and names for numbers.
fn body(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == GROUP_SEPARATOR).unwrap_or(text.len());
    text[..end].trim_ascii()
}

/// Undoes `\x5c`, as `/dev/kmsg` writes a backslash and what is not printable (`kernel/printk/printk.c`,
/// `append_char` in `msg_add_ext_text`).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|digits| digits.get(..2));
        let byte = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &rest[4..] } else { tail };
    }
    bytes
}

fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

const GROUP_SEPARATOR: u8 = 0x1d;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<(RecordType, String, String)> {
        let envelope = Envelope::of_line(line.as_bytes())?;
        let id = envelope.id.map(|id| id.to_string()).unwrap_or_default();
        Some((envelope.kind, id, String::from_utf8_lossy(&envelope.body).into_owned()))
    }

    #[test]
    fn a_record_is_found_in_every_spelling() {
        let with_id = [
            "audit: type=1420 audit(1795425188.368:4): a=1",
            "[   12.345678] audit: type=1420 audit(1795425188.368:4): a=1",
            "[   12.345678][  T498] audit: type=1420 audit(1795425188.368:4): a=1",
            "<5>[   12.3] audit: type=1420 audit(1795425188.368:4): a=1",
            "[Sun Nov 29 05:03:42 2026] audit: type=1420 audit(1795425188.368:4): a=1",
            "5,339,5140900,-;audit: type=1420 audit(1795425188.368:4): a=1",
            "5,339,5140900,-,caller=T498;audit: type=1420 audit(1795425188.368:4): a=1",
            "type=1420 audit(1795425188.368:4): a=1",
            "type=1420 msg=audit(1795425188.368:4): a=1",
            "type=UNKNOWN[1420] msg=audit(1795425188.368:4): a=1",
            "type=IPE_ACCESS msg=audit(1795425188.368:4): a=1\u{1d}AUID=\"unset\"",
            "node=worker-1 type=IPE_ACCESS msg=audit(1795425188.368:4): a=1",
            "type=AUDIT1420 msg=audit(1795425188.368:4): a=1",
            "Nov 29 05:03:42 host kernel: audit: type=1420 audit(1795425188.368:4): a=1\r",
            "2026-11-29T05:03:42.1+01:00 host kernel: [   12.3] audit: type=1420 audit(1795425188.368:4): a=1",
            "11月 29 05:03:42 host kernel: audit: type=1420 audit(1795425188.368:4): a=1",
        ];
        for line in with_id {
            let expected = (RecordType::IpeAccess, "1795425188.368:4".to_owned(), "a=1".to_owned());
            assert_eq!(found(line), Some(expected), "{line}");
        }
        let without = [
            "Nov 29 05:03:42 host audit[498]: IPE_ACCESS a=1",
            "Nov 29 05:03:42 host audit: AUDIT1420 a=1",
            "IPE_ACCESS a=1",
            "AUDIT1420 a=1",
            "type=IPE_ACCESS msg=audit(11/29/26 05:03:42.123:4) : a=1",
        ];
        for line in without {
            let expected = (RecordType::IpeAccess, String::new(), "a=1".to_owned());
            assert_eq!(found(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_others_wrote_is_no_record() {
        for line in [
            "",
            "hello",
            "Nov 29 05:03:42 host app[7]: audit: type=1420 audit(1795425188.368:4): a=1",
            "Nov 29 05:03:42 host app: IPE_ACCESS a=1",
            "Nov 29 05:03:42 host kernel: usb: type=1420 audit(1795425188.368:4): a=1",
            // Written to /dev/kmsg by a user.
            "12,339,5140900,-;audit: type=1420 audit(1795425188.368:4): a=1",
            "audit: type=1420 audit(1795425188.368:4 a=1",
            "type=",
            "type=x audit(1.000:1): ",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
        let nested = "type=USER_AVC msg=audit(1.000:1): msg='type=1420 audit(1.000:2): a=1'";
        assert_eq!(found(nested).unwrap().0, RecordType::Other);
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        let utc = |id: &str| id.parse::<EventId>().unwrap().utc().to_string();
        assert_eq!(utc("0.000:1"), "1970-01-01 00:00:00.000Z");
        assert_eq!(utc("1709164800.005:1"), "2024-02-29 00:00:00.005Z");
        assert_eq!(utc("1795928622.368:1"), "2026-11-29 05:03:42.368Z");
        assert_eq!(utc("4107542399.999:1"), "2100-02-28 23:59:59.999Z");
        for text in ["", "1:2", "1.5:2", "1.000:", "x.000:1", "18446744073709551615.000:1"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    #[test]
    fn kmsg_is_unescaped() {
        let line = r#"5,1,2,-;audit: type=1420 audit(1.000:1): path="/a\x5cb\x5cx41" dev=\xzz"#;
        assert_eq!(found(line).unwrap().2, r#"path="/a\b\x41" dev=\xzz"#);
    }
}
