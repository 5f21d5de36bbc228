//! Where superblock and tree lie on disk, as `veritysetup format` puts them.

use std::io::{self, Write};

use uuid::Uuid;

use super::{BlockSize, Geometry, HashTree, Superblock};

/// Is the part of a file or device that holds the superblock, if there is one, and the tree.
///
/// ```text
/// │ data, filled up to a data block │ … │ superblock │ zeros │ tree        │
///                                   ↑   ↑                    ↑             ↑
///                               hash block  hash offset  tree offset      end
/// ```
///
/// The tree starts at the first hash block that begins behind the superblock. Offsets count from
/// the start of the file or device that holds the hash area, which is that of the data or one of
/// its own.
///
/// Source: `VERITY_hash_offset_block` in cryptsetup, `lib/verity/verity.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashArea {
    header: Header,
    hash_block_size: BlockSize,
    hash_offset_bytes: u64,
    tree_bytes: u64,
}

impl HashArea {
    /// Places the hash area behind the data in the same file: at the first hash block after them.
    pub fn appended(geometry: &Geometry, header: Header) -> Self {
        let hash_block_bytes = u64::from(geometry.hash_block_size().bytes());
        let hash_offset_bytes = geometry.data_bytes().next_multiple_of(hash_block_bytes);
        Self::unchecked(hash_offset_bytes, geometry, header)
    }

    /// Places the hash area at the start of a file of its own.
    pub fn separate(geometry: &Geometry, header: Header) -> Self {
        Self::unchecked(0, geometry, header)
    }

    /// Places the hash area at a given offset.
    ///
    /// # Errors
    ///
    /// Fails if a superblock would not start at a sector, a tree without one not at a hash block,
    /// or the tree would end beyond the offsets of Linux.
    pub fn at(
        hash_offset_bytes: u64,
        geometry: &Geometry,
        header: Header,
    ) -> Result<Self, HashAreaError> {
        let alignment_bytes = match header {
            Header::None => geometry.hash_block_size(),
            Header::Superblock => BlockSize::B512,
        };
        if !hash_offset_bytes.is_multiple_of(u64::from(alignment_bytes.bytes())) {
            return Err(HashAreaError::Misaligned { hash_offset_bytes, alignment_bytes });
        }
        let room_bytes = Self::separate(geometry, header).end_bytes();
        if hash_offset_bytes.checked_add(room_bytes).is_none_or(|end| end > i64::MAX as u64) {
            return Err(HashAreaError::TooFar { hash_offset_bytes });
        }
        Ok(Self::unchecked(hash_offset_bytes, geometry, header))
    }

    /// Returns where the hash area starts: at the superblock, or at the tree without one.
    pub fn hash_offset_bytes(&self) -> u64 {
        self.hash_offset_bytes
    }

    /// Returns where the tree starts.
    pub fn tree_offset_bytes(&self) -> u64 {
        let header_bytes = match self.header {
            Header::None => 0,
            Header::Superblock => Superblock::BYTES as u64,
        };
        (self.hash_offset_bytes + header_bytes).next_multiple_of(self.hash_block_bytes())
    }

    /// Returns where the tree starts in hash blocks, as the table line says it.
    pub fn hash_start_block(&self) -> u64 {
        self.tree_offset_bytes() / self.hash_block_bytes()
    }

    /// Returns where the hash area ends.
    pub fn end_bytes(&self) -> u64 {
        self.tree_offset_bytes() + self.tree_bytes
    }

    /// Writes the hash area: everything from its offset to its end.
    ///
    /// Without a superblock, `uuid` has no place and is dropped.
    ///
    /// # Errors
    ///
    /// Fails if `output` does.
    ///
    /// # Panics
    ///
    /// Panics if the area was laid out for a tree of another length.
    pub fn write_to(&self, tree: &HashTree, uuid: Uuid, output: &mut impl Write) -> io::Result<()> {
        assert_eq!(tree.geometry().tree_bytes(), self.tree_bytes, "the area fits another tree");
        let mut written_bytes = 0;
        if self.header == Header::Superblock {
            let superblock = Superblock {
                uuid,
                parameters: tree.parameters().clone(),
                data_blocks: tree.geometry().data_blocks(),
            };
            output.write_all(&superblock.to_bytes())?;
            written_bytes = Superblock::BYTES as u64;
        }
        let padding_bytes = self.tree_offset_bytes() - self.hash_offset_bytes - written_bytes;
        write_zeros(padding_bytes, output)?;
        tree.write_to(output)
    }

    /// Appends to an image of `image_bytes`, at whose end `output` stands, what makes it a verity
    /// device: zeros up to the hash offset, then the hash area. Returns what was laid out.
    ///
    /// # Errors
    ///
    /// Fails if `output` does.
    ///
    /// # Panics
    ///
    /// Panics if the image is longer than what the tree covers.
    pub fn append(
        image_bytes: u64,
        tree: &HashTree,
        header: Header,
        uuid: Uuid,
        output: &mut impl Write,
    ) -> io::Result<Self> {
        assert!(image_bytes <= tree.geometry().data_bytes(), "the tree covers a shorter image");
        let area = Self::appended(tree.geometry(), header);
        write_zeros(area.hash_offset_bytes - image_bytes, output)?;
        area.write_to(tree, uuid, output)?;
        Ok(area)
    }

    fn unchecked(hash_offset_bytes: u64, geometry: &Geometry, header: Header) -> Self {
        Self {
            header,
            hash_block_size: geometry.hash_block_size(),
            hash_offset_bytes,
            tree_bytes: geometry.tree_bytes(),
        }
    }

    fn hash_block_bytes(&self) -> u64 {
        u64::from(self.hash_block_size.bytes())
    }
}

/// Says what precedes the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing.
    None,
    /// A [`Superblock`].
    Superblock,
}

/// Says why a hash area cannot lie where it was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashAreaError {
    /// The offset is no multiple of what it must be one of.
    #[error("the hash offset {hash_offset_bytes} is no multiple of {alignment_bytes} bytes")]
    Misaligned {
        /// The offset asked for, in bytes.
        hash_offset_bytes: u64,
        /// What it must be a multiple of: a sector with a superblock, a hash block without.
        alignment_bytes: BlockSize,
    },
    /// The tree would end beyond 2^63 - 1 bytes.
    #[error("a tree at hash offset {hash_offset_bytes} would end beyond the largest offset")]
    TooFar {
        /// The offset asked for, in bytes.
        hash_offset_bytes: u64,
    },
}

fn write_zeros(bytes: u64, output: &mut impl Write) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), output).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{Parameters, Salt, TreeBuilder};

    fn parameters(data_block_bytes: u32, hash_block_bytes: u32) -> Parameters {
        Parameters {
            data_block_size: data_block_bytes.try_into().unwrap(),
            hash_block_size: hash_block_bytes.try_into().unwrap(),
            ..Parameters::with_salt(Salt::EMPTY)
        }
    }

    fn geometry(data_block_bytes: u32, hash_block_bytes: u32, data_blocks: u64) -> Geometry {
        Geometry::new(&parameters(data_block_bytes, hash_block_bytes), data_blocks).unwrap()
    }

    #[test]
    fn offsets_follow_from_both_block_sizes() {
        let place = |geometry: &Geometry, header| {
            let area = HashArea::appended(geometry, header);
            (area.hash_offset_bytes(), area.hash_start_block(), area.end_bytes())
        };
        let usual = geometry(4096, 4096, 129);
        assert_eq!(place(&usual, Header::Superblock), (129 * 4096, 130, 133 * 4096));
        assert_eq!(place(&usual, Header::None), (129 * 4096, 129, 132 * 4096));
        let sectors = geometry(512, 512, 17);
        assert_eq!(place(&sectors, Header::Superblock), (17 * 512, 18, 21 * 512));
        let mixed = geometry(512, 4096, 9);
        assert_eq!(place(&mixed, Header::Superblock), (8192, 3, 4 * 4096));
        let single = geometry(4096, 4096, 1);
        assert_eq!(place(&single, Header::Superblock), (4096, 2, 8192));
        assert_eq!(place(&single, Header::None), (4096, 1, 4096));
    }

    #[test]
    fn a_file_of_its_own_starts_with_the_hash_area() {
        let area = HashArea::separate(&geometry(4096, 1024, 2), Header::Superblock);
        assert_eq!((area.hash_offset_bytes(), area.tree_offset_bytes()), (0, 1024));
        assert_eq!(area.hash_start_block(), 1);
    }

    #[test]
    fn given_offsets_are_checked() {
        let geometry = geometry(4096, 4096, 129);
        let area = HashArea::at(1024, &geometry, Header::Superblock).unwrap();
        assert_eq!(area.tree_offset_bytes(), 4096);
        let area = HashArea::at(4096 - 512 + 4096, &geometry, Header::Superblock).unwrap();
        assert_eq!(area.tree_offset_bytes(), 8192);
        assert_eq!(
            HashArea::at(1000, &geometry, Header::Superblock),
            Err(HashAreaError::Misaligned {
                hash_offset_bytes: 1000,
                alignment_bytes: BlockSize::B512
            })
        );
        assert_eq!(
            HashArea::at(512, &geometry, Header::None),
            Err(HashAreaError::Misaligned {
                hash_offset_bytes: 512,
                alignment_bytes: BlockSize::B4096
            })
        );
        for hash_offset_bytes in [u64::MAX - 4095, i64::MAX as u64 - 4095] {
            assert_eq!(
                HashArea::at(hash_offset_bytes, &geometry, Header::None),
                Err(HashAreaError::TooFar { hash_offset_bytes })
            );
        }
    }

    #[test]
    fn appending_pads_to_the_data_block_and_to_the_hash_block() {
        let mut image = vec![1; 1000];
        let mut builder = TreeBuilder::new(&parameters(512, 4096));
        builder.update(&image);
        let tree = builder.finish().unwrap();
        let area =
            HashArea::append(1000, &tree, Header::Superblock, Uuid::nil(), &mut image).unwrap();
        assert_eq!(image.len() as u64, area.end_bytes());
        assert!(image[1000..4096].iter().all(|&byte| byte == 0));
        let superblock = Superblock::parse(image[4096..4608].try_into().unwrap()).unwrap();
        assert_eq!(superblock.data_blocks, 2);
        assert!(image[4608..8192].iter().all(|&byte| byte == 0));
        let mut tree_bytes = Vec::new();
        tree.write_to(&mut tree_bytes).unwrap();
        assert_eq!(image[8192..], tree_bytes);
    }
}
