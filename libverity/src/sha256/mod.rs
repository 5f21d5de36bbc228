//! SHA-256 of many equally long blocks at a time, each with the same salt before or after it.
//!
//! A hash tree asks for thousands of independent digests of messages that differ in one block
//! alone. [`Frame`] holds what they share, worked out once; a [`Backend`] hashes a run of blocks
//! under a frame, as many side by side as the processor has lanes for.
//!
//! Every backend passes the same checker: `backend_agrees_with_plain_hashing` in the tests below.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod calibration;
mod frame;
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

pub use frame::Frame;

#[cfg(target_arch = "x86_64")]
use self::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use self::sha_ni::ShaNi;

/// The number of bytes of a digest.
pub const DIGEST_BYTES: usize = 32;

/// The number of bytes that SHA-256 compresses at a time.
pub const CHUNK_BYTES: usize = 64;

/// Is an implementation of [`Backend::hash_blocks`] that this processor can run.
///
/// | name       | hashes                                                                       |
/// |------------|------------------------------------------------------------------------------|
/// | `portable` | one block after the other through the `sha2` crate, which takes the processor's own SHA instructions where there are any |
/// | `sha-ni-2` | two blocks at a time with the SHA instructions of x86-64                     |
/// | `sha-ni-4` | four blocks at a time with them                                              |
/// | `avx2-8`   | eight blocks at a time with AVX2                                             |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Kind);

impl Backend {
    /// The names of all backends, of which a processor can run some.
    pub const NAMES: [&'static str; 4] = ["portable", "sha-ni-2", "sha-ni-4", "avx2-8"];

    /// Returns the backend that this process works with: the one that was [chosen](Self::choose),
    /// or else the one that was fastest when this was called first, which takes a millisecond.
    ///
    /// What a processor has says too little: its SHA instructions may be faster or slower than
    /// eight lanes of AVX2.
    pub fn detect() -> Self {
        *CHOSEN.get_or_init(|| calibration::fastest(&Self::available()))
    }

    /// Makes this the backend of the whole process, for tests and measurements.
    ///
    /// # Errors
    ///
    /// Returns the backend that the process works with already, if it is another one.
    pub fn choose(self) -> Result<(), Self> {
        match *CHOSEN.get_or_init(|| self) {
            chosen if chosen == self => Ok(()),
            chosen => Err(chosen),
        }
    }

    /// Returns every backend that this processor can run, in the order of [`Backend::NAMES`].
    pub fn available() -> Vec<Self> {
        let mut kinds = vec![Kind::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            kinds.extend(
                ShaNi::detect()
                    .into_iter()
                    .flat_map(|sha_ni| [Kind::TwoBySha(sha_ni), Kind::FourBySha(sha_ni)]),
            );
            kinds.extend(Avx2::detect().map(Kind::EightByAvx2));
        }
        kinds.into_iter().map(Self).collect()
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::TwoBySha(_) => "sha-ni-2",
            #[cfg(target_arch = "x86_64")]
            Kind::FourBySha(_) => "sha-ni-4",
            #[cfg(target_arch = "x86_64")]
            Kind::EightByAvx2(_) => "avx2-8",
        }
    }

    /// Returns how many blocks are hashed side by side. A run that is a multiple of it wastes
    /// nothing.
    pub fn lanes(self) -> usize {
        match self.0 {
            Kind::Portable => 1,
            #[cfg(target_arch = "x86_64")]
            Kind::TwoBySha(_) => 2,
            #[cfg(target_arch = "x86_64")]
            Kind::FourBySha(_) => 4,
            #[cfg(target_arch = "x86_64")]
            Kind::EightByAvx2(_) => avx2::LANES,
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
        match self.0 {
            Kind::Portable => portable::hash_blocks(frame, blocks, digests),
            #[cfg(target_arch = "x86_64")]
            Kind::TwoBySha(sha_ni) => sha_ni.hash_blocks::<2>(frame, blocks, digests),
            #[cfg(target_arch = "x86_64")]
            Kind::FourBySha(sha_ni) => sha_ni.hash_blocks::<4>(frame, blocks, digests),
            #[cfg(target_arch = "x86_64")]
            Kind::EightByAvx2(avx2) => avx2.hash_blocks(frame, blocks, digests),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(name: &str) -> Result<Self, BackendError> {
        if !Self::NAMES.contains(&name) {
            return Err(BackendError::Unknown { name: name.to_owned() });
        }
        Self::available()
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or_else(|| BackendError::Unavailable { name: name.to_owned() })
    }
}

/// Says why there is no backend of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The processor lacks the instructions.
    #[error("this processor cannot run the SHA-256 backend {name}")]
    Unavailable {
        /// The name.
        name: String,
    },
    /// There is none.
    #[error("there is no SHA-256 backend {name:?}, only {}", Backend::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
}

/// Tells the backends apart, with proof that the processor can run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    TwoBySha(ShaNi),
    #[cfg(target_arch = "x86_64")]
    FourBySha(ShaNi),
    #[cfg(target_arch = "x86_64")]
    EightByAvx2(Avx2),
}

/// The backend of the process.
static CHOSEN: OnceLock<Backend> = OnceLock::new();

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
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4's own example and NIST's vectors are not whole chunks; sha256sum of 64 and
        // 4096 bytes of 'a'.
        for (block_bytes, expected) in [
            (64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"),
            (4096, "c93eee2d0db02f10acc7460d9576e122dcf8cd53c4bf8dfcae1b3e74ebcfff5a"),
        ] {
            for backend in Backend::available() {
                let count = backend.lanes();
                let mut digests = vec![0; count * DIGEST_BYTES];
                let frame = Frame::new(&[], block_bytes, &[]);
                backend.hash_blocks(&frame, &vec![b'a'; count * block_bytes], &mut digests);
                for digest in digests.chunks(DIGEST_BYTES) {
                    assert_eq!(hex::encode(digest), expected, "{backend}");
                }
            }
        }
    }

    #[test]
    fn backends_are_read_back_by_name() {
        for backend in Backend::available() {
            assert_eq!(backend.name().parse(), Ok(backend));
            assert!(Backend::NAMES.contains(&backend.name()));
        }
        for name in Backend::NAMES {
            assert!(!matches!(name.parse::<Backend>(), Err(BackendError::Unknown { .. })));
        }
        let name = "sha-ni-3".to_owned();
        assert_eq!(name.parse::<Backend>(), Err(BackendError::Unknown { name }));
    }

    #[test]
    fn a_process_has_one_backend() {
        let backend = Backend::detect();
        assert_eq!(backend.choose(), Ok(()));
        for other in Backend::available().into_iter().filter(|&other| other != backend) {
            assert_eq!(other.choose(), Err(backend));
        }
        assert_eq!(Backend::detect(), backend);
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
