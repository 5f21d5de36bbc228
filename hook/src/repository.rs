//! Repositories, and manifests in them.

use std::fmt;
use std::str::FromStr;

use libverity::digest::Digest;
use osguard_registry::reference::Reference;

/// Is the name of a repository within a registry, such as `team/app`.
///
/// Source: OCI distribution specification, "Pulling manifests".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        // What is a repository is decided where references are parsed, and nowhere else. A tag or a
        // digest would be split off there.
        match format!("{ANY_REGISTRY}/{text}").parse() {
            Ok(Reference::Registry(reference)) if reference.repository == text => {
                Ok(Self(reference.repository))
            }
            _ => Err(RepositoryError { repository: text.chars().take(MAX_QUOTED).collect() }),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says that a text is not the name of a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{repository:?} is not the name of a repository: components of lower-case letters and digits \
     with single `.`, one or two `_` or any number of `-` between them, separated by `/`"
)]
pub struct RepositoryError {
    /// The text, or the beginning of a long one.
    pub repository: String,
}

/// Is a manifest or index in a repository: what is pushed, queued and signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// The digest of the manifest or index.
    pub digest: Digest,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.repository, self.digest)
    }
}

/// A host that is parsed with every repository and never asked.
const ANY_REGISTRY: &str = "localhost";

/// How much of a wrong name is repeated in an error, in characters.
const MAX_QUOTED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_what_references_have() {
        for text in ["app", "team/app", "a/b/c-d__e.f", "localhost/app"] {
            assert_eq!(text.parse::<Repository>().unwrap().as_str(), text);
        }
        let long = "a".repeat(300);
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a:b", "a@b", "../a", "a/..", "a b", "a\n", "ä",
            "http://a", "a?b", "a%2fb", &long,
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text}");
        }
        let pinned = format!("app@{}", Digest::of(b""));
        assert!(pinned.parse::<Repository>().is_err());
    }
}
