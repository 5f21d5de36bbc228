//! Archives and layers against other programs' view of them.
//!
//! - `directories`: archives of directories beside those of GNU tar;
//! - `golden`: root hashes that never change;
//! - `hostile`: what nobody would make who means well;
//! - `readers`: the members of an archive as GNU tar, libarchive and Python see them;
//! - `tar_crate`: the members of an archive as the crate `tar` sees them;
//! - `mkfs_erofs`: images as erofs-utils makes them from the same archive;
//! - `packages`: the same of what Debian's packages and a real image hold, as trees too;
//! - `veritysetup`: root hashes of these images.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod archives;
mod directories;
mod golden;
mod hostile;
mod mkfs_erofs;
mod packages;
mod readers;
mod tar_crate;
mod veritysetup;
