//! Profiles: everything besides the layer that a root hash depends on, under one name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::digest::Digest;
use crate::verity::{Parameters, Salt};

/// Names everything besides the layer that its root hash depends on.
///
/// | | `containerd-full-v1` | `diffid-full-v1` |
/// |---|---|---|
/// | image | as `mkfs.erofs` 1.9.4 writes it with `--tar=f --aufs -Enoinline_data -b4096 -T0 --mkfs-time --sort=none` | the same |
/// | UUID of the image | version 5 in the URL namespace, of `erofs:blobs/` and the layer digest | the same with the diffID |
/// | hash tree | SHA-256, hash type 1, blocks of 4096 bytes, 32 zero bytes of salt, superblock | the same |
///
/// `containerd-full-v1` is what the EROFS snapshotter of containerd 2.3 makes with these options.
/// `diffid-full-v1` outlives another compression of the same archive.
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
}

impl Profile {
    /// Holds all profiles, the default one first.
    pub const ALL: [Self; 2] = [Self::ContainerdFullV1, Self::DiffidFullV1];

    /// Returns the profile's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContainerdFullV1 => "containerd-full-v1",
            Self::DiffidFullV1 => "diffid-full-v1",
        }
    }

    /// Returns the UUID that the image of a layer has.
    pub fn uuid(self, layer_digest: Digest, diff_id: Digest) -> Uuid {
        let digest = match self {
            Self::ContainerdFullV1 => layer_digest,
            Self::DiffidFullV1 => diff_id,
        };
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("erofs:blobs/{digest}").as_bytes())
    }

    /// Returns the parameters of the hash tree, which all profiles so far have in common.
    pub fn verity_parameters() -> Parameters {
        Parameters::with_salt(Salt::from([0; 32]))
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
#[error("there is no profile {name:?}, only {}", Profile::ALL.map(Profile::name).join(" and "))]
pub struct UnknownProfile {
    /// The name as it was given.
    pub name: String,
}

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
            "there is no profile \"containerd-full-v2\", only containerd-full-v1 and diffid-full-v1"
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
    }
}
