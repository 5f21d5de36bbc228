//! What the errors of reading audit records mean for the exit code, and what to do about them.

use osguard_node::audit_source::{Place, SourceError};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Unreadable { path, source } => Self::reading(&path, source),
            SourceError::NoPast => Self::from_error(ExitStatus::Usage, error)
                .hint("`osguard audit tail` follows it; records of the past are in auditd, journal or kernel-log."),
            SourceError::NoAuditd { .. } => Self::from_error(ExitStatus::NotFound, error)
                .hint("Without auditd the records are in the journal or in the kernel's log: try `journal` or `kernel-log`."),
            SourceError::NoCapability { .. } => Self::from_error(ExitStatus::Failure, error).hint(
                "Run the command as root, or read the journal (`journal`), which the group systemd-journal may.",
            ),
            SourceError::NoAudit { .. } => Self::from_error(ExitStatus::Failure, error)
                .hint("The kernel needs CONFIG_AUDIT, and no audit=0 on its command line."),
            SourceError::OtherNetwork => Self::from_error(ExitStatus::Failure, error)
                .hint("Run the command on the host, or in a pod with hostNetwork."),
            SourceError::Program { .. } => Self::from_error(ExitStatus::Failure, error)
                .hint("Without systemd the records are in the kernel's log: try `kernel-log`."),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}

/// Fails because nothing that was read is a record.
pub(super) fn no_records(place: &Place, lines: u64) -> Failure {
    let message = match lines {
        1 => format!("{place} holds no audit records: its only line is none"),
        lines => format!("{place} holds no audit records: none of its {lines} lines is one"),
    };
    Failure::new(ExitStatus::Failure, message).hint(
        "Lines of the kernel's log, of auditd, and of a journal as text or JSON are read; those of other logs, and \
         translations of them, are not.",
    )
}
