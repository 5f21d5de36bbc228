//! What a root hash depends on besides the data.

use std::fmt;
use std::str::FromStr;

use super::Algorithm;

/// Holds everything besides the data that a root hash depends on.
///
/// The superblock repeats it, unauthenticated: whoever verifies pins the parameters and does not
/// take them from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How salt and digests are laid out.
    pub hash_type: HashType,
    /// The hash algorithm.
    pub algorithm: Algorithm,
    /// The size of a data block.
    pub data_block_size: BlockSize,
    /// The size of a hash block; it may differ from the data block's.
    pub hash_block_size: BlockSize,
    /// What is hashed with every block.
    pub salt: Salt,
}

impl Parameters {
    /// Returns the usual parameters: SHA-256, the normal hash type and blocks of 4096 bytes. The
    /// kernel's fast path takes no others.
    pub const fn with_salt(salt: Salt) -> Self {
        Self {
            hash_type: HashType::Normal,
            algorithm: Algorithm::Sha256,
            data_block_size: BlockSize::B4096,
            hash_block_size: BlockSize::B4096,
            salt,
        }
    }
}

/// Tells the two layouts of salt and digests apart; the kernel calls it the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashType {
    /// 0, of the first Chrome OS: the salt follows the block, digests lie without gaps.
    ChromeOs,
    /// 1: the salt precedes the block, each digest is padded with zeros to a power of two.
    Normal,
}

impl HashType {
    /// Returns the number by which superblock and table line call it.
    pub const fn number(self) -> u32 {
        match self {
            Self::ChromeOs => 0,
            Self::Normal => 1,
        }
    }
}

impl TryFrom<u32> for HashType {
    type Error = UnknownHashType;

    fn try_from(number: u32) -> Result<Self, UnknownHashType> {
        match number {
            0 => Ok(Self::ChromeOs),
            1 => Ok(Self::Normal),
            _ => Err(UnknownHashType { number }),
        }
    }
}

/// Says that there is no hash type of this number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hash type {number} does not exist, only 0 (Chrome OS) and 1 (normal) do")]
pub struct UnknownHashType {
    /// The number as it was given.
    pub number: u32,
}

/// Is the size of a data or hash block: a power of two from 512 bytes to 512 KiB.
///
/// The kernel accepts data blocks up to its page size only, most often 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 512 bytes, one sector.
    pub const B512: Self = Self(512);

    /// 4096 bytes.
    pub const B4096: Self = Self(4096);

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Returns the size in bytes, to index memory with.
    pub(super) const fn bytes_usize(self) -> usize {
        self.0 as usize
    }

    /// The smallest size in bytes: a sector.
    pub const MIN_BYTES: u32 = 512;

    /// The largest size in bytes, that of `veritysetup`.
    pub const MAX_BYTES: u32 = 512 * 1024;
}

impl TryFrom<u32> for BlockSize {
    type Error = BlockSizeError;

    fn try_from(bytes: u32) -> Result<Self, BlockSizeError> {
        if bytes.is_power_of_two() && (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(BlockSizeError { bytes })
        }
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Says that a block cannot have this size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block cannot have {bytes} bytes, but a power of two from 512 to 524288")]
pub struct BlockSizeError {
    /// The size in bytes as it was given.
    pub bytes: u32,
}

/// Is what is hashed together with every block, 0 to 256 bytes.
///
/// Its text form is hexadecimal, and `-` if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// Is the salt without any bytes.
    pub const EMPTY: Self = Self(Vec::new());

    /// Returns the bytes of the salt.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The most bytes that the superblock has room for.
    pub const MAX_BYTES: usize = 256;
}

/// 32 bytes are what `veritysetup` takes where none are given, as many as a SHA-256 has.
impl From<[u8; 32]> for Salt {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec())
    }
}

impl TryFrom<&[u8]> for Salt {
    type Error = SaltError;

    fn try_from(bytes: &[u8]) -> Result<Self, SaltError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(SaltError::TooLong { bytes: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str(EMPTY_SALT);
        }
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Salt {
    type Err = SaltError;

    fn from_str(text: &str) -> Result<Self, SaltError> {
        if text == EMPTY_SALT {
            return Ok(Self::EMPTY);
        }
        match hex::decode(text) {
            Ok(bytes) if !bytes.is_empty() => Self::try_from(bytes.as_slice()),
            _ => Err(SaltError::Malformed { text: text.to_owned() }),
        }
    }
}

/// Says why something is no salt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaltError {
    /// The text is neither hexadecimal nor `-`.
    #[error("{text:?} is not a salt: an even number of hexadecimal digits, or - for none")]
    Malformed {
        /// The text as it was given.
        text: String,
    },
    /// There are more bytes than the superblock has room for.
    #[error("a salt of {bytes} bytes is too long, 256 is the most")]
    TooLong {
        /// The length in bytes.
        bytes: usize,
    },
}

/// How the table line and `veritysetup` write a salt of no bytes.
const EMPTY_SALT: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_powers_of_two_within_bounds() {
        for bytes in [512, 1024, 4096, 65_536, 524_288] {
            assert_eq!(BlockSize::try_from(bytes).unwrap().bytes(), bytes);
        }
        for bytes in [0, 1, 256, 511, 513, 4095, 6144, 1_048_576, u32::MAX] {
            assert_eq!(BlockSize::try_from(bytes), Err(BlockSizeError { bytes }));
        }
    }

    #[test]
    fn hash_types_are_read_back_by_number() {
        for hash_type in [HashType::ChromeOs, HashType::Normal] {
            assert_eq!(HashType::try_from(hash_type.number()), Ok(hash_type));
        }
        assert_eq!(HashType::try_from(2), Err(UnknownHashType { number: 2 }));
    }

    #[test]
    fn salts_are_read_back_as_written() {
        assert_eq!("-".parse(), Ok(Salt::EMPTY));
        assert_eq!(Salt::EMPTY.to_string(), "-");
        let salt: Salt = "00AAff".parse().unwrap();
        assert_eq!(salt.as_bytes(), [0, 0xaa, 0xff]);
        assert_eq!(salt.to_string(), "00aaff");
        assert_eq!("ab".repeat(256).parse::<Salt>().unwrap().as_bytes().len(), 256);
    }

    #[test]
    fn malformed_salts_are_refused_with_their_text() {
        for text in ["", "a", "--", "0g", " 00"] {
            assert_eq!(
                text.parse::<Salt>(),
                Err(SaltError::Malformed { text: text.to_owned() }),
                "{text:?}"
            );
        }
        assert_eq!("00".repeat(257).parse::<Salt>(), Err(SaltError::TooLong { bytes: 257 }));
    }
}
