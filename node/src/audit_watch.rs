//! What the audit system records while something is done, whoever else takes its records.
//!
//! The kernel logs records only while no daemon takes them, and at most ten in five seconds. The audit socket has all of
//! them beside a daemon, so it comes first, and the kernel's log where the socket may not be read.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::audit_source::{AuditSource, Extent, Place, SourceError};

/// Is a mark in the stream of audit records, from which on they are read.
pub struct AuditWatch {
    source: AuditSource,
    /// The start of a line whose end has not come yet.
    rest: Vec<u8>,
}

/// Is a record of the audit system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// The type, such as 1420 (`include/uapi/linux/audit.h`).
    pub kind: u16,
    /// The fields, without type, time and serial number.
    pub text: String,
}

impl AuditWatch {
    /// Marks this moment.
    ///
    /// # Errors
    ///
    /// Fails where neither the audit socket nor the kernel's log may be read; the error is that of the log.
    pub fn from_here() -> Result<Self, SourceError> {
        let source = match Place::Socket.open(Extent::Future) {
            Ok(source) => source,
            Err(_) => Place::KernelLog.open(Extent::Future)?,
        };
        Ok(Self { source, rest: Vec::new() })
    }

    /// Waits until no record has come for a fifth of a second, and returns those that came since the last call, of the types
    /// `kinds` only. A busy machine gets an answer as well: after a second, or [`RECORD_LIMIT`] records of any type.
    pub fn records(&mut self, kinds: &[u16]) -> Vec<AuditRecord> {
        let mut records = Vec::new();
        self.read(|record| {
            records.extend(Some(record).filter(|record| kinds.contains(&record.kind)));
            ControlFlow::Continue(())
        });
        records
    }

    /// Returns the first record of which `is_wanted` says so, as soon as it comes; `None` where [`Self::records`] would end
    /// without it.
    pub fn find(&mut self, is_wanted: impl Fn(&AuditRecord) -> bool) -> Option<AuditRecord> {
        let mut found = None;
        self.read(|record| match is_wanted(&record) {
            false => ControlFlow::Continue(()),
            true => {
                found = Some(record);
                ControlFlow::Break(())
            }
        });
        found
    }

    fn read(&mut self, mut take: impl FnMut(AuditRecord) -> ControlFlow<()>) {
        let mut seen = 0;
        let mut buffer = [0; 8192];
        let deadline = Instant::now() + PATIENCE;
        while seen < RECORD_LIMIT && Instant::now() < deadline {
            match self.source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                seen += 1;
                if let Some(record) = parse(&String::from_utf8_lossy(&line))
                    && take(record).is_break()
                {
                    return;
                }
            }
            // No record is as long as that; what has no end is none.
            if self.rest.len() > LINE_LIMIT_BYTES {
                self.rest.clear();
            }
        }
    }

    /// Returns how often records were lost because they came faster than they were read.
    pub fn losses(&self) -> u64 {
        self.source.losses()
    }
}

/// Parses a line of the audit socket, `type=1420 msg=audit(…): …`, or of the kernel's log,
/// `6,339,5140900,-;audit: type=1420 audit(…): …`.
fn parse(line: &str) -> Option<AuditRecord> {
    let record = match line.starts_with("type=") {
        true => line,
        false => line.split_once(';')?.1.strip_prefix("audit: ")?,
    };
    let (kind, rest) = record.strip_prefix("type=")?.split_once(' ')?;
    let (_, text) = rest.split_once("): ")?;
    Some(AuditRecord { kind: kind.parse().ok()?, text: text.trim_end().to_owned() })
}

/// More than anything that finds a denial has to tell.
pub const RECORD_LIMIT: usize = 10_000;

/// How long a stream without a pause is read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Twice the longest message of the audit system.
const LINE_LIMIT_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let record = AuditRecord { kind: 1420, text: "ipe_op=EXECUTE path=\"/a\"".to_owned() };
        for line in [
            "type=1420 msg=audit(1.0:1): ipe_op=EXECUTE path=\"/a\"\n",
            "6,339,51,-;audit: type=1420 audit(1.0:1): ipe_op=EXECUTE path=\"/a\"\n",
        ] {
            assert_eq!(parse(line), Some(record.clone()), "{line}");
        }
        for line in [
            "6,339,51,-;overlayfs: type=1420 audit(1.0:1): a\n",
            " SUBSYSTEM=block\n",
            "type=UNKNOWN[1420] msg=audit(1.0:1): a\n",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
