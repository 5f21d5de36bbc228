//! What the messages of one run of blocks have in common.

use sha2::block_api::compress256;

use super::CHUNK_BYTES;

/// Holds what surrounds every block of a run: `prefix ‖ block ‖ suffix`, padded as SHA-256 pads.
///
/// In chunks of 64 bytes, a message looks like this:
///
/// ```text
/// │ whole chunks of prefix │ carry ‖ block                ‖ closing                            │
/// │ compressed once, here  │ compressed for every block     suffix ‖ 0x80 ‖ zeros ‖ bit length │
/// ```
///
/// A salt of 64 bytes therefore costs nothing per block, one of 32 bytes half a chunk at most.
///
/// Source: FIPS 180-4, sections 5.1.1, 5.3.3 and 6.2.2.
#[derive(Clone, Debug)]
pub struct Frame {
    midstate: [u32; 8],
    carry: Vec<u8>,
    block_bytes: usize,
    closing: Vec<u8>,
}

impl Frame {
    /// Works out what all messages `prefix ‖ block ‖ suffix` share, with blocks of `block_bytes`.
    ///
    /// # Panics
    ///
    /// Panics if `block_bytes` is not a positive multiple of [`CHUNK_BYTES`].
    pub fn new(prefix: &[u8], block_bytes: usize, suffix: &[u8]) -> Self {
        assert!(
            block_bytes > 0 && block_bytes.is_multiple_of(CHUNK_BYTES),
            "{block_bytes} bytes are no whole number of chunks"
        );
        let (chunks, carry) = prefix.as_chunks();
        let mut midstate = INITIAL_STATE;
        compress256(&mut midstate, chunks);

        let message_bytes = prefix.len() + block_bytes + suffix.len();
        let padded_bytes = (message_bytes + 1 + LENGTH_BYTES).next_multiple_of(CHUNK_BYTES);
        let mut closing = suffix.to_vec();
        closing.push(0x80);
        closing.resize(suffix.len() + padded_bytes - message_bytes - LENGTH_BYTES, 0);
        closing.extend_from_slice(&(message_bytes as u64 * 8).to_be_bytes());

        Self { midstate, carry: carry.to_vec(), block_bytes, closing }
    }

    /// Returns the length of each block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Returns the state after the whole chunks of the prefix, where every message starts.
    pub(super) fn midstate(&self) -> [u32; 8] {
        self.midstate
    }

    /// Returns the rest of the prefix, shorter than a chunk, which goes before the block.
    pub(super) fn carry(&self) -> &[u8] {
        &self.carry
    }

    /// Returns what follows the block: suffix, padding and length. With the carry before the
    /// block it fills whole chunks.
    pub(super) fn closing(&self) -> &[u8] {
        &self.closing
    }
}

/// The bytes at the end of a message that hold its length in bits.
const LENGTH_BYTES: usize = 8;

/// The state before the first chunk (FIPS 180-4, 5.3.3).
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
