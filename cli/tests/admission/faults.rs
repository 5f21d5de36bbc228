//! Registries that are away, slow, or busy, and such that want to know who asks.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};
use serde_json::{Value, json};

use crate::scene::{Scene, create, pod, refusal};
use crate::webhook::until;

#[test]
fn a_registry_that_is_away_is_never_an_image_without_signature() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let digest = scene.push(&scene.image("team/app:v1"), Some("alice.key"));
    let pinned = scene.image(&format!("team/app@{digest}"));
    let webhook = scene.webhook();
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&pinned)))), None);
    drop(registry);
    // What was judged before is known.
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&pinned)))), None);
    // A tag may have moved by now, and another digest was never seen.
    let other = scene.image(&format!("team/app@sha256:{}", "0".repeat(64)));
    for image in [scene.image("team/app:v1"), other] {
        let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
        assert!(message.contains("the registry failed"), "{message}");
        assert!(!message.contains("not signed"), "{message}");
    }
    assert_eq!(webhook.metric("osguard_admission_images_total{reason=\"not-signed\"}"), 0);
}

#[test]
fn what_was_judged_outlives_the_process_and_no_policy() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let digest = scene.push(&scene.image("team/app:v1"), Some("alice.key"));
    let pinned = scene.image(&format!("team/app@{digest}"));
    let unsigned =
        scene.image(&format!("team/app@{}", scene.push(&scene.image("team/app:v2"), None)));
    let start = || scene.webhook_with(&["--verdict-cache", "verdicts"]);
    let records = || -> Vec<_> {
        let entries = fs::read_dir(scene.directory.path().join("verdicts")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
    };
    let webhook = start();
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&pinned)))), None);
    assert!(refusal(&webhook.validate(&create("shop", &pod(&unsigned)))).is_some());
    until("it is kept", || records().len() == 1);
    drop((webhook, registry));

    // It is killed and comes back while the registry is away.
    let webhook = start();
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&pinned)))), None);
    let message = refusal(&webhook.validate(&create("shop", &pod(&unsigned)))).unwrap();
    assert!(message.contains("the registry failed"), "{message}");
    drop(webhook);

    // Another policy has other verdicts, and what is damaged is none.
    scene
        .trust("[[revoked]]\nkey = \"49b5d94dd761adbdc539207d98c9f8c3772cea1d\"\nreason = \"x\"\n");
    let message = refusal(&start().validate(&create("shop", &pod(&pinned)))).unwrap();
    assert!(message.contains("the registry failed"), "{message}");
    scene.trust("");
    assert_eq!(refusal(&start().validate(&create("shop", &pod(&pinned)))), None);
    let text = fs::read_to_string(&records()[0]).unwrap();
    fs::write(&records()[0], text.replace("\"until\":1", "\"until\":2")).unwrap();
    let webhook = start();
    let message = refusal(&webhook.validate(&create("shop", &pod(&pinned)))).unwrap();
    assert!(message.contains("the registry failed"), "{message}");
    let is_said =
        |line: &Value| line["message"].as_str().is_some_and(|said| said.contains("damaged"));
    until("it is said", || webhook.lines().iter().any(is_said));
}

#[test]
fn a_policy_may_let_images_pass_while_the_registry_is_away() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let unsigned = scene.image("team/app:unsigned");
    scene.push(&unsigned, None);
    scene.configure("unavailable = \"allow\"", "");
    let webhook = scene.webhook();
    // What is known is not let pass by that.
    assert!(refusal(&webhook.validate(&create("shop", &pod(&unsigned)))).is_some());
    assert!(refusal(&webhook.validate(&create("shop", &pod("registry.example/a")))).is_some());
    let _ = registry.fault(Fault::new().always().answer(Answer::status(401)));
    assert!(refusal(&webhook.validate(&create("shop", &pod(&unsigned)))).is_some());
    registry.clear_faults();
    let _ = registry.fault(Fault::new().always().answer(Answer::status(503)));
    let response = webhook.validate(&create("shop", &pod(&unsigned)));
    assert_eq!(refusal(&response), None);
    assert_eq!(response["auditAnnotations"]["verdict"], "passed-unseen");
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains("allowed unseen"), "{warning}");
}

#[test]
fn a_registry_that_asks_to_slow_down_is_left_alone() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook();
    let busy = Answer::error(429, "TOOMANYREQUESTS", "slow down").retry_after_seconds(120);
    let _ = registry.fault(Fault::new().always().answer(busy));
    for _ in 0..3 {
        let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
        assert!(message.contains("the registry asks to slow down"), "{message}");
    }
    registry.clear_faults();
    registry.forget_requests();
    let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("the registry asks to slow down"), "{message}");
    assert!(registry.requests().is_empty());
    let calls = |result| {
        webhook.metric(&format!("osguard_admission_registry_calls_total{{result=\"{result}\"}}"))
    };
    assert_eq!((calls("too-many-requests"), calls("held-back")), (1, 3));
}

#[test]
fn a_slow_registry_is_answered_for_in_time_and_known_the_next_time() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let digest = scene.push(&scene.image("team/app:v1"), Some("alice.key"));
    let pinned = scene.image(&format!("team/app@{digest}"));
    let webhook = scene.webhook();
    let gate = Gate::new();
    let _ = registry.fault(Fault::new().hold(&gate));
    let review = create("shop", &pod(&pinned)).to_string();
    let ask = || webhook.post("/validate?timeout=400ms", review.as_bytes()).response();
    let message = refusal(&ask()).unwrap();
    assert!(message.contains("the answer did not come in time"), "{message}");
    gate.release();
    until("it is known", || refusal(&ask()).is_none());
}

#[test]
fn many_who_ask_the_same_ask_the_registry_once() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let digest = scene.push(&scene.image("team/app:v1"), Some("alice.key"));
    let pinned = scene.image(&format!("team/app@{digest}"));
    let webhook = scene.webhook();
    registry.forget_requests();
    let _ = registry.fault(Fault::new().delay(Duration::from_millis(300)));
    let review = create("shop", &pod(&pinned));
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(refusal(&webhook.validate(&review)), None));
        }
    });
    let manifests = registry
        .requests()
        .iter()
        .filter(|request| {
            request.method == "GET" && request.path.ends_with(&format!("/manifests/{digest}"))
        })
        .count();
    assert_eq!(manifests, 1);
}

#[test]
fn a_port_that_nobody_listens_on_does_not_keep_others_waiting() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    scene.trust("[[scopes]]\nrepositories = [\"**\"]\nstores = [\"release\"]\n");
    let webhook = scene.webhook();
    let mut object = pod(&image);
    object["spec"]["initContainers"] = json!([{ "name": "a", "image": format!("{free}/a") }]);
    let message = refusal(&webhook.validate(&create("shop", &object))).unwrap();
    assert!(message.contains("spec.initContainers[0].image"), "{message}");
    assert!(!message.contains("spec.containers[0].image"), "{message}");
}

#[test]
fn docker_registry_is_asked_with_the_credentials_of_a_file() {
    let scene_of = |registry: &DockerRegistry| Scene::new(registry.host());
    let Some(open) = or_skip(DockerRegistry::start()) else { return };
    let scene = scene_of(&open);
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    assert_eq!(refusal(&scene.webhook().validate(&create("shop", &pod(&image)))), None);

    let Some(closed) = or_skip(DockerRegistry::builder().password().start()) else { return };
    let scene = scene_of(&closed);
    let image = scene.image("team/app:v1");
    let login = format!("{}:{}", DockerRegistry::USER, DockerRegistry::PASSWORD);
    let login = Base64::encode_string(login.as_bytes());
    let file = json!({ "auths": { closed.host(): { "auth": login } } });
    fs::create_dir(scene.directory.path().join(".docker")).unwrap();
    scene.write(".docker/config.json", &file.to_string());
    scene.push(&image, Some("alice.key"));
    fs::rename(
        scene.directory.path().join(".docker/config.json"),
        scene.directory.path().join("auth.json"),
    )
    .unwrap();
    let message = refusal(&scene.webhook().validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("the registry does not let osguard in"), "{message}");
    let with_file = fs::read_to_string(scene.directory.path().join("admission.toml")).unwrap();
    scene.write("admission.toml", &format!("auth-files = [\"auth.json\"]\n{with_file}"));
    assert_eq!(refusal(&scene.webhook().validate(&create("shop", &pod(&image)))), None);
}

#[test]
fn a_mirror_and_an_authority_are_as_the_configuration_has_them() {
    let mirror = Registry::start().unwrap();
    let scene = Scene::new("docker.io");
    scene.push(&format!("{}/hub/team/app:v1", mirror.host()), Some("alice.key"));
    let host = mirror.host();
    scene.configure("", &format!("[registries.\"docker.io\"]\nmirror = \"{host}/hub\"\n"));
    let webhook = scene.webhook();
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod("team/app:v1")))), None);

    let authority = osguard_testkit::tls::TlsAuthority::new().unwrap();
    let closed = Registry::builder().tls(&authority).unwrap().start().unwrap();
    let scene = Scene::new(&closed.host());
    let image = scene.image("team/app:v1");
    let message = refusal(&scene.webhook().validate(&create("shop", &pod(&image)))).unwrap();
    assert!(!message.contains("not signed"), "{message}");
    let file = authority.certificate();
    scene.configure(
        "",
        &format!("[registries.\"{}\"]\nca-file = {:?}\n", closed.host(), file.to_str().unwrap()),
    );
    let message = refusal(&scene.webhook().validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("there is no such image"), "{message}");
}
