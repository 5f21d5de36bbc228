//! Signing keys that lie elsewhere than in files.
//!
//! - [`key_reference`]: how a key is named;
//! - [`pkcs11`]: keys in tokens and HSMs;
//! - [`plugin`]: keys behind plugins of the notation project;
//! - [`by_hand`]: signatures that were made elsewhere, by whatever has the key.
//!
//! All of them are [`Signer`](libverity::signer::Signer)s, beside
//! [`FileSigner`](libverity::signer::FileSigner).

pub mod by_hand;
pub mod key_reference;
pub mod pkcs11;
pub mod plugin;
