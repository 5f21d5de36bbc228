//! Salted digests of blocks, whatever the algorithm.

use blake2::{Blake2b, Blake2s};
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::digest::consts::{U20, U28, U32, U48, U64};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use sm3::Sm3;

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
        Algorithm::Sha256 => Box::new(SideBySide {
            backend: Backend::detect(),
            frame: Frame::new(prefix, block_bytes, suffix),
        }),
        algorithm => one_by_one(algorithm, prefix, block_bytes, suffix),
    }
}

/// Makes the hasher of any algorithm that hashes one block after the other, each between `prefix`
/// and `suffix`.
pub(super) fn one_by_one(
    algorithm: Algorithm,
    prefix: &[u8],
    block_bytes: usize,
    suffix: &[u8],
) -> Box<dyn BlockHasher> {
    match algorithm {
        Algorithm::Blake2b160 => boxed::<Blake2b<U20>>(prefix, block_bytes, suffix),
        Algorithm::Blake2b256 => boxed::<Blake2b<U32>>(prefix, block_bytes, suffix),
        Algorithm::Blake2b384 => boxed::<Blake2b<U48>>(prefix, block_bytes, suffix),
        Algorithm::Blake2b512 => boxed::<Blake2b<U64>>(prefix, block_bytes, suffix),
        Algorithm::Blake2s160 => boxed::<Blake2s<U20>>(prefix, block_bytes, suffix),
        Algorithm::Blake2s224 => boxed::<Blake2s<U28>>(prefix, block_bytes, suffix),
        Algorithm::Blake2s256 => boxed::<Blake2s<U32>>(prefix, block_bytes, suffix),
        Algorithm::Ripemd160 | Algorithm::Rmd160 => boxed::<Ripemd160>(prefix, block_bytes, suffix),
        Algorithm::Sha1 => boxed::<Sha1>(prefix, block_bytes, suffix),
        Algorithm::Sha224 => boxed::<Sha224>(prefix, block_bytes, suffix),
        Algorithm::Sha256 => boxed::<Sha256>(prefix, block_bytes, suffix),
        Algorithm::Sha384 => boxed::<Sha384>(prefix, block_bytes, suffix),
        Algorithm::Sha512 => boxed::<Sha512>(prefix, block_bytes, suffix),
        Algorithm::Sha3_224 => boxed::<Sha3_224>(prefix, block_bytes, suffix),
        Algorithm::Sha3_256 => boxed::<Sha3_256>(prefix, block_bytes, suffix),
        Algorithm::Sha3_384 => boxed::<Sha3_384>(prefix, block_bytes, suffix),
        Algorithm::Sha3_512 => boxed::<Sha3_512>(prefix, block_bytes, suffix),
        Algorithm::Sm3 => boxed::<Sm3>(prefix, block_bytes, suffix),
    }
}

fn boxed<D: Digest + Clone + Send + Sync + 'static>(
    prefix: &[u8],
    block_bytes: usize,
    suffix: &[u8],
) -> Box<dyn BlockHasher> {
    Box::new(OneByOne::<D>::new(prefix, block_bytes, suffix))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::Salt;

    #[test]
    fn digests_are_those_of_other_programs() {
        let lines: Vec<(&str, &str)> =
            DIGESTS.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(lines.len(), Algorithm::ALL.len());
        for (name, digest) in lines {
            let algorithm: Algorithm = name.parse().unwrap();
            let mut found = vec![0; algorithm.digest_bytes()];
            let parameters = Parameters { algorithm, ..Parameters::with_salt(Salt::EMPTY) };
            block_hasher(&parameters, BlockSize::B512).hash_blocks(&[b'a'; 512], &mut found);
            assert_eq!(hex::encode(found), digest, "{name}");
        }
    }

    /// What Python's `hashlib`, and OpenSSL for RIPEMD-160 and SM3, make of 512 times the letter a.
    const DIGESTS: &str = "\
blake2b-160 0996725b5ea619c4d501c1c3ec2b30ba0439c436
blake2b-256 92c5846de7ec45003de53a69d4b74ddd6e025234edbc90365379ddefacb15477
blake2b-384 712dfee5f951c49dc4dab689706df386803a0331517385601b9307b55e6eaa16075f9444a5b409b761c74b670418da07
blake2b-512 9844074b1d0e4f7f498a6118471ae88f06c14fe505b4bce6cf2c5340eaba148ff36d67d69d4e9e8400547b8f94e85f77374dbd07ac44d7eeb6902258cab19ee1
blake2s-160 70ae20b72e29a71e8a101d9c9896ec5821eba61a
blake2s-224 2b3f9db713a10efb2af9fd6ae3f5c81fbca46c463acfb8c80b5f6052
blake2s-256 0589a2e264739c0ebe747e56acbcf1bd84774028fd419d228e737bef70769d7a
ripemd160 a64c1a0ea41062d98ab224a6e4dbf5950ff8948e
rmd160 a64c1a0ea41062d98ab224a6e4dbf5950ff8948e
sha1 164557facb73929875168c1e92caf09bb6064564
sha224 e926c6b764d4b216c99067c92f838ca1c5793c13c782d9ef7b668d71
sha256 471be6558b665e4f6dd49f1184814d1491b0315d466beea768c153cc5500c836
sha384 e685ba7acf4eedd1742f2a97c845e7825982d840623525e49140680fdde0f2631e5fce9dfcfb42ba7b27c9eb35a62b87
sha512 0210d27bcbe05c2156627c5f136ade1338ab98e06a4591a00b0bcaa61662a5931d0b3bd41a67b5c140627923f5f6307669eb508d8db38b2a8cd41aebd783394b
sha3-224 628b875c02dae2b35fab01ee8528c644c37f23adc5e7e1122fb1c173
sha3-256 44fc5f2749b9cb373ee8512638917ee7aa5626002d05f87f85e6ad1d47e845a1
sha3-384 4609075a80ac1bc8586e004b1297d3479a8ef64f12e8ffcf95088f145ff14c5991f775f5402a2f0aa94524d08d52c90d
sha3-512 a5fadb4e3b8fc1f6a4fb6280abbdf656f3c6532bbd557c75e9c5066012a2597aa664d994b78b75b876e9bfecb22cbaf5e642aa4198490af1eea75e45b4d39cf1
sm3 d2219631eeb014040abf9716ebba9b35aaba4ecc2065088df0a2cbd0db1b9ce9";
}
