//! Where everything in an image goes: groups of blocks, and which of them takes the next inode.
//!
//! The placement is part of the contract: a root hash covers every byte, so two writers agree only
//! if they fill the same gaps in the same order. The rules are those of erofs-utils 1.9.4
//! (`lib/cache.c`).
//!
//! A *group* is a run of blocks with one fill level. Data and directory blocks are groups of their
//! own, mapped to block numbers as they are asked for. Inodes share metadata groups, which stay
//! unmapped until something needs the number of an inode in them; then every unmapped group
//! before it in the list is mapped as well, in list order.
//!
//! A new inode goes into the group that it fills best among a few candidates. Groups hang in
//! buckets by the bytes used in their last block, oldest change first, and only the head of a
//! bucket is a candidate: finding a place costs a scan over at most two bitmaps of one bit per
//! bucket, however many groups there are.

use std::num::NonZeroU32;

/// Hands out places in one image.
#[derive(Debug)]
pub(super) struct Allocator {
    block_bytes: u32,
    /// All groups ever made; [`ANCHOR`] is both ends of the list through them.
    groups: Vec<Group>,
    /// The group that was mapped last, or its predecessor when that one was dropped.
    last_mapped: GroupId,
    /// The first block that no mapped group occupies.
    end_block: u64,
    /// The unmapped metadata groups, then the mapped ones.
    buckets: [Buckets; 2],
}

impl Allocator {
    /// Starts an image of blocks of `block_bytes` (a power of two, at most 4096), of which the
    /// first `used_bytes` are taken.
    pub(super) fn new(block_bytes: u32, used_bytes: u32) -> Self {
        let mut allocator = Self {
            block_bytes,
            groups: vec![Group::unmapped(Kind::Data)],
            last_mapped: ANCHOR,
            end_block: 0,
            buckets: [Buckets::new(block_bytes), Buckets::new(block_bytes)],
        };
        let head = allocator.append(Kind::Metadata);
        allocator.fill(head, used_bytes.into());
        allocator.map_next(head);
        allocator
    }

    /// Takes `blocks` whole blocks for the content of a file, directly behind all mapped blocks
    /// and in front of the inodes that still wait.
    pub(super) fn allocate_data(&mut self, blocks: u64) -> Result<GroupId, TooLarge> {
        let group = self.insert_after(self.last_mapped, Kind::Data);
        self.take_blocks(group, blocks)
    }

    /// Takes `blocks` whole blocks for a directory, behind the inodes that still wait.
    pub(super) fn allocate_directory(&mut self, blocks: u64) -> Result<GroupId, TooLarge> {
        let group = self.append(Kind::Metadata);
        self.take_blocks(group, blocks)
    }

    /// Lengthens `group`, the last mapped one, by one block.
    pub(super) fn extend_by_block(&mut self, group: GroupId) -> Result<(), TooLarge> {
        debug_assert_eq!(self.end_block, self.start_block(group) + self[group].blocks);
        let used_bytes = self[group].used_bytes + u64::from(self.block_bytes);
        self.fill(group, used_bytes);
        self.check_size()
    }

    /// Finds room for an inode of `body_bytes` (with attributes and chunk indexes) that is
    /// followed by `tail_bytes` of content in the block in which the body ends.
    ///
    /// A body alone always finds room.
    ///
    /// # Errors
    ///
    /// Returns [`TailDoesNotFit`] if body and tail need more than one block. That leaves an empty
    /// group in the list, as the original does; later inodes may land in it.
    pub(super) fn allocate_inode(
        &mut self,
        body_bytes: u64,
        tail_bytes: u32,
    ) -> Result<InodePlace, TailDoesNotFit> {
        let group =
            self.best_group(body_bytes, tail_bytes).unwrap_or_else(|| self.append(Kind::Metadata));
        let start = self[group].used_bytes.next_multiple_of(INODE_SLOT_BYTES);
        self.fill_level(group, body_bytes, tail_bytes).ok_or(TailDoesNotFit)?;
        self.fill(group, start + body_bytes + u64::from(tail_bytes));
        Ok(InodePlace { group, offset_bytes: start })
    }

    /// Gives `group` and every group before it in the list their block numbers.
    pub(super) fn map(&mut self, group: GroupId) -> Result<(), TooLarge> {
        while !self[group].is_mapped() {
            let next = self[self.last_mapped].next;
            self.map_next(next);
        }
        self.check_size()
    }

    /// Takes `group` out of the list; its blocks stay occupied.
    pub(super) fn drop_group(&mut self, group: GroupId) {
        if self.last_mapped == group {
            self.last_mapped = self[group].previous;
        }
        self.unlink_bucket(group);
        let Group { previous, next, .. } = self[group];
        self[previous].next = next;
        self[next].previous = previous;
    }

    /// Returns the number of the first block of a mapped group.
    pub(super) fn start_block(&self, group: GroupId) -> u64 {
        debug_assert!(self[group].is_mapped());
        self[group].start_block
    }

    /// Returns the distance of an inode in a mapped group from the start of the image, in bytes.
    pub(super) fn offset_bytes(&self, place: InodePlace) -> u64 {
        self.start_block(place.group) * u64::from(self.block_bytes) + place.offset_bytes
    }

    /// Returns the number of blocks up to the end of the last mapped group.
    pub(super) fn blocks(&self) -> u64 {
        self.end_block
    }

    fn take_blocks(&mut self, group: GroupId, blocks: u64) -> Result<GroupId, TooLarge> {
        let used_bytes = blocks.checked_mul(self.block_bytes.into()).ok_or(TooLarge)?;
        self.fill(group, used_bytes);
        self.map(group)?;
        Ok(group)
    }

    /// Chooses the existing group that an inode fills up most; the first found wins a draw.
    fn best_group(&self, body_bytes: u64, tail_bytes: u32) -> Option<GroupId> {
        let block_bytes = self.block_bytes;
        let total_bytes = body_bytes + u64::from(tail_bytes);
        let in_last_block = (total_bytes % u64::from(block_bytes)) as u32;
        let slot_bytes = INODE_SLOT_BYTES as u32;
        // The highest fill level at which the inode still ends in the same block.
        let highest_used = (block_bytes - in_last_block) / slot_bytes * slot_bytes;
        // Counted from above, `index % block_bytes` being the bucket.
        let from = highest_used + block_bytes;
        let offer = |group| Some((self.fill_level(group, body_bytes, tail_bytes)?, group));

        if total_bytes >= u64::from(block_bytes) {
            // No mapped group, and only buckets in which it ends in the block that it would end in
            // if it stood at the start of one.
            return self.buckets[UNMAPPED].heads(from, block_bytes).find_map(offer).map(group_of);
        }
        let mut best = self.buckets[MAPPED].heads(from, block_bytes).find_map(|head| {
            // The last mapped group has a turn of its own.
            let is_last = !self[self[head].next].is_mapped();
            offer(if is_last { self[head].next_in_bucket? } else { head })
        });
        if self.last_mapped != ANCHOR && self[self.last_mapped].kind == Kind::Metadata {
            best = fuller(best, offer(self.last_mapped));
        }
        let unmapped = self.buckets[UNMAPPED].heads(from, highest_used + slot_bytes - 1);
        fuller(best, { unmapped }.find_map(offer)).map(group_of)
    }

    /// Returns how many bytes of its last block would be used if `group` took the inode, or `None`
    /// if it cannot.
    fn fill_level(&self, group: GroupId, body_bytes: u64, tail_bytes: u32) -> Option<u32> {
        let block_bytes = u64::from(self.block_bytes);
        let group = &self[group];
        let body_end = group.used_bytes.next_multiple_of(INODE_SLOT_BYTES) + body_bytes;
        // Between 1 and a whole block: an end on a block boundary belongs to the block before it.
        let level = ((body_end + block_bytes - 1) % block_bytes) as u32 + 1 + tail_bytes;
        if level > self.block_bytes {
            return None;
        }
        if body_end + u64::from(tail_bytes) > group.blocks * block_bytes {
            let is_hemmed_in = group.is_mapped() && !self.ends_image(group);
            if is_hemmed_in || self[group.next].is_mapped() {
                return None;
            }
        }
        Some(level)
    }

    /// Sets the fill level of `group`, and moves it behind the others of its new bucket.
    fn fill(&mut self, group: GroupId, used_bytes: u64) {
        let blocks = used_bytes.div_ceil(self.block_bytes.into());
        let ends_image = self.ends_image(&self[group]);
        self[group].used_bytes = used_bytes;
        self[group].blocks = self[group].blocks.max(blocks);
        if ends_image {
            self.end_block = self[group].start_block + self[group].blocks;
        }
        self.move_to_bucket(group);
    }

    fn ends_image(&self, group: &Group) -> bool {
        group.is_mapped() && group.start_block + group.blocks == self.end_block
    }

    /// Maps the group behind the last mapped one.
    fn map_next(&mut self, group: GroupId) {
        self[group].start_block = self.end_block;
        self.end_block += self[group].blocks;
        self.last_mapped = group;
        self.move_to_bucket(group);
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        // Block numbers are 32 bits wide on disk, and the highest one means "none".
        if self.end_block < u64::from(u32::MAX) { Ok(()) } else { Err(TooLarge) }
    }

    fn append(&mut self, kind: Kind) -> GroupId {
        self.insert_after(self[ANCHOR].previous, kind)
    }

    fn insert_after(&mut self, previous: GroupId, kind: Kind) -> GroupId {
        let next = self[previous].next;
        self.groups.push(Group { previous, next, ..Group::unmapped(kind) });
        // A group costs at least one inode or one block, and both have 32-bit numbers.
        let number = u32::try_from(self.groups.len()).ok().and_then(NonZeroU32::new);
        let group = GroupId(number.expect("fewer groups than 32-bit block numbers"));
        self[previous].next = group;
        self[next].previous = group;
        group
    }

    fn move_to_bucket(&mut self, group: GroupId) {
        if self[group].kind == Kind::Data {
            return; // No inode is ever put behind file content.
        }
        self.unlink_bucket(group);
        let mapped = usize::from(self[group].is_mapped());
        let level = (self[group].used_bytes % u64::from(self.block_bytes)) as u32;
        let previous = self.buckets[mapped].push(level, group);
        if let Some(previous) = previous {
            self[previous].next_in_bucket = Some(group);
        }
        let entry = &mut self[group];
        entry.previous_in_bucket = previous;
        entry.next_in_bucket = None;
        entry.bucket = Some((mapped == MAPPED, level as u16));
    }

    fn unlink_bucket(&mut self, group: GroupId) {
        let Some((mapped, level)) = self[group].bucket.take() else { return };
        let Group { previous_in_bucket: previous, next_in_bucket: next, .. } = self[group];
        if let Some(previous) = previous {
            self[previous].next_in_bucket = next;
        }
        if let Some(next) = next {
            self[next].previous_in_bucket = previous;
        }
        self.buckets[usize::from(mapped)].remove(level.into(), group, previous, next);
    }
}

impl std::ops::Index<GroupId> for Allocator {
    type Output = Group;

    fn index(&self, group: GroupId) -> &Group {
        &self.groups[group.0.get() as usize - 1]
    }
}

impl std::ops::IndexMut<GroupId> for Allocator {
    fn index_mut(&mut self, group: GroupId) -> &mut Group {
        &mut self.groups[group.0.get() as usize - 1]
    }
}

fn group_of((_, group): (u32, GroupId)) -> GroupId {
    group
}

/// Picks the offer with the higher fill level, `first` in a draw.
fn fuller(first: Option<(u32, GroupId)>, second: Option<(u32, GroupId)>) -> Option<(u32, GroupId)> {
    match (first, second) {
        (Some(first), Some(second)) if second.0 <= first.0 => Some(first),
        (first, second) => second.or(first),
    }
}

/// Names a group of one allocator by its index, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupId(NonZeroU32);

/// Is the place of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodePlace {
    /// The group that holds it.
    pub(super) group: GroupId,
    /// Its distance from the start of that group, a multiple of 32.
    pub(super) offset_bytes: u64,
}

/// Says that an inode and the content behind it do not fit into one block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TailDoesNotFit;

/// Says that the image would need a block number of more than 32 bits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Is a run of blocks with one fill level.
#[derive(Debug)]
pub(super) struct Group {
    kind: Kind,
    start_block: u64,
    used_bytes: u64,
    blocks: u64,
    previous: GroupId,
    next: GroupId,
    bucket: Option<(bool, u16)>,
    previous_in_bucket: Option<GroupId>,
    next_in_bucket: Option<GroupId>,
}

impl Group {
    const fn unmapped(kind: Kind) -> Self {
        Self {
            kind,
            start_block: NO_BLOCK,
            used_bytes: 0,
            blocks: 0,
            previous: ANCHOR,
            next: ANCHOR,
            bucket: None,
            previous_in_bucket: None,
            next_in_bucket: None,
        }
    }

    const fn is_mapped(&self) -> bool {
        self.start_block != NO_BLOCK
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Metadata,
}

/// Sorts groups by the bytes used in their last block, in one queue for each number.
#[derive(Debug)]
struct Buckets {
    queues: Box<[Option<(GroupId, GroupId)>]>,
    /// One bit for each queue that is not empty.
    occupied: Box<[u64]>,
}

impl Buckets {
    fn new(block_bytes: u32) -> Self {
        Self {
            queues: vec![None; block_bytes as usize].into(),
            occupied: vec![0; block_bytes as usize / 64].into(),
        }
    }

    /// Returns the oldest group of each bucket, by descending index from `from` to above `end`;
    /// the remainder of an index by the number of buckets names the bucket.
    fn heads(&self, from: u32, end: u32) -> impl Iterator<Item = GroupId> {
        let count = self.queues.len() as u32;
        let mut next = from;
        std::iter::from_fn(move || {
            while next > end {
                let turn = next - next % count;
                match self.highest_up_to(next % count) {
                    Some(level) => {
                        next = (turn + level).checked_sub(1)?;
                        return (turn + level > end)
                            .then(|| self.queues[level as usize])?
                            .map(|(head, _)| head);
                    }
                    None => next = turn.checked_sub(1)?,
                }
            }
            None
        })
    }

    /// Returns the highest level of at most `level` that has a group.
    fn highest_up_to(&self, level: u32) -> Option<u32> {
        let mut word = level as usize / 64;
        let mut bits = self.occupied[word] & (u64::MAX >> (63 - level % 64));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.occupied[word];
        }
        Some(word as u32 * 64 + bits.ilog2())
    }

    /// Puts `group` behind the others of its level and returns the one now before it.
    fn push(&mut self, level: u32, group: GroupId) -> Option<GroupId> {
        let queue = &mut self.queues[level as usize];
        let (first, previous) = match *queue {
            Some((first, last)) => (first, Some(last)),
            None => (group, None),
        };
        *queue = Some((first, group));
        self.occupied[level as usize / 64] |= 1 << (level % 64);
        previous
    }

    /// Takes `group` out of its level, between the neighbours given.
    fn remove(
        &mut self,
        level: u32,
        group: GroupId,
        previous: Option<GroupId>,
        next: Option<GroupId>,
    ) {
        let queue = &mut self.queues[level as usize];
        let Some((first, last)) = *queue else { return };
        *queue = match (previous, next) {
            (None, None) => None,
            (None, Some(next)) => Some((next, last)),
            (Some(previous), None) => Some((first, previous)),
            (Some(_), Some(_)) => Some((first, last)),
        };
        debug_assert!(previous.is_some() || first == group);
        if queue.is_none() {
            self.occupied[level as usize / 64] &= !(1 << (level % 64));
        }
    }
}

/// Marks a group that has no block number yet.
const NO_BLOCK: u64 = u64::MAX;
/// Both ends of the list of groups; it counts as unmapped.
const ANCHOR: GroupId = GroupId(NonZeroU32::MIN);
const UNMAPPED: usize = 0;
const MAPPED: usize = 1;
/// Inodes start at multiples of this, since directories number these slots.
pub(super) const INODE_SLOT_BYTES: u64 = 32;
