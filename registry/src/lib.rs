//! OCI images wherever they lie, and their signature artifacts.
//!
//! An image is named by a [`Reference`](reference::Reference) and lies in a
//! [`Place`](place::Place): a layout directory, or an archive of one. Everything read from a place
//! is foreign: manifests and configurations are bounded, parsed into types and kept with the very
//! bytes that were hashed; blobs are hashed while they stream by, and their last bytes are handed
//! out only after the digest was found right.
//!
//! ```text
//! reference ──▶ place.resolve ──▶ descriptor ──▶ image::load ──▶ layers ──▶ place.blob
//!                                     │
//!                                     └──▶ signatures::find / signatures::publish
//! ```
//!
//! A tag is resolved once; from then on the work is done on the digest.

pub mod ahead;
pub mod archive;
pub mod artifact;
pub mod blob;
pub mod carrying;
pub mod comparison;
pub mod config;
pub mod conversion;
pub mod copy;
pub mod credentials;
pub mod descriptor;
pub mod distribution;
pub mod draft;
pub mod dry_run;
pub mod embedding;
pub mod environment;
pub mod error;
pub mod image;
pub mod image_path;
mod json_object;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod network;
mod partial;
pub mod patch;
pub mod place;
pub mod platform;
pub mod publication;
pub mod push;
pub mod rebase;
pub mod reference;
pub mod root_hash_cache;
pub mod signatures;
pub mod signing;
pub mod signing_request;
mod small_file;
pub mod superseded;
pub mod tag;
pub mod tls;
pub mod verification;
