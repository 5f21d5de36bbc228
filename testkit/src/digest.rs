//! Digests as OCI writes them.

use sha2::{Digest as _, Sha256};

/// Returns `sha256:` and the hash of these bytes in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

/// Writes a hash of SHA-256 as a digest.
pub(crate) fn named(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
