//! Salted digests of blocks, whatever the algorithm.

use sha2::digest::Digest;
use sha2::{Sha224, Sha384, Sha512};

use super::{Algorithm, BlockSize, HashType, Parameters};
use crate::sha256::{Backend, Frame};

/// Hashes blocks of one size with one salt.
pub(super) trait BlockHasher: Send + Sync {
    /// Hashes each block of `blocks`, which are complete, and writes the digests one after the
    /// other to `digests`, which has room for just as many.
    fn hash_blocks(&self, blocks: &[u8], digests: &mut [u8]);
}

/// Makes the hasher that `parameters` ask for, for blocks of `block_size`.
pub(super) fn block_hasher(parameters: &Parameters, block_size: BlockSize) -> Box<dyn BlockHasher> {
    let salt = parameters.salt.as_bytes();
    let (prefix, suffix) = match parameters.hash_type {
        HashType::ChromeOs => (&[][..], salt),
        HashType::Normal => (salt, &[][..]),
    };
    let block_bytes = block_size.bytes_usize();
    match parameters.algorithm {
        Algorithm::Sha224 => Box::new(OneByOne::<Sha224>::new(prefix, block_bytes, suffix)),
        Algorithm::Sha256 => Box::new(SideBySide {
            backend: Backend::detect(),
            frame: Frame::new(prefix, block_bytes, suffix),
        }),
        Algorithm::Sha384 => Box::new(OneByOne::<Sha384>::new(prefix, block_bytes, suffix)),
        Algorithm::Sha512 => Box::new(OneByOne::<Sha512>::new(prefix, block_bytes, suffix)),
    }
}

/// Hashes with as many SHA-256 lanes as there are.
struct SideBySide {
    backend: Backend,
    frame: Frame,
}

impl BlockHasher for SideBySide {
    fn hash_blocks(&self, blocks: &[u8], digests: &mut [u8]) {
        self.backend.hash_blocks(&self.frame, blocks, digests);
    }
}

/// Hashes one block after the other with any algorithm; what precedes each is hashed once.
struct OneByOne<D> {
    after_prefix: D,
    block_bytes: usize,
    suffix: Vec<u8>,
}

impl<D: Digest> OneByOne<D> {
    fn new(prefix: &[u8], block_bytes: usize, suffix: &[u8]) -> Self {
        Self { after_prefix: D::new_with_prefix(prefix), block_bytes, suffix: suffix.to_vec() }
    }
}

impl<D: Digest + Clone + Send + Sync> BlockHasher for OneByOne<D> {
    fn hash_blocks(&self, blocks: &[u8], digests: &mut [u8]) {
        let blocks = blocks.chunks_exact(self.block_bytes);
        for (block, digest) in blocks.zip(digests.chunks_exact_mut(<D as Digest>::output_size())) {
            let mut hash = self.after_prefix.clone();
            hash.update(block);
            hash.update(&self.suffix);
            digest.copy_from_slice(&hash.finalize());
        }
    }
}
