//! dm-verity hash trees, EROFS images and PKCS#7 signatures of container layers.
//!
//! A layer flows one way through this crate:
//!
//! ```text
//! bytes of a blob → inflate → tar entries → EROFS blocks → leaf hashes → tree → root hash → signature
//!                   [layer]    [tar]         [erofs]        [sha256]      [verity]            [pkcs7]
//! ```
//!
//! There is no network, no root privilege and no async code in here. Only `sha256` may hold
//! `unsafe` code.

mod asn1;
pub mod certificate;
pub mod digest;
pub mod erofs;
pub mod errno;
pub mod layer;
pub mod pkcs7;
pub mod sha256;
pub mod signer;
pub mod tar;
pub mod verity;
