//! The policies by which IPE, the kernel's Integrity Policy Enforcement, decides what may run.
//!
//! A policy is a text with a name and a version ([`name`], [`version`], [`header`]), made of the words
//! ([`vocabulary`]) that a kernel knows ([`kernel_version`]). osguard writes the one that a node needs
//! ([`node_policy`]) and its successors ([`revision`]), parses those of others as the kernel does
//! ([`syntax`]), finds what nobody means in them ([`lint`], for a kernel of some [`kernel_config`]) and
//! shows where ([`diagnostic`]), puts them straight ([`mod@format`]), says in plain words what they mean
//! ([`explain`]) and decides as the kernel would ([`evaluate`]), one file at a time or for a whole machine or image
//! ([`simulation`]). It signs them ([`sign`]), reads what others have signed ([`blob`]) and packed ([`initramfs`]),
//! knows what the kernel means when it refuses one ([`errno`]), and reads what it records ([`audit`]).
//!
//! Besides, what a policy cannot say: which signers are trusted for which images ([`trust`]), and which of them a node takes
//! ([`node_description`]).

pub mod audit;
pub mod blob;
pub mod budget;
pub mod diagnostic;
pub mod errno;
pub mod evaluate;
pub mod explain;
pub mod format;
pub mod header;
pub mod initramfs;
pub mod kernel_config;
pub mod kernel_version;
pub mod lint;
pub mod name;
pub mod node_description;
pub mod node_policy;
pub mod revision;
pub mod sign;
pub mod simulation;
pub mod syntax;
pub mod trust;
pub mod version;
pub mod vocabulary;
