//! Root hashes that were worked out before, in a directory of this machine.
//!
//! What is in it was computed by this program from the very bytes that the layer digest names. It is
//! worth as much as the directory is: whoever can write there can have any root hash taken for that
//! of a layer. So it is used only where it belongs to this process's user and nobody else may write
//! to it. A file that is damaged, cut off or of another version is the same as none.
//!
//! One file for each layer, `LAYER_DIGEST_HEX.json`, of less than 1 KiB:
//!
//! | field | value |
//! |---|---|
//! | `writer` | the version of the program that computed it; another one computes again |
//! | `layer_digest` | the digest of the blob |
//! | `diff_id` | the digest of the archive in the blob |
//! | `root_hashes` | the root hash by each profile, by the profile's name |
//! | `checksum` | the digest of the fields before, as they are written without it |

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use serde::{Deserialize, Serialize};

use crate::image::ImageLayer;

/// Keeps root hashes of layers in a directory.
#[derive(Clone, Debug)]
pub struct RootHashCache {
    directory: PathBuf,
}

impl RootHashCache {
    /// Opens the cache in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Fails where the directory cannot be made, belongs to somebody else, or can be written to by
    /// others.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let metadata = fs::metadata(directory)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Returns the root hashes of a layer that are known.
    pub fn find(&self, layer: &ImageLayer) -> Vec<(Profile, RootHash)> {
        let facts = self.facts(layer).map(|facts| facts.root_hashes).unwrap_or_default();
        let known = |(name, root_hash): (String, RootHash)| Some((name.parse().ok()?, root_hash));
        facts.into_iter().filter_map(known).collect()
    }

    /// Keeps the root hashes of a layer.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be written; an older one is then still there.
    pub fn keep(&self, layer: &ImageLayer, root_hashes: &[(Profile, RootHash)]) -> io::Result<()> {
        let facts = Facts {
            writer: WRITER.to_owned(),
            layer_digest: layer.descriptor.digest,
            diff_id: layer.diff_id,
            root_hashes: root_hashes
                .iter()
                .map(|(profile, root_hash)| (profile.name().to_owned(), root_hash.clone()))
                .collect(),
        };
        let record = Checked { checksum: facts.checksum(), facts };
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        file.persist(self.file(layer))?;
        Ok(())
    }

    /// Reads the record of a layer, `None` if there is none that is sound.
    fn facts(&self, layer: &ImageLayer) -> Option<Facts> {
        let mut bytes = Vec::new();
        let file = File::open(self.file(layer)).ok()?;
        file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes).ok()?;
        let Checked { facts, checksum } = serde_json::from_slice(&bytes).ok()?;
        let is_sound = facts.checksum() == checksum
            && facts.writer == WRITER
            && facts.layer_digest == layer.descriptor.digest
            && facts.diff_id == layer.diff_id;
        is_sound.then_some(facts)
    }

    fn file(&self, layer: &ImageLayer) -> PathBuf {
        self.directory.join(format!("{}.json", layer.descriptor.digest.hex()))
    }
}

#[derive(Deserialize, Serialize)]
struct Checked {
    #[serde(flatten)]
    facts: Facts,
    checksum: Digest,
}

#[derive(Deserialize, Serialize)]
struct Facts {
    writer: String,
    layer_digest: Digest,
    diff_id: Digest,
    root_hashes: BTreeMap<String, RootHash>,
}

impl Facts {
    fn checksum(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A mistake in the conversion is mended by a new version, and must not live on in here.
const WRITER: &str = env!("CARGO_PKG_VERSION");

/// Sixteen times a usual record.
const MAX_RECORD_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::descriptor::Descriptor;
    use crate::media_type::MediaType;

    fn layer() -> ImageLayer {
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, b"layer");
        ImageLayer { descriptor, diff_id: Digest::of(b"archive") }
    }

    fn root_hashes() -> Vec<(Profile, RootHash)> {
        let root_hash = |profile: Profile| (profile, RootHash::from_bytes([profile as u8; 32]));
        let mut root_hashes: Vec<_> = Profile::ALL.into_iter().map(root_hash).collect();
        root_hashes.sort();
        root_hashes
    }

    #[test]
    fn what_was_kept_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let cache = RootHashCache::open(&directory.path().join("a/b")).unwrap();
        assert_eq!(cache.find(&layer()), []);
        cache.keep(&layer(), &root_hashes()[..1]).unwrap();
        assert_eq!(cache.find(&layer()), root_hashes()[..1]);
        cache.keep(&layer(), &root_hashes()).unwrap();
        let mut found = cache.find(&layer());
        found.sort();
        assert_eq!(found, root_hashes());
        let other = ImageLayer { diff_id: Digest::of(b"other"), ..layer() };
        assert_eq!(cache.find(&other), [], "another archive in the same blob");
        assert_eq!(fs::read_dir(directory.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_record_never_gives_another_root_hash() {
        let directory = tempfile::tempdir().unwrap();
        let cache = RootHashCache::open(directory.path()).unwrap();
        cache.keep(&layer(), &root_hashes()).unwrap();
        let whole = cache.find(&layer());
        assert_eq!(whole.len(), Profile::ALL.len());
        let path = cache.file(&layer());
        let record = fs::read(&path).unwrap();
        for place in 0..record.len() {
            for bit in 0..8 {
                let mut damaged = record.clone();
                damaged[place] ^= 1 << bit;
                fs::write(&path, &damaged).unwrap();
                let found = cache.find(&layer());
                // Capital digits are digits.
                assert!(found.is_empty() || found == whole, "byte {place}, bit {bit}");
            }
            fs::write(&path, &record[..place]).unwrap();
            assert_eq!(cache.find(&layer()), [], "{place} bytes");
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o770)).unwrap();
        let error = RootHashCache::open(directory.path()).unwrap_err();
        assert_eq!(error.to_string(), "others may write to it");
    }
}
