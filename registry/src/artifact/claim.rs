//! What is said of a signature, and how that is read from annotations and written to them.

use libverity::digest::{Digest, RootHash};
use serde::Serialize;

use super::{ArtifactError, text};
use crate::descriptor::Descriptor;

/// Is what an artifact says about one of its signatures.
///
/// None of it is signed but the root hash. It tells where to look; whoever uses it computes the
/// root hash from the layer and verifies the signature over that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The layer's blob in the image.
    pub layer_digest: Digest,
    /// The root hash of the layer's EROFS image.
    pub root_hash: RootHash,
    /// The digest of the layer's tar archive.
    pub diff_id: Option<Digest>,
    /// The length of the layer's EROFS image without its hash tree, in bytes.
    pub image_size_bytes: Option<u64>,
    /// The name of the profile by which the layer was converted.
    pub profile: Option<String>,
    /// The subject key identifier of the signer's certificate, in lower-case hexadecimal.
    pub signer: Option<String>,
}

impl Claim {
    /// Says no more than what every form does.
    pub fn new(layer_digest: Digest, root_hash: RootHash) -> Self {
        Self {
            layer_digest,
            root_hash,
            diff_id: None,
            image_size_bytes: None,
            profile: None,
            signer: None,
        }
    }

    /// Tells whether two signatures would be interchangeable: same layer, root hash, profile and
    /// signer.
    pub fn is_same_statement(&self, other: &Self) -> bool {
        self.layer_digest == other.layer_digest
            && self.root_hash == other.root_hash
            && self.profile == other.profile
            && self.signer.is_some()
            && self.signer == other.signer
    }

    /// Returns the annotations `org.osguard.*`, which every form can carry.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            diff_id: self.diff_id,
            image_size: self.image_size_bytes.map(|size| size.to_string()),
            profile: self.profile.as_deref(),
            signer: self.signer.as_deref(),
        }
    }
}

/// Writes what a claim says beyond its two necessary facts.
#[derive(Serialize)]
pub(super) struct Facts<'a> {
    #[serde(rename = "org.osguard.diff-id", skip_serializing_if = "Option::is_none")]
    diff_id: Option<Digest>,
    #[serde(rename = "org.osguard.image-size", skip_serializing_if = "Option::is_none")]
    image_size: Option<String>,
    #[serde(rename = "org.osguard.profile", skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(rename = "org.osguard.signer", skip_serializing_if = "Option::is_none")]
    signer: Option<&'a str>,
}

/// Reads claims from the annotations of a descriptor.
#[derive(Clone, Copy)]
pub(super) struct Annotations<'a>(pub(super) &'a Descriptor);

impl<'a> Annotations<'a> {
    /// Returns the value of an annotation that must be there.
    pub(super) fn required(self, key: &'static str) -> Result<&'a str, ArtifactError> {
        self.0.annotation(key).ok_or(ArtifactError::MissingAnnotation { key })
    }

    /// Reads a digest that must be there.
    pub(super) fn digest(self, key: &'static str) -> Result<Digest, ArtifactError> {
        parse_digest(key, self.required(key)?)
    }

    /// Reads a root hash that must be there.
    pub(super) fn root_hash(self, key: &'static str) -> Result<RootHash, ArtifactError> {
        let text = self.required(key)?;
        parse_root_hash(text)
            .ok_or_else(|| ArtifactError::WrongAnnotation { key, value: text.to_owned() })
    }

    /// Reads a signature in base64, if it is there.
    pub(super) fn signature(self, key: &'static str) -> Result<Option<Vec<u8>>, ArtifactError> {
        let wrong = || ArtifactError::Base64 { key };
        self.0.annotation(key).map(|text| text::decode(text, wrong)).transpose()
    }

    /// Adds the facts under `org.osguard.*` to the two necessary ones.
    pub(super) fn claim(
        self,
        layer_digest: Digest,
        root_hash: RootHash,
    ) -> Result<Claim, ArtifactError> {
        Ok(Claim {
            layer_digest,
            root_hash,
            diff_id: self
                .0
                .annotation(DIFF_ID)
                .map(|text| parse_digest(DIFF_ID, text))
                .transpose()?,
            image_size_bytes: self.number(IMAGE_SIZE)?,
            profile: self.short_text(PROFILE, |byte| {
                byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
            })?,
            signer: self.short_text(SIGNER, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?,
        })
    }

    fn number(self, key: &'static str) -> Result<Option<u64>, ArtifactError> {
        let Some(text) = self.0.annotation(key) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Ok(Some(number)),
            _ => Err(ArtifactError::WrongAnnotation { key, value: text.to_owned() }),
        }
    }

    fn short_text(
        self,
        key: &'static str,
        is_allowed: fn(u8) -> bool,
    ) -> Result<Option<String>, ArtifactError> {
        match self.0.annotation(key) {
            Some(text)
                if text.is_empty()
                    || text.len() > MAX_NAME_BYTES
                    || !text.bytes().all(is_allowed) =>
            {
                Err(ArtifactError::WrongAnnotation { key, value: text.to_owned() })
            }
            text => Ok(text.map(str::to_owned)),
        }
    }
}

/// Reads a root hash in the spelling that is signed, lower-case digits: another one cannot have
/// been signed.
pub(super) fn parse_root_hash(text: &str) -> Option<RootHash> {
    text.parse::<RootHash>().ok().filter(|root_hash| root_hash.signed_text() == text)
}

fn parse_digest(key: &'static str, text: &str) -> Result<Digest, ArtifactError> {
    text.parse().map_err(|source| ArtifactError::Digest { key, source })
}

pub(super) const DIFF_ID: &str = "org.osguard.diff-id";
pub(super) const IMAGE_SIZE: &str = "org.osguard.image-size";
pub(super) const PROFILE: &str = "org.osguard.profile";
pub(super) const SIGNER: &str = "org.osguard.signer";

/// The longest profile name or key identifier that is taken.
pub(super) const MAX_NAME_BYTES: usize = 128;
