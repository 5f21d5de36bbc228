//! The files of auditd: `audit.log`, and before it `audit.log.1`, `audit.log.2` and so on.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::log_file::LogFile;
use super::{Extent, Lossy, SourceError};

/// Opens the files, the oldest first.
pub(super) fn open(directory: &Path, extent: Extent) -> Result<Box<dyn Lossy>, SourceError> {
    let newest = directory.join(NEWEST);
    if let Err(error) = std::fs::metadata(&newest) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => SourceError::NoAuditd { directory: directory.to_owned() },
            _ => SourceError::Unreadable { path: newest, source: error },
        });
    }
    let older = if extent.skips_past() { Vec::new() } else { older(directory) };
    Ok(Box::new(Files { older, current: None, newest: LogFile::open(&newest, extent)? }))
}

/// Reads one file after the other.
struct Files {
    /// Those that come before the newest, the oldest last.
    older: Vec<PathBuf>,
    current: Option<LogFile>,
    newest: LogFile,
}

impl Read for Files {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                let count = current.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.current = None;
            }
            let Some(path) = self.older.pop() else { return self.newest.read(buffer) };
            // One that was rotated away meanwhile is gone for good.
            self.current = LogFile::open(&path, Extent::Past).ok();
        }
    }
}

impl Lossy for Files {}

/// Lists the files before the newest, the oldest last.
fn older(directory: &Path) -> Vec<PathBuf> {
    let numbered = |number: &u32| directory.join(format!("{NEWEST}.{number}"));
    (1..=FILE_LIMIT)
        .take_while(|number| numbered(number).is_file())
        .map(|number| numbered(&number))
        .collect()
}

pub(super) const DIRECTORY: &str = "/var/log/audit";

const NEWEST: &str = "audit.log";

/// The most that auditd keeps (`num_logs` in `auditd.conf(5)`).
const FILE_LIMIT: u32 = 999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_the_order_of_time() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("audit.log", "3\n"),
            ("audit.log.1", "2\n"),
            ("audit.log.2", "1\n"),
            ("audit.log.4", "0\n"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut text = String::new();
        open(directory.path(), Extent::Past).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "1\n2\n3\n");
        let missing = open(&directory.path().join("none"), Extent::Past);
        assert!(matches!(missing.err(), Some(SourceError::NoAuditd { .. })));
    }
}
