//! EROFS images made from tar archives, byte for byte as mkfs.erofs of erofs-utils 1.9.4.
//!
//! A root hash stands for every byte of an image, so whoever checks a layer must make the very
//! image that was signed. Nodes make theirs with mkfs.erofs; this writer makes the same one in the
//! process, while the layer streams by.
//!
//! ```text
//! block 0        superblock, then the root directory and the first inodes
//! block 1 …      content of regular files, in the order of the archive
//! then           inodes, directories and long link texts
//! ```
//!
//! How an entry changes the tree is told in `tree`, where an inode goes in `allocator`, the order of
//! inodes in `layout`; `superblock`, `inode`, `directory` and `xattr` have the formats.
//!
//! # What is taken over, and what is not
//!
//! Content of a file that a later entry replaces stays in the image, unused. Where no entry
//! describes the root, it gets mode 0777 and owner 0:0; mkfs.erofs takes the user that runs it.
//!
//! Archives for which the original reads freed memory, or writes an image that a kernel may refuse,
//! are refused ([`ErofsError`]). Where erofs-utils 1.8.6 would write another image, the writer
//! follows 1.9.4 and says so ([`Divergences`](crate::tar::Divergences)).
//!
//! # Reading
//!
//! [`Reader`] reads such images: to show what is in a layer, to name the file that a broken block
//! belongs to, and to check an image as a whole before it is signed.

mod allocator;
mod assembly;
mod blocks;
mod chunk;
mod directory;
mod error;
mod image;
mod index_writer;
mod inode;
mod layout;
mod metadata;
mod nid;
mod reader;
mod superblock;
mod tree;
mod writer;
mod xattr;

pub use blocks::BlockSink;
pub use chunk::ChunkError;
pub use directory::DirectoryError;
pub use error::{EntryPath, ErofsError};
pub use image::Image;
pub use index_writer::IndexWriter;
pub use inode::InodeError;
pub use reader::{
    BlockOwner, BlockOwners, BlockPart, CheckError, CheckedImage, FileContent, FileError, FileKind,
    ImageSource, Inode, ReadError, Reader, SourceRange, Walk, WalkedFile,
};
pub use superblock::{ImageFacts, SuperblockError};
pub use writer::Writer;
pub use xattr::XattrError;

/// The most directories in one image that no entry announces: 1 Mi. One path can name two thousand
/// of them, each with half a kilobyte of memory.
pub const MAX_IMPLIED_DIRECTORIES: usize = 1 << 20;
/// The most names that one image may have: 8 Mi, twice as many as an archive may have members.
pub const MAX_NAMES: usize = 1 << 23;
