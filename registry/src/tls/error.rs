//! What can go wrong before a TLS connection is tried.

use std::io;
use std::path::PathBuf;

/// Says why TLS cannot be set up for a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate cannot be a trust anchor.
    #[error("certificate {number} in {} cannot be trusted: {source}", file.display())]
    Anchor {
        /// The file.
        file: PathBuf,
        /// Which certificate of the file, from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// A client certificate and its key cannot be used.
    #[error(
        "{} and {} are no client certificate and its key: {source}",
        certificate.display(),
        key.display()
    )]
    ClientCertificate {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The private key is encrypted.
    #[error("the private key in {} is encrypted, and must not be", file.display())]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no trust anchor at all.
    #[error("there is no certificate authority to trust{}", because(reason))]
    NoAnchors {
        /// Why the system's store has none, if that is known.
        reason: Option<String>,
    },
    /// A file has no certificate.
    #[error("{} holds no certificate in PEM form", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A file has no private key.
    #[error("{} holds no private key in PEM form", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A file is damaged.
    #[error("{} is not in PEM form: {reason}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library does not support what is asked of it.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
    /// A directory has too many files.
    #[error("{} has more than {limit} certificates and keys", directory.display())]
    TooManyFiles {
        /// The directory.
        directory: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// A client certificate has no key, or a key has no certificate.
    #[error(
        "{} has no counterpart {}; certificate authorities are named *.crt",
        present.display(),
        missing.display()
    )]
    Unpaired {
        /// The file that is there.
        present: PathBuf,
        /// The file that is missing.
        missing: PathBuf,
    },
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}
