//! Why an archive cannot become an image.

use std::io;

/// Says why a tar entry cannot be written, or the image not finished.
///
/// After an error the writer holds a half-applied entry and is of no further use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErofsError {
    /// The archive ended within the content of a file.
    #[error("{path:?}: the content ends after {found_bytes} of {expected_bytes} bytes")]
    ContentTruncated {
        /// The file.
        path: EntryPath,
        /// Its length according to its header.
        expected_bytes: u64,
        /// What could be read.
        found_bytes: u64,
    },
    /// A directory entry is named as a whiteout, and the directory that it hides is there.
    #[error("{path:?}: a directory cannot be the whiteout of another directory")]
    DirectoryWhiteout {
        /// The entry.
        path: EntryPath,
    },
    /// The image needs block numbers of more than 32 bits, or points beyond 2 TiB of a tar.
    #[error("the image would have more than {} blocks", u32::MAX)]
    ImageTooLarge,
    /// A hard link points at a directory.
    #[error("{path:?}: is a hard link to the directory {target:?}")]
    LinkToDirectory {
        /// The link.
        path: EntryPath,
        /// The target as the archive has it.
        target: EntryPath,
    },
    /// A hard link points at nothing that came before it.
    #[error("{path:?}: is a hard link to {target:?}, which did not come before it")]
    LinkTargetMissing {
        /// The link.
        path: EntryPath,
        /// The target as the archive has it.
        target: EntryPath,
    },
    /// A path component has more than 255 bytes.
    #[error("{path:?}: has a component of {component_bytes} bytes, more than 255")]
    NameTooLong {
        /// The entry.
        path: EntryPath,
        /// The length of the component.
        component_bytes: usize,
    },
    /// A path leads through something that is no directory; symbolic links are not followed.
    #[error("{path:?}: {component:?} in it is not a directory (links are not followed)")]
    NotDirectory {
        /// The entry.
        path: EntryPath,
        /// The component.
        component: EntryPath,
    },
    /// A path, a link target or the name of an attribute contains a zero byte.
    #[error("{path:?}: has a zero byte in its {field}")]
    NulByte {
        /// The entry.
        path: EntryPath,
        /// Which text it is.
        field: &'static str,
    },
    /// The root directory is marked opaque, which no overlay layer can express.
    #[error("{path:?}: the root directory cannot be opaque")]
    OpaqueRoot {
        /// The entry.
        path: EntryPath,
    },
    /// The entry replaces a hard link, or leads upwards from the directory in place of one, whose
    /// first directory was removed since. mkfs.erofs uses freed memory here.
    #[error("{path:?}: depends on a directory that an earlier entry removed")]
    OrphanedParent {
        /// The entry.
        path: EntryPath,
    },
    /// A path has more bytes than Linux takes.
    #[error("a path has {path_bytes} bytes, more than {}: {path:?}", crate::tar::MAX_PATH_BYTES)]
    PathTooLong {
        /// The entry.
        path: EntryPath,
        /// Its length.
        path_bytes: usize,
    },
    /// The content of a file could not be read.
    #[error("{path:?}: cannot read the content")]
    Read {
        /// The file.
        path: EntryPath,
        /// The reason.
        source: io::Error,
    },
    /// The root directory is to become something else.
    #[error("{path:?}: the root must be a directory")]
    RootNotDirectory {
        /// The entry.
        path: EntryPath,
    },
    /// The text of a symbolic link is longer than Linux takes.
    #[error(
        "{path:?}: a link text of {target_bytes} bytes is longer than {}",
        crate::tar::MAX_LINK_TARGET_BYTES
    )]
    SymlinkTooLong {
        /// The link.
        path: EntryPath,
        /// The length of its text.
        target_bytes: usize,
    },
    /// The archive implies more directories than this implementation takes.
    #[error(
        "{path:?}: names one directory too many that no entry announces, the limit is {}",
        super::MAX_IMPLIED_DIRECTORIES
    )]
    TooManyImpliedDirectories {
        /// The entry.
        path: EntryPath,
    },
    /// The archive names more files than this implementation takes.
    #[error("{path:?}: is one name too many, the limit is {}", super::MAX_NAMES)]
    TooManyNames {
        /// The entry.
        path: EntryPath,
    },
    /// A whiteout hides a name that no file can have.
    #[error("{path:?}: is the whiteout of a name that no file can have")]
    WhiteoutName {
        /// The entry.
        path: EntryPath,
    },
    /// A whiteout or an opaque mark has content.
    #[error("{path:?}: is a whiteout, but has {size_bytes} bytes of content")]
    WhiteoutWithContent {
        /// The entry.
        path: EntryPath,
        /// Its size.
        size_bytes: u64,
    },
    /// The finished blocks could not be passed on.
    #[error("cannot write the image")]
    Write {
        /// The reason.
        source: io::Error,
    },
    /// The name of an attribute is longer than an inode can hold.
    #[error("{path:?}: the attribute {name:?} has a name of more than 255 bytes")]
    XattrNameTooLong {
        /// The entry.
        path: EntryPath,
        /// The attribute.
        name: EntryPath,
    },
    /// The value of an attribute is longer than an inode can hold.
    #[error("{path:?}: the attribute {name:?} has a value of {value_bytes} bytes, more than 65535")]
    XattrValueTooLong {
        /// The entry.
        path: EntryPath,
        /// The attribute.
        name: EntryPath,
        /// The length of its value.
        value_bytes: usize,
    },
    /// All attributes of a file together are more than an inode can hold.
    #[error("{path:?}: its attributes take more than {} bytes", super::xattr::MAX_BODY_BYTES)]
    XattrsTooLarge {
        /// The entry.
        path: EntryPath,
    },
}

/// Is a path or name from an archive in messages: opaque bytes, shown as text as far as they are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(Box<[u8]>);

impl EntryPath {
    /// Returns the bytes as the archive has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for EntryPath {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl std::fmt::Debug for EntryPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), formatter)
    }
}

impl std::fmt::Display for EntryPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&String::from_utf8_lossy(&self.0), formatter)
    }
}
