//! Signs what is pushed to a registry, as the registry tells of it.
//!
//! ```text
//! registry ──▶ notification ──▶ allow-list ──▶ queue ──▶ worker ──▶ SignImage ──▶ registry
//!   POST /notifications                       (on disk)  (threads)
//! ```
//!
//! A [`Hook`](hook::Hook) receives the notifications of a distribution registry, queues what was
//! pushed by its digest, and has it signed by a [`SignImage`](sign::SignImage), which is a
//! [`RegistrySigner`](registry_signer::RegistrySigner) but in tests. A notification is
//! answered with 200 when what it tells of is on the disk, and not before; then nothing short of a
//! lost disk keeps it from being signed, or from being counted as failed with the reason.
//!
//! A notification is not trusted with anything but the names of a repository and a digest: it may be
//! forged by whoever has the token. The registry is the one that was configured, the repository has
//! to be on the allow-list, and what the digest names is read and hashed before it is signed.

pub mod allow_list;
pub mod backoff;
mod connections;
mod health;
pub mod hook;
mod metrics;
pub mod notification;
pub mod queue;
pub mod registry_signer;
pub mod repository;
mod server;
pub mod sign;
pub mod token;
mod worker;
