//! Eight blocks at a time with AVX2: a vector holds the same word of eight messages.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_extract_epi32, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32,
    _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::Frame;
use super::lanes::{self, Chunk, ROUND_CONSTANTS, State};

/// Is how many messages a vector has words of.
pub(super) const LANES: usize = 8;

/// Proves that the processor has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Asks the processor, and the operating system, which has to save the registers.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Hashes blocks, eight at a time.
    pub(super) fn hash_blocks(self, frame: &Frame, blocks: &[u8], digests: &mut [u8]) {
        lanes::hash_blocks::<LANES>(frame, blocks, digests, |states, messages| {
            // SAFETY: `compress` needs nothing but AVX2, which `self` proves.
            unsafe { compress(states, messages) }
        });
    }
}

/// Works the chunks of each message into the state of its lane.
#[target_feature(enable = "avx2")]
fn compress(states: &mut [State; LANES], messages: [&[Chunk]; LANES]) {
    let mut vectors = transposed(states.map(|state| row(state.map(u32::cast_signed))));
    let chunks = messages[0].len();
    // One check for all accesses in the loop.
    let messages = messages.map(|message| &message[..chunks]);
    for chunk in 0..chunks {
        let added = rounds(vectors, schedule(messages.map(|message| &message[chunk])));
        for (vector, added) in vectors.iter_mut().zip(added) {
            *vector = _mm256_add_epi32(*vector, added);
        }
    }
    for (state, vector) in states.iter_mut().zip(transposed(vectors)) {
        *state = lanes_of(vector);
    }
}

/// Loads the sixteen words of a chunk of each message.
#[target_feature(enable = "avx2")]
fn schedule(chunks: [&Chunk; LANES]) -> [__m256i; 16] {
    let bytes_of_words_reversed = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, // lower half of the vector
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    let mut words = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let rows = chunks.map(|chunk| {
            let quadwords = chunk.as_chunks().0;
            let quadword = |index: usize| i64::from_le_bytes(quadwords[4 * half + index]);
            _mm256_setr_epi64x(quadword(0), quadword(1), quadword(2), quadword(3))
        });
        for (word, vector) in transposed(rows).into_iter().enumerate() {
            words[8 * half + word] = _mm256_shuffle_epi8(vector, bytes_of_words_reversed);
        }
    }
    words
}

/// Computes all 64 rounds. The loops are unrolled by hand: with indexes that are no constants the
/// compiler would keep all vectors in memory.
#[target_feature(enable = "avx2")]
fn rounds(vectors: [__m256i; 8], mut words: [__m256i; 16]) -> [__m256i; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = vectors;
    for (sixteen, constants) in ROUND_CONSTANTS.as_chunks::<16>().0.iter().enumerate() {
        if sixteen > 0 {
            words = next_words(words);
        }
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $round:expr) => {
                let constant = _mm256_set1_epi32(constants[$round].cast_signed());
                let choice = xor($g, _mm256_and_si256($e, xor($f, $g)));
                let majority = _mm256_or_si256(
                    _mm256_and_si256($a, $b),
                    _mm256_and_si256($c, _mm256_or_si256($a, $b)),
                );
                let first = add(
                    add($h, add(words[$round], constant)),
                    add(big_sigma::<6, 26, 11, 21, 25, 7>($e), choice),
                );
                $d = add($d, first);
                $h = add(first, add(big_sigma::<2, 30, 13, 19, 22, 10>($a), majority));
            };
        }
        macro_rules! eight_rounds {
            ($first:expr) => {
                round!(a b c d e f g h, $first);
                round!(h a b c d e f g, $first + 1);
                round!(g h a b c d e f, $first + 2);
                round!(f g h a b c d e, $first + 3);
                round!(e f g h a b c d, $first + 4);
                round!(d e f g h a b c, $first + 5);
                round!(c d e f g h a b, $first + 6);
                round!(b c d e f g h a, $first + 7);
            };
        }
        eight_rounds!(0);
        eight_rounds!(8);
    }
    [a, b, c, d, e, f, g, h]
}

/// Computes the next sixteen words of the schedule.
#[target_feature(enable = "avx2")]
fn next_words(mut words: [__m256i; 16]) -> [__m256i; 16] {
    macro_rules! extend {
        ($($word:literal)*) => {
            $(
                let fifteen_back = small_sigma::<7, 25, 18, 14, 3>(words[($word + 1) % 16]);
                let two_back = small_sigma::<17, 15, 19, 13, 10>(words[($word + 14) % 16]);
                let seven_back = words[($word + 9) % 16];
                words[$word] = add(add(words[$word], fifteen_back), add(seven_back, two_back));
            )*
        };
    }
    extend!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    words
}

/// Is Σ of FIPS 180-4: three rotations, each given as a shift to the right and one to the left.
#[target_feature(enable = "avx2")]
fn big_sigma<
    const R1: i32,
    const L1: i32,
    const R2: i32,
    const L2: i32,
    const R3: i32,
    const L3: i32,
>(
    x: __m256i,
) -> __m256i {
    xor(xor(rotated::<R1, L1>(x), rotated::<R2, L2>(x)), rotated::<R3, L3>(x))
}

/// Is σ of FIPS 180-4: two rotations and a shift.
#[target_feature(enable = "avx2")]
fn small_sigma<const R1: i32, const L1: i32, const R2: i32, const L2: i32, const SHIFT: i32>(
    x: __m256i,
) -> __m256i {
    xor(xor(rotated::<R1, L1>(x), rotated::<R2, L2>(x)), _mm256_srli_epi32(x, SHIFT))
}

#[target_feature(enable = "avx2")]
fn rotated<const RIGHT: i32, const LEFT: i32>(x: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 32, "both shifts are one rotation") };
    _mm256_or_si256(_mm256_srli_epi32(x, RIGHT), _mm256_slli_epi32(x, LEFT))
}

#[target_feature(enable = "avx2")]
fn add(one: __m256i, other: __m256i) -> __m256i {
    _mm256_add_epi32(one, other)
}

#[target_feature(enable = "avx2")]
fn xor(one: __m256i, other: __m256i) -> __m256i {
    _mm256_xor_si256(one, other)
}

/// Turns eight rows of eight words into columns.
#[target_feature(enable = "avx2")]
fn transposed(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pairs = |one, other| (_mm256_unpacklo_epi32(one, other), _mm256_unpackhi_epi32(one, other));
    let fours = |(low, high), (low_below, high_below)| {
        [
            _mm256_unpacklo_epi64(low, low_below),
            _mm256_unpackhi_epi64(low, low_below),
            _mm256_unpacklo_epi64(high, high_below),
            _mm256_unpackhi_epi64(high, high_below),
        ]
    };
    let upper = fours(pairs(r0, r1), pairs(r2, r3));
    let lower = fours(pairs(r4, r5), pairs(r6, r7));
    std::array::from_fn(|column| {
        let (upper, lower) = (upper[column % 4], lower[column % 4]);
        if column < 4 {
            _mm256_permute2x128_si256(upper, lower, 0x20)
        } else {
            _mm256_permute2x128_si256(upper, lower, 0x31)
        }
    })
}

#[target_feature(enable = "avx2")]
fn row(words: [i32; 8]) -> __m256i {
    let [w0, w1, w2, w3, w4, w5, w6, w7] = words;
    _mm256_setr_epi32(w0, w1, w2, w3, w4, w5, w6, w7)
}

#[target_feature(enable = "avx2")]
fn lanes_of(vector: __m256i) -> State {
    [
        _mm256_extract_epi32(vector, 0),
        _mm256_extract_epi32(vector, 1),
        _mm256_extract_epi32(vector, 2),
        _mm256_extract_epi32(vector, 3),
        _mm256_extract_epi32(vector, 4),
        _mm256_extract_epi32(vector, 5),
        _mm256_extract_epi32(vector, 6),
        _mm256_extract_epi32(vector, 7),
    ]
    .map(i32::cast_unsigned)
}
