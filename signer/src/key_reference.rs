//! How a signing key is named.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::pkcs11::uri::{Uri, UriError};

/// Names a signing key, wherever it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyReference {
    /// A key in a file. `./pkcs11:x` names a file whose name begins like one of the others.
    File(PathBuf),
    /// `pkcs11:…`: a key in a token (RFC 7512).
    Pkcs11(Box<Uri>),
    /// `plugin:NAME/KEYID`: a key behind a plugin of the notation project.
    Plugin {
        /// The plugin's name, of which the program is called `notation-NAME`.
        name: String,
        /// By what the plugin knows the key.
        key_id: String,
    },
}

impl FromStr for KeyReference {
    type Err = KeyReferenceError;

    fn from_str(text: &str) -> Result<Self, KeyReferenceError> {
        if text.starts_with(Uri::SCHEME) {
            return Ok(Self::Pkcs11(Box::new(text.parse()?)));
        }
        let Some(plugin) = text.strip_prefix(PLUGIN) else {
            return match text.is_empty() {
                true => Err(KeyReferenceError::Empty),
                false => text.parse().map(Self::File).map_err(|never: Infallible| match never {}),
            };
        };
        // Key identifiers may hold slashes of their own, as those of cloud services do.
        match plugin.split_once('/') {
            Some((name, key_id)) if is_plugin_name(name) && !key_id.is_empty() => {
                Ok(Self::Plugin { name: name.to_owned(), key_id: key_id.to_owned() })
            }
            _ => Err(KeyReferenceError::Plugin { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Pkcs11(uri) => uri.fmt(formatter),
            Self::Plugin { name, key_id } => write!(formatter, "{PLUGIN}{name}/{key_id}"),
        }
    }
}

/// Says why a text names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyReferenceError {
    /// There is nothing.
    #[error("a key has a name")]
    Empty,
    /// A plugin's key is named otherwise.
    #[error("{text}: keys behind plugins are named plugin:NAME/KEYID")]
    Plugin {
        /// The text.
        text: String,
    },
    /// The URI of a token's key is not one.
    #[error(transparent)]
    Uri(#[from] UriError),
}

/// The name becomes part of a file's name.
fn is_plugin_name(name: &str) -> bool {
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_fine)
}

const PLUGIN: &str = "plugin:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_their_names() {
        let parse = |text: &str| text.parse::<KeyReference>();
        assert_eq!(parse("a/b.key"), Ok(KeyReference::File("a/b.key".into())));
        assert_eq!(parse("./pkcs11:x"), Ok(KeyReference::File("./pkcs11:x".into())));
        assert!(matches!(parse("pkcs11:object=x"), Ok(KeyReference::Pkcs11(_))));
        let plugin = KeyReference::Plugin { name: "kms".into(), key_id: "https://x/keys/1".into() };
        assert_eq!(parse("plugin:kms/https://x/keys/1").as_ref(), Ok(&plugin));
        assert_eq!(plugin.to_string(), "plugin:kms/https://x/keys/1");
        for wrong in ["plugin:", "plugin:kms", "plugin:kms/", "plugin:/id", "plugin:../x/id", ""] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
