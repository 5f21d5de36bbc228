//! What a node says of itself: how it converts layers, and whose signatures its kernel takes.
//!
//! `osguard node describe` writes it, and `osguard admission` reads it of every node, to tell beforehand where an image would
//! start. It is the word of the node and no proof: a node that lies has images sent to it that its kernel refuses.

use std::collections::BTreeSet;

use libverity::layer::Profile;
use serde::{Deserialize, Serialize};

/// Is what a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDescription {
    /// The name of the node in its cluster.
    pub name: String,
    /// The operating system, by Go's name.
    pub os: String,
    /// The architecture, by Go's name.
    pub architecture: String,
    /// The release of the kernel, such as `6.12.48+deb13-amd64`.
    pub kernel: String,
    /// The profiles by which the node converts layers.
    pub profiles: Vec<Profile>,
    /// The certificates in the kernel's keyrings that count for signatures of volumes. A kernel that asks for no signature
    /// has none.
    pub certificates: Vec<KernelCertificate>,
}

/// Is a certificate in one of the kernel's keyrings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelCertificate {
    /// What the kernel calls it besides its subject: the subject key identifier, or else the serial number, in hexadecimal.
    pub identifier: String,
    /// The subject as the kernel shows it, for people.
    pub subject: String,
    /// The keyring.
    pub keyring: String,
}

impl NodeDescription {
    /// Parses the JSON that `osguard node describe` prints.
    ///
    /// # Errors
    ///
    /// Fails for anything that this version does not know, and where something is longer than it may be.
    pub fn parse(bytes: &[u8]) -> Result<Self, NodeDescriptionError> {
        if bytes.len() > MAX_DESCRIPTION_BYTES {
            return Err(NodeDescriptionError::TooLong);
        }
        let Versioned { schema, rest } = serde_json::from_slice(bytes)
            .map_err(|source| NodeDescriptionError::Json { source })?;
        if schema != NODE_DESCRIPTION_SCHEMA {
            let found = schema.chars().take(100).collect();
            return Err(NodeDescriptionError::Schema { found });
        }
        let description: Self = serde_json::from_value(rest.into())
            .map_err(|source| NodeDescriptionError::Json { source })?;
        description.check()?;
        Ok(description)
    }

    /// Returns the first two numbers of the kernel's release.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let (major, rest) = self.kernel.split_once('.')?;
        let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Returns the identifiers of the certificates, each once.
    pub fn identifiers(&self) -> BTreeSet<String> {
        self.certificates.iter().map(|one| one.identifier.to_ascii_lowercase()).collect()
    }

    fn check(&self) -> Result<(), NodeDescriptionError> {
        let is_word = |text: &str, limit: usize| {
            (1..=limit).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let is_hex = |text: &str| {
            (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let wrong = if !is_word(&self.name, MAX_NAME_BYTES) {
            Some("name")
        } else if !is_word(&self.os, MAX_WORD_BYTES) {
            Some("os")
        } else if !is_word(&self.architecture, MAX_WORD_BYTES) {
            Some("architecture")
        } else if !is_word(&self.kernel, MAX_WORD_BYTES) || self.kernel_version().is_none() {
            Some("kernel")
        } else if self.profiles.len() > MAX_PROFILES {
            Some("profiles")
        } else if self.certificates.len() > MAX_CERTIFICATES
            || self.certificates.iter().any(|one| !is_hex(&one.identifier))
        {
            Some("certificates")
        } else {
            None
        };
        wrong.map_or(Ok(()), |field| Err(NodeDescriptionError::Field { field }))
    }
}

/// Says why some bytes are no description of a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeDescriptionError {
    /// A field has a value that it cannot have.
    #[error("{field} is not what it must be")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// It is not JSON, or lacks something, or has something that is not known.
    #[error("it is not valid: {source}")]
    Json {
        /// What the parser said.
        source: serde_json::Error,
    },
    /// It is something else.
    #[error("it is of the schema {found:?}, not {NODE_DESCRIPTION_SCHEMA}")]
    Schema {
        /// The schema that it names.
        found: String,
    },
    /// It is too long.
    #[error("it has more than {MAX_DESCRIPTION_BYTES} bytes")]
    TooLong,
}

#[derive(Deserialize)]
struct Versioned {
    schema: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// The schema of the JSON form.
pub const NODE_DESCRIPTION_SCHEMA: &str = "osguard.node.describe.v1";

/// The longest description; one of a node with 20 certificates has 3 KiB.
pub const MAX_DESCRIPTION_BYTES: usize = 64 << 10;

/// The longest name of a node in Kubernetes.
const MAX_NAME_BYTES: usize = 253;
const MAX_WORD_BYTES: usize = 100;
const MAX_PROFILES: usize = 16;
const MAX_CERTIFICATES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "schema": "osguard.node.describe.v1", "name": "worker-1", "os": "linux", "architecture": "amd64",
        "kernel": "6.12.48+deb13-amd64", "profiles": ["containerd-full-v1"],
        "certificates": [{ "identifier": "8A3F", "subject": "lab", "keyring": ".platform" }]
    }"#;

    #[test]
    fn a_description_is_read() {
        let node = NodeDescription::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(node.kernel_version(), Some((6, 12)));
        assert_eq!(node.identifiers().into_iter().collect::<Vec<_>>(), ["8a3f"]);
        assert_eq!(node.profiles, [Profile::ContainerdFullV1]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let long = "a".repeat(254);
        for (from, to) in [
            ("describe.v1", "describe.v2"),
            ("\"schema\"", "\"scheme\""),
            ("worker-1", ""),
            ("worker-1", "wörker"),
            ("worker-1", &long),
            ("6.12.48+deb13-amd64", "six"),
            ("6.12.48+deb13-amd64", "6"),
            ("containerd-full-v1", "mine"),
            ("8A3F", "8A3G"),
            ("8A3F", ""),
            ("\"lab\"", "7"),
            ("\"os\": \"linux\",", ""),
            ("\"os\"", "\"new\": 1, \"os\""),
            ("\"subject\"", "\"new\": 1, \"subject\""),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let text = GOOD.replace(from, to);
            assert!(NodeDescription::parse(text.as_bytes()).is_err(), "{text}");
        }
        let padded = format!("{GOOD}{}", " ".repeat(MAX_DESCRIPTION_BYTES));
        let error = NodeDescription::parse(padded.as_bytes()).unwrap_err();
        assert!(matches!(error, NodeDescriptionError::TooLong));
    }
}
