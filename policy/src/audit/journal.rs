//! Entries of a journal, as `journalctl --output json` writes them: one JSON object a line.

use std::borrow::Cow;

use serde::Deserialize;

use super::envelope::{Envelope, EventId};

/// Are the fields of an entry that matter here.
///
/// Source: `systemd.journal-fields(7)`; systemd `src/journal/journald-audit.c`.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Option<Text<'a>>,
    #[serde(rename = "_TRANSPORT", borrow)]
    transport: Option<Text<'a>>,
    #[serde(rename = "_AUDIT_ID", borrow)]
    audit_id: Option<Text<'a>>,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", borrow)]
    time_microseconds: Option<Text<'a>>,
}

/// Is the value of a field: a string, or the bytes of one that is not printable UTF-8. A field that an entry has
/// several times is a list of strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Plain(#[serde(borrow)] Cow<'a, str>),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

impl<'a> Text<'a> {
    fn into_bytes(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Plain(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Plain(Cow::Owned(text)) => Some(Cow::Owned(text.into_bytes())),
            Self::Bytes(bytes) => Some(Cow::Owned(bytes)),
            Self::Other(_) => None,
        }
    }
}

/// Finds the record in an entry; none where the entry is none of the audit system or of the kernel.
pub(super) fn envelope(line: &[u8]) -> Option<Envelope<'static>> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let transport = entry.transport?.into_bytes()?;
    let message = entry.message?.into_bytes()?;
    let message = message.trim_ascii();
    let mut envelope = match &*transport {
        b"audit" => Envelope::of_message(message)?,
        b"kernel" => Envelope::of_message(message.strip_prefix(b"audit: ")?)?,
        _ => return None,
    };
    let number = |text: Option<Text<'_>>| -> Option<u64> {
        std::str::from_utf8(&text?.into_bytes()?).ok()?.parse().ok()
    };
    if envelope.id.is_none() {
        envelope.id = number(entry.audit_id).zip(number(entry.time_microseconds)).map(
            |(serial, microseconds)| EventId { time_milliseconds: microseconds / 1000, serial },
        );
    }
    let Envelope { kind, id, body } = envelope;
    Some(Envelope { kind, id, body: Cow::Owned(body.into_owned()) })
}

#[cfg(test)]
mod tests {
    use super::super::envelope::RecordType;
    use super::*;

    #[test]
    fn entries_of_the_audit_system_and_of_the_kernel_are_records() {
        let audit = br#"{"_TRANSPORT":"audit","_AUDIT_TYPE":"1420","_AUDIT_ID":"4","MESSAGE":"AUDIT1420 path=\"/a\" x",
            "_SOURCE_REALTIME_TIMESTAMP":"1795425188368000","__CURSOR":"s=1","_UID":["0","1"]}"#;
        let found = envelope(audit).unwrap();
        assert_eq!((found.kind, &*found.body), (RecordType::IpeAccess, &b"path=\"/a\" x"[..]));
        assert_eq!(found.id.unwrap().to_string(), "1795425188.368:4");
        let kernel = br#"{"_TRANSPORT":"kernel","MESSAGE":"audit: type=1420 audit(1.002:3): a=1"}"#;
        assert_eq!(envelope(kernel).unwrap().id.unwrap().to_string(), "1.002:3");
        let bytes = br#"{"_TRANSPORT":"audit","MESSAGE":[73,80,69,95,65,67,67,69,83,83,32,255]}"#;
        assert_eq!(&*envelope(bytes).unwrap().body, b"\xff");
    }

    #[test]
    fn entries_of_others_are_none() {
        for line in [
            &br#"{"_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"audit","MESSAGE":"IPE_ACCESS a=1"}"#[..],
            br#"{"_TRANSPORT":"stdout","MESSAGE":"audit: type=1420 audit(1.002:3): a=1"}"#,
            br#"{"_TRANSPORT":"kernel","MESSAGE":"usb: IPE_ACCESS a=1"}"#,
            br#"{"_TRANSPORT":"audit","MESSAGE":null}"#,
            br#"{"MESSAGE":"IPE_ACCESS a=1"}"#,
            b"{",
            b"{}",
        ] {
            assert!(envelope(line).is_none());
        }
    }
}
