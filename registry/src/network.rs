//! How registries are reached.

/// Says how registries are reached, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Whether to speak HTTP without TLS to any registry; to one on this machine's loopback
    /// addresses it is spoken anyway where TLS is not answered.
    pub plain_http: bool,
    /// How the referrers of a manifest are found and listed.
    pub referrers: ReferrersMode,
}

/// Says how the referrers of a manifest are found and listed in a registry.
///
/// Source: OCI distribution specification, "Listing Referrers" and "Referrers Tag Schema".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferrersMode {
    /// By the registry's referrers API alone.
    Api,
    /// By the API, and by the tag where the registry has no API.
    #[default]
    Auto,
    /// By the index under the tag that is derived from the subject's digest.
    Tag,
}
