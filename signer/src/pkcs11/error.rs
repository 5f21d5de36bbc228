//! Why a token does not sign.

use std::fmt;
use std::io;
use std::path::PathBuf;

use cryptoki::error::Error;
use libverity::certificate::CertificateError;
use libverity::signer::{SignatureAlgorithm, UnusableKey};

/// Says why there is no signer with a key in a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11Error {
    /// The URI fits several keys.
    #[error("the token {token:?} has several such keys: {}", found.join(", "))]
    AmbiguousKey {
        /// The token's label.
        token: String,
        /// How to name each of them.
        found: Vec<String>,
    },
    /// The URI fits several tokens.
    #[error("there are several such tokens: {}", found.join(", "))]
    AmbiguousToken {
        /// How to name each of them.
        found: Vec<String>,
    },
    /// The module or the token failed.
    #[error("the token did not {action}: {source}")]
    Call {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        source: CallError,
    },
    /// The token's certificate cannot be read.
    #[error("the certificate in the token {token:?} cannot be read: {source}")]
    Certificate {
        /// The token's label.
        token: String,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The token has no certificate for the key.
    #[error("the token {token:?} has no certificate for the key")]
    CertificateMissing {
        /// The token's label.
        token: String,
    },
    /// The token has no such key.
    #[error("the token {token:?} has no such private key; it has {}", listed(found))]
    KeyMissing {
        /// The token's label.
        token: String,
        /// How to name those that it has.
        found: Vec<String>,
    },
    /// The token cannot sign in a way that the kernel takes.
    #[error("the token has no mechanism for {algorithm}")]
    Mechanism {
        /// What it would have to do.
        algorithm: SignatureAlgorithm,
    },
    /// The module cannot be loaded.
    #[error("{}: it cannot be loaded as a PKCS#11 module: {source}", path.display())]
    Module {
        /// The module's file.
        path: PathBuf,
        /// Why not.
        source: CallError,
    },
    /// There is no module of that name, or none at all.
    #[error("there is no PKCS#11 module {name} in {}", places.join(", "))]
    ModuleMissing {
        /// What was looked for.
        name: String,
        /// Where.
        places: Vec<String>,
    },
    /// The key is not the one of the certificate.
    #[error("the key in the token {token:?} is not the key of the certificate")]
    OtherKey {
        /// The token's label.
        token: String,
    },
    /// The key asks for the PIN at each signature.
    #[error(
        "the key in the token {token:?} asks for the PIN at each signature (CKA_ALWAYS_AUTHENTICATE), \
         and an image has a signature for each layer"
    )]
    PinEachTime {
        /// The token's label.
        token: String,
    },
    /// The PIN is wrong; it is not tried again.
    #[error(
        "the token {token:?} refuses the PIN{}",
        if *is_last_try { ", and locks it if the next one is wrong as well" } else { "" }
    )]
    PinIncorrect {
        /// The token's label.
        token: String,
        /// Whether one more wrong PIN locks it.
        is_last_try: bool,
    },
    /// The PIN is locked, after too many wrong ones.
    #[error("the PIN of the token {token:?} is locked, because too many wrong ones were tried")]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// There is no PIN.
    #[error("the token {token:?} wants a PIN, and there is none: {source}")]
    PinMissing {
        /// The token's label.
        token: String,
        /// Why there is none.
        source: io::Error,
    },
    /// The token was never given a PIN.
    #[error("the token {token:?} has no PIN yet")]
    PinNotSet {
        /// The token's label.
        token: String,
    },
    /// There is no such token.
    #[error("there is no such token; there is {}", listed(found))]
    TokenMissing {
        /// How to name those that there are.
        found: Vec<String>,
    },
    /// The key is of a kind that osguard does not sign with.
    #[error("the token {token:?}: {source}")]
    Unusable {
        /// The token's label.
        token: String,
        /// Its kind.
        source: UnusableKey,
    },
}

impl Pkcs11Error {
    pub(super) fn call(action: &'static str) -> impl FnOnce(Error) -> Self {
        move |error| Self::Call { action, source: CallError(error) }
    }
}

/// Is what a module said, in few words.
#[derive(Debug)]
pub struct CallError(pub(super) Error);

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // The name of the code; its description in the crate has whole paragraphs.
            Error::Pkcs11(code, function) => write!(formatter, "{function:?} returned {code:?}"),
            Error::LibraryLoading(error) => error.fmt(formatter),
            other => other.fmt(formatter),
        }
    }
}

impl std::error::Error for CallError {}

fn listed(found: &[String]) -> String {
    if found.is_empty() { "none at all".to_owned() } else { found.join(", ") }
}
