//! Files with an image and its hash area, read again.

use std::io::{self, Read};

use super::hash_area::{HashAreaComparison, HashAreaFault};
use super::hash_offset::hash_offset_behind_archive;
use super::{MAX_ARCHIVE_BYTES, Mode};
use crate::digest::RootHash;
use crate::erofs::{ImageSource, ReadError, Reader, SourceRange};
use crate::verity::{Geometry, GeometryError, Superblock, TreeError, TreeHasher};

/// Is a file with the image of a layer, and most often its hash area behind it.
///
/// ```
/// use libverity::layer::{HashAreaFault, LayerFile};
///
/// let finished = libverity::erofs::Writer::new().finish(&mut |_: u64, _: &[u8]| Ok(()))?;
/// let file = LayerFile::open(finished.superblock_block([0x11; 16]))?;
/// assert_eq!(file.hash_offset_bytes(), 4096);
/// let hashed = file.hash(&mut file.data()?)?;
/// assert!(matches!(hashed.hash_area, Err(HashAreaFault::Absent)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerFile<S> {
    image: Reader<S>,
    mode: Mode,
    hash_offset_bytes: u64,
}

impl<S: ImageSource> LayerFile<S> {
    /// Opens the image at the start of `source`.
    ///
    /// # Errors
    ///
    /// Fails if there is no image, or none that a profile makes.
    pub fn open(source: S) -> Result<Self, LayerFileError> {
        let mode = match Reader::open(&source) {
            Ok(_) => Mode::Full,
            Err(ReadError::ExtraDevices { count: 1 }) => Mode::Index,
            Err(error) => return Err(error.into()),
        };
        let image = match mode {
            Mode::Full => Reader::open(source),
            Mode::Index => Reader::open_index(source),
        }?;
        let facts = image.facts();
        let hash_offset_bytes = match facts.archive_blocks {
            None => {
                let block_bytes = mode.verity_parameters().hash_block_size.bytes();
                facts.size_bytes().next_multiple_of(block_bytes.into())
            }
            Some(blocks) => {
                let end_bytes = facts.size_bytes() + blocks * u64::from(facts.block_bytes);
                hash_offset_behind_archive(image.source(), end_bytes)
                    .map_err(|source| LayerFileError::Read { source })?
            }
        };
        if hash_offset_bytes > MAX_ARCHIVE_BYTES {
            return Err(LayerFileError::TooLarge { size_bytes: hash_offset_bytes });
        }
        Ok(Self { image, mode, hash_offset_bytes })
    }

    /// Returns the image.
    pub fn image(&self) -> &Reader<S> {
        &self.image
    }

    /// Returns how the image holds the content of files.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns where the hash area starts, or would: at the first block behind the image, or behind
    /// the archive that it points into.
    pub fn hash_offset_bytes(&self) -> u64 {
        self.hash_offset_bytes
    }

    /// Returns everything that the hash tree covers.
    ///
    /// # Errors
    ///
    /// Fails if the size of the file cannot be found out.
    pub fn data(&self) -> Result<SourceRange<&S>, LayerFileError> {
        let source = self.image.source();
        let size_bytes = source.size_bytes().map_err(|source| LayerFileError::Read { source })?;
        Ok(SourceRange::new(source, 0..self.hash_offset_bytes.min(size_bytes)))
    }

    /// Works out the root hash of `data`, which is [`data`](Self::data), with the parameters of the
    /// profiles of its mode, and checks on the way that the hash area is that of the same tree: its
    /// superblock, every byte of the tree, and nothing behind it. The UUID may be any.
    ///
    /// # Errors
    ///
    /// Fails if `data` cannot be read, or the image has no block.
    pub fn hash(&self, data: &mut impl Read) -> Result<HashedFile, LayerFileError> {
        let unreadable = |source| LayerFileError::Read { source };
        let parameters = self.mode.verity_parameters();
        let block_bytes = u64::from(parameters.data_block_size.bytes());
        let geometry = Geometry::new(&parameters, self.hash_offset_bytes.div_ceil(block_bytes))?;
        let mut comparison = HashAreaComparison::new(self.image.source(), &geometry);
        let mut tree = TreeHasher::new(&parameters);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => tree.update(&buffer[..count], &mut comparison).map_err(unreadable)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        let path = tree.finish(&mut comparison).map_err(|error| match error {
            TreeError::Geometry(error) => error.into(),
            TreeError::Digests { source } | TreeError::Sink { source } => unreadable(source),
        })?;
        let hash_area =
            self.superblock().and_then(|superblock| comparison.finish(&superblock, &path));
        Ok(HashedFile { root_hash: path.root_hash().clone(), hash_area })
    }

    /// Reads the superblock of the hash area, which says what it likes.
    ///
    /// # Errors
    ///
    /// Fails if there is no hash area, or it does not start with a superblock.
    pub fn superblock(&self) -> Result<Superblock, HashAreaFault> {
        let read_error = |source| HashAreaFault::Read { source };
        let size_bytes = self.image.source().size_bytes().map_err(read_error)?;
        let hash_offset_bytes = self.hash_offset_bytes();
        if size_bytes <= hash_offset_bytes {
            return Err(HashAreaFault::Absent);
        }
        let expected_bytes = hash_offset_bytes + Superblock::BYTES as u64;
        if size_bytes < expected_bytes {
            return Err(HashAreaFault::TooShort { expected_bytes, found_bytes: size_bytes });
        }
        let mut bytes = [0; Superblock::BYTES];
        self.image.source().read_at(hash_offset_bytes, &mut bytes).map_err(read_error)?;
        Ok(Superblock::parse(&bytes)?)
    }
}

/// Is what comes of hashing the file of a layer.
#[derive(Debug)]
pub struct HashedFile {
    /// The root hash of what is in the file.
    pub root_hash: RootHash,
    /// Whether the hash area is that of the same tree, or what is the first difference.
    pub hash_area: Result<(), HashAreaFault>,
}

/// Says why a file cannot be used as that of a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerFileError {
    /// There is no image, or none that a profile makes.
    #[error(transparent)]
    Image(#[from] ReadError),
    /// There is nothing to hash.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The image cannot be read.
    #[error("the image cannot be read")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The image is larger than that of any layer.
    #[error("an image of {size_bytes} bytes is larger than {MAX_ARCHIVE_BYTES}")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
    },
}

/// Is how much is read in one go.
const READ_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{ExpectedLayer, ImageFile, Profile, convert};
    use crate::tar::test_archive::TestArchive;

    /// Returns a whole layer file of three data blocks, and where its hash area starts.
    fn layer_file() -> (Vec<u8>, usize) {
        layer_file_of(Profile::ContainerdFullV1, 0)
    }

    /// Returns a whole layer file of an archive with zeros behind its end, likewise.
    fn layer_file_of(profile: Profile, padding_bytes: usize) -> (Vec<u8>, usize) {
        let archive = TestArchive::default().file("file", &[b'x'; 4096]).ended();
        let archive = [archive, vec![0; padding_bytes]].concat();
        let file = tempfile::tempfile().unwrap();
        let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
        convert(&archive[..], &ExpectedLayer::default(), &[profile], &mut sink).unwrap();
        let mut bytes = vec![0; ImageSource::size_bytes(&file).unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let hash_offset = LayerFile::open(&bytes).unwrap().hash_offset_bytes() as usize;
        (bytes, hash_offset)
    }

    fn fault(bytes: &[u8]) -> HashAreaFault {
        let file = LayerFile::open(bytes).unwrap();
        file.hash(&mut file.data().unwrap()).unwrap().hash_area.unwrap_err()
    }

    #[test]
    fn what_the_conversion_writes_is_whole() {
        let (bytes, hash_offset) = layer_file();
        assert_eq!((hash_offset, bytes.len()), (2 * 4096, 4 * 4096));
        let file = LayerFile::open(&bytes).unwrap();
        file.hash(&mut file.data().unwrap()).unwrap().hash_area.unwrap();
        file.image().check().unwrap();
        assert_eq!(file.superblock().unwrap().uuid, file.image().facts().uuid);
    }

    #[test]
    fn a_hash_area_behind_an_archive_is_found_whatever_its_padding() {
        for padding_bytes in [0, 512, 10_240, 12_345] {
            let (bytes, start) = layer_file_of(Profile::ContainerdIndexV1, padding_bytes);
            let file = LayerFile::open(&bytes).unwrap();
            file.hash(&mut file.data().unwrap()).unwrap().hash_area.unwrap();
            assert_eq!(file.image().check().unwrap().content_bytes, 4096);
            for length in [start + 511, start + 512, start + 513, bytes.len() - 1] {
                let fault = fault(&bytes[..length]);
                assert!(matches!(fault, HashAreaFault::TooShort { .. }), "{length}: {fault:?}");
            }
            let longer = [&bytes[..], b"x"].concat();
            assert!(matches!(fault(&longer), HashAreaFault::Trailing { trailing_bytes: 1 }));
            assert!(matches!(fault(&bytes[..start]), HashAreaFault::Absent));
            for place in [start - 1, start - 512, bytes.len() - 1] {
                let mut bytes = bytes.clone();
                bytes[place] ^= 1;
                assert!(matches!(fault(&bytes), HashAreaFault::Tree { .. }), "{place}");
            }
            let end = start - padding_bytes.next_multiple_of(512);
            let error = LayerFile::open(&bytes[..end - 1]).unwrap_err();
            assert!(matches!(error, LayerFileError::Image(_)), "{error:?}");
        }
    }

    #[test]
    fn every_damage_to_the_hash_area_is_found() {
        let (bytes, start) = layer_file();
        let tree_start = start + 4096;
        let changed = |place: usize| {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            fault(&bytes)
        };
        assert!(matches!(changed(start), HashAreaFault::Superblock(_)));
        assert!(matches!(changed(start + 88), HashAreaFault::Parameters { .. }));
        let blocks = changed(start + 72);
        assert!(
            matches!(blocks, HashAreaFault::DataBlocks { expected_blocks: 2, found_blocks: 3 }),
            "{blocks:?}"
        );
        assert!(matches!(changed(start + 512), HashAreaFault::Padding { .. }));
        assert!(matches!(changed(tree_start - 1), HashAreaFault::Padding { .. }));
        for place in [tree_start, tree_start + 64, bytes.len() - 1] {
            let HashAreaFault::Tree { hash_block: 0, offset_bytes } = changed(place) else {
                panic!("byte {place}");
            };
            assert_eq!(offset_bytes, place as u64);
        }
        // The content of the file: the tree over it is another.
        assert!(matches!(changed(5000), HashAreaFault::Tree { hash_block: 0, .. }));
        assert!(matches!(fault(&bytes[..start]), HashAreaFault::Absent));
        for length in [start + 1, start + 511, start + 512, tree_start, bytes.len() - 1] {
            assert!(matches!(fault(&bytes[..length]), HashAreaFault::TooShort { .. }), "{length}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(matches!(fault(&longer), HashAreaFault::Trailing { trailing_bytes: 1 }));
    }
}
