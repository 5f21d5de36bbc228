//! What is asked of the images in some repositories.

use super::repository::RepositoryPattern;
use super::requirement::Requirement;
use super::store::TrustStore;

/// Says which signers are trusted for the images that its patterns cover, and what else is asked.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The name, for reports.
    pub name: String,
    /// The repositories.
    pub patterns: Vec<RepositoryPattern>,
    /// Whose signatures count.
    pub stores: Vec<TrustStore>,
    /// How many of them a layer needs.
    pub requirement: Requirement,
    /// Whether the signer has to be trusted; anything but [`Enforcement::Enforce`] only where
    /// notation's files say so.
    pub authenticity: Enforcement,
    /// Whether every certificate from the signer's to the trusted one has to be valid now.
    pub validity: Enforcement,
    /// Whether what is revoked is refused.
    pub revocation: Enforcement,
}

/// Says what happens where a check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// The signature is refused.
    #[default]
    Enforce,
    /// It is said, and the signature counts all the same.
    Log,
    /// Nothing is checked.
    Skip,
}
