//! Forward error correction: parity that brings corrupt blocks back.
//!
//! A Reed–Solomon code over bytes, RS(255, 255 − roots): every 255 − roots bytes get as many bytes
//! of parity as there are *roots*, and with them half as many wrong bytes can be found and put
//! right, or as many as there are roots where it is known which ones are wrong. dm-verity does know:
//! the hash tree says which block is corrupt.
//!
//! The bytes of one code word come from blocks that lie as far apart as possible, so that a run of
//! corrupt blocks takes few bytes from any one word. What is covered are the data blocks, the hash
//! tree, and whatever whole blocks follow the tree on its device; it is cut into 255 − roots *rows*
//! of as many blocks as there are *rounds*, the last ones filled up with zeros:
//!
//! ```text
//!            round 0   round 1   round 2
//! row 0     │ block 0 │ block 1 │ block 2 │
//! row 1     │ block 3 │ block 4 │ block 5 │        255 − roots rows
//! …         │   …     │   …     │  zeros  │
//!           ├─────────┼─────────┼─────────┤
//! parity    │ roots × │ roots × │ roots × │        block size × roots bytes a round
//! ```
//!
//! Byte b of the blocks of one round, from top to bottom, is a code word; its parity lies at byte
//! (round × block size + b) × roots of the parity.
//!
//! * [`FecLayout`] says what is covered, and how long the parity is.
//! * [`encode`] works the parity out, on all processors.
//! * [`Repairer`] finds corrupt blocks by the hash tree and brings them back.
//!
//! Source: `drivers/md/dm-verity-fec.c` and `Documentation/admin-guide/device-mapper/verity.rst` in
//! the kernel; `lib/verity/verity_fec.c` in cryptsetup.

mod code_word;
mod covered;
mod encode;
mod error;
mod gf256;
mod layout;
mod remainder;
mod repair;
mod round;

pub use covered::Covered;
pub use encode::encode;
pub use error::{FecError, FecLayoutError, RootsError};
pub use layout::{FecLayout, Roots};
pub use repair::{MAX_FAULTS, Repaired, Repairer};

/// The length of a code word, parity included: as many as the field has elements besides zero.
pub const CODE_WORD_BYTES: usize = 255;
