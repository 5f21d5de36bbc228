//! Where audit records are read, each place as a stream of lines.
//!
//! | place | has | needs |
//! |---|---|---|
//! | [audit socket](Place::Socket) | what comes from now on, all of it | `CAP_AUDIT_READ` |
//! | [journal](Place::Journal) | what came, and what comes | journald that reads audit; the group `systemd-journal` |
//! | [kernel log](Place::KernelLog) | as much as fits into the log; at most 10 records in 5 seconds | root, where `dmesg_restrict` is set |
//! | [auditd](Place::Auditd) | what came, and what comes | root |
//! | [file](Place::File), [standard input](Place::Input) | whatever was put there | |
//!
//! All of them read as [`WouldBlock`](io::ErrorKind::WouldBlock) says when nothing has come for [`PATIENCE`].

mod auditd;
mod journal;
mod kernel_log;
mod log_file;
mod socket;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use osguard_program::RunError;

/// Names a place of audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The files of auditd, `/var/log/audit/audit.log` and those before it.
    Auditd,
    /// A file.
    File(PathBuf),
    /// Standard input.
    Input,
    /// The journal of systemd.
    Journal,
    /// The log of the kernel.
    KernelLog,
    /// The multicast group of the kernel's audit system.
    Socket,
}

impl Place {
    /// Opens the first place that has records of the past: auditd's files, else the journal, else the log of the kernel.
    ///
    /// # Errors
    ///
    /// Fails when none of them can be read; the error is that of the kernel's log.
    pub fn open_history() -> Result<(Self, AuditSource), SourceError> {
        for place in [Self::Auditd, Self::Journal] {
            if let Ok(source) = place.open(Extent::Past) {
                return Ok((place, source));
            }
        }
        Ok((Self::KernelLog, Self::KernelLog.open(Extent::Past)?))
    }

    /// Opens the place.
    ///
    /// # Errors
    ///
    /// Fails when it is not there or may not be read, and for the past of the audit socket, which has none.
    pub fn open(&self, extent: Extent) -> Result<AuditSource, SourceError> {
        let reader: Box<dyn Lossy> = match self {
            Self::Auditd => auditd::open(Path::new(auditd::DIRECTORY), extent)?,
            Self::File(path) => Box::new(log_file::LogFile::open(path, extent)?),
            Self::Input => Box::new(Lossless(io::stdin())),
            Self::Journal => Box::new(journal::open(extent)?),
            Self::KernelLog => Box::new(kernel_log::KernelLogReader::open(extent)?),
            Self::Socket if extent == Extent::Past => return Err(SourceError::NoPast),
            Self::Socket => Box::new(socket::AuditSocket::open()?),
        };
        Ok(AuditSource(reader))
    }

    /// Tells whether what is read there is about this machine, as far as anybody can tell.
    pub fn is_here(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Input)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auditd => formatter.write_str(auditd::DIRECTORY),
            Self::File(path) => path.display().fmt(formatter),
            Self::Input => formatter.write_str("standard input"),
            Self::Journal => formatter.write_str("the journal"),
            Self::KernelLog => formatter.write_str("the kernel's log"),
            Self::Socket => formatter.write_str("the audit socket"),
        }
    }
}

/// Tells what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What comes from now on.
    Future,
    /// What is there, and then what comes.
    PastAndFuture,
    /// What is there.
    Past,
}

impl Extent {
    fn follows(self) -> bool {
        self != Self::Past
    }

    fn skips_past(self) -> bool {
        self == Self::Future
    }
}

/// Is an opened place of audit records.
pub struct AuditSource(Box<dyn Lossy>);

impl AuditSource {
    /// Returns how often records were lost because they came faster than they were read.
    pub fn losses(&self) -> u64 {
        self.0.losses()
    }
}

impl Read for AuditSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Says why a place cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no auditd, or it has written nothing.
    #[error("there is no log of auditd in {directory}", directory = directory.display())]
    NoAuditd {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The kernel was built, or started, without audit.
    #[error("this kernel has no audit system")]
    NoAudit {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The audit socket may not be read.
    #[error("the audit socket may be read with CAP_AUDIT_READ only")]
    NoCapability {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The audit socket has only what comes.
    #[error("the audit socket has no records of the past")]
    NoPast,
    /// The kernel sends audit records to its first network namespace only.
    #[error(
        "audit records come to the host's network namespace only, and this process is in another"
    )]
    OtherNetwork,
    /// `journalctl` does not run.
    #[error("journalctl: {source}")]
    Program {
        /// Why.
        source: RunError,
    },
    /// A file or device cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Is a stream that knows when it lost something.
trait Lossy: Read {
    fn losses(&self) -> u64 {
        0
    }
}

/// Loses nothing.
struct Lossless<R>(R);

impl<R: Read> Read for Lossless<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Lossy for Lossless<R> {}

/// How long a place is waited for before it says that nothing is there.
pub const PATIENCE: Duration = Duration::from_millis(200);
