//! The places of all inodes and directories.
//!
//! Directories are visited depth first. A visit gives a place and a serial number to each file in
//! the directory that has none yet, in byte order of the names, and then one to the directory's own
//! entries. So the files of one directory lie side by side, followed by those of its first
//! subdirectory. Source: erofs-utils 1.9.4, `lib/inode.c`.

use super::ErofsError;
use super::allocator::{Allocator, GroupId, InodePlace, TailDoesNotFit, TooLarge};
use super::chunk::Chunks;
use super::directory;
use super::inode::{DataLayout, InodeForm};
use super::tree::{Children, Content, InodeId, InodeKind, ROOT, Tree};

/// Is where everything in the image lies.
#[derive(Debug)]
pub(super) struct Layout {
    /// By [`InodeId::index`]; `None` for what no name leads to.
    placements: Vec<Option<Placement>>,
    /// The block from which inodes are numbered.
    pub(super) metadata_block: u64,
    /// The count of inodes.
    pub(super) inodes: u32,
}

impl Layout {
    /// Lays out `tree` behind what `allocator` has handed out before.
    ///
    /// It also settles what follows from the whole tree: link counts and parents of directories,
    /// and the attributes of those with whiteouts.
    pub(super) fn new(
        tree: &mut Tree,
        allocator: &mut Allocator,
        block_bytes: u32,
    ) -> Result<Self, ErofsError> {
        let placements = vec![None; tree.len()];
        let layout = Self { placements, metadata_block: 0, inodes: 0 };
        let mut planner = Planner { tree, allocator, block_bytes, layout };
        planner.place(ROOT, ROOT)?;
        planner.number_inodes_near_root()?;
        planner.walk()?;
        Ok(planner.layout)
    }

    /// Returns the place of inode `id`, which a name leads to.
    pub(super) fn placement(&self, id: InodeId) -> &Placement {
        self.placements[id.index()].as_ref().expect("every name leads to an inode with a place")
    }

    /// Returns all inodes that have a place.
    pub(super) fn placements(&self) -> impl Iterator<Item = (InodeId, &Placement)> {
        let all = self.placements.iter().enumerate();
        all.filter_map(|(index, placement)| Some((InodeId::new(index), placement.as_ref()?)))
    }
}

/// Is where one inode and its content lie.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    pub(super) place: InodePlace,
    pub(super) form: InodeForm,
    pub(super) layout: DataLayout,
    /// The serial number, from 1.
    pub(super) number: u32,
    pub(super) xattr_bytes: u32,
    /// The length of the content.
    pub(super) size_bytes: u64,
    /// The first block of the content, if any of it is in blocks.
    pub(super) content_block: Option<u32>,
}

struct Planner<'a> {
    tree: &'a mut Tree,
    allocator: &'a mut Allocator,
    block_bytes: u32,
    layout: Layout,
}

impl Planner<'_> {
    fn walk(&mut self) -> Result<(), ErofsError> {
        let mut waiting = vec![ROOT];
        while let Some(directory) = waiting.pop() {
            let children = self.take_children(directory);
            let first_found = waiting.len();
            for id in children.values().copied() {
                if self.layout.placements[id.index()].is_some() {
                    continue; // A further name of a file that was met before.
                }
                self.place(id, directory)?;
                if matches!(self.tree.inode(id).kind, InodeKind::Directory(_)) {
                    waiting.push(id);
                }
            }
            waiting[first_found..].reverse();
            self.place_entries(directory, &children)?;
            self.put_children_back(directory, children);
        }
        Ok(())
    }

    /// Gives a place to inode `id`, and to content that is not placed yet and no directory's.
    fn place(&mut self, id: InodeId, parent: InodeId) -> Result<(), ErofsError> {
        let form = self.form(id);
        let size_bytes = self.size_bytes(id);
        self.settle_directory(id, parent, form);
        let xattr_bytes = self.tree.finish_xattrs(id)?;
        let body_bytes = u64::from(form.bytes() + xattr_bytes);
        let tail_bytes = (size_bytes % u64::from(self.block_bytes)) as u32;

        let mut layout = DataLayout::FlatPlain;
        let mut content: Option<GroupId> = None;
        let place = match self.tree.inode(id).kind {
            InodeKind::Directory(_) | InodeKind::Symlink(_) if tail_bytes > 0 => {
                let is_symlink = matches!(self.tree.inode(id).kind, InodeKind::Symlink(_));
                if is_symlink {
                    content = self.allocate_full_blocks(size_bytes)?;
                }
                match self.allocator.allocate_inode(body_bytes, tail_bytes) {
                    Ok(place) => {
                        layout = DataLayout::FlatInline;
                        place
                    }
                    Err(TailDoesNotFit) => {
                        if let Some(content) = content {
                            self.allocator.extend_by_block(content)?;
                        }
                        let place = self.allocate_body(body_bytes);
                        if is_symlink && content.is_none() {
                            content = Some(self.allocator.allocate_data(1)?);
                        }
                        place
                    }
                }
            }
            InodeKind::Symlink(_) => {
                content = self.allocate_full_blocks(size_bytes)?;
                self.allocate_body(body_bytes)
            }
            InodeKind::Regular { content: Content::Blocks(blocks), .. } => {
                content = Some(blocks);
                self.allocate_body(body_bytes)
            }
            InodeKind::Regular { content: Content::SecondDevice { .. }, .. } => {
                layout = DataLayout::ChunkBased;
                self.allocate_body(Chunks::new(size_bytes, self.block_bytes).body_bytes(body_bytes))
            }
            _ => self.allocate_body(body_bytes),
        };
        let content_block = content.map(|content| self.release(content));
        self.layout.inodes += 1;
        let number = self.layout.inodes;
        self.layout.placements[id.index()] =
            Some(Placement { place, form, layout, number, xattr_bytes, size_bytes, content_block });
        Ok(())
    }

    /// Gives a place to the entries of `directory`, and block numbers to the inodes in it.
    fn place_entries(&mut self, directory: InodeId, children: &Children) -> Result<(), ErofsError> {
        let Placement { size_bytes, layout, .. } = *self.layout.placement(directory);
        let full_blocks = size_bytes / u64::from(self.block_bytes);
        let has_tail_block =
            layout == DataLayout::FlatPlain && size_bytes % u64::from(self.block_bytes) != 0;
        let mut content = None;
        if full_blocks > 0 {
            content = Some(self.allocator.allocate_directory(full_blocks)?);
        }
        for child in children.values() {
            self.allocator.map(self.layout.placement(*child).place.group)?;
        }
        if has_tail_block {
            match content {
                Some(content) => self.allocator.extend_by_block(content)?,
                None => content = Some(self.allocator.allocate_directory(1)?),
            }
        }
        let content_block = content.map(|content| self.release(content));
        if let Some(placement) = &mut self.layout.placements[directory.index()] {
            placement.content_block = content_block;
        }
        Ok(())
    }

    /// Moves the start of the numbering close enough that the root's number fits into 16 bits.
    fn number_inodes_near_root(&mut self) -> Result<(), ErofsError> {
        let root = self.layout.placement(ROOT).place;
        self.allocator.map(root.group)?;
        let too_far_bytes = self.allocator.offset_bytes(root).saturating_sub(MAX_ROOT_OFFSET_BYTES);
        self.layout.metadata_block = too_far_bytes.div_ceil(self.block_bytes.into());
        Ok(())
    }

    /// Chooses the form of an inode, before the link count of a directory is settled.
    fn form(&self, id: InodeId) -> InodeForm {
        let inode = self.tree.inode(id);
        let size_bytes = match inode.kind {
            InodeKind::Regular { size_bytes, .. } => size_bytes,
            _ => 0,
        };
        let is_compact = size_bytes <= u32::MAX.into()
            && inode.uid <= u16::MAX.into()
            && inode.gid <= u16::MAX.into()
            && inode.links <= u16::MAX.into()
            && inode.mtime.seconds == BUILD_TIME_SECONDS;
        if is_compact { InodeForm::Compact } else { InodeForm::Extended }
    }

    /// Returns the length of the content of `id`.
    fn size_bytes(&self, id: InodeId) -> u64 {
        match &self.tree.inode(id).kind {
            InodeKind::Directory(directory) => {
                let names = directory.children.keys().map(|name| (&name[..], ()));
                let names = directory::with_dots((), (), names).map(|(name, ())| name);
                directory::size_bytes(self.block_bytes, names)
            }
            InodeKind::Regular { size_bytes, .. } => *size_bytes,
            InodeKind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    /// Gives a directory its parent and its count of links: one for each directory in it, and two.
    /// A count beyond 16 bits becomes 1 rather than a larger inode.
    fn settle_directory(&mut self, id: InodeId, parent: InodeId, form: InodeForm) {
        let InodeKind::Directory(directory) = &self.tree.inode(id).kind else { return };
        let is_directory =
            |id: &&InodeId| matches!(self.tree.inode(**id).kind, InodeKind::Directory(_));
        let links = 2 + directory.children.values().filter(is_directory).count() as u32;
        let fits = form == InodeForm::Extended || links <= u16::MAX.into();
        let inode = self.tree.inode_mut(id);
        inode.parent = parent;
        inode.links = if fits { links } else { 1 };
    }

    fn allocate_full_blocks(&mut self, size_bytes: u64) -> Result<Option<GroupId>, ErofsError> {
        let full_blocks = size_bytes / u64::from(self.block_bytes);
        Ok(if full_blocks > 0 { Some(self.allocator.allocate_data(full_blocks)?) } else { None })
    }

    fn allocate_body(&mut self, body_bytes: u64) -> InodePlace {
        self.allocator.allocate_inode(body_bytes, 0).expect("an inode may cross blocks")
    }

    /// Takes a group of content out of the allocator's sight, and returns its first block.
    fn release(&mut self, content: GroupId) -> u32 {
        let block = self.allocator.start_block(content);
        self.allocator.drop_group(content);
        block as u32
    }

    fn take_children(&mut self, id: InodeId) -> Children {
        match &mut self.tree.inode_mut(id).kind {
            InodeKind::Directory(directory) => std::mem::take(&mut directory.children),
            _ => Children::new(),
        }
    }

    fn put_children_back(&mut self, id: InodeId, children: Children) {
        if let InodeKind::Directory(directory) = &mut self.tree.inode_mut(id).kind {
            directory.children = children;
        }
    }
}

impl From<TooLarge> for ErofsError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::ImageTooLarge
    }
}

/// The superblock has 16 bits for the number of the root inode, in units of 32 bytes.
const MAX_ROOT_OFFSET_BYTES: u64 = u16::MAX as u64 * 32;
/// Inodes with this modification time need no field for it.
const BUILD_TIME_SECONDS: i64 = 0;
