//! The superblock that `veritysetup` puts before a tree.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Algorithm, BlockSize, BlockSizeError, HashType, Parameters, Salt, UnknownAlgorithm,
    UnknownHashType,
};

/// Describes the tree that follows it on disk, in 512 bytes.
///
/// | Bytes | Field |
/// |---|---|
/// | `[0 .. 8]` | `"verity\0\0"` |
/// | `[8 .. 12]` | U32LE, version of the superblock: 1 |
/// | `[12 .. 16]` | U32LE, hash type: 0 (Chrome OS) or 1 (normal) |
/// | `[16 .. 32]` | UUID, in the order of its digits |
/// | `[32 .. 64]` | name of the hash algorithm, padded with zeros |
/// | `[64 .. 68]` | U32LE, size of a data block in bytes |
/// | `[68 .. 72]` | U32LE, size of a hash block in bytes |
/// | `[72 .. 80]` | U64LE, number of data blocks |
/// | `[80 .. 82]` | U16LE, length of the salt in bytes, at most 256 |
/// | `[82 .. 88]` | zeros |
/// | `[88 .. 344]` | salt, padded with zeros |
/// | `[344 .. 512]` | zeros |
///
/// The kernel never reads it, and nothing vouches for it: neither root hash nor signature cover
/// its bytes. Read it to describe a device; verify with pinned [`Parameters`].
///
/// Source: `struct verity_sb` in cryptsetup, `lib/verity/verity.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Names the hash device; the root hash does not depend on it.
    pub uuid: Uuid,
    /// The parameters of the tree.
    pub parameters: Parameters,
    /// The number of data blocks, not yet checked against any [`Geometry`](super::Geometry).
    pub data_blocks: u64,
}

impl Superblock {
    /// What a superblock starts with.
    pub const SIGNATURE: [u8; 8] = *b"verity\0\0";

    /// Reads a superblock strictly: what has no meaning must be zero, the algorithm in lower case.
    /// What is accepted is what [`to_bytes`](Self::to_bytes) writes, byte for byte.
    ///
    /// # Errors
    ///
    /// Fails with the first field that no tree can have.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, SuperblockError> {
        let raw: &RawSuperblock = zerocopy::transmute_ref!(bytes);
        if raw.signature != Self::SIGNATURE {
            return Err(SuperblockError::Signature { found: raw.signature });
        }
        if raw.version.get() != VERSION {
            return Err(SuperblockError::Version { found: raw.version.get() });
        }
        let salt_bytes = usize::from(raw.salt_size.get());
        let salt_error = || SuperblockError::SaltSize { found_bytes: raw.salt_size.get() };
        let (salt, salt_padding) = raw.salt.split_at_checked(salt_bytes).ok_or_else(salt_error)?;
        let parameters = Parameters {
            hash_type: HashType::try_from(raw.hash_type.get())?,
            algorithm: parse_algorithm(&raw.algorithm)?,
            data_block_size: BlockSize::try_from(raw.data_block_size.get())
                .map_err(SuperblockError::DataBlockSize)?,
            hash_block_size: BlockSize::try_from(raw.hash_block_size.get())
                .map_err(SuperblockError::HashBlockSize)?,
            salt: Salt::try_from(salt).map_err(|_| salt_error())?,
        };
        for (padding, offset) in [
            (&raw.padding_before_salt[..], PADDING_BEFORE_SALT_OFFSET),
            (salt_padding, SALT_OFFSET + salt_bytes),
            (&raw.padding_after_salt[..], PADDING_AFTER_SALT_OFFSET),
        ] {
            if let Some(place) = padding.iter().position(|&byte| byte != 0) {
                return Err(SuperblockError::Padding {
                    offset: offset + place,
                    found: padding[place],
                });
            }
        }
        Ok(Self {
            uuid: Uuid::from_bytes(raw.uuid),
            parameters,
            data_blocks: raw.data_blocks.get(),
        })
    }

    /// Writes the superblock.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, salt } =
            &self.parameters;
        let salt = salt.as_bytes();
        let mut raw = RawSuperblock {
            signature: Self::SIGNATURE,
            version: U32::new(VERSION),
            hash_type: U32::new(hash_type.number()),
            uuid: self.uuid.into_bytes(),
            algorithm: [0; 32],
            data_block_size: U32::new(data_block_size.bytes()),
            hash_block_size: U32::new(hash_block_size.bytes()),
            data_blocks: U64::new(self.data_blocks),
            salt_size: U16::new(salt.len() as u16),
            padding_before_salt: [0; 6],
            salt: [0; Salt::MAX_BYTES],
            padding_after_salt: [0; 168],
        };
        let name = algorithm.name().as_bytes();
        raw.algorithm[..name.len()].copy_from_slice(name);
        raw.salt[..salt.len()].copy_from_slice(salt);
        zerocopy::transmute!(raw)
    }

    /// The length of a superblock in bytes, one sector.
    pub const BYTES: usize = 512;
}

/// Says which field makes a superblock unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockError {
    /// The algorithm is not supported.
    #[error("the superblock names an unusable hash algorithm")]
    Algorithm(#[from] UnknownAlgorithm),
    /// The name of the algorithm is not text in lower case, or something follows the zero that
    /// ends it.
    #[error(
        "the superblock's hash algorithm \"{}\" is no lower-case name padded with zeros",
        found.escape_ascii()
    )]
    AlgorithmName {
        /// The 32 bytes of the field.
        found: [u8; 32],
    },
    /// The size of data blocks is impossible.
    #[error("the superblock has an impossible size of data blocks")]
    DataBlockSize(#[source] BlockSizeError),
    /// The size of hash blocks is impossible.
    #[error("the superblock has an impossible size of hash blocks")]
    HashBlockSize(#[source] BlockSizeError),
    /// The hash type does not exist.
    #[error("the superblock has an unusable hash type")]
    HashType(#[from] UnknownHashType),
    /// A byte that must be zero is not.
    #[error("byte {offset} of the superblock must be 0, and is {found:#04x}")]
    Padding {
        /// The place of the byte in the superblock.
        offset: usize,
        /// Its value.
        found: u8,
    },
    /// The salt is longer than its field.
    #[error("the superblock's salt of {found_bytes} bytes is too long, 256 is the most")]
    SaltSize {
        /// The length in the superblock.
        found_bytes: u16,
    },
    /// It is no verity superblock.
    #[error(
        "there is no verity superblock: it would start with \"verity\\0\\0\", not \"{}\"",
        found.escape_ascii()
    )]
    Signature {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The superblock has an unknown version.
    #[error("the superblock has version {found}, and only version 1 exists")]
    Version {
        /// The version in the superblock.
        found: u32,
    },
}

fn parse_algorithm(field: &[u8; 32]) -> Result<Algorithm, SuperblockError> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let (name, padding) = field.split_at(end);
    match str::from_utf8(name) {
        Ok(name)
            if padding.iter().all(|&byte| byte == 0)
                && !name.bytes().any(|letter| letter.is_ascii_uppercase()) =>
        {
            Ok(name.parse()?)
        }
        _ => Err(SuperblockError::AlgorithmName { found: *field }),
    }
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    signature: [u8; 8],
    version: U32,
    hash_type: U32,
    uuid: [u8; 16],
    algorithm: [u8; 32],
    data_block_size: U32,
    hash_block_size: U32,
    data_blocks: U64,
    salt_size: U16,
    padding_before_salt: [u8; 6],
    salt: [u8; Salt::MAX_BYTES],
    padding_after_salt: [u8; 168],
}

const VERSION: u32 = 1;
const PADDING_BEFORE_SALT_OFFSET: usize = 82;
const SALT_OFFSET: usize = 88;
const PADDING_AFTER_SALT_OFFSET: usize = 344;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual() -> Superblock {
        Superblock {
            uuid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            parameters: Parameters::with_salt(Salt::try_from(&[0xa5; 32][..]).unwrap()),
            data_blocks: 0x0102_0304_0506,
        }
    }

    fn parse_with(offset: usize, bytes: &[u8]) -> Result<Superblock, SuperblockError> {
        let mut superblock = usual().to_bytes();
        superblock[offset..offset + bytes.len()].copy_from_slice(bytes);
        Superblock::parse(&superblock)
    }

    #[test]
    fn every_field_lies_where_the_table_says() {
        let bytes = usual().to_bytes();
        assert_eq!(&bytes[..8], b"verity\0\0");
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(bytes[12..16], [1, 0, 0, 0]);
        assert_eq!(bytes[16..32], *hex::decode("00112233445566778899aabbccddeeff").unwrap());
        assert_eq!(&bytes[32..39], b"sha256\0");
        assert_eq!(bytes[64..68], [0, 0x10, 0, 0]);
        assert_eq!(bytes[68..72], [0, 0x10, 0, 0]);
        assert_eq!(bytes[72..80], [6, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!(bytes[80..88], [32, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[88..120], [0xa5; 32]);
        assert_eq!(bytes[120..], [0; 392]);
    }

    #[test]
    fn each_malformed_field_is_refused_by_name() {
        assert_eq!(parse_with(6, b"!"), Err(SuperblockError::Signature { found: *b"verity!\0" }));
        assert_eq!(parse_with(8, &[2]), Err(SuperblockError::Version { found: 2 }));
        assert_eq!(
            parse_with(12, &[2]),
            Err(SuperblockError::HashType(UnknownHashType { number: 2 }))
        );
        let name = "sha257".to_owned();
        assert_eq!(
            parse_with(32, b"sha257"),
            Err(SuperblockError::Algorithm(UnknownAlgorithm { name }))
        );
        assert!(matches!(
            parse_with(40, b"x"),
            Err(SuperblockError::AlgorithmName { found }) if &found[..9] == b"sha256\0\0x"
        ));
        assert!(matches!(parse_with(32, b"SHA256"), Err(SuperblockError::AlgorithmName { .. })));
        assert!(matches!(
            parse_with(32, &[0xff; 32]),
            Err(SuperblockError::AlgorithmName { found: [0xff, ..] })
        ));
        assert_eq!(
            parse_with(64, &[1]),
            Err(SuperblockError::DataBlockSize(BlockSizeError { bytes: 4097 }))
        );
        assert_eq!(
            parse_with(68, &[0, 0]),
            Err(SuperblockError::HashBlockSize(BlockSizeError { bytes: 0 }))
        );
        assert_eq!(parse_with(80, &[1, 1]), Err(SuperblockError::SaltSize { found_bytes: 257 }));
    }

    #[test]
    fn every_byte_without_meaning_must_be_zero() {
        for offset in (82..88).chain(120..512) {
            assert_eq!(
                parse_with(offset, &[7]),
                Err(SuperblockError::Padding { offset, found: 7 }),
                "{offset}"
            );
        }
    }

    #[test]
    fn the_longest_salt_fits() {
        let mut superblock = usual();
        superblock.parameters.salt = Salt::try_from(&[3; 256][..]).unwrap();
        assert_eq!(Superblock::parse(&superblock.to_bytes()), Ok(superblock));
    }

    proptest! {
        #[test]
        fn superblocks_are_read_back_as_written(
            uuid in any::<u128>(),
            hash_type in 0_u32..2,
            algorithm in proptest::sample::select(&Algorithm::ALL[..]),
            data_block_shift in 9_u32..20,
            hash_block_shift in 9_u32..20,
            salt in proptest::collection::vec(any::<u8>(), 0..=256),
            data_blocks in any::<u64>(),
        ) {
            let superblock = Superblock {
                uuid: Uuid::from_u128(uuid),
                parameters: Parameters {
                    hash_type: HashType::try_from(hash_type).unwrap(),
                    algorithm,
                    data_block_size: BlockSize::try_from(1 << data_block_shift).unwrap(),
                    hash_block_size: BlockSize::try_from(1 << hash_block_shift).unwrap(),
                    salt: Salt::try_from(salt.as_slice()).unwrap(),
                },
                data_blocks,
            };
            prop_assert_eq!(Superblock::parse(&superblock.to_bytes()), Ok(superblock));
        }
    }
}
