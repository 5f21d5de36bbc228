//! `osguard policy revoke --superseded-by`.

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource};
use serde_json::Value;

use crate::environment::Environment;
use crate::fixtures::{layer, layout, tar};

/// Makes images of which `new` takes the place of `old`, `other` shares a layer with `old`, and `compressed` has its
/// layers, compressed again.
fn scene() -> Environment {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    made.image("old", &[layer("base"), layer("vulnerable"), layer("shared")]).unwrap();
    made.image("new", &[layer("base"), layer("vulnerable"), layer("fixed")]).unwrap();
    made.image("other", &[layer("shared")]).unwrap();
    let gzip = LayerSource::new(tar("shared"), Compression::Gzip).unwrap();
    made.image("compressed", &[gzip]).unwrap();
    environment.run(["policy", "new", "node.policy"]).done();
    environment
}

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let revoke = ["policy", "revoke", "node.policy", "oci:image:old", "--to", "-"];
    [&revoke[..], more].concat()
}

fn revoked(environment: &Environment, more: &[&str]) -> Vec<String> {
    let ran = environment.run([&arguments(more)[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let revoked = report["revoked"].as_array().unwrap().iter();
    revoked.map(|root_hash| root_hash.as_str().unwrap().to_owned()).collect()
}

/// Returns the root hashes of the layer with this text, by all profiles.
fn root_hashes(environment: &Environment, text: &str) -> Vec<String> {
    environment.write("layer.tar", &tar(text));
    let mut root_hashes: Vec<_> =
        ["containerd-full-v1", "diffid-full-v1", "containerd-index-v1", "osguard-ci-v1"]
            .iter()
            .map(|profile| {
                let build = ["layer", "build", "layer.tar", "layer.erofs", "--profile", profile];
                let report = environment.run([&build[..], &["--output", "json"]].concat());
                let report: Value = serde_json::from_str(&report.stdout).unwrap();
                report["root_hash"].as_str().unwrap().to_owned()
            })
            .collect();
    root_hashes.sort();
    // A layer that is not compressed has one digest, and so the same UUID by two profiles.
    root_hashes.dedup();
    root_hashes
}

#[test]
fn only_what_no_supported_image_has_is_denied() {
    let environment = scene();
    let shared = root_hashes(&environment, "shared");
    assert_eq!(revoked(&environment, &["--superseded-by", "oci:image:new"]), shared);
    let both = ["--superseded-by", "oci:image:new", "--superseded-by", "oci:image:other"];
    assert_eq!(revoked(&environment, &both), Vec::<String>::new());
    // Compressed again it has other root hashes, but for those of which the digest is no part.
    let compressed =
        ["--superseded-by", "oci:image:new", "--superseded-by", "oci:image:compressed"];
    let some = revoked(&environment, &compressed);
    assert!(!some.is_empty() && some.len() < shared.len(), "{some:?} of {shared:?}");
    assert!(some.iter().all(|root_hash| shared.contains(root_hash)));
    let text = environment.run(arguments(&["--superseded-by", "oci:image:new"])).done();
    let first = text.lines().position(|line| line.contains("action=DENY")).unwrap();
    let allows = text
        .lines()
        .position(|line| line.contains("action=ALLOW") && line.starts_with("op=EXECUTE"));
    assert!(first < allows.unwrap(), "{text}");
}

#[test]
fn what_is_still_running_is_not_denied() {
    let environment = scene();
    let list = |text: &str| {
        environment.write("running", text.as_bytes());
        arguments(&["--superseded-by", "oci:image:new", "--running", "running"])
    };
    assert_eq!(environment.run(list("# all of them\noci:image:new\n\n")).code, 0);
    assert_snapshot!(environment.refused(list("oci:image:new\noci:image:old # a pod\n")), @"
    --- standard error ---
    Error: what is to be denied is still in use: oci:image:old with the layer sha256:03920600a5d1c8b20f386576112801cbc8cb9b89eea3c0983ffd33eb58ff892d
    Hint: Roll the new image out first, and deny the old one when nothing runs on it any more.
    --- exit code 13 ---
    ");
    assert_snapshot!(environment.refused(list("oci:image:other\n")), @"
    --- standard error ---
    Error: what is to be denied is still in use: oci:image:other with the layer sha256:03920600a5d1c8b20f386576112801cbc8cb9b89eea3c0983ffd33eb58ff892d
    Hint: Roll the new image out first, and deny the old one when nothing runs on it any more.
    --- exit code 13 ---
    ");
    let shared = root_hashes(&environment, "shared").remove(0);
    assert_eq!(environment.refused(list(&shared)).code, 13);
    assert_eq!(environment.run(list(&"5e".repeat(32))).code, 0);
    // Who cannot be looked up may still need it.
    assert_eq!(environment.refused(list("oci:image:nothing\n")).code, 3);
    assert_eq!(environment.refused(list("no image\n")).code, 2);
    let alone = ["policy", "revoke", "node.policy", "oci:image:old", "--running", "running"];
    assert_eq!(environment.run(alone).code, 2);
}

#[test]
fn a_policy_that_becomes_too_long_is_not_written() {
    let environment = scene();
    let denied: Vec<String> = (0..560).map(|number| format!("{number:064x}")).collect();
    let arguments =
        ["policy", "revoke", "node.policy"].into_iter().chain(denied.iter().map(String::as_str));
    let ran = environment.run(arguments.chain(["--to", "long.policy"]));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("with its signature it may have more than the 65535"), "{ran}");
    let more: Vec<String> = (600..640).map(|number| format!("{number:064x}")).collect();
    let arguments =
        ["policy", "revoke", "long.policy"].into_iter().chain(more.iter().map(String::as_str));
    assert_snapshot!(environment.refused(arguments), @"
    --- standard error ---
    Error: long.policy: with 40 more volumes denied the policy has 67942 bytes, and 65335 are the most that the kernel takes with a signature
    Hint: Retire a key: without its certificate in the kernel's keyrings nothing that it has signed runs, and its denials can go.
    Hint: Or pin: `osguard policy new --pin` allows the volumes in use alone, and needs no denials.
    --- exit code 2 ---
    ");
}
