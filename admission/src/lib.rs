//! Decides whether an image may start, and serves that decision to Kubernetes.
//!
//! The answer is the one that the kernel of a node will give, as far as that can be known before: every
//! layer needs a signature that is valid by the kernel's rules, by a signer whom the trust
//! configuration has for that repository, over a root hash that is not revoked, in a profile that the
//! nodes compute. What cannot be found out is not allowed, with the reason.
//!
//! ```text
//! AdmissionReview ─▶ workload ─▶ names of images ─▶ decider ─▶ verdicts ─▶ AdmissionReview
//! manifest (YAML) ─▶    │        with their fields     │
//!                       │                   cache, single flight, lookup ─▶ registry
//!                       └─ pods and what makes pods         (blocking threads)
//! ```
//!
//! `osguard verify` judges with the same [`judgement`].

pub mod cache;
mod causes;
pub mod certificates;
pub mod cluster;
pub mod configuration;
pub mod decider;
pub mod decision;
pub mod image_name;
pub mod judgement;
pub mod lookup;
pub mod metrics;
pub mod nodes;
pub mod offline;
pub mod policy;
pub mod review;
pub mod server;
pub mod single_flight;
mod small_file;
pub mod verdict;
pub mod verdict_store;
pub mod workload;
