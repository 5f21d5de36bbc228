//! Whether an image is whole: what is asked of our own before it is signed.

use std::collections::HashMap;
use std::ops::Range;

use super::super::EntryPath;
use super::super::superblock::{DEVICE_SLOT_BYTES, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES};
use super::content::ContentPlace;
use super::{FileError, FileKind, ImageSource, Inode, ReadError, Reader, WalkedFile};

/// Is what a check of the whole image counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedImage {
    /// The count of names, with that of the root.
    pub names: u64,
    /// The count of inodes.
    pub inodes: u64,
    /// The length of the content of all regular files, in bytes.
    pub content_bytes: u64,
}

/// Says why an image is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The superblock counts other inodes than there are.
    #[error("the superblock counts {stored} inodes, and names lead to {found}")]
    InodeCount {
        /// What the superblock says.
        stored: u64,
        /// How many there are.
        found: u64,
    },
    /// A file has another count of links than names.
    #[error("{path:?} has {stored} links, and should have {expected}")]
    Links {
        /// The file.
        path: EntryPath,
        /// What the inode says.
        stored: u32,
        /// How many there are.
        expected: u64,
    },
    /// The superblock has no checksum.
    #[error("the superblock has no checksum")]
    NoChecksum,
    /// Two things lie at the same place.
    #[error("byte {offset_bytes} of the image belongs to two files, or is in the superblock")]
    Overlap {
        /// The place.
        offset_bytes: u64,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The serial numbers of inodes are not those from 1 to their count.
    #[error("{path:?} has the serial number {found} of {inodes}, or shares it")]
    SerialNumber {
        /// The file.
        path: EntryPath,
        /// What the inode says.
        found: u32,
        /// The count of inodes.
        inodes: u64,
    },
    /// Attributes are shared by files, which no profile has.
    #[error("{path:?} shares attributes with other files")]
    SharedXattrs {
        /// The file.
        path: EntryPath,
    },
}

impl<S: ImageSource> Reader<S> {
    /// Checks everything about the image that does not depend on the content of regular files:
    /// that all names lead to inodes and all inodes to blocks within the image, that no two share a
    /// byte, that directories are in order, and links, inodes and serial numbers counted rightly.
    ///
    /// Takes some 150 bytes of memory for each inode.
    ///
    /// # Errors
    ///
    /// Fails with the first thing that is wrong.
    pub fn check(&self) -> Result<CheckedImage, CheckError> {
        if !self.facts.has_checksum {
            return Err(CheckError::NoChecksum);
        }
        let mut image = CheckedImage::default();
        let mut counts = Counts::default();
        let slots_bytes = DEVICE_SLOT_BYTES * u32::from(self.facts.extra_devices);
        let superblock_end = u64::from(SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES + slots_bytes);
        let mut places = Vec::new();
        places.push(0..superblock_end);
        for file in self.walk() {
            let file = file?;
            image.names += 1;
            if !counts.add(&file) {
                continue;
            }
            image.inodes += 1;
            let of_file = self.places(&file.inode).map_err(|error| file.error(error))?;
            places.extend(of_file.into_iter().filter(|place| !place.is_empty()));
            match file.inode.kind {
                FileKind::Regular => image.content_bytes += file.inode.size_bytes,
                FileKind::Symlink => drop(self.symlink_target(&file)?),
                _ => {}
            }
            let xattrs = self.xattr_body(&file.inode).map_err(|error| file.error(error))?;
            if xattrs.is_some_and(|body| !body.shared.is_empty()) {
                return Err(CheckError::SharedXattrs { path: file.path });
            }
        }
        check_overlap(&mut places)?;
        self.check_counts(&counts)?;
        Ok(image)
    }

    /// Returns what belongs to one inode: itself with what follows it, and its blocks.
    fn places(&self, inode: &Inode) -> Result<[Range<u64>; 2], FileError> {
        let ContentPlace { mut in_blocks, inline } = ContentPlace::find(inode, self)?;
        // What pads the last block belongs to no one else either.
        in_blocks.end = in_blocks.end.next_multiple_of(self.block_bytes());
        Ok([inode.offset_bytes..inline.end, in_blocks])
    }

    fn check_counts(&self, counts: &Counts) -> Result<(), CheckError> {
        let inodes = counts.files.len() as u64;
        if inodes != self.facts.inodes {
            return Err(CheckError::InodeCount { stored: self.facts.inodes, found: inodes });
        }
        let mut is_taken = vec![false; counts.files.len()];
        for (nid, count) in &counts.files {
            let expected = count.expected_links();
            // A compact inode cannot say more, and Linux takes 1 for "not counted".
            let is_uncounted = count.is_directory && count.links == 1 && expected > MAX_LINKS;
            if u64::from(count.links) != expected && !is_uncounted {
                return Err(CheckError::Links {
                    path: self.path_of(*nid)?,
                    stored: count.links,
                    expected,
                });
            }
            let place = (count.number as usize).checked_sub(1);
            match place.and_then(|place| is_taken.get_mut(place)) {
                Some(is_taken) if !*is_taken => *is_taken = true,
                _ => {
                    return Err(CheckError::SerialNumber {
                        path: self.path_of(*nid)?,
                        found: count.number,
                        inodes,
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the first path of an inode that the walk has met, for a message.
    fn path_of(&self, nid: u64) -> Result<EntryPath, ReadError> {
        for file in self.walk() {
            let file = file?;
            if file.inode.nid == nid {
                return Ok(file.path);
            }
        }
        Ok(b"/"[..].into())
    }
}

/// Counts what leads to each inode.
#[derive(Default)]
struct Counts {
    files: HashMap<u64, FileCount>,
}

impl Counts {
    /// Counts a name, and tells whether it is the first of its file.
    fn add(&mut self, file: &WalkedFile) -> bool {
        let inode = &file.inode;
        let is_directory = inode.kind == FileKind::Directory;
        if is_directory
            && file.directory_nid != inode.nid
            && let Some(parent) = self.files.get_mut(&file.directory_nid)
        {
            parent.subdirectories += 1;
        }
        let count = self.files.entry(inode.nid).or_insert(FileCount {
            is_directory,
            links: inode.links,
            number: inode.number,
            names: 0,
            subdirectories: 0,
        });
        count.names += 1;
        count.names == 1
    }
}

struct FileCount {
    is_directory: bool,
    links: u32,
    number: u32,
    names: u32,
    subdirectories: u32,
}

impl FileCount {
    fn expected_links(&self) -> u64 {
        if self.is_directory { 2 + u64::from(self.subdirectories) } else { self.names.into() }
    }
}

/// Sorts `places` and checks that no two of them share a byte.
fn check_overlap(places: &mut [Range<u64>]) -> Result<(), CheckError> {
    places.sort_unstable_by_key(|place| place.start);
    for pair in places.windows(2) {
        if pair[1].start < pair[0].end {
            return Err(CheckError::Overlap { offset_bytes: pair[1].start });
        }
    }
    Ok(())
}

/// The most links that a compact inode can say.
const MAX_LINKS: u64 = u16::MAX as u64;
