//! `osguard node signatures`: what is kept on a node, and comes from anywhere.

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::fixtures::{image, index};

const DIRECTORY: [&str; 2] = ["--directory", "signatures"];

#[test]
fn signatures_are_fetched_once() {
    let environment = Environment::with_keys();
    image(&environment);
    let command = |name: &str, more: &[&str]| {
        environment.run(["node", "signatures", name].iter().chain(more).chain(&DIRECTORY))
    };
    assert_snapshot!(command("list", &[]), @"No signatures are kept here");
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    assert_snapshot!(
        command("fetch", &["oci:image:v1"]),
        @"Added 2 signatures; 0 were there already"
    );
    assert_snapshot!(
        command("fetch", &["oci:image:v1"]),
        @"Added 0 signatures; 2 were there already"
    );
    let listed = command("list", &["--output", "json"]).json();
    let signatures = listed["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 2);
    for signature in signatures {
        let root_hash = signature["root_hash"].as_str().unwrap();
        let digest = signature["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let file = environment.read(format!("signatures/{root_hash}/{digest}.p7s"));
        assert_eq!(file.len() as u64, signature["size_bytes"].as_u64().unwrap());
    }
}

#[test]
fn signatures_in_files_are_added() {
    let environment = Environment::new();
    let layer = |root_hash: &str, signature: &str| {
        let digest = format!("sha256:{}", "00".repeat(32));
        format!(r#"{{"digest":"{digest}","root_hash":"{root_hash}","signature":"{signature}"}}"#)
    };
    let root_hash = "ab".repeat(32);
    let file = format!(
        r#"[{{"name":"app","layers":[{},{}]}}]"#,
        layer(&root_hash, "MAE="),
        layer(&root_hash, "MAI=")
    );
    environment.write("signatures.json", file.as_bytes());
    let add =
        |file: &str| environment.run(["node", "signatures", "add", file].iter().chain(&DIRECTORY));
    assert_snapshot!(add("signatures.json"), @"Added 2 signatures; 0 were there already");
    let kept = std::fs::read_dir(environment.path(format!("signatures/{root_hash}"))).unwrap();
    assert_eq!(kept.count(), 2);
}

#[test]
fn what_is_no_signature_is_refused() {
    let environment = Environment::with_keys();
    index(&environment);
    environment.write("wrong.json", b"[{}]");
    let refused = |arguments: &[&str]| {
        let ran =
            environment.refused(["node", "signatures"].iter().chain(arguments).chain(&DIRECTORY));
        (ran.code, ran.stderr)
    };
    let (code, error) = refused(&["add", "wrong.json"]);
    assert!(code == 2 && error.contains("wrong.json"), "{error}");
    let (code, error) = refused(&["add", "none.json"]);
    assert!(code != 0 && error.contains("none.json"), "{error}");
    let (code, error) = refused(&["fetch", "oci:image:multi"]);
    assert!(code == 10 && error.contains("is not signed"), "{error}");
    assert!(!environment.path("signatures").exists());
}
