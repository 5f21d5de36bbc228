//! `osguard hook serve`, fed by Debian's docker-registry: what is pushed gets its signatures.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod client;
mod forwarder;
mod hook;
mod kill;
mod pushes;
mod thousand;
