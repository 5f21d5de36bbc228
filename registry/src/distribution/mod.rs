//! Registries: places at the other end of a network.
//!
//! These rules hold for every request:
//!
//! - What was resolved once is asked for by its digest, and everything that comes is compared with
//!   the digest and the length that it was asked for by. It is hashed once, while it comes.
//! - Every body has a limit: manifests, indexes and lists of referrers 4 MiB, blobs what their
//!   descriptor says. What is longer is not read any further.
//! - Authorisation is shown to the registry alone and, to get a token, to the server that it
//!   names; never to where a redirect or an upload leads. The token is asked for no more than the
//!   request needs.
//! - Redirects of reads are followed, a few; those of writes never.
//! - What may pass (a lost connection, 408, 429, 500, 502, 503, 504) is tried again, a few times,
//!   with pauses that grow or that the registry asks for (`Retry-After`). A 401 is answered once.
//! - Blobs are asked for before they are sent, taken from another repository where that is
//!   possible, and sent in one piece, which all registries understand; in chunks of 4 MiB only
//!   after the registry has refused that for its length.
//! - A look-up that fails is an error, never "not signed".
//! - Plain HTTP is spoken to this machine, or where the caller says so.
//!
//! Source: OCI distribution specification 1.1.

mod answer;
mod authorization;
pub mod challenge;
mod client;
mod connections;
mod download;
mod error;
mod fallback_tag;
mod manifests;
mod pages;
mod patience;
mod referrers;
mod repository;
mod runtime;
mod upload;

pub use self::answer::Words;
pub use self::error::{ConnectFailure, RegistryError};
pub use self::patience::Patience;
pub use self::repository::RemoteRepository;
