//! PKCS#7 signatures as the kernel takes them: of root hashes (detached) and of policies (attached).
//!
//! `SignedData` stands in RFC 5652 (CMS, of which PKCS#7 is the first edition):
//!
//! ```text
//! SEQUENCE                                ContentInfo
//! ├ OBJECT IDENTIFIER signedData
//! └ [0] SEQUENCE                          SignedData
//!       ├ INTEGER 1
//!       ├ SET { SEQUENCE { sha256, NULL } }
//!       ├ SEQUENCE                        EncapsulatedContentInfo
//!       │ ├ OBJECT IDENTIFIER data
//!       │ └ [0] OCTET STRING              the policy; absent where a root hash is signed
//!       ├ [0] certificates                the signer's, or absent
//!       └ SET { SEQUENCE                  SignerInfo
//!               ├ INTEGER 1
//!               ├ SEQUENCE { issuer, serialNumber }
//!               ├ SEQUENCE { sha256, NULL }
//!               ├ SEQUENCE { rsaEncryption, NULL } or { ecdsa-with-SHA256 }
//!               └ OCTET STRING            the signature over the content itself }
//! ```
//!
//! There are no signed attributes: the kernel takes them, but refuses those that most tools write.
//! For RSA the bytes are those of `openssl smime -sign -binary -noattr -outform der`.
//!
//! [`verify_root_hash`] and [`verify_policy`] are the kernel's rules as code. Whatever [`sign_root_hash`] and
//! [`sign_policy`] return has passed them.

mod build;
mod inspect;
mod keyrings;
mod message;
mod refusal;
mod sign;
mod structure;
mod verify;

pub use build::{AssembleError, Content, Embedding, assemble};
pub use inspect::{Inspection, inspect};
pub use keyrings::{Blacklist, Keyrings};
pub use refusal::Refusal;
pub use sign::{sign_policy, sign_root_hash};
pub use verify::{
    Accepted, MAX_MESSAGE_BYTES, MAX_ROOT_HASH_SIGNATURE_BYTES, SignerIdentifier, policy_text,
    verify_policy, verify_root_hash,
};
