//! notation's files: the example of its specification, and every kind of mistake.

use std::time::SystemTime;

use insta::assert_snapshot;
use osguard_policy::trust::{Enforcement, NoScope, Repository};
use serde_json::{Value, json};

use crate::files::Files;

/// Holds the trust stores of [`policy`].
fn files() -> Files {
    let files = Files::new();
    let alice = std::fs::read(files.path("alice.crt")).unwrap();
    for store in ["acme-rockets", "wabbit-networks"] {
        files.write(&format!("truststore/x509/ca/{store}/root.crt"), &alice);
    }
    files
}

/// Is the policy of the specification, in short.
fn policy() -> Value {
    json!({ "version": "1.0", "trustPolicies": [
        {
            "name": "wabbit-networks-images",
            "registryScopes": [
                "registry.acme-rockets.io/software/net-monitor",
                "registry.acme-rockets.io/software/net-logger"
            ],
            "signatureVerification": { "level": "strict" },
            "trustStores": ["ca:wabbit-networks", "tsa:acme"],
            "trustedIdentities": [
                "x509.subject: C=US, ST=WA, L=Seattle, O=wabbit-networks.io, OU=Security Tools"
            ]
        },
        {
            "name": "unsigned-image",
            "registryScopes": ["registry.acme-rockets.io/software/unsigned/productA"
                .to_ascii_lowercase()],
            "signatureVerification": { "level": "skip" }
        },
        {
            "name": "use-expired-image",
            "registryScopes": ["registry.acme-rockets.io/software/legacy/metrics"],
            "signatureVerification": {
                "level": "strict",
                "override": { "authenticTimestamp": "log", "expiry": "log" },
                "verifyTimestamp": "afterCertExpiry"
            },
            "trustStores": ["ca:acme-rockets"],
            "trustedIdentities": ["*"]
        },
        {
            "name": "global-policy-for-all-other-images",
            "registryScopes": ["*"],
            "signatureVerification": { "level": "audit" },
            "trustStores": ["ca:acme-rockets"],
            "trustedIdentities": ["x509.subject: C=US, ST=WA, O=acme-rockets.io"]
        }
    ] })
}

#[test]
fn the_example_of_the_specification_is_read() {
    let configuration = files().read("trustpolicy.oci.json", &policy().to_string()).unwrap();
    let scope = |repository: &str| {
        let repository: Repository = repository.parse().unwrap();
        configuration.judge(Some(&repository), SystemTime::now()).unwrap().scope()
    };
    let monitor = scope("registry.acme-rockets.io/software/net-monitor");
    assert_eq!(monitor.name, "wabbit-networks-images");
    assert_eq!(monitor.validity, Enforcement::Enforce);
    assert_eq!(monitor.stores[0].name, "ca:wabbit-networks");
    assert_eq!((monitor.stores.len(), monitor.stores[0].subjects.len()), (1, 1));
    let expired = scope("registry.acme-rockets.io/software/legacy/metrics");
    assert_eq!(expired.validity, Enforcement::Log);
    assert_eq!(expired.authenticity, Enforcement::Enforce);
    assert!(expired.stores[0].subjects.is_empty());
    let unsigned = scope("registry.acme-rockets.io/software/unsigned/producta");
    assert_eq!(unsigned.authenticity, Enforcement::Skip);
    let other = scope("registry.acme-rockets.io/software/net-monitor/sub");
    assert_eq!(other.authenticity, Enforcement::Log);
    assert_snapshot!(configuration.remarks.join("\n"), @r#"
    trust policy "wabbit-networks-images": tsa:acme is of no use for root-hash signatures
    trust policy "wabbit-networks-images": neither OCSP nor revocation lists are asked
    trust policy "use-expired-image": neither OCSP nor revocation lists are asked
    "#);
}

#[test]
fn an_image_that_no_scope_covers_is_nobodys() {
    let mut policy = policy();
    policy["trustPolicies"].as_array_mut().unwrap().pop();
    let files = files();
    let configuration = files.read("trustpolicy.oci.json", &policy.to_string()).unwrap();
    let repository: Repository = "h/a".parse().unwrap();
    let error = configuration.judge(Some(&repository), SystemTime::now()).unwrap_err();
    let path = files.path("trustpolicy.oci.json");
    assert_eq!(error, NoScope { path, repository: Some("h/a".to_owned()) });
    let error = configuration.judge(None, SystemTime::now()).unwrap_err();
    assert!(error.to_string().ends_with("trusts nobody for images that lie in no registry"));
}

#[test]
fn mistakes_are_those_of_notation() {
    let files = files();
    let told = |(pointer, value): (&str, Value)| {
        let mut policy = policy();
        match policy.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                policy.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        files.refusal("trustpolicy.oci.json", &policy.to_string())
    };
    let first = |field: &str| format!("/trustPolicies/0/{field}");
    let mistakes = [
        ("/version".to_owned(), json!("2.0")),
        ("/version".to_owned(), json!(1)),
        ("/trustPolicies".to_owned(), json!([])),
        ("/more".to_owned(), json!(true)),
        (first("name"), json!("")),
        (first("name"), json!("unsigned-image")),
        (first("registryScopes"), json!([])),
        (first("registryScopes"), json!(["*", "h/a"])),
        (first("registryScopes"), json!(["h/*"])),
        (first("registryScopes"), json!(["h/a:v1"])),
        (first("registryScopes"), json!(["registry.acme-rockets.io/software/legacy/metrics"])),
        (first("signatureVerification"), json!({ "level": "lax" })),
        (first("signatureVerification"), json!({ "level": "skip" })),
        (first("signatureVerification/override"), json!({ "integrity": "log" })),
        (first("signatureVerification/override"), json!({ "authenticity": "skip" })),
        (first("signatureVerification/override"), json!({ "colour": "log" })),
        (first("signatureVerification/override"), json!({ "expiry": "maybe" })),
        (first("signatureVerification/verifyTimestamp"), json!("never")),
        (first("trustStores"), json!([])),
        (first("trustStores"), json!(["wabbit-networks"])),
        (first("trustStores"), json!(["ca:.."])),
        (first("trustStores"), json!(["ca:../ca/acme-rockets"])),
        (first("trustStores"), json!(["dns:acme-rockets"])),
        (first("trustStores"), json!(["ca:absent"])),
        (first("trustedIdentities"), json!([])),
        (first("trustedIdentities"), json!(["*", "x509.subject: C=US, ST=WA, O=a"])),
        (first("trustedIdentities"), json!(["x509.subject: C=US, ST=WA"])),
        (first("trustedIdentities"), json!(["x509.subject: C=US, ST=WA, O=a, O=b"])),
        (first("trustedIdentities"), json!(["x509.subject: C=US, ST=WA, O=a+OU=b"])),
        (first("trustedIdentities"), json!(["x509.subject:"])),
        (first("trustedIdentities"), json!(["did:web:a"])),
        (
            first("trustedIdentities"),
            json!(["x509.subject: C=US, ST=WA, O=a", "x509.subject: C=US, ST=WA, O=a, CN=b"]),
        ),
    ];
    let told = mistakes.iter().map(|(pointer, value)| told((pointer, value.clone())));
    assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    trustpolicy.oci.json has the version 2.0, and 1.0 is known here
    trustpolicy.oci.json, line 1, column 1018: invalid type: integer `1`, expected a string
    trustpolicy.oci.json: it has no trust policy
    trustpolicy.oci.json, line 1, column 7: unknown field `more`, expected `version` or `trustPolicies`
    trustpolicy.oci.json: trust policy "": it has no name
    trustpolicy.oci.json: a second scope is named "unsigned-image"
    trustpolicy.oci.json: trust policy "wabbit-networks-images": it has no registryScopes
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "*": `*` is a registry scope by itself alone
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "h/*": `*` is a registry scope by itself alone
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "h/a:v1" is no registry scope: write HOST/REPOSITORY, without a tag
    trustpolicy.oci.json: the scopes "wabbit-networks-images" and "use-expired-image" both have "registry.acme-rockets.io/software/legacy/metrics"
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "lax" is no level of verification
    trustpolicy.oci.json: trust policy "wabbit-networks-images": it skips verification and yet names whom to trust
    trustpolicy.oci.json: trust policy "wabbit-networks-images": integrity cannot be overridden
    trustpolicy.oci.json: trust policy "wabbit-networks-images": authenticity cannot be skipped by itself
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "colour" is nothing that is verified
    trustpolicy.oci.json, line 1, column 235: unknown variant `maybe`, expected one of `enforce`, `log`, `skip`
    trustpolicy.oci.json, line 1, column 232: unknown variant `never`, expected `afterCertExpiry` or `always`
    trustpolicy.oci.json: trust policy "wabbit-networks-images": it needs trustStores and trustedIdentities
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "wabbit-networks" is no trust store: write ca:NAME
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "ca:.." is no trust store: write ca:NAME
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "ca:../ca/acme-rockets" is no trust store: write ca:NAME
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "dns:acme-rockets" is of an unknown type
    cannot read truststore/x509/ca/absent
    trustpolicy.oci.json: trust policy "wabbit-networks-images": it needs trustStores and trustedIdentities
    trustpolicy.oci.json: trust policy "wabbit-networks-images": the trusted identity `*` stands by itself alone
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "x509.subject: C=US, ST=WA" lacks O; C, ST and O are the least
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "x509.subject: C=US, ST=WA, O=a, O=b": "O=b" repeats an attribute, of which a name has one each
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "x509.subject: C=US, ST=WA, O=a+OU=b": "O=a" joins attributes with `+`; write a comma, or `\+` for the sign itself
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "x509.subject:": "" is not an attribute of a name, such as CN=release or O=Example
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "did:web:a" is no trusted identity: write x509.subject: NAME
    trustpolicy.oci.json: trust policy "wabbit-networks-images": "x509.subject: C=US, ST=WA, O=a, CN=b" overlaps with another trusted identity
    "#);
}
