//! Several blocks side by side: what all backends have in common.

use super::{CHUNK_BYTES, DIGEST_BYTES, Frame, portable};

/// Is what SHA-256 compresses at a time.
pub(super) type Chunk = [u8; CHUNK_BYTES];
/// Is a state of SHA-256, `a` to `h`.
pub(super) type State = [u32; 8];

/// Hashes blocks in groups of `LANES` with `compress`, and those that fill no group one by one.
///
/// `compress` takes one state for each lane and as many chunks for each of them, and works all of
/// these into the states.
pub(super) fn hash_blocks<const LANES: usize>(
    frame: &Frame,
    blocks: &[u8],
    digests: &mut [u8],
    compress: impl Fn(&mut [State; LANES], [&[Chunk]; LANES]),
) {
    let block_bytes = frame.block_bytes();
    let carry_bytes = frame.carry().len();
    let head_bytes = (CHUNK_BYTES - carry_bytes) % CHUNK_BYTES;
    let head_chunks = usize::from(head_bytes > 0);

    // The chunks at both ends of a block hold foreign bytes as well; those between are compressed
    // where they lie.
    let mut heads = [[[0; CHUNK_BYTES]; 1]; LANES];
    for [head] in &mut heads {
        head[..carry_bytes].copy_from_slice(frame.carry());
    }
    let mut ends: [Vec<u8>; LANES] = std::array::from_fn(|_| Vec::new());

    let groups = blocks.chunks_exact(LANES * block_bytes);
    let ungrouped = groups.remainder();
    let grouped_digests = digests.len() - ungrouped.len() / block_bytes * DIGEST_BYTES;
    let (digests, ungrouped_digests) = digests.split_at_mut(grouped_digests);
    for (group, digests) in groups.zip(digests.chunks_exact_mut(LANES * DIGEST_BYTES)) {
        let blocks: [&[u8]; LANES] =
            std::array::from_fn(|lane| &group[lane * block_bytes..][..block_bytes]);
        let bodies = blocks.map(|block| block[head_bytes..].as_chunks());
        for lane in 0..LANES {
            heads[lane][0][carry_bytes..]
                .copy_from_slice(&blocks[lane][..CHUNK_BYTES - carry_bytes]);
            ends[lane].clear();
            ends[lane].extend_from_slice(bodies[lane].1);
            ends[lane].extend_from_slice(frame.closing());
        }

        let mut states = [frame.midstate(); LANES];
        compress(&mut states, heads.each_ref().map(|head| &head[..head_chunks]));
        compress(&mut states, bodies.map(|(chunks, _)| chunks));
        compress(&mut states, ends.each_ref().map(|end| end.as_chunks().0));
        let words = states.as_flattened().iter();
        for (bytes, word) in digests.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
    }
    if !ungrouped.is_empty() {
        portable::hash_blocks(frame, ungrouped, ungrouped_digests);
    }
}

/// The constants of the 64 rounds (FIPS 180-4, 4.2.2).
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];
