//! Layout directories: images in plain files.
//!
//! ```text
//! oci-layout             {"imageLayoutVersion":"1.0.0"}, and what writers lock
//! index.json             the images and artifacts of the layout, some of them with tags
//! blobs/sha256/<hex>     every manifest, configuration, layer and signature, by digest
//! .osguard-partial-…     what a living writer is writing
//! ```
//!
//! Blobs are written beside and renamed. `index.json` is replaced under a lock, read anew each
//! time, so that any number of writers at once lose nothing; it is replaced only after all that it
//! refers to is on the disk. A writer that is killed leaves a partial file that nobody looks at and
//! that the next writer removes.
//!
//! Source: OCI image specification, `image-layout.md`.

mod directory;
mod files;
pub(crate) mod index;
pub(crate) mod storage;

pub use directory::Layout;
