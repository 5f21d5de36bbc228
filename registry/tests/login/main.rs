//! As whom registries are addressed, and which of them are believed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod helpers;
mod other_tools;
mod sandbox;
mod server;
mod tls;
