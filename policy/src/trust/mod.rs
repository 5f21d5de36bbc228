//! Which signers are trusted for which images.
//!
//! The kernel knows one set of trusted certificates, takes any of them for any image, and asks for
//! neither dates nor revocations. A [`TrustConfiguration`] is stricter: it says for each repository
//! whose signatures count, how many of them are needed, and which keys and root hashes are revoked.
//! It is read from osguard's own `trust.toml` or from the files of notation ([`Format`]).
//!
//! ```text
//! name of a repository ──▶ configuration.judge ──▶ judge.layer ◀── signatures of a layer
//!                                                      │
//!                                                      └──▶ verdict, with every reason
//! ```
//!
//! Whether a signature is one at all is decided by the kernel's rules ([`libverity::pkcs7`]) and by
//! nothing else; here, signatures that the kernel takes are refused, and never the other way round.

mod configuration;
mod coverage;
mod error;
mod finding;
mod format;
mod judge;
mod notation;
mod repository;
mod requirement;
mod revocation;
mod scope;
mod store;
mod trust_toml;

pub use configuration::TrustConfiguration;
pub use coverage::{KeyCoverage, LayerCoverage};
pub use error::{NoScope, Position, TrustError};
pub use finding::Finding;
pub use format::{Format, MAX_CONFIGURATION_BYTES};
pub use judge::{Candidate, Comparison, Judge, LayerVerdict, SignatureVerdict, Standing};
pub use repository::{PatternError, Repository, RepositoryError, RepositoryPattern};
pub use requirement::{Requirement, RequirementError, Unmet};
pub use revocation::{Revocation, RevocationList, Revoked};
pub use scope::{Enforcement, Scope};
pub use store::{
    MAX_CERTIFICATE_FILE_BYTES, MAX_STORE_CERTIFICATES, TrustStore, read_certificates,
};
