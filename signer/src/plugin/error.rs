//! Why a plugin does not sign.

use std::path::PathBuf;
use std::process::ExitStatus;

use osguard_program::RunError;

use super::protocol::KeySpec;

/// Says why there is no signer with a key behind a plugin.
#[derive(Debug, thiserror::Error)]
#[error("the plugin {plugin}: {reason}")]
pub struct PluginError {
    /// The plugin's name.
    pub plugin: String,
    /// What is wrong with it.
    #[source]
    pub reason: Reason,
}

/// Says what is wrong with a plugin, or with its key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// It gave no certificate with its signature.
    #[error("it gives no certificate for the key")]
    CertificateMissing,
    /// It speaks another version of the protocol.
    #[error("it speaks the versions {found:?} of the protocol, and not 1.0")]
    ContractVersion {
        /// The versions.
        found: String,
    },
    /// It reported a failure.
    #[error("{command} ended with {status}: {}", if said.is_empty() { "it said nothing" } else { said })]
    Failed {
        /// What it was asked.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said, on one line.
        said: String,
    },
    /// Its answer is not one.
    #[error("{reason}")]
    Malformed {
        /// What is wrong with the answer.
        reason: String,
    },
    /// It is not installed.
    #[error("it is not installed: there is no file {}", program.display())]
    Missing {
        /// Where its program would be.
        program: PathBuf,
    },
    /// Nobody knows where plugins are.
    #[error("neither XDG_CONFIG_HOME nor HOME says where plugins are")]
    NoHome,
    /// It signs envelopes alone.
    #[error(
        "it cannot sign a root hash: it makes whole envelopes of notation's, and no signatures \
         (it offers {found})"
    )]
    NoRawSignatures {
        /// What it can do.
        found: String,
    },
    /// Its key is not the one of the certificate.
    #[error("its key is an {key_spec}, and the certificate's an {certified}")]
    OtherKey {
        /// What the plugin says.
        key_spec: KeySpec,
        /// What the certificate says.
        certified: String,
    },
    /// Its key is RSA.
    #[error(
        "its key is an {key_spec}: plugins sign with RSA-PSS, which the kernel does not take; a key \
         on P-256, P-384 or P-521 can sign"
    )]
    Rsa {
        /// The kind of the key.
        key_spec: KeySpec,
    },
    /// It cannot be run, or took too much.
    #[error("{command}: {source}")]
    Run {
        /// What it was asked.
        command: &'static str,
        /// What went wrong.
        source: RunError,
    },
    /// It signed with another algorithm than it was asked for.
    #[error("it signed with {found:?}, and not with {expected}")]
    SigningAlgorithm {
        /// The algorithm that it names.
        found: String,
        /// The algorithm of the key.
        expected: &'static str,
    },
}
