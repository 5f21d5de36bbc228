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
    form: Form,
    host: &'a str,
    namespace: &'a str,
}

/// Is how a key is written; the later form is the more precise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Http,
    Https,
    Name,
}

impl<'a> Key<'a> {
    /// Reads `host[:port][/namespace]`, or an address, whose path says nothing.
    pub(super) fn parse(text: &'a str) -> Self {
        let (form, name) = if let Some(name) = text.strip_prefix("https://") {
            (Form::Https, name)
        } else if let Some(name) = text.strip_prefix("http://") {
            (Form::Http, name)
        } else {
            (Form::Name, text)
        };
        let (host, path) = name.split_once('/').unwrap_or((name, ""));
        let path = path.trim_matches('/');
        // Some write the address of the registry's interface without a scheme.
        let is_namespace = form == Form::Name && !matches!(path, "v1" | "v2");
        Self { form, host, namespace: if is_namespace { path } else { "" } }
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
    /// longer namespace fits better, then the registry's very name, then the more precise form.
    pub(super) fn fitness(&self, registry: &str) -> (usize, bool, Form) {
        (self.namespace.len(), self.host == registry, self.form)
    }
}
