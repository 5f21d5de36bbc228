//! The file beside a layer's image that says where its hash tree is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ProfileImage;
use crate::digest::RootHash;

/// Says what containerd wants to know of a layer's image: `layer.erofs.dmverity` beside
/// `layer.erofs`.
///
/// ```json
/// {"roothash":"<64 hexadecimal digits>","hashoffset":8192}
/// ```
///
/// It saves work and proves nothing: nobody has signed it.
///
/// Source: containerd 2.3, `internal/dmverity`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SideFile {
    /// The root hash.
    #[serde(rename = "roothash")]
    pub root_hash: RootHash,
    /// Where the superblock of the hash tree is, in bytes from the start of the image.
    #[serde(rename = "hashoffset")]
    pub hash_offset_bytes: u64,
}

impl SideFile {
    /// Describes an image that has just been made.
    pub fn of(image: &ProfileImage) -> Self {
        Self { root_hash: image.root_hash.clone(), hash_offset_bytes: image.image_size_bytes }
    }

    /// Returns where the side file of the image at `image` lies.
    pub fn path(image: &Path) -> PathBuf {
        let mut path = image.as_os_str().to_owned();
        path.push(".dmverity");
        path.into()
    }
}
