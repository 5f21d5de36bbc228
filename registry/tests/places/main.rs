//! Images and signatures in places, with other tools and with several writers at once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archive;
mod copy;
mod dry_run;
mod embedding;
mod forms;
mod layout;
mod push;
mod signatures;
mod support;
