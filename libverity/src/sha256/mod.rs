//! SHA-256 of many equally long blocks at a time, each with the same salt before or after it.
//!
//! A hash tree asks for thousands of independent digests of messages that differ in one block
//! alone. [`Frame`] holds what they share, worked out once; a [`Backend`] hashes a run of blocks
//! under a frame, as many side by side as the processor has lanes for.
//!
//! Every backend passes the same checker: `backend_agrees_with_plain_hashing` in the tests below.

mod frame;
mod portable;

pub use frame::Frame;

/// The number of bytes of a digest.
pub const DIGEST_BYTES: usize = 32;

/// The number of bytes that SHA-256 compresses at a time.
pub const CHUNK_BYTES: usize = 64;

/// Names an implementation of [`Backend::hash_blocks`] that this processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// One block after the other through the `sha2` crate, which takes the processor's own SHA
    /// instructions where there are any.
    Portable,
}

impl Backend {
    /// Picks the fastest backend that this processor can run.
    pub fn detect() -> Self {
        Self::Portable
    }

    /// Returns every backend that this processor can run, for tests and measurements.
    pub fn available() -> Vec<Self> {
        vec![Self::Portable]
    }

    /// Returns how many blocks are hashed side by side. A run that is a multiple of it wastes
    /// nothing.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable => 1,
        }
    }

    /// Hashes each block of `blocks` and writes its digest to the same place in `digests`.
    ///
    /// # Panics
    ///
    /// Panics if `blocks` is not a whole number of the frame's blocks, or `digests` does not hold
    /// [`DIGEST_BYTES`] for each.
    pub fn hash_blocks(self, frame: &Frame, blocks: &[u8], digests: &mut [u8]) {
        let count = blocks.len() / frame.block_bytes();
        assert_eq!(blocks.len(), count * frame.block_bytes(), "a block is incomplete");
        assert_eq!(digests.len(), count * DIGEST_BYTES, "each block has one digest");
        match self {
            Self::Portable => portable::hash_blocks(frame, blocks, digests),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Compares a backend with one-shot hashing of every message.
    fn backend_agrees_with_plain_hashing(
        backend: Backend,
        prefix: &[u8],
        block_bytes: usize,
        suffix: &[u8],
        count: usize,
    ) {
        let blocks: Vec<u8> =
            (0..count * block_bytes).map(|place| (place * 31 + place / 251) as u8).collect();
        let mut digests = vec![0; count * DIGEST_BYTES];
        let frame = Frame::new(prefix, block_bytes, suffix);
        backend.hash_blocks(&frame, &blocks, &mut digests);
        for (index, (block, digest)) in
            blocks.chunks(block_bytes).zip(digests.chunks(DIGEST_BYTES)).enumerate()
        {
            let expected = Sha256::digest([prefix, block, suffix].concat());
            assert_eq!(
                digest,
                expected.as_slice(),
                "{backend:?}, block {index} of {count}, {block_bytes} bytes each, prefix of {} \
                 and suffix of {} bytes",
                prefix.len(),
                suffix.len()
            );
        }
    }

    #[test]
    fn digests_are_right_around_every_chunk_boundary() {
        let salt: Vec<u8> = (0..=255).collect();
        for backend in Backend::available() {
            for salt_bytes in [0, 1, 31, 32, 54, 55, 56, 57, 63, 64, 65, 127, 128, 255, 256] {
                let salt = &salt[..salt_bytes];
                backend_agrees_with_plain_hashing(backend, salt, 512, &[], 3);
                backend_agrees_with_plain_hashing(backend, &[], 512, salt, 3);
            }
        }
    }

    #[test]
    fn digests_are_right_for_every_number_of_blocks_a_lane_may_lack() {
        for backend in Backend::available() {
            for count in 0..=(2 * backend.lanes() + 1) {
                backend_agrees_with_plain_hashing(backend, &[7; 32], 4096, &[], count);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a block is incomplete")]
    fn incomplete_blocks_are_a_callers_mistake() {
        Backend::detect().hash_blocks(&Frame::new(&[], 512, &[]), &[0; 513], &mut [0; 32]);
    }

    proptest! {
        #[test]
        fn digests_are_right_for_any_frame(
            prefix in proptest::collection::vec(any::<u8>(), 0..300),
            suffix in proptest::collection::vec(any::<u8>(), 0..300),
            chunks_per_block in 1_usize..40,
            count in 0_usize..20,
        ) {
            for backend in Backend::available() {
                let block_bytes = chunks_per_block * CHUNK_BYTES;
                backend_agrees_with_plain_hashing(backend, &prefix, block_bytes, &suffix, count);
            }
        }
    }
}
