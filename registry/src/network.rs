//! How registries are reached.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::credentials::Credentials;
use crate::distribution::Patience;
use crate::tls::Tls;

/// Says how registries are reached, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// As whom registries are addressed.
    pub credentials: Credentials,
    /// How long registries are waited for.
    pub patience: Patience,
    /// Whether to speak HTTP without TLS to any registry; to one on this machine's loopback
    /// addresses it is spoken anyway where TLS is not answered.
    pub plain_http: bool,
    /// How the referrers of a manifest are found and listed.
    pub referrers: ReferrersMode,
    /// Which registries are believed, and which client certificates they are shown.
    pub tls: Tls,
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

/// Tells whether `registry` (`host[:port]`) is one of this machine's loopback addresses, where
/// nobody listens in, so that TLS may be left out unasked.
///
/// Of all names only `localhost` is: what others lead to is up to the resolver.
pub fn is_loopback(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return is_port(port)
                    && address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
            }
            None => return false,
        },
        None => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    is_port(port)
        && (host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback()))
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|digits| {
            // The library's numbers may have a sign.
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_localhost_and_addresses_alone() {
        for registry in [
            "localhost",
            "localhost:5000",
            "LocalHost",
            "127.0.0.1",
            "127.0.0.1:5000",
            "127.255.255.254:1",
            "[::1]",
            "[::1]:5000",
            "[0:0:0:0:0:0:0:1]:80",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "",
            ":",
            "localhost.evil.example",
            "localhost.evil.example:5000",
            "localhost:5000.evil.example",
            "localhost:@evil.example",
            "localhost:+80",
            "localhost:99999",
            "localhost:",
            "localhost:5000/",
            "localhost/app",
            "localhost@evil.example",
            "my.localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0127.0.0.1",
            "2130706433",
            "0.0.0.0",
            "128.0.0.1",
            "10.0.0.1:5000",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[::1]:",
            "[::]",
            "[::2]:5000",
            "[::ffff:127.0.0.1]",
            "[fe80::1]",
            "[localhost]",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
