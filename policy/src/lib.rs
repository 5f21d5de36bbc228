//! The policies by which IPE, the kernel's Integrity Policy Enforcement, decides what may run.
//!
//! A policy is a text with a name and a version ([`name`], [`version`], [`header`]). osguard writes
//! the one that a node needs ([`node_policy`]), signs it ([`sign`]), reads what others have signed
//! ([`blob`]), and knows what the kernel means when it refuses one ([`errno`]).
//!
//! Besides, what a policy cannot say: which signers are trusted for which images ([`trust`]).

pub mod blob;
pub mod errno;
pub mod header;
pub mod name;
pub mod node_policy;
pub mod sign;
pub mod trust;
pub mod version;
