//! One block after the other, with the compression function of the `sha2` crate.

use sha2::block_api::compress256;

use super::{CHUNK_BYTES, DIGEST_BYTES, Frame};

pub(super) fn hash_blocks(frame: &Frame, blocks: &[u8], digests: &mut [u8]) {
    // The chunks at both ends of a block hold foreign bytes as well; those between are compressed
    // where they lie.
    let carry = frame.carry();
    let head_bytes = (CHUNK_BYTES - carry.len()) % CHUNK_BYTES;
    let mut head = carry.to_vec();
    let mut last = Vec::with_capacity(CHUNK_BYTES + frame.closing().len());

    let (digests, _) = digests.as_chunks_mut::<DIGEST_BYTES>();
    for (block, digest) in blocks.chunks_exact(frame.block_bytes()).zip(digests) {
        let (block_head, rest) = block.split_at(head_bytes);
        head.truncate(carry.len());
        head.extend_from_slice(block_head);
        let (body, block_tail) = rest.as_chunks();
        last.clear();
        last.extend_from_slice(block_tail);
        last.extend_from_slice(frame.closing());

        let mut state = frame.midstate();
        compress256(&mut state, head.as_chunks().0);
        compress256(&mut state, body);
        compress256(&mut state, last.as_chunks().0);
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
    }
}
