//! `osguard admission serve`, asked as an API server asks, over TLS.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod api_servers;
mod client;
mod faults;
mod hostile;
mod hostile_images;
mod nodes;
mod operation;
mod restart;
mod reviews;
mod scene;
mod secrets;
mod webhook;
