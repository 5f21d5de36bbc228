//! The names by which configurations and helpers know registries.

/// Returns the one name for all names of a registry (`host[:port]`), to be compared with others.
pub(super) fn canonical(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    match registry.as_str() {
        "docker.io" | "registry-1.docker.io" => "index.docker.io".to_owned(),
        _ => registry,
    }
}

/// Returns the names for which a helper is to be asked, one after another.
///
/// Docker stores the credential of its own registry under the address that this once had, podman
/// under the name of the registry.
pub(super) fn names_for_helpers(registry: &str) -> Vec<&str> {
    if canonical(registry) == canonical("docker.io") {
        vec!["https://index.docker.io/v1/", "docker.io"]
    } else {
        vec![registry]
    }
}

/// Is a key of a configuration: a registry, or a namespace or repository in one.
#[derive(Debug)]
pub(super) struct Key<'a> {
    text: &'a str,
    host: &'a str,
    namespace: &'a str,
}

impl<'a> Key<'a> {
    /// Reads `host[:port][/namespace]`, or an address, whose path says nothing.
    pub(super) fn parse(text: &'a str) -> Self {
        let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let (host, path) = address
            .unwrap_or(text)
            .split_once('/')
            .unwrap_or_else(|| (address.unwrap_or(text), ""));
        let path = path.trim_matches('/');
        // Some write the address of the registry's interface without a scheme.
        let is_address = address.is_some() || matches!(path, "v1" | "v2");
        Self { text, host, namespace: if is_address { "" } else { path } }
    }

    /// Tells whether the key is for a whole registry, and for this one.
    pub(super) fn is_registry(&self, registry: &str) -> bool {
        self.namespace.is_empty() && canonical(self.host) == canonical(registry)
    }

    /// Tells whether `repository` of `registry` is what the key names or lies in it.
    pub(super) fn covers(&self, registry: &str, repository: &str) -> bool {
        canonical(self.host) == canonical(registry)
            && (self.namespace.is_empty()
                || repository
                    .strip_prefix(self.namespace)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// Returns how well the key fits `registry`, to be compared with other keys that cover it: a
    /// longer namespace fits better, then the registry's very name, then a name without a scheme.
    pub(super) fn fitness(&self, registry: &str) -> (usize, bool, bool) {
        (self.namespace.len(), self.host == registry, self.text.starts_with(self.host))
    }
}
