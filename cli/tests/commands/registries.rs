//! Commands on images in registries.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use insta::assert_snapshot;
use osguard_testkit::registry::{Answer, Bearer, Fault, Gate, Registry, Request};
use osguard_testkit::tls::TlsAuthority;
use osguard_testkit::{command, or_skip};
use serde_json::json;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index, layer};

#[test]
fn an_image_is_pushed_signed_verified_and_fetched() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    assert_snapshot!(scene.run(&["push", "oci:image:v1", "REGISTRY/team/app", "--sign", "--key", "alice.key"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to REGISTRY/team/app@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2

    Signatures are listed by the registry's referrers API
    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    ");
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/team/app:v1"]), @"
    Image REGISTRY/team/app@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
        root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
        signer    49b5d94dd761adbdc539207d98c9f8c3772cea1d
        in        artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  2560 bytes  application/vnd.oci.image.layer.v1.tar
        root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
        signer    49b5d94dd761adbdc539207d98c9f8c3772cea1d
        in        artifact 8d675f0a6b8e (standard)
      artifact sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (standard)
    ");
    assert_eq!(scene.verify("REGISTRY/team/app:v1"), 0);
    assert_snapshot!(scene.run(&["copy", "REGISTRY/team/app:v1", "oci:copy"]), @"
    Image REGISTRY/team/app@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      with sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity)
    Stored 8 blobs and manifests of 10100 bytes; 0 were there before
    ");
    assert_eq!(scene.verify("oci:copy:v1"), 0);
    assert_eq!(scene.run(&["copy", "REGISTRY/team/app:v1", "oci-archive:copy.tar"]).code, 0);
    assert_eq!(scene.verify("oci-archive:copy.tar:v1"), 0);
}

#[test]
fn what_is_pushed_is_sent_once_and_the_tag_is_written_last() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    index(&scene.environment);
    let push = ["push", "oci:image:multi", "REGISTRY/app:v1", "--sign", "--key", "alice.key"];
    assert_eq!(scene.run(&push).code, 0);
    let requests = registry.requests();
    let writes: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert!(writes.last().unwrap().path.ends_with("/manifests/v1"), "{writes:?}");
    let tagged = writes.iter().filter(|request| !request.path.contains("sha256"));
    assert_eq!(tagged.filter(|request| request.path.contains("/manifests/")).count(), 1);
    let mut sent: Vec<_> =
        writes.iter().filter_map(|request| request.parameter("digest")).collect();
    sent.sort();
    let count = sent.len();
    sent.dedup();
    assert_eq!(sent.len(), count);
    assert_eq!(scene.verify("REGISTRY/app:v1"), 0);

    registry.forget_requests();
    assert_eq!(scene.run(&push).code, 0);
    let is_write = |request: &Request| matches!(&*request.method, "POST" | "PUT" | "PATCH");
    assert!(!registry.requests().iter().any(is_write), "{:?}", registry.requests());
    assert_eq!(registry.open_uploads(), 0);
}

#[test]
fn within_a_registry_nothing_is_sent() {
    let registry = Registry::start().unwrap();
    let scene = Scene::signed(registry.host());
    registry.forget_requests();
    assert_eq!(scene.run(&["copy", "REGISTRY/app:v1", "REGISTRY/other/app"]).code, 0);
    let mounted = |request: &Request| request.parameter("mount").is_some();
    assert!(registry.requests().iter().any(mounted));
    let fetched = |request: &Request| request.method == "GET" && request.path.contains("/blobs/");
    assert!(!registry.requests().iter().any(fetched), "{:?}", registry.requests());
    assert_eq!(scene.verify("REGISTRY/other/app:v1"), 0);

    // What is signed on the way is read, and still not sent.
    registry.forget_requests();
    let push = ["push", "REGISTRY/app:v1", "REGISTRY/third", "--sign", "--key", "mallory.key"];
    assert_eq!(scene.run(&push).code, 0);
    assert!(registry.requests().iter().any(fetched));
    assert_eq!(scene.verify("REGISTRY/third:v1"), 0);
}

#[test]
fn images_go_from_one_registry_to_another() {
    let (first, second) = (Registry::start().unwrap(), Registry::start().unwrap());
    let scene = Scene::signed(first.host());
    let destination = format!("{}/mirror/app:v2", second.host());
    assert_eq!(scene.run(&["copy", "REGISTRY/app:v1", &destination]).code, 0);
    assert_eq!(scene.verify(&destination), 0);
    let mut piped = scene.environment.osguard();
    let file = File::create(scene.environment.path("piped.tar")).unwrap();
    piped.args(["copy", &destination, "oci-archive:-"]).stdout(file);
    assert_eq!(scene.environment.ran(&mut piped).code, 0);
    assert_eq!(scene.verify("oci-archive:piped.tar:v2"), 0);
}

#[test]
fn how_signatures_are_listed_is_told() {
    let with_api = Registry::start().unwrap();
    let without_api = Registry::builder().without_referrers_api().start().unwrap();
    for (registry, way, expected) in [
        (&with_api, "auto", Some("api")),
        (&with_api, "tag", Some("tag")),
        (&without_api, "auto", Some("tag")),
        (&without_api, "api", None),
    ] {
        let scene = Scene::new(registry.host());
        let image = format!("REGISTRY/{way}/app:v1");
        assert_eq!(scene.run(&["copy", "oci:image:v1", &image]).code, 0);
        let ran = scene.run(&[
            "sign",
            &image,
            "--key",
            "alice.key",
            "--referrers",
            way,
            "--output",
            "json",
        ]);
        match expected {
            Some(expected) => assert_eq!(ran.json()["referrers_by"], json!(expected)),
            None => assert_eq!(ran.code, 4, "{ran}"),
        }
        let push =
            ["push", "oci:image:v1", &image, "--sign", "--key", "mallory.key", "--referrers", way];
        let ran = scene.run(&push);
        match expected {
            Some("api") => assert!(ran.stdout.contains("by the registry's referrers API"), "{ran}"),
            Some(_) => assert!(ran.stdout.contains("by a tag in the registry"), "{ran}"),
            None => assert_eq!(ran.code, 4, "{ran}"),
        }
    }
    let scene = Scene::new(without_api.host());
    assert_snapshot!(scene.run(&["sign", "REGISTRY/api/app:v1", "--key", "alice.key", "--referrers", "api"]), @"
    --- standard error ---
    Error: REGISTRY has no referrers API
    Hint: Without --referrers api, a tag stands in for the API.
    --- exit code 4 ---
    ");
}

#[test]
fn a_dry_run_sends_nothing() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    let push =
        ["push", "oci:image:v1", "REGISTRY/app", "--sign", "--key", "alice.key", "--dry-run"];
    assert_snapshot!(scene.run(&push), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Would be copied to REGISTRY/app@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1

    Signatures are listed by the registry's referrers API
    Would store 4 blobs and manifests of 5904 bytes; 0 were there before
    Nothing was written: this was a dry run.
    ");
    assert!(registry.requests().iter().all(|request| matches!(&*request.method, "GET" | "HEAD")));
    assert!(registry.repositories().is_empty());
}

#[test]
fn an_upload_that_fails_shows_nothing_and_is_taken_up_again() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    let refused = Answer::error(403, "DENIED", "quota exceeded");
    registry
        .fault(Fault::new().method("PUT").path_contains("/manifests/").always().answer(refused));
    let push = ["push", "oci:image:v1", "REGISTRY/app", "--sign", "--key", "alice.key"];
    let ran = scene.run(&push);
    assert_eq!(ran.code, 4, "{ran}");
    assert!(ran.stderr.contains("quota exceeded"), "{ran}");
    assert!(registry.tags("app").is_empty());
    assert_eq!(scene.run(&["inspect", "REGISTRY/app:v1"]).code, 3);
    registry.clear_faults();
    registry.forget_requests();
    assert_eq!(scene.run(&push).code, 0);
    let sent = registry.requests();
    let sent = sent.iter().filter_map(|request| request.parameter("digest"));
    assert_eq!(sent.count(), 3, "the signatures, and what they are described by");
    assert_eq!(scene.verify("REGISTRY/app:v1"), 0);
}

/// One that was cut off is sent again, and yet read by the conversion once.
#[test]
fn an_upload_that_is_cut_off_is_sent_again() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    registry
        .fault(Fault::new().method("PUT").path_contains("/blobs/").times(3).cut_upload_after(100));
    let push = ["push", "oci:image:v1", "REGISTRY/app", "--sign", "--key", "alice.key"];
    let ran = scene.run(&push);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(scene.verify("REGISTRY/app:v1"), 0);
}

#[test]
fn damage_in_a_registry_is_noticed() {
    let registry = Registry::start().unwrap();
    let scene = Scene::signed(registry.host());
    registry.fault(Fault::new().method("GET").path_contains("/blobs/").always().flip_bit_at(20));
    let ran = scene.run(&["copy", "REGISTRY/app:v1", "oci:copy"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(scene.run(&["inspect", "oci:copy"]).code, 3);
}

#[test]
fn a_login_is_for_one_registry() {
    let open = Registry::start().unwrap();
    let closed = Registry::builder().basic("ci", "secret").start().unwrap();
    let scene = Scene::signed(open.host());
    open.forget_requests();
    let destination = format!("{}/app:v1", closed.host());
    let copy = ["copy", "REGISTRY/app:v1", &destination];
    assert_snapshot!(scene.run(&copy).naming(&closed.host(), "CLOSED"), @"
    --- standard error ---
    Error: CLOSED wants other credentials for reading from app (UNAUTHORIZED: authentication required); credentials: none configured
    Hint: `docker login` or `podman login` stores credentials, --username or OSGUARD_TOKEN gives others.
    --- exit code 4 ---
    ");

    let login = [&copy[..], &["--username", "ci", "--password-stdin"]].concat();
    for password in ["secret", "secret\n", "secret\r\n"] {
        let ran = scene.run_with_input(&login, password.as_bytes());
        assert_eq!(ran.code, 0, "{ran}");
    }
    for request in open.requests() {
        assert_eq!(request.header("Authorization"), None, "{request:?}");
    }
    let ran = scene.run_with_input(&login, b"wrong");
    assert_snapshot!(ran.naming(&closed.host(), "CLOSED"), @"
    --- standard error ---
    Error: CLOSED wants other credentials for reading from app (UNAUTHORIZED: authentication required); credentials: --username
    Hint: `docker login` or `podman login` stores credentials, --username or OSGUARD_TOKEN gives others.
    --- exit code 4 ---
    ");

    // As the source, too.
    let back = ["copy", &destination, "oci:back", "--username", "ci", "--password-stdin"];
    assert_eq!(scene.run_with_input(&back, b"secret").code, 0);
    assert_eq!(scene.verify("oci:back"), 0);
}

#[test]
fn logins_come_from_the_environment_and_from_files() {
    let Some(setsid) = or_skip(command::command("setsid")) else { return };
    let registry = Registry::builder().bearer(Bearer::new("ci", "secret")).start().unwrap();
    let scene = Scene::new(registry.host());
    let copy = |variables: &[(&str, &str)], arguments: &[&str]| {
        let destination = format!("{}/app:v1", registry.host());
        // Nobody sits at a terminal and can be asked.
        let mut command = scene.environment.wrapped(&setsid);
        command.args(["copy", "oci:image:v1", &destination]).args(arguments);
        command.envs(variables.iter().copied());
        scene.ran(&mut command)
    };
    assert_eq!(copy(&[], &[]).code, 4);
    let (user, password) = (("OSGUARD_USERNAME", "ci"), ("OSGUARD_PASSWORD", "secret"));
    assert_eq!(copy(&[user, password], &[]).code, 0);
    assert_eq!(copy(&[password], &["--username", "ci"]).code, 0);
    assert_eq!(copy(&[("OSGUARD_PASSWORD", "wrong"), user], &[]).code, 4);
    assert_eq!(copy(&[("OSGUARD_TOKEN", "wrong")], &[]).code, 4);
    assert_snapshot!(copy(&[user], &[]), @"
    --- standard error ---
    Error: there is no password for ci: the terminal cannot be asked: No such device or address (os error 6)
    Hint: --password-stdin or OSGUARD_PASSWORD gives it.
    --- exit code 2 ---
    ");
    assert_snapshot!(copy(&[user, ("OSGUARD_PASSWORD", "")], &[]), @"
    --- standard error ---
    Error: there is no password for ci: the terminal cannot be asked: No such device or address (os error 6)
    Hint: --password-stdin or OSGUARD_PASSWORD gives it.
    --- exit code 2 ---
    ");

    let auth = json!({ "auths": { registry.host(): { "username": "ci", "password": "secret" } } });
    scene.environment.write("auth.json", auth.to_string().as_bytes());
    assert_eq!(copy(&[], &["--auth-file", "auth.json"]).code, 0);
    assert_snapshot!(copy(&[], &["--auth-file", "nothing.json"]), @"
    --- standard error ---
    Error: cannot read nothing.json: No such file or directory (os error 2)
    --- exit code 2 ---
    ");
}

#[test]
fn logins_that_make_no_sense_are_refused() {
    let scene = Scene::new("registry.example".to_owned());
    let refused = |arguments: &[&str]| scene.environment.refused(arguments);
    assert_snapshot!(refused(&["inspect", "oci:image:v1", "--username", "ci"]), @"
    --- standard error ---
    Error: a login is given, and no registry
    Hint: An image in a registry is named HOST/REPOSITORY:TAG.
    --- exit code 2 ---
    ");
    assert_snapshot!(refused(&["inspect", "registry.example/app", "--password-stdin"]), @"
    --- standard error ---
    Error: --password-stdin is given, and no user name
    Hint: --username or OSGUARD_USERNAME names the user.
    --- exit code 2 ---
    ");
    assert_snapshot!(refused(&["inspect", "registry.example/app", "--password-stdin", "--username", "ci"]), @"
    --- standard error ---
    Error: cannot read the password from standard input: it is empty
    --- exit code 2 ---
    ");
    let both =
        ["copy", "oci-archive:-", "registry.example/app", "--username", "ci", "--password-stdin"];
    assert_snapshot!(refused(&both), @"
    --- standard error ---
    Error: --password-stdin and the image both read standard input
    Hint: OSGUARD_PASSWORD gives the password as well, or `docker login` stores it.
    --- exit code 2 ---
    ");
    let long = scene.run_with_input(
        &["inspect", "registry.example/app", "--password-stdin", "--username", "ci"],
        &vec![b'x'; 1 << 17],
    );
    assert_snapshot!(long, @"
    --- standard error ---
    Error: cannot read the password from standard input: it is longer than 65536 bytes
    --- exit code 2 ---
    ");
    assert_eq!(
        scene.run(&["inspect", "registry.example/app", "--client-cert", "alice.crt"]).code,
        2
    );
}

#[test]
fn certificates_are_checked() {
    let authority = TlsAuthority::new().unwrap();
    let registry = Registry::builder().tls(&authority).unwrap().start().unwrap();
    let scene = Scene::new(registry.host());
    let copy = |arguments: &[&str]| {
        scene.run(&[&["copy", "oci:image:v1", "REGISTRY/app:v1"], arguments].concat())
    };
    assert_snapshot!(copy(&[]), @"
    --- standard error ---
    Error: cannot reach REGISTRY: invalid peer certificate: UnknownIssuer
    Hint: --ca-file names the certificate authority of a registry that the system does not know.
    --- exit code 4 ---
    ");
    let file = authority.certificate();
    assert_eq!(copy(&["--ca-file", file.to_str().unwrap()]).code, 0);
    assert_snapshot!(copy(&["--ca-file", "nothing.pem"]), @"
    --- standard error ---
    Error: cannot read nothing.pem: No such file or directory (os error 2)
    Hint: --ca-file takes certificates of authorities in PEM form.
    --- exit code 2 ---
    ");
    assert_eq!(copy(&["--ca-file", "alice.crt"]).code, 4);
    let plain = Registry::start().unwrap();
    let scene_without_tls = Scene::new(plain.host());
    let copy = ["copy", "oci:image:v1", "REGISTRY/app:v1", "--ca-file", "nothing.pem"];
    assert_eq!(scene_without_tls.run(&copy).code, 2, "also where it is not needed");

    let (server, client) = (authority.server().unwrap(), authority.client("ci").unwrap());
    let builder = Registry::builder().tls_as(&server, Some(&authority)).unwrap();
    let registry = builder.start().unwrap();
    let scene = Scene::new(registry.host());
    let copy = ["copy", "oci:image:v1", "REGISTRY/app:v1", "--ca-file", file.to_str().unwrap()];
    assert_eq!(scene.run(&copy).code, 4);
    let shown = [
        "--client-cert",
        client.certificate.to_str().unwrap(),
        "--client-key",
        client.key.to_str().unwrap(),
    ];
    assert_eq!(scene.run(&[&copy[..], &shown].concat()).code, 0);
}

#[test]
fn what_cannot_be_reached_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = Scene::new(closed.local_addr().unwrap().to_string());
    drop(closed);
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/app"]), @"
    --- standard error ---
    Error: cannot reach REGISTRY: Connection refused (os error 111)
    Hint: Nothing listens there: check host and port, and whether the registry is running.
    --- exit code 4 ---
    ");
    let unknown = scene.environment.refused(["copy", "oci:image:v1", "registry.invalid/app"]);
    assert_eq!(unknown.code, 4, "{unknown}");
    assert!(unknown.stderr.starts_with("Error: cannot reach registry.invalid"), "{unknown}");
}

#[test]
fn what_is_not_there_and_what_is_refused_are_told() {
    let registry = Registry::start().unwrap();
    let scene = Scene::signed(registry.host());
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/app:v9"]), @"
    --- standard error ---
    Error: REGISTRY/app has no image with the tag v9
    --- exit code 3 ---
    ");
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/nothing:v1"]), @"
    --- standard error ---
    Error: REGISTRY/nothing has no image with the tag v1
    --- exit code 3 ---
    ");
    let digest = format!("REGISTRY/app@sha256:{}", "0".repeat(64));
    assert_snapshot!(scene.run(&["inspect", &digest]), @"
    --- standard error ---
    Error: manifest sha256:0000000000000000000000000000000000000000000000000000000000000000 is missing in REGISTRY/app
    --- exit code 3 ---
    ");
    let denied = Answer::error(403, "DENIED", "requested access to the resource is denied");
    registry.fault(Fault::new().always().answer(denied));
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/app:v1"]), @"
    --- standard error ---
    Error: REGISTRY denies reading from app (DENIED: requested access to the resource is denied); credentials: not asked for
    Hint: The user lacks the right, or the repository does not exist: ask whoever runs the registry, or log in as another user.
    --- exit code 4 ---
    ");
}

#[test]
fn layouts_may_have_tags_that_registries_do_not_take() {
    let scene = Scene::new("registry.example".to_owned());
    scene.environment.run(["copy", "oci:image:v1", "oci:tagged:registry.example/app:v1"]).done();
    let copy = ["copy", "oci:tagged:registry.example/app:v1", "registry.example/app"];
    assert_snapshot!(scene.environment.refused(copy), @r#"
    --- standard error ---
    Error: image reference "registry.example/app": "registry.example/app:v1" is not a tag; letters, digits, `_`, `.` and `-` are allowed, up to 128 of them, the first a letter, digit or `_`
    Hint: Images are named HOST/REPOSITORY:TAG, oci:DIR, oci:DIR:TAG, oci-archive:FILE:TAG or with @sha256:… in the place of the tag.
    --- exit code 2 ---
    "#);
}

/// The tag is looked up once: what is signed is what it led to then.
#[test]
fn a_tag_that_moves_meanwhile_does_not_matter() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    let mut layout = image(&scene.environment);
    layout.image("v2", &[layer("another")]).unwrap();
    assert_eq!(scene.run(&["copy", "oci:image:v1", "REGISTRY/app"]).code, 0);
    let first = registry.manifest("app", "v1").unwrap().digest;
    let gate = Gate::new();
    let blobs = Fault::new().method("GET").path_contains("/blobs/").after(1).hold(&gate);
    registry.fault(blobs);
    let sign = ["sign", "REGISTRY/app:v1", "--key", "alice.key", "--output", "json"];
    let signed = std::thread::scope(|scope| {
        let signing = scope.spawn(|| scene.run(&sign).json());
        gate.wait_for(1);
        assert_eq!(scene.run(&["copy", "oci:image:v2", "REGISTRY/app:v1"]).code, 0);
        gate.release();
        signing.join().unwrap()
    });
    assert_ne!(registry.manifest("app", "v1").unwrap().digest, first);
    assert_eq!(signed["image"], json!(format!("REGISTRY/app@{first}")));
    assert_eq!(scene.verify(&format!("REGISTRY/app@{first}")), 0);
    assert_eq!(scene.verify("REGISTRY/app:v1"), 10);
}

#[test]
fn manifests_that_cannot_be_used_are_told() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(registry.host());
    let put = |tag: &str, media_type: &str, manifest: &serde_json::Value| {
        registry.put_manifest("app", Some(tag), media_type, manifest.to_string().as_bytes());
    };
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    put("signed", signed, &json!({ "schemaVersion": 1, "name": "app" }));
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/app:signed"]), @"
    --- standard error ---
    Error: manifest signed in REGISTRY/app is not a manifest that can be used: its schemaVersion is 1, and only 2 is supported
    --- exit code 1 ---
    ");
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let blob = |media_type: &str| json!({ "mediaType": media_type, "size": 2, "digest": format!("sha256:{}", "1".repeat(64)) });
    let layers = vec![blob("application/vnd.oci.image.layer.v1.tar"); 1000];
    let config = blob("application/vnd.oci.image.config.v1+json");
    let many = json!({
        "schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers,
    });
    put("many", manifest, &many);
    assert_snapshot!(scene.run(&["inspect", "REGISTRY/app:many"]), @"
    --- standard error ---
    Error: manifest many in REGISTRY/app is not a manifest that can be used: it has 1000 layers, and 500 are the limit
    --- exit code 1 ---
    ");
}

#[test]
fn names_that_are_none_are_refused() {
    let scene = Scene::new("registry.example".to_owned());
    for name in ["registry.example/App:v1", "registry.example/team/../app", "registry.example/app:"]
    {
        let refused = scene.environment.refused(["inspect", name]);
        assert_eq!(refused.code, 2, "{refused}");
        assert!(refused.stderr.contains(name), "{refused}");
    }
    assert_snapshot!(scene.environment.refused(["inspect", "registry.example/App:v1"]), @r#"
    --- standard error ---
    Error: image reference "registry.example/App:v1": "App" must be in lower case
    Hint: Images are named HOST/REPOSITORY:TAG, oci:DIR, oci:DIR:TAG, oci-archive:FILE:TAG or with @sha256:… in the place of the tag.
    --- exit code 2 ---
    "#);
}

/// Is a registry, and the image `oci:image:v1` beside it; in arguments and output `REGISTRY` stands
/// for the registry's host.
struct Scene {
    environment: Environment,
    host: String,
}

impl Scene {
    fn new(host: String) -> Self {
        let environment = Environment::with_keys();
        image(&environment);
        Self { environment, host }
    }

    /// Makes a scene with the signed image `REGISTRY/app:v1`.
    fn signed(host: String) -> Self {
        let scene = Self::new(host);
        let push = ["push", "oci:image:v1", "REGISTRY/app", "--sign", "--key", "alice.key"];
        assert_eq!(scene.run(&push).code, 0);
        scene
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(&mut self.command(arguments))
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever has read enough closes the pipe.
                let _ = writer.write_all(input);
            });
            self.ran(self.command(arguments).stdin(Stdio::from(reader)))
        })
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.environment.osguard();
        command.args(arguments.iter().map(|argument| argument.replace("REGISTRY", &self.host)));
        command
    }

    fn ran(&self, command: &mut std::process::Command) -> Ran {
        let ran = self.environment.ran(command);
        if ran.stdout.contains(&self.host) || ran.stderr.contains(&self.host) {
            return ran.naming(&self.host, "REGISTRY");
        }
        ran
    }

    fn verify(&self, image: &str) -> i32 {
        self.run(&["verify", image, "--trust", "alice.crt"]).code
    }
}
