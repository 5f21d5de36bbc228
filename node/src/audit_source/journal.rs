//! The journal of systemd, by `journalctl`.

use std::io;
use std::process::Command;

use osguard_program::{RunError, Stream};

use super::{Extent, Lossy, PATIENCE, SourceError};

/// Starts `journalctl`, which writes a JSON object for each entry of the audit system and of the kernel.
///
/// Without `--all` it would leave out fields of more than 4,096 bytes (`journalctl(1)`).
pub(super) fn open(extent: Extent) -> Result<Journal, SourceError> {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--all", "--quiet", "--no-pager", "--boot"]);
    command.args(["--output-fields=MESSAGE,_TRANSPORT,_AUDIT_ID,_SOURCE_REALTIME_TIMESTAMP"]);
    match extent {
        Extent::Future => command.args(["--follow", "--lines=0"]),
        Extent::PastAndFuture => command.args(["--follow", "--lines=all"]),
        Extent::Past => command.arg("--lines=all"),
    };
    command.args(["_TRANSPORT=audit", "+", "_TRANSPORT=kernel"]);
    let stream = Stream::start(&mut command, PATIENCE).map_err(|source| match source {
        RunError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            let error = io::Error::new(io::ErrorKind::NotFound, "it is not installed");
            SourceError::Program { source: RunError::Io(error) }
        }
        source => SourceError::Program { source },
    })?;
    Ok(Journal(stream))
}

pub(super) struct Journal(Stream);

impl io::Read for Journal {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Lossy for Journal {}
