//! Content digests as the OCI image specification writes them, and dm-verity root hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Names content by its SHA-256: `sha256:` and 64 lower-case hexadecimal digits.
///
/// Other registered algorithms (`sha512`) are refused when a digest is parsed, because no layer
/// that carries one can be looked up by the tools on the other side.
///
/// Source: OCI image specification, `descriptor.md`, "Digests".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// Wraps the 32 bytes of a finished SHA-256.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits without the algorithm, as blob files are named.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SHA256_PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text
            .strip_prefix(SHA256_PREFIX)
            .ok_or_else(|| DigestError::Algorithm { digest: text.to_owned() })?;
        let malformed = || DigestError::Malformed { digest: text.to_owned() };
        if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(malformed());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed())?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Says why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The algorithm is not `sha256`.
    #[error("{digest:?} does not start with `sha256:`, the only digest algorithm supported")]
    Algorithm {
        /// The text as it was given.
        digest: String,
    },
    /// The part after `sha256:` is not 64 lower-case hexadecimal digits.
    #[error("{digest:?} is not `sha256:` followed by 64 lower-case hexadecimal digits")]
    Malformed {
        /// The text as it was given.
        digest: String,
    },
}

/// Is the hash at the top of a dm-verity tree, 20 to 64 bytes by the tree's algorithm.
///
/// It is written in lower-case hexadecimal: the kernel verifies signatures over that very text
/// (`drivers/md/dm-verity-verify-sig.c`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootHash(Vec<u8>);

impl RootHash {
    /// Wraps the bytes of a finished hash.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes of the hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns what a signature of this root hash signs: its lower-case hexadecimal digits, with
    /// no newline.
    pub fn signed_text(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.signed_text())
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for RootHash {
    type Err = RootHashError;

    fn from_str(text: &str) -> Result<Self, RootHashError> {
        let error = || RootHashError { text: text.to_owned() };
        let bytes = hex::decode(text).map_err(|_| error())?;
        if !(20..=64).contains(&bytes.len()) {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for RootHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RootHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Says that a text is no root hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a root hash: 40 to 128 hexadecimal digits are expected")]
pub struct RootHashError {
    /// The text as it was given.
    pub text: String,
}

const SHA256_PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_nothing_is_the_published_one() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn digest_is_read_back_as_written() {
        let digest = Digest::of(b"layer");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn foreign_digests_are_refused_with_their_text() {
        let sha512 = "sha512:00".to_owned();
        assert_eq!(sha512.parse::<Digest>(), Err(DigestError::Algorithm { digest: sha512 }));
        let upper = Digest::of(b"").to_string().replace('e', "E");
        assert_eq!(upper.parse::<Digest>(), Err(DigestError::Malformed { digest: upper }));
        let short = "sha256:abcd".to_owned();
        assert_eq!(short.parse::<Digest>(), Err(DigestError::Malformed { digest: short }));
    }

    #[test]
    fn root_hash_is_signed_in_lower_case() {
        let root_hash: RootHash = "AB".repeat(32).parse().unwrap();
        assert_eq!(root_hash.signed_text(), "ab".repeat(32));
        assert!("abcd".parse::<RootHash>().is_err());
    }
}
