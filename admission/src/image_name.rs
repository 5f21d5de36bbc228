//! Names of images as Kubernetes has them.

use osguard_registry::reference::{ReferenceError, RegistryReference};

/// Parses the name of an image as containerd and kubelet read it: what has no host lies in Docker
/// Hub, what has neither tag nor digest is `latest`.
///
/// | name | image |
/// |---|---|
/// | `nginx` | `docker.io/library/nginx:latest` |
/// | `team/app:v1` | `docker.io/team/app:v1` |
/// | `oci:v1` | `docker.io/library/oci:v1`, and never a directory of this machine |
/// | `registry.example/app:v1@sha256:…` | the digest decides |
///
/// Source: distribution/reference, `normalize.go`, `splitDockerDomain`.
///
/// # Errors
///
/// Returns what is wrong with the name. Letters beyond ASCII, white space and control characters
/// are in no name.
pub fn parse(name: &str) -> Result<RegistryReference, ReferenceError> {
    match has_host(name) {
        true => name.parse(),
        // The check of the length comes first: such a name must not be copied.
        false if name.len() > MAX_NAME_BYTES => name.parse(),
        false => format!("docker.io/{name}").parse(),
    }
}

/// Tells whether the name says for itself which image it is, whatever becomes of tags.
pub fn is_pinned(name: &str) -> bool {
    name.contains('@')
}

/// Returns the name with a digest that says what its tag has led to.
pub fn pinned(name: &str, digest: &libverity::digest::Digest) -> String {
    format!("{name}@{digest}")
}

/// The first component is a host if it has a dot, a colon or an upper-case letter, or is
/// `localhost`.
fn has_host(name: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| {
        first == "localhost"
            || first.contains(['.', ':'])
            || first.bytes().any(|byte| byte.is_ascii_uppercase())
    })
}

/// Longer than any name that means something; what is longer is refused without a copy.
const MAX_NAME_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_by_containerd() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app", "docker.io/team/app:latest"),
            ("oci:v1", "docker.io/library/oci:v1"),
            ("oci-archive:v1", "docker.io/library/oci-archive:v1"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("oci:5000/app:v1", "oci:5000/app:v1"),
            ("registry.example/a/b:c", "registry.example/a/b:c"),
            (&format!("nginx@{digest}"), &format!("docker.io/library/nginx@{digest}")),
            (&format!("r.example/a:v1@{digest}"), &format!("r.example/a@{digest}")),
        ] {
            assert_eq!(parse(name).map(|name| name.to_string()).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [
            "",
            " ",
            "nginx ",
            "Nginx",
            "Team/app",
            "nginx:",
            "nginx@sha256:00",
            "oci:/etc/app",
            "https://registry.example/app",
            "registry.example/",
            "registry.example//app",
            "registry.example/../app",
            "registry.example/app\n",
            "registry.example/app\0",
            // Letters that look like others, an invisible one, and one that turns the line around.
            "registry.example/аpp",
            "regıstry.example/app",
            "registry.example/app\u{200b}",
            "registry.example/\u{202e}ppa",
            "registry.example/app:ｖ1",
            &"a".repeat(10_000),
            &format!("registry.example/{}", "a/".repeat(5_000)),
        ] {
            assert!(parse(name).is_err(), "{name:.60}");
        }
    }
}
