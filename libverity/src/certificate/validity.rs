//! Whether a certificate is valid at some time, which everybody but the kernel asks.

use std::fmt;
use std::time::SystemTime;

use der::DateTime;

use super::Certificate;

/// Says how a time lies to the validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is later.
    Expired {
        /// The last time at which the certificate was valid.
        since: SystemTime,
    },
    /// It is earlier.
    NotYet {
        /// The time from which the certificate is valid.
        from: SystemTime,
    },
    /// It is within.
    Valid,
}

impl Certificate {
    /// Tells whether the certificate is valid at `now`.
    pub fn validity_at(&self, now: SystemTime) -> Validity {
        match (self.not_before(), self.not_after()) {
            (from, _) if now < from => Validity::NotYet { from },
            (_, since) if now > since => Validity::Expired { since },
            _ => Validity::Valid,
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { since } => write!(formatter, "expired on {}", Day(*since)),
            Self::NotYet { from } => write!(formatter, "not valid before {}", Day(*from)),
            Self::Valid => formatter.write_str("valid"),
        }
    }
}

/// Is written as the day in UTC that a time is on.
struct Day(SystemTime);

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_system_time(self.0) {
            Ok(time) => {
                write!(formatter, "{:04}-{:02}-{:02}", time.year(), time.month(), time.day())
            }
            // The years beyond 9999, which no certificate can name.
            Err(_) => formatter.write_str("a day of another age"),
        }
    }
}
