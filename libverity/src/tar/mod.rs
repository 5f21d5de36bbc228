//! Tar archives as container layers use them, read strictly.

mod entry;

pub use entry::{DeviceNumber, Entry, EntryKind, Timestamp, Xattr};
