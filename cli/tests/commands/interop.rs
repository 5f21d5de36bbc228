//! Other people's tools and `osguard` on the registry that most people run.

use std::process::Command;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;
use serde_json::Value;

use crate::environment::Environment;
use crate::fixtures;

/// Is the image `v1` in Debian's registry, with everyone who has to do with it.
struct Scene {
    environment: Environment,
    registry: DockerRegistry,
    clients: Clients,
    image: String,
}

impl Scene {
    /// Starts the registry and has skopeo bring the image there.
    fn new() -> Option<Self> {
        let registry = or_skip(DockerRegistry::start())?;
        let clients = Clients::new().unwrap();
        let environment = Environment::with_keys();
        fixtures::image(&environment);
        let image = format!("{}/team/app:v1", registry.host());
        let scene = Self { environment, registry, clients, image };
        let source = format!("oci:{}:v1", scene.environment.path("image").display());
        let copied = or_skip(scene.clients.skopeo())?;
        scene.skopeo(copied, &source, &format!("docker://{}", scene.image));
        Some(scene)
    }

    fn skopeo(&self, mut skopeo: Command, from: &str, to: &str) {
        let options = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        run(skopeo.arg("copy").args(options).args([from, to])).unwrap();
    }

    fn sign(&self) -> Value {
        let sign = ["sign", "--output", "json", "--key", "alice.key", &self.image];
        self.environment.run(sign).json()
    }

    /// Verifies an image and returns how that ended.
    fn verify(&self, image: &str) -> i32 {
        self.environment.run(["verify", "--trust", "alice.crt", image]).code
    }

    fn at(&self, repository: &str) -> String {
        format!("{}/{repository}", self.registry.host())
    }
}

#[test]
fn images_are_signed_where_they_lie() {
    let Some(scene) = Scene::new() else { return };
    assert_eq!(scene.verify(&scene.image), 10);
    let signed = scene.sign();
    assert_eq!(signed["manifests"][0]["already_signed"], false);
    assert_eq!(scene.verify(&scene.image), 0);
    let again = scene.sign();
    assert_eq!(again["manifests"][0]["already_signed"], true);
    assert_eq!(again["manifests"][0]["artifacts"], signed["manifests"][0]["artifacts"]);
    let mallory = ["verify", "--trust", "mallory.crt", &scene.image];
    assert_eq!(scene.environment.run(mallory).code, 11);
}

#[test]
fn notation_and_osguard_leave_each_other_their_signatures() {
    let Some(scene) = Scene::new() else { return };
    let Some(mut key) = or_skip(scene.clients.notation()) else { return };
    run(key.args(["cert", "generate-test", "--default", "tester"])).unwrap();
    let notation = |arguments: &[&str]| {
        let mut notation = scene.clients.notation().unwrap();
        run(notation.args(arguments).args(["--insecure-registry", &scene.image])).unwrap()
    };
    notation(&["sign"]);
    scene.sign();
    assert_eq!(signatures(&notation(&["list"])), 1);
    assert_eq!(scene.verify(&scene.image), 0);

    // In the other order.
    let other = scene.at("team/other:v1");
    let skopeo = scene.clients.skopeo().unwrap();
    scene.skopeo(skopeo, &format!("docker://{}", scene.image), &format!("docker://{other}"));
    let scene = Scene { image: other, ..scene };
    let notation = |arguments: &[&str]| {
        let mut notation = scene.clients.notation().unwrap();
        run(notation.args(arguments).args(["--insecure-registry", &scene.image])).unwrap()
    };
    scene.sign();
    notation(&["sign"]);
    assert_eq!(signatures(&notation(&["list"])), 1);
    assert_eq!(scene.verify(&scene.image), 0);
}

/// notation's policy and trust store, and a key that notation has made, serve both.
#[test]
fn notation_and_osguard_share_a_trust_store() {
    let Some(scene) = Scene::new() else { return };
    let Some(mut key) = or_skip(scene.clients.notation()) else { return };
    run(key.args(["cert", "generate-test", "--default", "tester"])).unwrap();
    let notation = scene.clients.home().join(".config/notation");
    let policy = |store: &str, identity: &str| {
        let policy = serde_json::json!({ "version": "1.0", "trustPolicies": [{
            "name": "team",
            "registryScopes": [scene.at("team/app")],
            "signatureVerification": { "level": "strict" },
            "trustStores": [store],
            "trustedIdentities": [identity],
        }] });
        // The name since version 1.3, and the one before.
        for file in ["trustpolicy.oci.json", "trustpolicy.json"] {
            std::fs::write(notation.join(file), policy.to_string()).unwrap();
        }
    };
    let tester = "x509.subject: C=US, ST=WA, L=Seattle, O=Notary, CN=tester";
    policy("ca:tester", tester);
    let notation_agrees = |image: &str| {
        let mut verify = scene.clients.notation().unwrap();
        let verified = verify.args(["verify", "--insecure-registry", image]).output().unwrap();
        // Shown where the test fails.
        eprintln!("{}", String::from_utf8_lossy(&verified.stderr));
        verified.status.success()
    };
    let configuration = notation.join("trustpolicy.oci.json");
    let osguard = |image: &str| {
        let verify = ["verify", image, "--trust-config", configuration.to_str().unwrap()];
        scene.environment.run(verify)
    };

    // Each signs with the same key, and each trusts the other's key by the same files.
    let mut sign = scene.clients.notation().unwrap();
    run(sign.args(["sign", "--insecure-registry", &scene.image])).unwrap();
    assert!(notation_agrees(&scene.image));
    assert_eq!(osguard(&scene.image).code, 10, "a signature of the manifest is none of a layer");
    let path = |ending: &str| notation.join(format!("localkeys/tester.{ending}"));
    let (key, certificate) = (path("key"), path("crt"));
    let sign = ["sign", &scene.image, "--key", key.to_str().unwrap(), "--cert"];
    let certificate = certificate.to_str().unwrap();
    scene.environment.run(sign.iter().chain(&[certificate])).done();
    assert!(notation_agrees(&scene.image));
    let ran = osguard(&scene.image);
    assert_eq!(ran.code, 0, "{ran}");

    // Somebody else's identity, somebody else's store, and another repository.
    policy("ca:tester", &tester.replace("CN=tester", "CN=other"));
    assert!(!notation_agrees(&scene.image));
    assert_eq!(osguard(&scene.image).code, 11);
    let mut add = scene.clients.notation().unwrap();
    let alice = scene.environment.path("alice.crt");
    run(add.args(["cert", "add", "--type", "ca", "--store", "release"]).arg(alice)).unwrap();
    policy("ca:release", "*");
    assert!(!notation_agrees(&scene.image));
    assert_eq!(osguard(&scene.image).code, 11);
    scene.sign();
    assert_eq!(osguard(&scene.image).code, 0);
    let other = scene.at("team/other:v1");
    let skopeo = scene.clients.skopeo().unwrap();
    scene.skopeo(skopeo, &format!("docker://{}", scene.image), &format!("docker://{other}"));
    assert!(!notation_agrees(&other));
    assert_eq!(osguard(&other).code, 13);
}

#[test]
fn oras_sees_the_signatures_and_carries_them() {
    let Some(scene) = Scene::new() else { return };
    scene.sign();
    let Some(mut discover) = or_skip(scene.clients.oras()) else { return };
    let found = run(discover.args(["discover", "--plain-http", "--format", "json", &scene.image]));
    let found: Value = serde_json::from_slice(&found.unwrap()).unwrap();
    let text = found.to_string();
    assert!(text.contains("application/vnd.cncf.notary.signature.dm-verity"), "{text}");

    let copy = scene.at("elsewhere/app:v1");
    let mut oras = scene.clients.oras().unwrap();
    oras.args(["cp", "-r", "--from-plain-http", "--to-plain-http", &scene.image, &copy]);
    run(&mut oras).unwrap();
    assert_eq!(scene.verify(&copy), 0);
}

#[test]
fn skopeo_moves_the_image_and_leaves_the_signatures() {
    let Some(scene) = Scene::new() else { return };
    scene.sign();
    let copy = scene.at("elsewhere/app:v1");
    let skopeo = scene.clients.skopeo().unwrap();
    scene.skopeo(skopeo, &format!("docker://{}", scene.image), &format!("docker://{copy}"));
    assert_eq!(scene.verify(&copy), 10);
    assert_eq!(scene.verify(&scene.image), 0);
}

#[test]
fn cosign_is_not_confused() {
    let Some(scene) = Scene::new() else { return };
    scene.sign();
    let Some(mut cosign) = or_skip(scene.clients.cosign()) else { return };
    let tree = run(cosign.args(["tree", "--allow-http-registry", &scene.image])).unwrap();
    let tree = String::from_utf8(tree).unwrap();
    assert!(tree.contains("No Supply Chain Security Related Artifacts"), "{tree}");
}

/// Counts the signatures that `notation list` prints.
fn signatures(listed: &[u8]) -> usize {
    let listed = String::from_utf8_lossy(listed);
    listed
        .lines()
        .filter(|line| line.trim_start_matches(['│', ' ', '└', '├', '─']).starts_with("sha256:"))
        .count()
}
