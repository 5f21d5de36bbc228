//! Trust configurations: what is read, what is refused, and what they make of signatures.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod files;
mod judging;
mod notation;
mod trust_toml;
