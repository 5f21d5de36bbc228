//! EROFS images against those of mkfs.erofs of erofs-utils 1.9.4.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod convert;
mod generator;
mod golden;
mod mount;
mod oracle;
mod reader;
mod reader_damage;
mod refusals;
mod tree;
