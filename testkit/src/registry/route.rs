//! The addresses of the distribution specification 1.1.

use super::error::Refusal;

/// Is what the path of a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Base,
    Blob { repository: &'a str, digest: &'a str },
    Manifest { repository: &'a str, reference: &'a str },
    Referrers { repository: &'a str, digest: &'a str },
    Tags { repository: &'a str },
    Upload { repository: &'a str, upload: &'a str },
    Uploads { repository: &'a str },
}

impl<'a> Route<'a> {
    /// Reads a path that is percent-decoded already.
    pub(super) fn parse(path: &'a str) -> Result<Self, Refusal> {
        let unknown = || Refusal::plain(404, "404 page not found\n");
        let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
        if rest.is_empty() {
            return Ok(Self::Base);
        }
        let route = if let Some(repository) = rest.strip_suffix("/tags/list") {
            Self::Tags { repository }
        } else {
            let (rest, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
            let (repository, kind) = rest.rsplit_once('/').ok_or_else(unknown)?;
            match (kind, repository.strip_suffix("/blobs")) {
                ("uploads", Some(repository)) if last.is_empty() => Self::Uploads { repository },
                ("uploads", Some(repository)) => Self::Upload { repository, upload: last },
                ("blobs", _) if last == "uploads" => Self::Uploads { repository },
                ("blobs", _) => Self::Blob { repository, digest: last },
                ("manifests", _) => Self::Manifest { repository, reference: last },
                ("referrers", _) => Self::Referrers { repository, digest: last },
                _ => return Err(unknown()),
            }
        };
        match route.repository() {
            Some(name) if !is_name(name) => {
                Err(Refusal::new(400, "NAME_INVALID", format!("invalid repository name {name:?}")))
            }
            _ => Ok(route),
        }
    }

    /// Returns the repository that is named.
    pub(super) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Base => None,
            Self::Blob { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::Tags { repository }
            | Self::Upload { repository, .. }
            | Self::Uploads { repository } => Some(repository),
        }
    }
}

/// Tells a digest: `sha256:` and 64 lower-case hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Tells a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Tells the name of a repository: components of lower-case letters and digits, inside which
/// `.`, `_`, `__` and any number of `-` may stand alone.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.split(alphanumeric).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_address() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let blob = format!("/v2/a/b/blobs/{digest}");
        for (path, route) in [
            ("/v2/", Route::Base),
            (&blob, Route::Blob { repository: "a/b", digest: &digest }),
            ("/v2/a/manifests/v1", Route::Manifest { repository: "a", reference: "v1" }),
            (
                "/v2/blobs/uploads/manifests/x",
                Route::Manifest { repository: "blobs/uploads", reference: "x" },
            ),
            ("/v2/a/referrers/x", Route::Referrers { repository: "a", digest: "x" }),
            ("/v2/a/tags/list", Route::Tags { repository: "a" }),
            ("/v2/a/blobs/uploads", Route::Uploads { repository: "a" }),
            ("/v2/a/blobs/uploads/", Route::Uploads { repository: "a" }),
            ("/v2/a/blobs/uploads/7", Route::Upload { repository: "a", upload: "7" }),
        ] {
            assert_eq!(Route::parse(path).unwrap(), route, "{path}");
        }
        for path in ["/v1/", "/v2", "/v2/a", "/v2/a/b/c", "/v2//manifests/x", "/v2/A/tags/list"] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn tells_names_tags_and_digests() {
        for name in ["a", "a0/b", "a.b", "a_b", "a__b", "a-b", "a---b", "library/image-1.0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "/", "a/", "/a", "A", "a..b", "a___b", "-a", "a-", "a._b", "a b"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_tag("_V1.0-x") && is_tag(&"t".repeat(128)));
        assert!(!is_tag("") && !is_tag(".a") && !is_tag("a:b") && !is_tag(&"t".repeat(129)));
        assert!(is_digest(&format!("sha256:{}", "f".repeat(64))));
        assert!(!is_digest(&format!("sha256:{}", "F".repeat(64))) && !is_digest("sha256:00"));
    }
}
