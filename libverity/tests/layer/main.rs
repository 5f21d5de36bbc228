//! Archives and layers against other programs' view of them.
//!
//! - `tar_crate`: the members of an archive as the crate `tar` sees them;
//! - `mkfs_erofs`: images as erofs-utils 1.9.4 makes them from the same archive;
//! - `veritysetup`: root hashes of these images.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod archives;
mod mkfs_erofs;
mod tar_crate;
mod veritysetup;
