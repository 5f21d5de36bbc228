//! HTTPS, as skopeo speaks it.

use std::fs;
use std::path::PathBuf;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::registry::Registry;
use osguard_testkit::test_pki::Identity;
use osguard_testkit::tls::TlsAuthority;
use osguard_testkit::{Error, or_skip};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Asks for the manifest `a:v1`; `None` where there is no skopeo.
fn inspects(
    registry: &Registry,
    trusted: &TlsAuthority,
    client: Option<&Identity>,
) -> Option<Result<(), String>> {
    let clients = Clients::new().expect("a home");
    let certificates: PathBuf = clients.home().join("certificates");
    fs::create_dir(&certificates).expect("a directory");
    fs::copy(trusted.certificate(), certificates.join("ca.crt")).expect("a file");
    if let Some(client) = client {
        fs::copy(&client.certificate, certificates.join("client.cert")).expect("a file");
        fs::copy(&client.key, certificates.join("client.key")).expect("a file");
    }
    let mut skopeo = or_skip(clients.skopeo())?;
    let image = format!("docker://{}/a:v1", registry.host());
    skopeo.args(["inspect", "--raw", &image, "--cert-dir"]).arg(certificates);
    Some(match run(&mut skopeo) {
        Ok(manifest) => {
            assert_eq!(manifest, b"{}");
            Ok(())
        }
        Err(Error::Command { message, .. }) => Err(message),
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn only_who_trusts_the_authority_comes_in() {
    let authority = TlsAuthority::new().expect("an authority");
    let other = TlsAuthority::new().expect("an authority");
    let registry =
        Registry::builder().tls(&authority).expect("a certificate").start().expect("a registry");
    assert_eq!(registry.url(), format!("https://{}", registry.host()));
    registry.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    let Some(trusting) = inspects(&registry, &authority, None) else { return };
    assert_eq!(trusting, Ok(()));
    let distrusting = inspects(&registry, &other, None).expect("skopeo").expect_err("no trust");
    assert!(distrusting.contains("unknown authority"), "{distrusting}");
}

#[test]
fn only_a_server_of_this_name_is_believed() {
    let authority = TlsAuthority::new().expect("an authority");
    let elsewhere = authority.server_for("elsewhere", &["elsewhere.example"]).expect("an identity");
    let registry = Registry::builder().tls_as(&elsewhere, None).expect("a certificate");
    let registry = registry.start().expect("a registry");
    let Some(result) = inspects(&registry, &authority, None) else { return };
    let refused = result.expect_err("a wrong name");
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn only_clients_with_a_certificate_come_in() {
    let authority = TlsAuthority::new().expect("an authority");
    let other = TlsAuthority::new().expect("an authority");
    let server = authority.server().expect("an identity");
    let registry = Registry::builder().tls_as(&server, Some(&authority)).expect("settings of TLS");
    let registry = registry.start().expect("a registry");
    registry.put_manifest("a", Some("v1"), MANIFEST, b"{}");
    let [known, unknown] =
        [&authority, &other].map(|authority| authority.client("client").expect("an identity"));
    let Some(result) = inspects(&registry, &authority, Some(&known)) else { return };
    assert_eq!(result, Ok(()));
    for client in [None, Some(&unknown)] {
        let refused = inspects(&registry, &authority, client).expect("skopeo");
        assert!(refused.is_err());
    }
}
