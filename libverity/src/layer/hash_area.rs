//! Whether the hash area in a file is that of its image.

use std::io;

use crate::erofs::ImageSource;
use crate::verity::{
    FirstPath, Geometry, HashArea, HashBlockSink, Header, Level, Parameters, Superblock,
    SuperblockError,
};

/// Compares a hash tree, as it comes into being, with what lies behind the data in a file.
pub(super) struct HashAreaComparison<'a, S> {
    source: &'a S,
    area: HashArea,
    levels: Vec<Level>,
    hash_block_bytes: u64,
    /// The lowest offset at which something else was found.
    first_difference: Option<u64>,
    failure: Option<io::Error>,
    stored: Vec<u8>,
}

impl<'a, S: ImageSource> HashAreaComparison<'a, S> {
    /// Prepares to compare a tree of this shape.
    pub(super) fn new(source: &'a S, geometry: &Geometry) -> Self {
        Self {
            source,
            area: HashArea::appended(geometry, Header::Superblock),
            levels: geometry.levels().to_vec(),
            hash_block_bytes: geometry.hash_block_size().bytes().into(),
            first_difference: None,
            failure: None,
            stored: Vec::new(),
        }
    }

    /// Returns the first difference, where all of the tree but `path` was compared.
    pub(super) fn finish(
        mut self,
        superblock: &Superblock,
        path: &FirstPath,
    ) -> Result<(), HashAreaFault> {
        if superblock.parameters != *path.parameters() {
            let found = Box::new(superblock.parameters.clone());
            return Err(HashAreaFault::Parameters { found });
        }
        let (expected_blocks, found_blocks) =
            (path.geometry().data_blocks(), superblock.data_blocks);
        if found_blocks != expected_blocks {
            return Err(HashAreaFault::DataBlocks { expected_blocks, found_blocks });
        }
        let found_bytes =
            self.source.size_bytes().map_err(|source| HashAreaFault::Read { source })?;
        if found_bytes < self.area.end_bytes() {
            let expected_bytes = self.area.end_bytes();
            return Err(HashAreaFault::TooShort { expected_bytes, found_bytes });
        }
        for (level, first_block) in path.first_blocks().enumerate() {
            self.compare_blocks(level, 0, first_block);
        }
        let padding_bytes = self.area.hash_offset_bytes() + Superblock::BYTES as u64;
        let zeros = vec![0; (self.area.tree_offset_bytes() - padding_bytes) as usize];
        self.compare(padding_bytes, &zeros);
        if let Some(source) = self.failure {
            return Err(HashAreaFault::Read { source });
        }
        if let Some(offset_bytes) = self.first_difference {
            return Err(match offset_bytes.checked_sub(self.area.tree_offset_bytes()) {
                Some(in_tree) => HashAreaFault::Tree {
                    hash_block: in_tree / self.hash_block_bytes,
                    offset_bytes,
                },
                None => HashAreaFault::Padding { offset_bytes },
            });
        }
        match found_bytes - self.area.end_bytes() {
            0 => Ok(()),
            trailing_bytes => Err(HashAreaFault::Trailing { trailing_bytes }),
        }
    }

    fn compare_blocks(&mut self, level: usize, first_block: u64, blocks: &[u8]) {
        if let Some(level) = self.levels.get(level) {
            let block = level.first_block + first_block;
            self.compare(self.area.tree_offset_bytes() + block * self.hash_block_bytes, blocks);
        }
    }

    /// Compares what a file should have at an offset; one that ends before is found out otherwise.
    fn compare(&mut self, offset_bytes: u64, expected: &[u8]) {
        let is_known = self.failure.is_some()
            || self.first_difference.is_some_and(|difference| difference < offset_bytes);
        let is_there = |size_bytes| offset_bytes + expected.len() as u64 <= size_bytes;
        if is_known || !self.source.size_bytes().is_ok_and(is_there) {
            return;
        }
        self.stored.resize(expected.len(), 0);
        if let Err(error) = self.source.read_at(offset_bytes, &mut self.stored) {
            self.failure = Some(error);
            return;
        }
        let difference = std::iter::zip(&self.stored, expected)
            .position(|(stored, expected)| stored != expected)
            .map(|place| offset_bytes + place as u64);
        self.first_difference = match (self.first_difference, difference) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
    }
}

/// Never fails, since the root hash is wanted whatever the hash area is.
impl<S: ImageSource> HashBlockSink for HashAreaComparison<'_, S> {
    fn take(&mut self, level: usize, first_block: u64, blocks: &[u8]) -> io::Result<()> {
        self.compare_blocks(level, first_block, blocks);
        Ok(())
    }
}

/// Says why the hash area in a file is not that of its image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashAreaFault {
    /// The file ends with the image.
    #[error("there is no hash area: the file ends with the image")]
    Absent,
    /// The superblock counts other data blocks than the image has.
    #[error("the hash area is of {found_blocks} data blocks, and the image has {expected_blocks}")]
    DataBlocks {
        /// How many the image has.
        expected_blocks: u64,
        /// How many the superblock says.
        found_blocks: u64,
    },
    /// There is something between superblock and tree.
    #[error("byte {offset_bytes}, between superblock and hash tree, is not 0")]
    Padding {
        /// Where it is in the file.
        offset_bytes: u64,
    },
    /// The tree was made with other parameters than those of the profiles.
    #[error(
        "the hash tree has other parameters than those of any profile: {} of type {}, blocks of \
         {} and {} bytes, salt {}",
        found.algorithm,
        found.hash_type.number(),
        found.data_block_size,
        found.hash_block_size,
        found.salt
    )]
    Parameters {
        /// What the superblock says.
        found: Box<Parameters>,
    },
    /// The file cannot be read.
    #[error("the hash area cannot be read")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// There is no superblock where the hash area should start.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The file ends within the hash area.
    #[error("the file ends within the hash area: it has {found_bytes} of {expected_bytes} bytes")]
    TooShort {
        /// Where the hash area should end, as far as is known.
        expected_bytes: u64,
        /// Where the file ends.
        found_bytes: u64,
    },
    /// The file goes on behind the hash area.
    #[error("{trailing_bytes} bytes follow the hash area")]
    Trailing {
        /// How many bytes.
        trailing_bytes: u64,
    },
    /// The tree is not that of the image.
    #[error(
        "the hash tree is not that of the image: hash block {hash_block} differs at byte {offset_bytes}"
    )]
    Tree {
        /// The first hash block that differs, counted from the start of the tree.
        hash_block: u64,
        /// Where the first difference is in the file.
        offset_bytes: u64,
    },
}
