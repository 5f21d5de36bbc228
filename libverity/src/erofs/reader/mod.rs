//! Reads images, for those who look into a layer and to check our own before they are signed.
//!
//! Only what the profiles make is read: whole images with content in blocks or behind the inode,
//! and images that point into the archive behind them, where the caller asks for one. Compressed
//! content, content on other devices and fields of unknown meaning are refused with
//! what they are. Nothing in an image is trusted: every number is checked against the image before
//! it is used, memory is bounded by the depth of paths, and the work by the image's size.
//!
//! Source: Linux, `fs/erofs/` (`super.c`, `inode.c`, `namei.c`, `data.c`, `xattr.c`).

mod block_owners;
mod check;
mod content;
mod error;
mod file;
mod source;
mod walk;

pub use block_owners::{BlockOwner, BlockOwners, BlockPart};
pub use check::{CheckError, CheckedImage};
pub use content::FileContent;
pub use error::{FileError, ReadError};
pub use file::{FileKind, Inode, WalkedFile};
pub use source::{ImageSource, SourceRange};
pub use walk::Walk;

use self::content::ContentPlace;
use super::ImageFacts;
use super::inode::{InodeRecord, MAX_INODE_BYTES};
use super::nid;
use super::superblock::{
    DEVICE_SLOT_BYTES, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES, verify_checksum,
};
use super::xattr::{self, MAX_BODY_BYTES, XattrBody, XattrError};
use crate::tar::{MAX_LINK_TARGET_BYTES, Xattr};

/// Reads one image, which may be followed by other things, such as its hash area.
///
/// ```
/// use libverity::erofs::{Reader, Writer};
///
/// let finished = Writer::new().finish(&mut |_: u64, _: &[u8]| Ok(()))?;
/// let image = finished.superblock_block([0x11; 16]);
/// let reader = Reader::open(&image[..])?;
/// assert_eq!(reader.facts().inodes, 1);
/// for file in reader.walk() {
///     assert_eq!(file?.path.as_bytes(), b"/");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<S> {
    source: S,
    facts: ImageFacts,
}

impl<S: ImageSource> Reader<S> {
    /// Opens the image at the start of `source`, which has all content within.
    ///
    /// # Errors
    ///
    /// Fails if `source` cannot be read or is shorter than the image, the superblock is damaged or
    /// asks for what is not supported, or content lies on other devices.
    pub fn open(source: S) -> Result<Self, ReadError> {
        let image = Self::read_facts(source)?;
        match image.facts.extra_devices {
            0 => Ok(image),
            count => Err(ReadError::ExtraDevices { count }),
        }
    }

    /// Opens the image at the start of `source`, which points into the archive that follows it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if the image points into no archive, or into one that does not
    /// follow it.
    pub fn open_index(source: S) -> Result<Self, ReadError> {
        let mut image = Self::read_facts(source)?;
        match image.facts.extra_devices {
            0 => return Err(ReadError::NoArchive),
            1 => {}
            count => return Err(ReadError::ExtraDevices { count }),
        }
        let mut slot = [0; DEVICE_SLOT_BYTES as usize];
        read_head(&image.source, SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES, &mut slot)?;
        image.facts.add_archive(&slot)?;
        let archive_bytes = image.facts.archive_blocks.unwrap_or(0) * image.block_bytes();
        check_length(&image.source, image.facts.size_bytes() + archive_bytes)?;
        Ok(image)
    }

    fn read_facts(source: S) -> Result<Self, ReadError> {
        let mut superblock = [0; SUPERBLOCK_BYTES as usize];
        read_head(&source, SUPERBLOCK_OFFSET_BYTES, &mut superblock)?;
        let facts = ImageFacts::parse(&superblock)?;
        if facts.has_checksum {
            let mut block = vec![0; facts.checksummed_bytes()];
            read_head(&source, SUPERBLOCK_OFFSET_BYTES, &mut block)?;
            verify_checksum(&block)?;
        }
        check_length(&source, facts.size_bytes())?;
        Ok(Self { source, facts })
    }

    /// Returns where the bytes come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Returns what the superblock says.
    pub fn facts(&self) -> &ImageFacts {
        &self.facts
    }

    /// Returns all names in the image: a directory before what is in it, and that in byte order.
    ///
    /// Files with several names come several times, with the same [`Inode::nid`].
    pub fn walk(&self) -> Walk<'_, S> {
        Walk::new(self)
    }

    /// Returns the content of a regular file.
    ///
    /// # Errors
    ///
    /// Fails if `file` is no regular file, or its content does not lie within the image.
    pub fn read_file(&self, file: &WalkedFile) -> Result<FileContent<'_, S>, ReadError> {
        let content = match file.inode.kind {
            FileKind::Regular => self.content(&file.inode),
            _ => Err(FileError::NotRegular),
        };
        content.map_err(|source| file.error(source))
    }

    /// Returns the text of a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails if `file` is no symbolic link, or its text cannot be read or is none.
    pub fn symlink_target(&self, file: &WalkedFile) -> Result<Vec<u8>, ReadError> {
        self.target(&file.inode).map_err(|source| file.error(source))
    }

    /// Returns the extended attributes of a file: those of its own in their order on disk, and
    /// before them those that it shares with others.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read, are damaged, or together larger than an inode can have.
    pub fn xattrs(&self, file: &WalkedFile) -> Result<Vec<Xattr>, ReadError> {
        self.inode_xattrs(&file.inode).map_err(|source| file.error(source))
    }

    fn inode(&self, nid: u64) -> Result<Inode, FileError> {
        let start_bytes = u64::from(self.facts.metadata_block) * self.block_bytes();
        let offset_bytes = nid::to_offset(nid, start_bytes)
            .filter(|offset_bytes| *offset_bytes < self.facts.size_bytes())
            .ok_or(FileError::InodeOutside { nid })?;
        let left_bytes = self.facts.size_bytes() - offset_bytes;
        let mut bytes = [0; MAX_INODE_BYTES];
        let bytes = &mut bytes[..left_bytes.min(MAX_INODE_BYTES as u64) as usize];
        self.read(offset_bytes, bytes)?;
        let record = InodeRecord::parse(bytes)?;
        Inode::new(nid, offset_bytes, &record, self.facts.build_time)
    }

    fn content(&self, inode: &Inode) -> Result<FileContent<'_, S>, FileError> {
        let place = ContentPlace::find(inode, self)?;
        Ok(FileContent::new(self, place, inode.size_bytes))
    }

    fn target(&self, inode: &Inode) -> Result<Vec<u8>, FileError> {
        if inode.kind != FileKind::Symlink {
            return Err(FileError::NotSymlink);
        }
        if inode.size_bytes > MAX_LINK_TARGET_BYTES as u64 {
            return Err(FileError::TargetTooLong { size_bytes: inode.size_bytes });
        }
        let mut target = vec![0; inode.size_bytes as usize];
        self.content(inode)?.read_at(0, &mut target)?;
        if target.contains(&0) {
            return Err(FileError::TargetNulByte);
        }
        Ok(target)
    }

    fn inode_xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, FileError> {
        let Some(body) = self.xattr_body(inode)? else { return Ok(Vec::new()) };
        let mut xattrs = Vec::with_capacity(body.shared.len() + body.xattrs.len());
        let mut size_bytes = inode.xattr_bytes as usize;
        for place in &body.shared {
            let bytes = self.shared_xattr(*place)?;
            size_bytes += bytes.len();
            if size_bytes > MAX_BODY_BYTES as usize {
                return Err(XattrError::TooLarge.into());
            }
            let (xattr, _) = xattr::parse_entry(&bytes)?;
            self.check_filter(&body, &xattr)?;
            xattrs.push(xattr);
        }
        xattrs.extend(body.xattrs);
        Ok(xattrs)
    }

    fn xattr_body(&self, inode: &Inode) -> Result<Option<XattrBody>, FileError> {
        if inode.xattr_bytes == 0 {
            return Ok(None);
        }
        let end_bytes = inode.xattrs_end_bytes();
        if end_bytes > self.facts.size_bytes() {
            return Err(XattrError::Truncated.into());
        }
        let mut bytes = vec![0; inode.xattr_bytes as usize];
        self.read(end_bytes - u64::from(inode.xattr_bytes), &mut bytes)?;
        let body = XattrBody::parse(&bytes)?;
        for xattr in &body.xattrs {
            self.check_filter(&body, xattr)?;
        }
        Ok(Some(body))
    }

    fn check_filter(&self, body: &XattrBody, xattr: &Xattr) -> Result<(), XattrError> {
        if self.facts.has_xattr_filter { body.check_filter(xattr) } else { Ok(()) }
    }

    fn shared_xattr(&self, place: u32) -> Result<Vec<u8>, FileError> {
        let first_bytes = u64::from(self.facts.xattr_block) * self.block_bytes();
        let offset_bytes = first_bytes + u64::from(place) * 4;
        let check_end = |bytes: usize| {
            if offset_bytes + bytes as u64 > self.facts.size_bytes() {
                return Err(XattrError::SharedOutside { offset_bytes });
            }
            Ok(())
        };
        check_end(xattr::ENTRY_BYTES)?;
        let mut header = [0; xattr::ENTRY_BYTES];
        self.read(offset_bytes, &mut header)?;
        let size_bytes = xattr::entry_bytes(header);
        check_end(size_bytes)?;
        let mut bytes = vec![0; size_bytes];
        self.read(offset_bytes, &mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.source
            .read_at(offset_bytes, buffer)
            .map_err(|source| FileError::read(offset_bytes, source))
    }

    fn block_bytes(&self) -> u64 {
        self.facts.block_bytes.into()
    }
}

fn read_head<S: ImageSource>(
    source: &S,
    offset_bytes: u32,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let offset_bytes = u64::from(offset_bytes);
    check_length(source, offset_bytes + buffer.len() as u64)?;
    source
        .read_at(offset_bytes, buffer)
        .map_err(|source| ReadError::SuperblockRead { offset_bytes, source })
}

fn check_length<S: ImageSource>(source: &S, expected_bytes: u64) -> Result<(), ReadError> {
    let found_bytes = source.size_bytes().map_err(|source| ReadError::Size { source })?;
    if expected_bytes > found_bytes {
        return Err(ReadError::TooShort { expected_bytes, found_bytes });
    }
    Ok(())
}
