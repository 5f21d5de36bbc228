//! The hash algorithms of trees.

use std::fmt;
use std::str::FromStr;

/// Names the hash algorithm of a tree as superblock and `veritysetup` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// BLAKE2b of 160 bits; the kernel has it, `veritysetup` with OpenSSL does not.
    Blake2b160,
    /// BLAKE2b of 256 bits; the kernel has it, `veritysetup` with OpenSSL does not.
    Blake2b256,
    /// BLAKE2b of 384 bits; the kernel has it, `veritysetup` with OpenSSL does not.
    Blake2b384,
    /// BLAKE2b of 512 bits.
    Blake2b512,
    /// BLAKE2s of 160 bits; kernels before 5.19 have it.
    Blake2s160,
    /// BLAKE2s of 224 bits; kernels before 5.19 have it.
    Blake2s224,
    /// BLAKE2s of 256 bits; kernels before 5.19 have it.
    Blake2s256,
    /// RIPEMD-160 by OpenSSL's name, which `veritysetup` takes.
    Ripemd160,
    /// RIPEMD-160 by the kernel's name, which `veritysetup` takes as well.
    Rmd160,
    /// SHA-1, which is broken: two different blocks with one digest can be made.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256, the fast path in the kernel and in here.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-224.
    Sha3_224,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// SM3.
    Sm3,
}

impl Algorithm {
    /// Every algorithm, by name.
    pub const ALL: [Self; 19] = [
        Self::Blake2b160,
        Self::Blake2b256,
        Self::Blake2b384,
        Self::Blake2b512,
        Self::Blake2s160,
        Self::Blake2s224,
        Self::Blake2s256,
        Self::Ripemd160,
        Self::Rmd160,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
        Self::Sm3,
    ];

    /// Returns the name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake2b160 => "blake2b-160",
            Self::Blake2b256 => "blake2b-256",
            Self::Blake2b384 => "blake2b-384",
            Self::Blake2b512 => "blake2b-512",
            Self::Blake2s160 => "blake2s-160",
            Self::Blake2s224 => "blake2s-224",
            Self::Blake2s256 => "blake2s-256",
            Self::Ripemd160 => "ripemd160",
            Self::Rmd160 => "rmd160",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha3_224 => "sha3-224",
            Self::Sha3_256 => "sha3-256",
            Self::Sha3_384 => "sha3-384",
            Self::Sha3_512 => "sha3-512",
            Self::Sm3 => "sm3",
        }
    }

    /// Returns the name by which the kernel's crypto API has it, which a table line must use.
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::Ripemd160 => Self::Rmd160.name(),
            other => other.name(),
        }
    }

    /// Returns the length of a digest in bytes, at most [`MAX_DIGEST_BYTES`](Self::MAX_DIGEST_BYTES).
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Blake2b160 | Self::Blake2s160 | Self::Ripemd160 | Self::Rmd160 | Self::Sha1 => 20,
            Self::Blake2s224 | Self::Sha224 | Self::Sha3_224 => 28,
            Self::Blake2b256 | Self::Blake2s256 | Self::Sha256 | Self::Sha3_256 | Self::Sm3 => 32,
            Self::Blake2b384 | Self::Sha384 | Self::Sha3_384 => 48,
            Self::Blake2b512 | Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// The longest digest of all algorithms, in bytes.
    pub const MAX_DIGEST_BYTES: usize = 64;
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Finds an algorithm by its name in any case, as `veritysetup` does.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
    }
}

/// Says that no hash algorithm of this name is supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a supported hash algorithm; these are: {}",
    Algorithm::ALL.map(Algorithm::name).join(", ")
)]
pub struct UnknownAlgorithm {
    /// The name as it was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_in_any_case() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert_eq!(algorithm.name().to_uppercase().parse(), Ok(algorithm));
            assert!(algorithm.digest_bytes() <= Algorithm::MAX_DIGEST_BYTES);
        }
        let name = "sha257".to_owned();
        assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm { name }));
    }
}
