//! The words of the protocol.
//!
//! Source: notaryproject/specifications, `specs/plugin-extensibility.md`.

use std::fmt;

use osguard_program::one_line;
use serde::{Deserialize, Serialize};

use super::Config;

/// The version of the protocol that is spoken here.
pub(super) const CONTRACT_VERSION: &str = "1.0";

/// The capability of plugins that sign bytes, and not whole envelopes alone.
pub(super) const RAW_SIGNATURES: &str = "SIGNATURE_GENERATOR.RAW";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetadataQuestion<'a> {
    pub(super) plugin_config: &'a Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) supported_contract_versions: Vec<String>,
    pub(super) capabilities: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeKey<'a> {
    pub(super) contract_version: &'static str,
    pub(super) key_id: &'a str,
    pub(super) plugin_config: &'a Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyDescription {
    pub(super) key_id: String,
    pub(super) key_spec: KeySpec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerateSignature<'a> {
    pub(super) contract_version: &'static str,
    pub(super) key_id: &'a str,
    pub(super) plugin_config: &'a Config,
    pub(super) key_spec: KeySpec,
    pub(super) hash_algorithm: &'static str,
    /// In base64. The plugin hashes it.
    pub(super) payload: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signature {
    pub(super) key_id: String,
    /// In base64; for ECDSA both numbers one after the other.
    pub(super) signature: String,
    pub(super) signing_algorithm: String,
    /// In base64 of DER, the key's own first.
    #[serde(default)]
    pub(super) certificate_chain: Vec<String>,
}

/// Is a kind of key.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum KeySpec {
    /// ECDSA over P-256.
    #[serde(rename = "EC-256")]
    Ec256,
    /// ECDSA over P-384.
    #[serde(rename = "EC-384")]
    Ec384,
    /// ECDSA over P-521.
    #[serde(rename = "EC-521")]
    Ec521,
    /// RSA with 2048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
}

impl KeySpec {
    pub(super) fn hash_algorithm(self) -> &'static str {
        match self {
            Self::Ec256 | Self::Rsa2048 => "SHA-256",
            Self::Ec384 | Self::Rsa3072 => "SHA-384",
            Self::Ec521 | Self::Rsa4096 => "SHA-512",
        }
    }

    pub(super) fn signing_algorithm(self) -> &'static str {
        match self {
            Self::Ec256 => "ECDSA-SHA-256",
            Self::Ec384 => "ECDSA-SHA-384",
            Self::Ec521 => "ECDSA-SHA-512",
            Self::Rsa2048 => "RSASSA-PSS-SHA-256",
            Self::Rsa3072 => "RSASSA-PSS-SHA-384",
            Self::Rsa4096 => "RSASSA-PSS-SHA-512",
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// Is what a plugin writes to its standard error when it fails.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    error_code: String,
    #[serde(default)]
    error_message: String,
}

impl Failure {
    /// Puts what a plugin said on one line, whether it kept to the protocol or not.
    pub(super) fn in_words(stderr: &[u8]) -> String {
        match serde_json::from_slice::<Self>(stderr) {
            Ok(Self { error_code, error_message }) => {
                one_line(format!("{error_code}: {error_message}").as_bytes())
            }
            Err(_) => one_line(stderr),
        }
    }
}
