//! One block after the other, with the compression function of the `sha2` crate.

use sha2::block_api::compress256;

use super::{Frame, lanes};

pub(super) fn hash_blocks(frame: &Frame, blocks: &[u8], digests: &mut [u8]) {
    lanes::hash_blocks::<1>(frame, blocks, digests, |[state], [chunks]| compress256(state, chunks));
}
