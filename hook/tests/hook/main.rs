//! The hook over real HTTP, with a signer that keeps a diary instead of signing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod child;
mod client;
mod diary;
mod disk;
mod kill;
mod registry;
mod requests;
mod thousand;
