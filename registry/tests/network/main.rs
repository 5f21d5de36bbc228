//! Registries, as they should be and as they should not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod authorization;
mod downloads;
mod parallel;
mod redirects;
mod referrers;
mod signing;
mod support;
mod tls;
mod uploads;
