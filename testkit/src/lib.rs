//! What the tests of osguard share.
//!
//! - [`vm`]: a real kernel, with its own firmware and disks, as a library call;
//! - [`node_guest`]: the machine of a node, with Debian's containerd on a signed root;
//! - [`cri`]: what kubelet asks of containerd;
//! - [`verity_image`]: signed volumes by other people's tools;
//! - [`debian`]: packages of other Debian suites, unpacked beside the system;
//! - [`tools`]: reference programs in the versions that matter;
//! - [`registry`]: an OCI registry that keeps to the specification, or breaks it as told;
//! - [`docker_registry`]: the registry that most people run;
//! - [`clients`]: notation, oras, cosign and skopeo;
//! - [`tls`]: certificates of test servers and their clients;
//! - [`image`]: container images, real and made to measure;
//! - [`pki`]: one signer, by OpenSSL;
//! - [`test_pki`]: authorities, signers and every kind of signature, for the rules of acceptance;
//! - [`softhsm`]: tokens with keys;
//! - [`notation_plugin`]: where plugins of the notation project are put;
//! - [`digest`]: digests as OCI writes them;
//! - [`cache`]: what is made once and kept in the target directory;
//! - [`command`]: programs of the machine;
//! - [`mount`]: what the machine's own kernel makes of an image.
//!
//! A preparation that fails because this machine lacks something returns [`Error::Missing`];
//! [`or_skip`] turns that into a skipped test.

mod binary;
pub mod cache;
pub mod clients;
pub mod command;
pub mod cri;
pub mod debian;
pub mod digest;
pub mod docker_registry;
mod error;
pub mod image;
pub mod mount;
pub mod node_guest;
pub mod notation_plugin;
pub mod pki;
pub mod registry;
mod skip;
pub mod softhsm;
pub mod test_pki;
pub mod tls;
pub mod tools;
pub mod verity_image;
pub mod vm;

pub use error::{Error, Result, or_skip};
pub use skip::skip;
