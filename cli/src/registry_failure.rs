//! What the errors of registries mean for the exit code, and what to do about them.

use osguard_registry::distribution::{ConnectFailure, RegistryError};
use osguard_registry::error::ErrorKind;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let status = match (&error, error.kind()) {
            (RegistryError::NoSuchRepository { .. }, _) => ExitStatus::NotFound,
            (_, ErrorKind::Io) => ExitStatus::Failure,
            (_, ErrorKind::Usage) => ExitStatus::Usage,
            _ => ExitStatus::Registry,
        };
        let hint = hint(&error);
        let failure = Self::from_error(status, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn hint(error: &RegistryError) -> Option<&'static str> {
    Some(match error {
        RegistryError::Connect { failure, .. } => match failure {
            ConnectFailure::Certificate => {
                "--ca-file names the certificate authority of a registry that the system does not know."
            }
            ConnectFailure::Refused => {
                "Nothing listens there: check host and port, and whether the registry is running."
            }
            ConnectFailure::Timeout => {
                "Check host, port and firewall; a proxy is taken from HTTPS_PROXY."
            }
            ConnectFailure::Tls => "--plain-http is for registries that do not speak TLS.",
            ConnectFailure::UnknownHost => {
                "Check the name of the registry. Without a network, images are taken from oci:DIR or \
                 oci-archive:FILE."
            }
            _ => return None,
        },
        RegistryError::Contended { .. } => "Run the command again when the others are done.",
        RegistryError::Denied { .. } => {
            "The user lacks the right, or the repository does not exist: ask whoever runs the registry, \
             or log in as another user."
        }
        RegistryError::NoReferrersApi { .. } => {
            "Without --referrers api, a tag stands in for the API."
        }
        RegistryError::NoSuchRepository { .. } => {
            "Check the repository's name. Many registries hide what the user may not read, and some want \
             a repository to be made before it is written to."
        }
        RegistryError::NotReferrers { .. } => {
            "Remove that tag, by which the signatures of the image are found in this registry."
        }
        RegistryError::ReferrersTag { .. } => {
            "Allow tags that begin with sha256- to be written, where the repository's tags are protected."
        }
        RegistryError::TooManyRequests { .. } => {
            "Wait, or log in: registries let known users ask for more."
        }
        RegistryError::Standstill { .. } | RegistryError::Transfer { .. } => {
            "Run the command again: what is there already is not transferred again."
        }
        RegistryError::Unauthorized { .. } => {
            "`docker login` or `podman login` stores credentials, --username or OSGUARD_TOKEN gives others."
        }
        _ => return None,
    })
}
