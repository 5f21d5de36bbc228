//! `osguard verity` and veritysetup with the same arguments: the same bytes, output and exit codes.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod combination;
mod generated;
mod pair;
mod refusals;
