//! Handshakes with real servers, and the files that go wrong before.

use osguard_registry::environment::Environment;
use osguard_registry::tls::Tls;
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::sandbox::Sandbox;
use crate::server::{Authority, Identity, Server};

const HOST: &str = "127.0.0.1";

fn connect(server: &Server, tls: &Tls) -> Result<ProtocolVersion, String> {
    server.try_with(tls.client_config(&server.registry()).unwrap())
}

fn tls(sandbox: &Sandbox) -> Tls {
    Tls::of(sandbox.environment())
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

#[test]
fn a_private_authority_is_believed_where_it_is_named() {
    let sandbox = Sandbox::new();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = Server::start(&ours.server(HOST));
    let registry = server.registry();
    let error = connect(&server, &tls(&sandbox)).unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");

    // A bundle with text between the certificates, of which the second is the right one.
    let bundle = format!("other\n{}\nours\n{}", other.pem(), ours.pem());
    let with_file = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", bundle));
    assert_eq!(connect(&server, &with_file), Ok(ProtocolVersion::TLSv1_3));

    let environment = sandbox.environment().with_variable("XDG_CONFIG_HOME", sandbox.path("xdg"));
    for (environment, parent) in [
        (sandbox.environment(), "home/.config/containers"),
        (sandbox.environment(), "home/.docker"),
        (sandbox.environment(), "root/etc/containers"),
        (sandbox.environment(), "root/etc/docker"),
        (environment, "xdg/containers"),
    ] {
        let tls = Tls::of(environment);
        for elsewhere in [format!("{HOST}:1"), HOST.to_owned()] {
            sandbox.file(&format!("{parent}/certs.d/{elsewhere}/ca.crt"), ours.pem());
            let error = connect(&server, &tls).unwrap_err();
            assert!(error.contains("UnknownIssuer"), "{parent} {elsewhere}: {error}");
        }
        sandbox.file(&format!("{parent}/certs.d/{registry}/other.crt"), other.pem());
        let file = sandbox.file(&format!("{parent}/certs.d/{registry}/ca.crt"), ours.pem());
        assert_eq!(connect(&server, &tls), Ok(ProtocolVersion::TLSv1_3), "{parent}");
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_certificate_is_for_its_host() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let server = Server::start(&authority.server("127.0.0.2"));
    let tls = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", authority.pem()));
    let error = connect(&server, &tls).unwrap_err();
    assert!(error.contains("NotValidForName") || error.contains("not valid for name"), "{error}");
}

#[test]
fn tls_1_2_is_spoken() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let identity = authority.server(HOST);
    let server = Server::start_with(&identity, None, &[&rustls::version::TLS12]);
    let tls = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", authority.pem()));
    assert_eq!(connect(&server, &tls), Ok(ProtocolVersion::TLSv1_2));
}

#[test]
fn a_client_certificate_is_shown_to_its_registry_alone() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let client = authority.client("client");
    let tls = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", authority.pem()));
    let certificate = sandbox.file("client.pem", &client.certificate);
    let key = sandbox.file("client.key", &client.key);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let server = Server::start_with(&authority.server(HOST), Some(&authority), versions);
        let registry = server.registry();
        let shown = || server.take_requests().pop().and_then(|request| request.client_certificate);

        let error = connect(&server, &tls).unwrap_err();
        assert!(
            error.contains("CertificateRequired") || error.contains("HandshakeFailure"),
            "{error}"
        );
        let elsewhere = tls.clone().with_client_certificate(HOST, &certificate, &key);
        assert!(connect(&server, &elsewhere).is_err());
        assert_eq!(shown(), None);

        let given = tls.clone().with_client_certificate(&registry, &certificate, &key);
        assert!(connect(&server, &given).is_ok());
        assert_eq!(shown(), Some(der(&client)));

        let in_directory = authority.client("in-directory");
        let directory = format!("home/.docker/certs.d/{registry}");
        sandbox.file(&format!("{directory}/me.cert"), &in_directory.certificate);
        sandbox.file(&format!("{directory}/me.key"), &in_directory.key);
        assert!(connect(&server, &tls).is_ok());
        assert_eq!(shown(), Some(der(&in_directory)));
        // What the caller gives comes first.
        assert!(connect(&server, &given).is_ok());
        assert_eq!(shown(), Some(der(&client)));
    }
}

#[test]
fn of_several_client_certificates_the_server_gets_the_one_it_knows() {
    let sandbox = Sandbox::new();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = Server::start_for(&ours.server(HOST), &ours);
    let tls = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", ours.pem()));
    let right = ours.client("right");
    for (name, identity) in
        [("a", &other.client("wrong")), ("b", &right), ("c", &other.client("wrong"))]
    {
        let file = format!("home/.docker/certs.d/{}/{name}", server.registry());
        sandbox.file(&format!("{file}.cert"), &identity.certificate);
        sandbox.file(&format!("{file}.key"), &identity.key);
    }
    assert!(connect(&server, &tls).is_ok());
    assert_eq!(server.take_requests().pop().unwrap().client_certificate, Some(der(&right)));
}

#[test]
fn the_port_of_https_may_be_left_out() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let client = authority.client("client");
    let certificate = sandbox.file("client.pem", &client.certificate);
    let broken = sandbox.file("broken.pem", "no key");
    let tls = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", authority.pem()));
    for (given, elsewhere) in [("r.example", "r.example:44"), ("[::1]:443", "[::1]:4433")] {
        let name = given.trim_end_matches(":443");
        // Only who looks at the file finds that it is no key.
        let bound = tls.clone().with_client_certificate(given, &certificate, &broken);
        let file = sandbox.file(&format!("home/.docker/certs.d/{given}/ca.crt"), "no certificate");
        assert!(bound.client_config(elsewhere).is_ok());
        for registry in [name.to_owned(), format!("{name}:443")] {
            assert!(tls.client_config(&registry).is_err(), "{given} is not found for {registry}");
        }
        std::fs::remove_file(file).unwrap();
        for registry in [name.to_owned(), format!("{name}:443")] {
            assert!(bound.client_config(&registry).is_err(), "{given} is not used for {registry}");
        }
    }
}

#[test]
fn private_keys_have_several_forms() {
    let sandbox = Sandbox::new();
    let Some(mut openssl) = or_skip(command("openssl")) else { return };
    let ec = sandbox.path("ec.pem");
    let rsa = sandbox.path("rsa.pem");
    let certificate = |key: &str, options: &[&str]| {
        let file = sandbox.path(&format!("{key}-certificate.pem"));
        run(command("openssl")
            .unwrap()
            .args(["req", "-x509", "-nodes", "-subj", "/CN=client", "-days", "9"])
            .args(options)
            .arg("-keyout")
            .arg(sandbox.path(&format!("{key}.pem")))
            .arg("-out")
            .arg(&file))
        .unwrap();
        file
    };
    let ec_certificate =
        certificate("ec", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    let rsa_certificate = certificate("rsa", &["-newkey", "rsa:2048"]);
    let sec1 = sandbox.path("sec1.pem");
    run(openssl.args(["ec", "-in"]).arg(&ec).arg("-out").arg(&sec1)).unwrap();
    let pkcs1 = sandbox.path("pkcs1.pem");
    run(command("openssl")
        .unwrap()
        .args(["rsa", "-traditional", "-in"])
        .arg(&rsa)
        .arg("-out")
        .arg(&pkcs1))
    .unwrap();
    let encrypted = |name: &str, options: &[&str]| {
        let file = sandbox.path(name);
        run(command("openssl").unwrap().args(options).arg("-in").arg(&rsa).arg("-out").arg(&file))
            .unwrap();
        file
    };
    let pkcs8 = encrypted("pkcs8.pem", &["pkcs8", "-topk8", "-passout", "pass:secret"]);
    let old = encrypted("old.pem", &["rsa", "-traditional", "-aes128", "-passout", "pass:secret"]);
    let authority = sandbox.file("ca.pem", Authority::new("ours").pem());
    let tls = tls(&sandbox).with_ca_file(authority);
    for (certificate, key) in [
        (&ec_certificate, &ec),
        (&ec_certificate, &sec1),
        (&rsa_certificate, &rsa),
        (&rsa_certificate, &pkcs1),
    ] {
        let tls = tls.clone().with_client_certificate("r.example", certificate, key);
        assert!(tls.client_config("r.example").is_ok(), "{}", key.display());
    }
    for key in [pkcs8, old] {
        let tls = tls.clone().with_client_certificate("r.example", &rsa_certificate, &key);
        assert_eq!(
            tls.client_config("r.example").unwrap_err().to_string(),
            format!("the private key in {} is encrypted, and must not be", key.display())
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let client = authority.client("client");
    let ca = sandbox.file("ca.pem", authority.pem());
    let key = sandbox.file("key.pem", &client.key);
    let certificate = sandbox.file("certificate.pem", &client.certificate);
    let other_key = sandbox.file("other.key", &authority.client("other").key);
    let text = sandbox.file("text.pem", "no certificate");
    let long = sandbox.file("long.pem", " ".repeat((1 << 20) + 1));
    let half = sandbox.file("half.pem", &authority.pem()[..100]);
    let broken = authority.pem().replace("MII", "M*I");
    let broken = sandbox.file("broken.pem", broken.replace("MIB", "M*B"));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = sandbox.file("garbage.pem", format!("{}{garbage}", authority.pem()));
    let garbage_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let garbage_key = sandbox.file("garbage.key", garbage_key);
    let missing = sandbox.path("missing.pem");

    let with_ca = |file| tls(&sandbox).with_ca_file(file);
    let with_client = |certificate, key| {
        tls(&sandbox).with_ca_file(&ca).with_client_certificate("r.example", certificate, key)
    };
    for (tls, expected) in [
        (with_ca(&missing), "cannot read ~missing.pem: No such file or directory (os error 2)"),
        (with_ca(&long), "cannot read ~long.pem: it is longer than 1048576 bytes"),
        (with_ca(&text), "~text.pem holds no certificate in PEM form"),
        (with_ca(&key), "~key.pem holds no certificate in PEM form"),
        (with_ca(&half), "~half.pem is not in PEM form: a section has no end"),
        (with_ca(&broken), "~broken.pem is not in PEM form: a section is not Base64"),
        (
            with_ca(&garbage),
            "certificate 2 in ~garbage.pem cannot be trusted: invalid peer certificate: BadEncoding",
        ),
        (with_client(&text, &key), "~text.pem holds no certificate in PEM form"),
        (
            with_client(&certificate, &certificate),
            "~certificate.pem holds no private key in PEM form",
        ),
        (
            with_client(&certificate, &missing),
            "cannot read ~missing.pem: No such file or directory (os error 2)",
        ),
        (
            with_client(&certificate, &other_key),
            "~certificate.pem and ~other.key are no client certificate and its key: \
             keys may not be consistent: KeyMismatch",
        ),
        (
            with_client(&certificate, &garbage_key),
            "~certificate.pem and ~garbage.key are no client certificate and its key: \
             unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA",
        ),
    ] {
        let error = tls.client_config("r.example").unwrap_err().to_string();
        let directory = sandbox.path("").display().to_string();
        assert_eq!(error.replace(&directory, "~"), expected);
    }
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    let pem = Authority::new("ours");
    let client = pem.client("client");
    let directory = "root/etc/docker/certs.d/r.example";
    let refused = |files: &[(&str, &str)]| {
        let sandbox = Sandbox::new();
        for (name, content) in files {
            sandbox.file(&format!("{directory}/{name}"), content);
        }
        let error = tls(&sandbox).client_config("r.example").unwrap_err().to_string();
        let other = tls(&sandbox).with_ca_file(sandbox.file("ca.pem", pem.pem()));
        for registry in ["other.example", "..", ".", "", "../certs.d/r.example"] {
            assert!(other.client_config(registry).is_ok(), "{registry}");
        }
        error.replace(&sandbox.path(directory).display().to_string(), "~")
    };
    let unpaired = |present, missing| {
        format!(
            "~/{present} has no counterpart ~/{missing}; certificate authorities are named *.crt"
        )
    };
    assert_eq!(refused(&[("a.cert", &client.certificate)]), unpaired("a.cert", "a.key"));
    assert_eq!(refused(&[("a.key", &client.key)]), unpaired("a.key", "a.cert"));
    assert_eq!(
        refused(&[("a.cert", &client.certificate), ("b.key", &client.key)]),
        unpaired("a.cert", "a.key")
    );
    assert_eq!(refused(&[("a.crt", "")]), "~/a.crt holds no certificate in PEM form");
    let many: Vec<String> = (0..300).map(|number| format!("{number}.crt")).collect();
    let pem = pem.pem();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), pem.as_str())).collect();
    assert_eq!(refused(&many), "~ has more than 256 certificates and keys");
}

#[test]
fn what_is_no_certificate_in_a_directory_is_passed_over() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let server = Server::start(&authority.server(HOST));
    let directory = format!("home/.docker/certs.d/{}", server.registry());
    sandbox.file(&format!("{directory}/ca.crt"), authority.pem());
    for name in ["README", "ca.pem", ".crt", "hosts.toml", "key", "ca.crt.bak"] {
        sandbox.file(&format!("{directory}/{name}"), "something else");
    }
    assert!(connect(&server, &tls(&sandbox)).is_ok());
}

#[test]
fn a_client_in_a_process_of_its_own() {
    let (Ok(registry), Ok(expected)) = (std::env::var("REGISTRY"), std::env::var("EXPECTED"))
    else {
        return;
    };
    let tls = Tls::of(Environment::new("/nowhere".as_ref(), 0));
    let connected = tls.client_config(&registry).map_err(|error| error.to_string());
    let connected = connected.and_then(|config| Server::at(&registry).try_with(config));
    let outcome = connected.map_or_else(|error| error, |version| format!("{version:?}"));
    assert!(outcome.contains(&expected), "{outcome}");
}

#[test]
fn the_store_of_the_system_is_believed() {
    let sandbox = Sandbox::new();
    let authority = Authority::new("ours");
    let server = Server::start(&authority.server(HOST));
    let ours = sandbox.file("ours.pem", authority.pem());
    let other = sandbox.file("other.pem", Authority::new("other").pem());
    for (store, expected) in [
        (ours, "TLSv1_3"),
        (other, "UnknownIssuer"),
        (sandbox.path("missing.pem"), "there is no certificate authority to trust: "),
    ] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls::a_client_in_a_process_of_its_own"])
            .env("SSL_CERT_FILE", store)
            .env_remove("SSL_CERT_DIR")
            .env("REGISTRY", server.registry())
            .env("EXPECTED", expected)
            .status()
            .unwrap();
        assert!(status.success(), "{expected}");
    }
}
