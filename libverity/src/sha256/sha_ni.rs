//! Two or four blocks at a time with the SHA instructions of x86-64.
//!
//! Each round waits for the one before it, 4 cycles on Zen 3, while the processor could begin the
//! next after 2. Rounds of other messages fill that gap.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_setr_epi32, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
};

use super::Frame;
use super::lanes::{self, Chunk, ROUND_CONSTANTS, State};

/// Proves that the processor has the SHA instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShaNi(());

impl ShaNi {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        has_all.then_some(Self(()))
    }

    /// Hashes blocks, `LANES` at a time.
    pub(super) fn hash_blocks<const LANES: usize>(
        self,
        frame: &Frame,
        blocks: &[u8],
        digests: &mut [u8],
    ) {
        lanes::hash_blocks::<LANES>(frame, blocks, digests, |states, messages| {
            // SAFETY: `compress` needs nothing but the instructions, which `self` proves.
            unsafe { compress(states, messages) }
        });
    }
}

/// Works the chunks of each message into the state of its lane.
#[expect(clippy::needless_range_loop, reason = "several arrays are walked side by side")]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const LANES: usize>(states: &mut [State; LANES], messages: [&[Chunk]; LANES]) {
    let mut lanes = states.map(|state| Lane::new(state));
    let chunks = messages[0].len();
    // One check for all accesses in the loop.
    let messages = messages.map(|message| &message[..chunks]);
    for chunk in 0..chunks {
        let before = lanes;
        let mut schedules = [[_mm_setzero_si128(); 4]; LANES];
        for quarter in 0..4 {
            for (lane, state) in lanes.iter_mut().enumerate() {
                let words = load(&messages[lane][chunk], quarter);
                schedules[lane][quarter] = words;
                state.four_rounds(words, 4 * quarter);
            }
        }
        for sixteen in 1..4 {
            for quarter in 0..4 {
                for (lane, state) in lanes.iter_mut().enumerate() {
                    let words = next_words(&schedules[lane], quarter);
                    schedules[lane][quarter] = words;
                    state.four_rounds(words, 16 * sixteen + 4 * quarter);
                }
            }
        }
        for (lane, before) in lanes.iter_mut().zip(before) {
            lane.abef = _mm_add_epi32(lane.abef, before.abef);
            lane.cdgh = _mm_add_epi32(lane.cdgh, before.cdgh);
        }
    }
    for (state, lane) in states.iter_mut().zip(lanes) {
        *state = lane.state();
    }
}

/// Is the state of one message in the order that the instructions want.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
}

impl Lane {
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn new(state: State) -> Self {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Self { abef: _mm_setr_epi32(f, e, b, a), cdgh: _mm_setr_epi32(h, g, d, c) }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn state(self) -> State {
        let [f, e, b, a] = words(self.abef);
        let [h, g, d, c] = words(self.cdgh);
        [a, b, c, d, e, f, g, h]
    }

    /// Computes the rounds from `first` on, which take `words` of the schedule.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn four_rounds(&mut self, words: __m128i, first: usize) {
        let constant = |round: usize| ROUND_CONSTANTS[first + round].cast_signed();
        let constants = _mm_setr_epi32(constant(0), constant(1), constant(2), constant(3));
        let added = _mm_add_epi32(words, constants);
        // Two rounds leave the old a, b, e and f as the new c, d, g and h.
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, added);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, _mm_shuffle_epi32(added, 0x0e));
    }
}

/// Loads four big-endian words of a chunk.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load(chunk: &Chunk, quarter: usize) -> __m128i {
    let words = chunk.as_chunks().0;
    let word = |index: usize| i32::from_be_bytes(words[4 * quarter + index]);
    _mm_setr_epi32(word(0), word(1), word(2), word(3))
}

/// Computes the words that take the place of `quarter` among the sixteen last ones of the schedule.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn next_words(schedule: &[__m128i; 4], quarter: usize) -> __m128i {
    let back = |quarters: usize| schedule[(quarter + 4 - quarters) % 4];
    let seven_back = _mm_alignr_epi8(back(1), back(2), 4);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(back(4), back(3)), seven_back);
    _mm_sha256msg2_epu32(sum, back(1))
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn words(vector: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32(vector, 0),
        _mm_extract_epi32(vector, 1),
        _mm_extract_epi32(vector, 2),
        _mm_extract_epi32(vector, 3),
    ]
    .map(i32::cast_unsigned)
}
