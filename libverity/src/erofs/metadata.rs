//! Inodes and directories as bytes, in ascending order.

use super::ErofsError;
use super::allocator::Allocator;
use super::blocks::{BlockSink, BlockStream};
use super::chunk::Chunks;
use super::directory::{self, Dirent, DirentType};
use super::inode::{DataLayout, InodeRecord};
use super::layout::{Layout, Placement};
use super::nid;
use super::tree::{Content, Directory, InodeId, InodeKind, Tree};

/// Writes all inodes, directories and long link texts of an image.
#[derive(Debug)]
pub(super) struct MetadataWriter<'a> {
    pub(super) tree: &'a Tree,
    pub(super) layout: &'a Layout,
    pub(super) allocator: &'a Allocator,
    pub(super) block_bytes: u32,
}

impl MetadataWriter<'_> {
    /// Writes everything to `stream`, and returns whether an inode has a useful name filter.
    pub(super) fn write(
        &self,
        stream: &mut BlockStream,
        sink: &mut dyn BlockSink,
    ) -> Result<bool, ErofsError> {
        let mut has_filter = false;
        let mut bytes = Vec::new();
        for piece in self.pieces() {
            let write_error = |source| ErofsError::Write { source };
            match piece.part {
                Part::Inode => {
                    bytes.clear();
                    has_filter |= self.write_inode(piece.inode, &mut bytes);
                    stream.write_at(piece.offset_bytes, &bytes, sink).map_err(write_error)?;
                }
                Part::Content => {
                    let mut offset_bytes = piece.offset_bytes;
                    self.for_each_part(piece.inode, |part, is_inline| {
                        if is_inline {
                            return Ok(());
                        }
                        let at = offset_bytes;
                        offset_bytes += u64::from(self.block_bytes);
                        stream.write_at(at, part, sink).map_err(write_error)
                    })?;
                }
            }
        }
        Ok(has_filter)
    }

    /// Returns the number by which the superblock and directories know the inode `id`.
    pub(super) fn nid(&self, id: InodeId) -> u64 {
        let offset_bytes = self.allocator.offset_bytes(self.layout.placement(id).place);
        nid::of_offset(offset_bytes, self.layout.metadata_block * u64::from(self.block_bytes))
    }

    /// Finds out what is to be written where, in ascending order.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.layout.inodes as usize);
        for (inode, placement) in self.layout.placements() {
            let offset_bytes = self.allocator.offset_bytes(placement.place);
            pieces.push(Piece { offset_bytes, inode, part: Part::Inode });
            let kind = &self.tree.inode(inode).kind;
            if let (Some(block), InodeKind::Directory(_) | InodeKind::Symlink(_)) =
                (placement.content_block, kind)
            {
                let offset_bytes = u64::from(block) * u64::from(self.block_bytes);
                pieces.push(Piece { offset_bytes, inode, part: Part::Content });
            }
        }
        pieces.sort_unstable_by_key(|piece| piece.offset_bytes);
        pieces
    }

    /// Appends the inode, its attributes, chunk index and inline content to `bytes`, and returns
    /// whether it has a useful name filter.
    fn write_inode(&self, id: InodeId, bytes: &mut Vec<u8>) -> bool {
        let inode = self.tree.inode(id);
        let placement = self.layout.placement(id);
        let (_, file_type) = inode.kind.types();
        let record = InodeRecord {
            form: placement.form,
            layout: placement.layout,
            xattr_bytes: placement.xattr_bytes,
            mode: file_type | inode.permissions,
            links: inode.links,
            size_bytes: placement.size_bytes,
            union: self.union(&inode.kind, placement),
            number: placement.number,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
        };
        record.write(bytes);
        let has_filter = inode.xattrs.as_ref().is_some_and(|xattrs| xattrs.write(bytes));
        if let InodeKind::Regular { size_bytes, content: Content::SecondDevice { first_block } } =
            inode.kind
        {
            Chunks::new(size_bytes, self.block_bytes).write(first_block.into(), bytes);
        }
        if placement.layout == DataLayout::FlatInline {
            let appended: Result<(), std::convert::Infallible> =
                self.for_each_part(id, |part, is_inline| {
                    if is_inline {
                        bytes.extend_from_slice(part);
                    }
                    Ok(())
                });
            let Ok(()) = appended;
        }
        has_filter
    }

    /// Returns what an inode says in the field that means something else for each type.
    fn union(&self, kind: &InodeKind, placement: &Placement) -> u32 {
        match kind {
            InodeKind::BlockDevice(device) | InodeKind::CharacterDevice(device) => *device,
            InodeKind::Directory(_) | InodeKind::Symlink(_) => {
                placement.content_block.unwrap_or(NO_BLOCK)
            }
            InodeKind::Fifo | InodeKind::Removed => 0,
            InodeKind::Regular { size_bytes, content: Content::SecondDevice { .. } } => {
                Chunks::new(*size_bytes, self.block_bytes).format()
            }
            InodeKind::Regular { .. } => placement.content_block.unwrap_or(0),
        }
    }

    /// Hands out the content of a directory or link by blocks, and whether a block is inline.
    fn for_each_part<E>(
        &self,
        id: InodeId,
        mut part_done: impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let Placement { layout, size_bytes, .. } = *self.layout.placement(id);
        let mut full_parts = match layout {
            DataLayout::FlatInline => size_bytes / u64::from(self.block_bytes),
            _ => u64::MAX,
        };
        let mut part_done = |part: &[u8]| {
            let is_inline = full_parts == 0;
            full_parts = full_parts.saturating_sub(1);
            part_done(part, is_inline)
        };
        match &self.tree.inode(id).kind {
            InodeKind::Directory(directory) => {
                let entries = self.entries(id, directory);
                directory::for_each_block(self.block_bytes, entries, part_done)
            }
            InodeKind::Symlink(target) => {
                target.chunks(self.block_bytes as usize).try_for_each(&mut part_done)
            }
            _ => Ok(()),
        }
    }

    fn entries<'d>(
        &'d self,
        id: InodeId,
        directory: &'d Directory,
    ) -> impl Iterator<Item = Dirent<'d>> {
        let parent = self.tree.inode(id).parent;
        let children = directory.children.iter().map(|(name, child)| {
            let (file_type, _) = self.tree.inode(*child).kind.types();
            (&name[..], (*child, file_type))
        });
        let dot = (id, DirentType::Directory);
        let dot_dot = (parent, DirentType::Directory);
        directory::with_dots(dot, dot_dot, children).map(|(name, (id, file_type))| Dirent {
            name,
            nid: self.nid(id),
            file_type,
        })
    }
}

/// Is something that is written in one go.
#[derive(Debug)]
struct Piece {
    offset_bytes: u64,
    inode: InodeId,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Content,
    Inode,
}

/// Stands for the first block of content that is inline altogether.
const NO_BLOCK: u32 = u32::MAX;
