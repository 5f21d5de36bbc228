//! References: how a user names an image.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use libverity::digest::{Digest, DigestError};

use crate::tag::{MAX_NAME_BYTES, MAX_TAG_BYTES, Tag, TagError};

/// Names an image in one of the three kinds of places.
///
/// | text                                | place                                       |
/// |-------------------------------------|---------------------------------------------|
/// | `HOST[:PORT]/REPOSITORY[:TAG]`      | a registry; the tag defaults to `latest`    |
/// | `HOST[:PORT]/REPOSITORY[:TAG]@DIGEST` | a registry; the digest decides            |
/// | `oci:DIR[:TAG\|@DIGEST]`            | a layout directory                          |
/// | `oci-archive:FILE[:TAG\|@DIGEST]`   | a tar of a layout; `-` is a standard stream |
///
/// The directory or file ends at the first colon, as it does for other tools that take such
/// references, so a path that holds a colon cannot be named.
///
/// In Docker Hub, `docker.io/NAME` is short for `docker.io/library/NAME`, and `index.docker.io` is
/// another name of `docker.io`, as they are for docker, podman and containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// An image in a tar of a layout directory.
    Archive {
        /// Where the tar is.
        file: ArchiveFile,
        /// Which image of the archive.
        selector: Selector,
    },
    /// An image in a layout directory.
    Layout {
        /// The directory, relative or absolute.
        directory: PathBuf,
        /// Which image of the directory.
        selector: Selector,
    },
    /// An image in a registry.
    Registry(RegistryReference),
}

impl Reference {
    /// Parses the name that an image gets where it is copied to; if there is no tag in it, the image
    /// keeps the one that `source` names, if any.
    ///
    /// In a registry, where every image has a tag, `latest` is the last resort.
    ///
    /// # Errors
    ///
    /// As [`Reference::from_str`]; a tag of `source` may be none that a registry takes.
    pub fn destination(text: &str, source: &Selector) -> Result<Self, ReferenceError> {
        let mut reference = Self::parse(text, source)?;
        match &mut reference {
            Self::Archive { selector, .. } | Self::Layout { selector, .. } => {
                if let (Selector::Only, Selector::Tag(_)) = (&selector, source) {
                    *selector = source.clone();
                }
            }
            Self::Registry(_) => {}
        }
        Ok(reference)
    }

    /// Parses a reference; in a registry the tag is that of `default` if the text has none.
    fn parse(text: &str, default: &Selector) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE_BYTES {
            return Err(ReferenceError::TooLong { limit: MAX_REFERENCE_BYTES, found: text.len() });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ReferenceError::Scheme {
                reference: text.to_owned(),
                scheme: scheme.to_owned(),
            });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, selector) = split_path(text, rest)?;
            let file = match path {
                "-" => ArchiveFile::StandardStream,
                path => ArchiveFile::Path(PathBuf::from(path)),
            };
            return Ok(Self::Archive { file, selector });
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, selector) = split_path(text, rest)?;
            return Ok(Self::Layout { directory: PathBuf::from(path), selector });
        }
        let default_tag = match default {
            Selector::Tag(tag) => tag.as_str(),
            Selector::Digest(_) | Selector::Only => DEFAULT_TAG,
        };
        RegistryReference::parse(text, default_tag).map(Self::Registry)
    }

    /// Returns which image of the place is meant.
    pub fn selector(&self) -> &Selector {
        match self {
            Self::Archive { selector, .. } | Self::Layout { selector, .. } => selector,
            Self::Registry(reference) => &reference.selector,
        }
    }

    /// Tells whether `other` is an image of the same repository, directory or archive, whatever its tag or digest.
    pub fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Archive { file: one, .. }, Self::Archive { file: other, .. }) => one == other,
            (Self::Layout { directory: one, .. }, Self::Layout { directory: other, .. }) => {
                one == other
            }
            (Self::Registry(one), Self::Registry(other)) => {
                one.registry == other.registry && one.repository == other.repository
            }
            _ => false,
        }
    }

    /// Returns the reference to the same place with `digest` in the place of the tag.
    pub fn at(&self, digest: Digest) -> Self {
        let mut pinned = self.clone();
        match &mut pinned {
            Self::Archive { selector, .. } | Self::Layout { selector, .. } => {
                *selector = Selector::Digest(digest);
            }
            Self::Registry(reference) => reference.selector = Selector::Digest(digest),
        }
        pinned
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text, &Selector::Only)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive { file, selector } => write!(formatter, "oci-archive:{file}{selector}"),
            Self::Layout { directory, selector } => {
                write!(formatter, "oci:{}{selector}", directory.display())
            }
            Self::Registry(reference) => fmt::Display::fmt(reference, formatter),
        }
    }
}

/// Says which image of a place is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The manifest or index with this digest.
    Digest(Digest),
    /// The only image in the place.
    Only,
    /// The image with this tag.
    Tag(Tag),
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(formatter, "@{digest}"),
            Self::Only => Ok(()),
            Self::Tag(tag) => write!(formatter, ":{tag}"),
        }
    }
}

/// Is the place of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveFile {
    /// A file.
    Path(PathBuf),
    /// Standard input when it is read, standard output when it is written.
    StandardStream,
}

impl fmt::Display for ArchiveFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::StandardStream => formatter.write_str("-"),
        }
    }
}

/// Names an image in a registry.
///
/// Source: OCI distribution specification, "Pulling manifests", for repository and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// The registry's host, with its port if one was given.
    pub registry: String,
    /// The repository within the registry.
    pub repository: String,
    /// Which image of the repository: a tag or a digest.
    pub selector: Selector,
}

impl RegistryReference {
    fn parse(text: &str, default_tag: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => (name, Some(parse_digest(text, digest)?)),
        };
        let Some((registry, rest)) = name.split_once('/').filter(|(host, _)| looks_like_host(host))
        else {
            return Err(ReferenceError::NoRegistry { reference: text.to_owned() });
        };
        if !is_host(registry) {
            return Err(ReferenceError::Registry {
                reference: text.to_owned(),
                registry: registry.to_owned(),
            });
        }
        let (repository, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((_, "")) => return Err(ReferenceError::EmptyTag { reference: text.to_owned() }),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        let (registry, repository) = &in_docker_hub(registry, repository);
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase {
                reference: text.to_owned(),
                repository: repository.clone(),
            });
        }
        if name_bytes(registry, repository) > MAX_NAME_BYTES {
            return Err(ReferenceError::TooLong {
                limit: MAX_NAME_BYTES,
                found: name_bytes(registry, repository),
            });
        }
        if let Some(component) = repository.split('/').find(|component| !is_component(component)) {
            return Err(ReferenceError::Repository {
                reference: text.to_owned(),
                component: component.to_owned(),
            });
        }
        let tag = Tag::for_registry(tag.unwrap_or(default_tag))
            .map_err(|TagError { tag }| ReferenceError::Tag { reference: text.to_owned(), tag })?;
        Ok(Self {
            registry: registry.clone(),
            repository: repository.clone(),
            selector: digest.map_or(Selector::Tag(tag), Selector::Digest),
        })
    }
}

impl FromStr for RegistryReference {
    type Err = ReferenceError;

    /// Reads the name of an image in a registry, whatever else the text could mean as a
    /// [`Reference`].
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE_BYTES {
            return Err(ReferenceError::TooLong { limit: MAX_REFERENCE_BYTES, found: text.len() });
        }
        Self::parse(text, DEFAULT_TAG)
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}{}", self.registry, self.repository, self.selector)
    }
}

/// Says why a text is no reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The part after `@` is no digest.
    #[error("the digest in image reference {reference:?} is not valid: {source}")]
    Digest {
        /// The text as it was given.
        reference: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// There is nothing between `oci:` or `oci-archive:` and the tag or digest.
    #[error("image reference {reference:?} names no path; write `oci:DIR` or `oci-archive:FILE`")]
    EmptyPath {
        /// The text as it was given.
        reference: String,
    },
    /// There is a colon with no tag behind it.
    #[error("image reference {reference:?} ends in an empty tag; leave the colon out or add a tag")]
    EmptyTag {
        /// The text as it was given.
        reference: String,
    },
    /// The text does not start with the host of a registry, nor with `oci:` or `oci-archive:`.
    #[error(
        "image reference {reference:?} names no registry: the part before the first `/` must hold \
         a `.` or a `:` or be `localhost`; an image of Docker Hub is `docker.io/NAME`, a layout \
         directory `oci:DIR`"
    )]
    NoRegistry {
        /// The text as it was given.
        reference: String,
    },
    /// The host of the registry is malformed.
    #[error("image reference {reference:?}: {registry:?} is not HOST or HOST:PORT in lower case")]
    Registry {
        /// The text as it was given.
        reference: String,
        /// The part that was taken for the host.
        registry: String,
    },
    /// A component of the repository's path is malformed.
    #[error(
        "image reference {reference:?}: {component:?} is not part of a repository name; lower-case \
         letters and digits are allowed, with single `.`, one or two `_`, or any number of `-` \
         between them"
    )]
    Repository {
        /// The text as it was given.
        reference: String,
        /// The first wrong component.
        component: String,
    },
    /// The text starts like a URL.
    #[error("image reference {reference:?} starts with `{scheme}://`; leave that out")]
    Scheme {
        /// The text as it was given.
        reference: String,
        /// The part before `://`.
        scheme: String,
    },
    /// The tag is malformed.
    #[error(
        "image reference {reference:?}: {tag:?} is not a tag; letters, digits, `_`, `.` and `-` \
         are allowed, up to 128 of them, the first a letter, digit or `_`"
    )]
    Tag {
        /// The text as it was given.
        reference: String,
        /// The text of the tag.
        tag: String,
    },
    /// A reference to a directory or file has both a tag and a digest.
    #[error("image reference {reference:?} has both a tag and a digest; keep one of them")]
    TagAndDigest {
        /// The text as it was given.
        reference: String,
    },
    /// The reference, or the name in it, is too long.
    #[error("the image reference has a name of {found} bytes, and {limit} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// The repository has upper-case letters.
    #[error("image reference {reference:?}: {repository:?} must be in lower case")]
    UpperCase {
        /// The text as it was given.
        reference: String,
        /// The repository.
        repository: String,
    },
}

/// Splits `rest`, the part of `text` behind the transport, at its first colon, or at the `@` of a
/// digest.
fn split_path<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Selector), ReferenceError> {
    let (path, selector) = match rest.rsplit_once('@') {
        // A directory name may well hold an `@`, so only a known algorithm makes a digest.
        Some((path, digest)) if names_digest_algorithm(digest) => {
            if path.contains(':') {
                return Err(ReferenceError::TagAndDigest { reference: text.to_owned() });
            }
            (path, Selector::Digest(parse_digest(text, digest)?))
        }
        _ => match rest.split_once(':') {
            None => (rest, Selector::Only),
            Some((_, "")) => return Err(ReferenceError::EmptyTag { reference: text.to_owned() }),
            Some((path, tag)) => {
                let tag = tag.parse().map_err(|TagError { tag }| ReferenceError::Tag {
                    reference: text.to_owned(),
                    tag,
                })?;
                (path, Selector::Tag(tag))
            }
        },
    };
    if path.is_empty() || path.contains('\0') {
        return Err(ReferenceError::EmptyPath { reference: text.to_owned() });
    }
    Ok((path, selector))
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest, ReferenceError> {
    digest.parse().map_err(|source| ReferenceError::Digest { reference: text.to_owned(), source })
}

fn names_digest_algorithm(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, _)| {
        ["sha256", "sha384", "sha512", "blake3"]
            .iter()
            .any(|known| algorithm.eq_ignore_ascii_case(known))
    })
}

/// Tells a host from the first component of a repository, by the rule that all container tools
/// share.
fn looks_like_host(text: &str) -> bool {
    text.contains(['.', ':']) || text.eq_ignore_ascii_case("localhost")
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                (None, (!port.is_empty()).then_some(port))
            }
            _ => return false,
        },
        None => match text.find(':') {
            Some(colon) => (Some(&text[..colon]), Some(&text[colon..])),
            None => (Some(text), None),
        },
    };
    let port_is_valid = port.is_none_or(|port| {
        port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|digit| digit.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port != 0)
        })
    });
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port_is_valid && host.is_none_or(|host| host.split('.').all(is_label))
}

/// Checks one component against `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_alphanumeric =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
        && text.split(is_alphanumeric).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

/// Spells a name in Docker Hub out; all other names stay as they are.
///
/// Source: distribution/reference, `normalize.go`.
fn in_docker_hub(registry: &str, repository: &str) -> (String, String) {
    match registry {
        "docker.io" | "index.docker.io" if repository.contains('/') => {
            (DOCKER_HUB.to_owned(), repository.to_owned())
        }
        "docker.io" | "index.docker.io" => {
            (DOCKER_HUB.to_owned(), format!("{OFFICIAL_IMAGES}/{repository}"))
        }
        _ => (registry.to_owned(), repository.to_owned()),
    }
}

fn name_bytes(registry: &str, repository: &str) -> usize {
    registry.len() + 1 + repository.len()
}

/// The longest reference that is looked at: a path of 4096 bytes (`PATH_MAX`) with a tag or digest.
const MAX_REFERENCE_BYTES: usize = 4096 + 1 + MAX_TAG_BYTES + "oci-archive:".len();

/// What every client takes when a registry reference has no tag.
const DEFAULT_TAG: &str = "latest";

/// The name of Docker Hub, whose images without a namespace are in that of the official images.
const DOCKER_HUB: &str = "docker.io";
const OFFICIAL_IMAGES: &str = "library";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    fn tag(text: &str) -> Selector {
        Selector::Tag(text.parse().unwrap())
    }

    #[test]
    fn registry_references_are_split_into_their_parts() {
        let digest = Digest::of(b"image");
        for (text, registry, repository, selector) in [
            ("registry:5000/app:v1", "registry:5000", "app", tag("v1")),
            ("registry.example/a/b_c/d--e", "registry.example", "a/b_c/d--e", tag("latest")),
            ("localhost/app:_x", "localhost", "app", tag("_x")),
            ("[::1]:5000/app:V1.0", "[::1]:5000", "app", tag("V1.0")),
            (&format!("r.example/app@{digest}"), "r.example", "app", Selector::Digest(digest)),
            (&format!("r.example/app:v1@{digest}"), "r.example", "app", Selector::Digest(digest)),
        ] {
            let expected = RegistryReference {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
                selector,
            };
            assert_eq!(parse(text), Ok(Reference::Registry(expected)), "{text}");
        }
    }

    #[test]
    fn names_in_docker_hub_are_spelled_out() {
        let digest = Digest::of(b"image");
        let pinned = format!("docker.io/library/nginx@{digest}");
        for (text, expected) in [
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/nginx:1.27", "docker.io/library/nginx:1.27"),
            (&format!("index.docker.io/nginx@{digest}"), &pinned),
            ("docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/team/app:v1", "docker.io/team/app:v1"),
            ("index.docker.io/team/app:v1", "docker.io/team/app:v1"),
            // Other registries know no such namespace, nor does another port.
            ("quay.io/nginx:v1", "quay.io/nginx:v1"),
            ("registry-1.docker.io/nginx:v1", "registry-1.docker.io/nginx:v1"),
            ("docker.io:5000/nginx:v1", "docker.io:5000/nginx:v1"),
            ("localhost/docker.io/nginx:v1", "localhost/docker.io/nginx:v1"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
        let destination = Reference::destination("docker.io/nginx", &tag("v1")).unwrap();
        assert_eq!(destination.to_string(), "docker.io/library/nginx:v1");
        assert!(matches!(parse("docker.io/"), Err(ReferenceError::Repository { .. })));
        assert!(matches!(parse("docker.io/Nginx"), Err(ReferenceError::UpperCase { .. })));
    }

    #[test]
    fn paths_end_at_the_first_colon_or_at_a_digest() {
        let digest = Digest::of(b"image");
        let layout = |directory: &str, selector| {
            Ok(Reference::Layout { directory: PathBuf::from(directory), selector })
        };
        assert_eq!(parse("oci:../out"), layout("../out", Selector::Only));
        assert_eq!(parse("oci:out:v1"), layout("out", tag("v1")));
        assert_eq!(parse("oci:out:r.example/app:v1"), layout("out", tag("r.example/app:v1")));
        assert_eq!(parse("oci:a@1:v1"), layout("a@1", tag("v1")));
        assert_eq!(parse(&format!("oci:a@1@{digest}")), layout("a@1", Selector::Digest(digest)));
        assert_eq!(
            parse("oci-archive:-:v1"),
            Ok(Reference::Archive { file: ArchiveFile::StandardStream, selector: tag("v1") })
        );
        assert_eq!(
            parse("oci-archive:image.tar"),
            Ok(Reference::Archive {
                file: ArchiveFile::Path(PathBuf::from("image.tar")),
                selector: Selector::Only
            })
        );
    }

    #[test]
    fn images_keep_their_tag_where_they_get_no_other() {
        let digest = Digest::of(b"image");
        let at_digest = format!("oci:out@{digest}");
        for (text, source, expected) in [
            ("oci:out", tag("v1"), "oci:out:v1"),
            ("oci:out:v2", tag("v1"), "oci:out:v2"),
            ("oci:out", Selector::Only, "oci:out"),
            ("oci:out", Selector::Digest(digest), "oci:out"),
            (&at_digest, tag("v1"), &at_digest),
            ("oci-archive:-", tag("v1"), "oci-archive:-:v1"),
            ("r.example/app", tag("v1"), "r.example/app:v1"),
            ("r.example/app:v2", tag("r.example/app:v1"), "r.example/app:v2"),
            ("r.example/app", Selector::Only, "r.example/app:latest"),
            ("r.example/app", Selector::Digest(digest), "r.example/app:latest"),
        ] {
            let destination = Reference::destination(text, &source).unwrap();
            assert_eq!(destination.to_string(), expected);
        }
        assert!(matches!(
            Reference::destination("r.example/app", &tag("r.example/app:v1")),
            Err(ReferenceError::Tag { .. })
        ));
    }

    #[test]
    fn wrong_references_say_what_is_wrong() {
        let digest = Digest::of(b"image");
        let kind = |text: &str| match parse(text).unwrap_err() {
            ReferenceError::Digest { .. } => "digest",
            ReferenceError::EmptyPath { .. } => "empty path",
            ReferenceError::EmptyTag { .. } => "empty tag",
            ReferenceError::NoRegistry { .. } => "no registry",
            ReferenceError::Registry { .. } => "registry",
            ReferenceError::Repository { .. } => "repository",
            ReferenceError::Scheme { .. } => "scheme",
            ReferenceError::Tag { .. } => "tag",
            ReferenceError::TagAndDigest { .. } => "tag and digest",
            ReferenceError::TooLong { .. } => "too long",
            ReferenceError::UpperCase { .. } => "upper case",
        };
        let long_name = format!("r.example/{}", "a".repeat(300));
        let long_tag = format!("r.example/a:{}", "a".repeat(129));
        let tag_and_digest = format!("oci:dir:v1@{digest}");
        let huge = format!("oci:{}", "a".repeat(10_000));
        for (text, expected) in [
            ("", "no registry"),
            ("ubuntu", "no registry"),
            ("library/ubuntu:v1", "no registry"),
            ("Registry.example/app", "registry"),
            ("registry:/app", "registry"),
            ("registry:99999/app", "registry"),
            ("registry:+80/app", "registry"),
            ("-r.example/app", "registry"),
            ("r..example/app", "registry"),
            ("[::g]:5000/app", "registry"),
            ("r.example/App", "upper case"),
            ("r.example/a/../b", "repository"),
            ("r.example/a/..", "repository"),
            ("r.example//a", "repository"),
            ("r.example/", "repository"),
            ("r.example/a___b", "repository"),
            ("r.example/a._b", "repository"),
            ("r.example/a-", "repository"),
            ("r.example/ä", "repository"),
            ("r.example/a b", "repository"),
            ("r.example/a\nb", "repository"),
            ("r.example/app:", "empty tag"),
            ("r.example/app:v1:v2", "tag"),
            ("r.example/app:-v1", "tag"),
            (&long_tag, "tag"),
            (&long_name, "too long"),
            ("r.example/app@", "digest"),
            ("r.example/app@sha512:00", "digest"),
            ("r.example/app@sha256:00", "digest"),
            ("docker://r.example/app", "scheme"),
            ("https://r.example/app", "scheme"),
            ("oci:", "empty path"),
            ("oci::v1", "empty path"),
            ("oci:dir:", "empty tag"),
            ("oci:dir:../v1", "tag"),
            ("oci:dir:a//b", "tag"),
            ("oci:dir: ", "tag"),
            ("oci:dir@sha256:00", "digest"),
            ("oci:dir@SHA256:00", "digest"),
            (&tag_and_digest, "tag and digest"),
            (&huge, "too long"),
            ("oci-archive:", "empty path"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_written_and_read_back_the_same(text in "\\PC{0,60}") {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
            }
        }

        #[test]
        fn well_formed_references_parse(
            host in "[a-z0-9]{1,8}\\.[a-z]{2,6}(:[1-9][0-9]{0,3})?",
            repository in "[a-z0-9]{1,5}([._-][a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}){0,2}",
            tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        ) {
            let text = format!("{host}/{repository}:{tag}");
            prop_assert_eq!(parse(&text).map(|reference| reference.to_string()), Ok(text));
        }
    }
}
