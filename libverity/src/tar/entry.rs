//! One member of a layer's tar archive, as the EROFS writer takes it.

/// Is one member of a tar archive after all extension headers were applied to it.
///
/// Names are opaque bytes: Linux gives them no encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path as the archive has it, not yet split or resolved; without the trailing `/` that
    /// header and PAX names of directories carry. That of a GNU long name stays.
    pub path: Vec<u8>,
    /// What kind of file it is, with what only that kind has.
    pub kind: EntryKind,
    /// Permission bits (`07777`).
    pub mode: u16,
    /// The owner's numeric user.
    pub uid: u32,
    /// The owner's numeric group.
    pub gid: u32,
    /// The time of the last modification.
    pub mtime: Timestamp,
    /// Extended attributes in the order in which they apply.
    pub xattrs: Vec<Xattr>,
}

/// Tells the kinds of tar members apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A character device.
    CharacterDevice(DeviceNumber),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// One more name for the file at `target`, a path in the same archive.
    HardLink {
        /// The path as the archive has it.
        target: Vec<u8>,
    },
    /// A regular file.
    Regular {
        /// The length of its content, in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The text of the link.
        target: Vec<u8>,
    },
}

/// Is the number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device of that driver.
    pub minor: u32,
}

/// Is a point in time, counted from 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds, rounded down; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Is one extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// The full name with its namespace, such as `security.capability`.
    pub name: Vec<u8>,
    /// The value as the kernel has it.
    pub value: Vec<u8>,
}
