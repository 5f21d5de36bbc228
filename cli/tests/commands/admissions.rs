//! What would be let into a cluster.

use insta::assert_snapshot;
use osguard_testkit::registry::{Answer, Fault, Registry};

use crate::environment::{Environment, Ran};
use crate::fixtures::image;

/// Makes a registry with `team/app:v1`, signed by alice, and `team/app:v2`, by nobody.
fn scene() -> (Registry, Environment) {
    let registry = Registry::start().unwrap();
    let environment = Environment::with_keys();
    image(&environment);
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.host());
    let push = ["push", "oci:image:v1"];
    let signed = [push[0], push[1], &name("v1"), "--sign", "--key", "alice.key"];
    assert_eq!(environment.run(signed).code, 0);
    // Another manifest over the same layers.
    let mut manifest = registry.manifest("team/app", "v1").unwrap().json();
    manifest["annotations"] = serde_json::json!({ "note": "unsigned" });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest("team/app", Some("v2"), media_type, manifest.to_string().as_bytes());
    (registry, environment)
}

fn run(scene: &(Registry, Environment), arguments: &[&str]) -> Ran {
    scene.1.run(arguments).naming(&scene.0.host(), "REGISTRY")
}

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      initContainers:
      - {name: setup, image: REGISTRY/team/app:v1}
      containers:
      - name: main
        image: REGISTRY/team/app:v2
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
";

#[test]
fn manifests_are_checked_with_file_line_and_field() {
    let scene = scene();
    scene.1.write("web.yaml", MANIFEST.replace("REGISTRY", &scene.0.host()).as_bytes());
    let check = ["admission", "check", "web.yaml", "--trust", "alice.crt"];
    assert_snapshot!(run(&scene, &check), @"
    web.yaml:8: passes: Deployment shop/web, spec.template.spec.initContainers[0].image REGISTRY/team/app:v1 (sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef): signed
    web.yaml:11: refused: Deployment shop/web, spec.template.spec.containers[0].image REGISTRY/team/app:v2 (sha256:bbfe57e88155a58af2291f7182dd6caa71002eac70b257ccae1a55aca7cc06a5): not signed: linux/amd64: layer fc04dd24052b is not signed; linux/amd64: layer 204d62bcca13 is not signed
    2 images, 1 refused
    --- standard error ---
    Error: 1 image would be refused
    Hint: `osguard verify IMAGE` tells more of an image.
    --- exit code 13 ---
    ");
    let ran = run(&scene, &[&check[..], &["--output", "json"]].concat());
    assert_eq!(ran.code, 13);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["schema"], "osguard.admission.check.v1");
    let finding = &report["findings"][1];
    assert_eq!(finding["line"], 11);
    assert_eq!(finding["field"], "spec.template.spec.containers[0].image");
    assert_eq!(
        (&finding["verdict"], &finding["reason"]),
        (&"refused".into(), &"not-signed".into())
    );

    let good = MANIFEST.replace("app:v2", "app:v1").replace("REGISTRY", &scene.0.host());
    let stdin = ["admission", "check", "-", "--trust", "alice.crt", "--recompute"];
    let ran = scene.1.run_with_input(stdin, good.as_bytes());
    assert_eq!(ran.code, 0, "{ran}");
    let foreign = ["admission", "check", "-", "--trust", "mallory.crt"];
    let ran = scene.1.run_with_input(foreign, good.as_bytes());
    assert!(ran.code == 13 && ran.stdout.contains("no signature is valid and trusted"), "{ran}");
    let unpinned = ["admission", "check", "-", "--trust", "alice.crt", "--require-digest"];
    let ran = scene.1.run_with_input(unpinned, good.as_bytes());
    assert!(ran.code == 13 && ran.stdout.contains("requires one"), "{ran}");
    let other = ["admission", "check", "-", "--trust", "alice.crt", "--profile", "diffid-full-v1"];
    let ran = scene.1.run_with_input(other, good.as_bytes());
    assert!(ran.code == 13 && ran.stdout.contains("by no profile of the nodes"), "{ran}");
}

#[test]
fn a_report_lists_images_and_who_uses_them() {
    let scene = scene();
    scene.1.write("web.yaml", MANIFEST.replace("REGISTRY", &scene.0.host()).as_bytes());
    let report = ["admission", "report", "web.yaml", "web.yaml", "--trust", "alice.crt"];
    assert_snapshot!(run(&scene, &report), @"
    REGISTRY/team/app:v2: refused, not signed
      linux/amd64: layer fc04dd24052b is not signed
      linux/amd64: layer 204d62bcca13 is not signed
      in Deployment shop/web
    REGISTRY/team/app:v1: passes, signed
    1 workload, 1 with an image that does not pass
    ");
}

#[test]
fn the_configuration_of_the_webhook_says_what_is_enforced() {
    let scene = scene();
    scene.1.write("web.yaml", MANIFEST.replace("REGISTRY", &scene.0.host()).as_bytes());
    let trust = "version = 1\n[stores.a]\ncertificates = [\"alice.crt\"]\n[[scopes]]\n\
                 repositories = [\"**\"]\nstores = [\"a\"]\n";
    scene.1.write("trust.toml", trust.as_bytes());
    let check = ["admission", "check", "web.yaml", "--config", "admission.toml"];
    let with = |top: &str, rules: &str| {
        let text = format!("version = 1\n{top}\n[images]\ntrust = \"trust.toml\"\n{rules}");
        scene.1.write("admission.toml", text.as_bytes());
        run(&scene, &check)
    };
    let enforce = "default = \"enforce\"\nunknown-kinds = \"allow\"";
    assert_eq!(with(enforce, "").code, 13);
    let ran = with("default = \"enforce\"", "");
    assert!(ran.stdout.contains("web.yaml:13: refused: ConfigMap settings"), "{ran}");
    let ran = with("default = \"warn\"", "");
    assert!(ran.code == 0 && ran.stdout.contains("would be refused"), "{ran}");
    let audit = "[[rules]]\nname = \"a\"\nnamespaces = [\"shop\"]\nmode = \"audit\"\n";
    assert_eq!(with(enforce, audit).code, 0);
    let exempt = format!("{enforce}\nexempt = [\"shop\"]");
    assert_eq!(with(&exempt, "").code, 0);
    assert_eq!(with("default = \"no\"", "").code, 2);
}

#[test]
fn what_nodes_say_of_themselves_is_asked_for_in_manifests_as_well() {
    let scene = scene();
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nspec: {{containers: [{{name: a, image: \"{}/team/app:v1\"}}]}}\n",
        scene.0.host()
    );
    scene.1.write("pod.yaml", pod.as_bytes());
    let trust = "version = 1\n[stores.a]\ncertificates = [\"alice.crt\"]\n[[scopes]]\n\
                 repositories = [\"**\"]\nstores = [\"a\"]\n";
    scene.1.write("trust.toml", trust.as_bytes());
    let with = |nodes: &str| {
        let text = format!(
            "version = 1\ndefault = \"enforce\"\n[images]\ntrust = \"trust.toml\"\n[nodes]\n{nodes}\n"
        );
        scene.1.write("admission.toml", text.as_bytes());
        run(&scene, &["admission", "check", "pod.yaml", "--config", "admission.toml"])
    };
    for broken in ["", "directory = \"a\"\nannotation = \"b\"", "annotation = \"b\"", "dir = \"a\""]
    {
        assert_eq!(with(broken).code, 2, "{broken}");
    }
    let ran = with("directory = \"nodes\"");
    assert!(ran.code == 13 && ran.stdout.contains("cannot be read"), "{ran}");
    std::fs::create_dir(scene.1.path("nodes")).unwrap();
    for (identifier, code) in [("49b5d94dd761adbdc539207d98c9f8c3772cea1d", 0), ("00", 13)] {
        let description = serde_json::json!({
            "schema": "osguard.node.describe.v1", "name": "a", "os": "linux", "architecture": "amd64",
            "kernel": "6.12.1", "profiles": ["containerd-full-v1"],
            "certificates": [{ "identifier": identifier, "subject": "x", "keyring": ".platform" }],
        });
        scene.1.write("nodes/a.json", description.to_string().as_bytes());
        let ran = with("directory = \"nodes\"");
        assert_eq!(ran.code, code, "{ran}");
        assert!(code == 0 || ran.stdout.contains("node a refuses layer"), "{ran}");
    }
}

#[test]
fn what_cannot_be_read_or_looked_up_is_not_let_in() {
    let scene = scene();
    let host = scene.0.host();
    scene.1.write("web.yaml", MANIFEST.replace("REGISTRY", &host).as_bytes());
    let check = |file| scene.1.run(["admission", "check", file, "--trust", "alice.crt"]);
    for (text, said) in [
        (
            "apiVersion: v1\nkind: Pod\nspec: {containers: x}",
            "broken.yaml:3: spec.containers is not a list",
        ),
        ("a: [", "broken.yaml"),
        ("kind: Pod", "broken.yaml:1: apiVersion is not there"),
    ] {
        scene.1.write("broken.yaml", text.as_bytes());
        let ran = check("broken.yaml");
        assert!(ran.code == 2 && ran.stderr.contains(said), "{ran}");
    }
    assert_eq!(check("missing.yaml").code, 3);
    let _ = scene.0.fault(Fault::new().always().answer(Answer::status(401)));
    let ran = check("web.yaml");
    assert!(ran.code == 13 && ran.stdout.contains("does not let osguard in"), "{ran}");
    assert!(!ran.stdout.contains("not signed"), "{ran}");
    scene.0.clear_faults();
    let _ = scene.0.fault(Fault::new().always().answer(Answer::status(503)));
    let ran = check("web.yaml");
    assert!(ran.code == 4 && ran.stdout.contains("the registry failed"), "{ran}");
    assert!(!ran.stdout.contains("not signed"), "{ran}");
}

/// The flags in the Deployment are ones that there are.
#[test]
fn the_deployment_starts_what_there_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/admission/deployment.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim);
    let arguments: Vec<&str> = lines
        .skip_while(|line| *line != "args:")
        .skip(1)
        .map_while(|line| line.strip_prefix("- "))
        .collect();
    assert!(arguments.len() > 5, "{arguments:?}");
    let ran = Environment::new().run(arguments);
    assert!(ran.code == 3 && ran.stderr.contains("/etc/osguard/admission.toml"), "{ran}");
}
