//! Archives and layers against other programs' view of them.
//!
//! - `golden`: root hashes that never change;
//! - `tar_crate`: the members of an archive as the crate `tar` sees them;
//! - `mkfs_erofs`: images as erofs-utils makes them from the same archive;
//! - `veritysetup`: root hashes of these images.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod archives;
mod golden;
mod mkfs_erofs;
mod tar_crate;
mod veritysetup;
