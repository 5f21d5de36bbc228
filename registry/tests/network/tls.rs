//! TLS: who is believed to be the registry, and whom it believes.

use osguard_registry::distribution::{ConnectFailure, RegistryError};
use osguard_registry::network::Network;
use osguard_registry::place::Listing;
use osguard_registry::reference::Selector;
use osguard_registry::tls::Tls;
use osguard_testkit::registry::Registry;
use osguard_testkit::tls::TlsAuthority;

use crate::support::*;

#[test]
fn a_private_authority_is_believed_where_it_is_named() {
    let authority = TlsAuthority::new().unwrap();
    let registry = Registry::builder().tls(&authority).unwrap().start().unwrap();
    let network = with_tls(Tls::default().with_ca_file(authority.certificate()));
    let place = open_with(&registry, REPOSITORY, &network);
    let image = push_image(&*place, &content(1_000_000), Listing::Tag(&tag("v1")));
    assert_eq!(place.resolve(&Selector::Tag(tag("v1"))).unwrap().digest, image.digest());
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_even_on_this_machine() {
    let authority = TlsAuthority::new().unwrap();
    let registry = Registry::builder().tls(&authority).unwrap().start().unwrap();
    let elsewhere = authority.server_for("elsewhere", &["registry.example"]).unwrap();
    let other = Registry::builder().tls_as(&elsewhere, None).unwrap().start().unwrap();
    let trusting = with_tls(Tls::default().with_ca_file(authority.certificate()));
    for (registry, network) in [(&registry, network()), (&other, trusting)] {
        let place = open_with(registry, REPOSITORY, &network);
        let error = refusal(place.resolve(&Selector::Tag(tag("v1"))));
        assert!(
            matches!(error, RegistryError::Connect { failure: ConnectFailure::Certificate, .. }),
            "{error}"
        );
        // Nothing was said to it but hello.
        assert_eq!(registry.requests().len(), 0);
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let authority = TlsAuthority::new().unwrap();
    let server = authority.server().unwrap();
    let registry = Registry::builder().tls_as(&server, Some(&authority)).unwrap().start().unwrap();
    let client = authority.client("client").unwrap();
    let tls = Tls::default().with_ca_file(authority.certificate());
    let place = open_with(&registry, REPOSITORY, &with_tls(tls.clone()));
    let error = refusal(place.resolve(&Selector::Tag(tag("v1"))));
    assert!(
        matches!(error, RegistryError::Connect { .. } | RegistryError::Transfer { .. }),
        "{error}"
    );
    let tls = tls.with_client_certificate(&registry.host(), client.certificate, client.key);
    let place = open_with(&registry, REPOSITORY, &with_tls(tls));
    push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
}

#[test]
fn plain_http_is_spoken_where_it_is_asked_for() {
    let authority = TlsAuthority::new().unwrap();
    let registry = Registry::builder().tls(&authority).unwrap().start().unwrap();
    let network = Network { plain_http: true, ..network() };
    let place = open_with(&registry, REPOSITORY, &network);
    let error = refusal(place.resolve(&Selector::Tag(tag("v1"))));
    assert!(
        matches!(error, RegistryError::Transfer { .. } | RegistryError::Status { .. }),
        "{error}"
    );
    let plain = Registry::start().unwrap();
    push_image(&*open_with(&plain, REPOSITORY, &network), b"layer", Listing::Tag(&tag("v1")));
}

fn with_tls(tls: Tls) -> Network {
    Network { tls, ..network() }
}
