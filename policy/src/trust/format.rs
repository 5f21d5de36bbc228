//! The files in which a trust configuration is written.

/// Names a format of trust configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// notation's `trustpolicy.oci.json`, with its `truststore` beside it.
    Notation,
    /// Our own `trust.toml`.
    Toml,
}

impl Format {
    /// Tells the formats apart: one is a JSON object, and no TOML begins like that.
    pub fn of(text: &str) -> Self {
        match text.trim_start().starts_with('{') {
            true => Self::Notation,
            false => Self::Toml,
        }
    }
}

/// The most bytes that a file may have; 10,000 revoked root hashes fit.
pub const MAX_CONFIGURATION_BYTES: u64 = 1 << 20;
