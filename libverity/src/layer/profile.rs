//! Profiles: everything besides the layer that a root hash depends on, under one name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::digest::Digest;
use crate::verity::{BlockSize, Parameters, Salt};

/// Names everything besides the layer that its root hash depends on.
///
/// | | mode | UUID of the image |
/// |---|---|---|
/// | `containerd-full-v1` | [full](Mode::Full) | version 5 in the URL namespace, of `erofs:blobs/` and the layer digest |
/// | `diffid-full-v1` | full | the same with the diffID |
/// | `containerd-index-v1` | [index](Mode::Index) | as `containerd-full-v1` |
/// | `osguard-ci-v1` | index | always `c1b9d5a2-f162-11cf-9ece-0020afc76f16` |
///
/// The first and the third are what the EROFS snapshotter of containerd 2.3 makes with
/// reproducible options, without and with `enable_tar_index`; the last is that of the CI images
/// of Azure Linux OS Guard. `diffid-full-v1` outlives another compression of the same archive, and
/// so does the last.
///
/// A profile never changes once it was released; a change is a new name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// `containerd-full-v1`, the default.
    #[default]
    ContainerdFullV1,
    /// `diffid-full-v1`.
    DiffidFullV1,
    /// `containerd-index-v1`.
    ContainerdIndexV1,
    /// `osguard-ci-v1`.
    OsguardCiV1,
}

impl Profile {
    /// Holds all profiles, the default one first.
    pub const ALL: [Self; 4] =
        [Self::ContainerdFullV1, Self::DiffidFullV1, Self::ContainerdIndexV1, Self::OsguardCiV1];

    /// Returns the profile's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContainerdFullV1 => "containerd-full-v1",
            Self::DiffidFullV1 => "diffid-full-v1",
            Self::ContainerdIndexV1 => "containerd-index-v1",
            Self::OsguardCiV1 => "osguard-ci-v1",
        }
    }

    /// Returns how the image holds the content of files.
    pub const fn mode(self) -> Mode {
        match self {
            Self::ContainerdFullV1 | Self::DiffidFullV1 => Mode::Full,
            Self::ContainerdIndexV1 | Self::OsguardCiV1 => Mode::Index,
        }
    }

    /// Returns the UUID that the image of a layer has.
    pub fn uuid(self, layer_digest: Digest, diff_id: Digest) -> Uuid {
        let digest = match self {
            Self::ContainerdFullV1 | Self::ContainerdIndexV1 => layer_digest,
            Self::DiffidFullV1 => diff_id,
            Self::OsguardCiV1 => return OSGUARD_CI_UUID,
        };
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("erofs:blobs/{digest}").as_bytes())
    }

    /// Returns the parameters of the hash tree.
    pub fn verity_parameters(self) -> Parameters {
        self.mode().verity_parameters()
    }
}

/// Tells apart how images hold the content of files.
///
/// | | full | index |
/// |---|---|---|
/// | image | as `mkfs.erofs` 1.9.4 writes it with `--tar=f --aufs -Enoinline_data -b4096 -T0 --mkfs-time --sort=none` | with `--tar=i --aufs -b4096 -T0 --mkfs-time --sort=none` |
/// | behind it | nothing | the archive, to its last byte, filled up to a block |
/// | hash tree | SHA-256, hash type 1, blocks of 4096 bytes, 32 zero bytes of salt, superblock | the same with blocks of 512 bytes |
/// | with erofs-utils 1.8 | the same, unless a [divergence](crate::tar::Divergences) is recorded | always another one |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The image has the content of all files in it.
    Full,
    /// The image points into the archive behind it.
    Index,
}

impl Mode {
    /// Tells whether erofs-utils 1.8 makes the same images of most layers. In index mode it leaves
    /// out the checksum of the superblock, so that no image is the same.
    pub const fn is_alike_in_erofs_utils_1_8(self) -> bool {
        match self {
            Self::Full => true,
            Self::Index => false,
        }
    }

    /// Returns the parameters of the hash tree.
    pub fn verity_parameters(self) -> Parameters {
        let block_size = match self {
            Self::Full => BlockSize::B4096,
            Self::Index => BlockSize::B512,
        };
        Parameters {
            data_block_size: block_size,
            hash_block_size: block_size,
            ..Parameters::with_salt(Salt::from([0; 32]))
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// Says that there is no profile of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {name:?}, only {}", Profile::ALL.map(Profile::name).join(", "))]
pub struct UnknownProfile {
    /// The name as it was given.
    pub name: String,
}

const OSGUARD_CI_UUID: Uuid = uuid::uuid!("c1b9d5a2-f162-11cf-9ece-0020afc76f16");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_back_by_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        let unknown = "containerd-full-v2".parse::<Profile>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "there is no profile \"containerd-full-v2\", only containerd-full-v1, diffid-full-v1, \
             containerd-index-v1, osguard-ci-v1"
        );
    }

    #[test]
    fn uuids_are_those_of_the_url_namespace() {
        // python3 -c 'import uuid; print(uuid.uuid5(uuid.NAMESPACE_URL,
        //     "erofs:blobs/sha256:" + "00" * 32), uuid.uuid5(uuid.NAMESPACE_URL,
        //     "erofs:blobs/sha256:" + "11" * 32))'
        let (layer_digest, diff_id) = (Digest::from_bytes([0; 32]), Digest::from_bytes([0x11; 32]));
        let uuid = |profile: Profile| profile.uuid(layer_digest, diff_id).to_string();
        assert_eq!(uuid(Profile::ContainerdFullV1), "c10bde68-dd4e-5792-ba63-78c7b75c15bf");
        assert_eq!(uuid(Profile::DiffidFullV1), "0af60004-de54-5c30-b94d-7ba4b93b95af");
        assert_eq!(uuid(Profile::ContainerdIndexV1), "c10bde68-dd4e-5792-ba63-78c7b75c15bf");
        assert_eq!(uuid(Profile::OsguardCiV1), "c1b9d5a2-f162-11cf-9ece-0020afc76f16");
    }
}
