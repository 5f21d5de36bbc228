//! Container images: a real one that Debian's tools make, and small ones made to measure.
//!
//! - [`real`] is what a user has: layers of Debian packages by umoci, skopeo and GNU tar;
//! - [`LayoutMaker`] and [`TarMaker`] write what no tool would, byte by byte;
//! - [`apply`] says what the tree of some layers is, by GNU tar and the rules for whiteouts;
//! - [`Tree`] compares trees.

mod apply;
mod layout_maker;
mod real;
mod tar_maker;
mod tree;

pub use apply::{apply, unpack};
pub use layout_maker::{Compression, LayerSource, LayoutMaker};
pub use real::{RealImage, RealLayer, real};
pub use tar_maker::{TarHeader, TarMaker};
pub use tree::Tree;
