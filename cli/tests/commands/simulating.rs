//! `osguard policy simulate`, on images and on this machine; and `rollback`, which signs what is to come back.

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource, TarHeader, TarMaker};
use serde_json::json;

use crate::environment::Environment;
use crate::fixtures::layout;

/// A script that a script runs, in a layer above the shell; a setuid program and a runtime that compiles.
fn image(environment: &Environment) {
    let below = TarMaker::new()
        .directory("bin", 0o755)
        .entry(program("bin/sh", 0o755), b"no program at all")
        .entry(program("bin/su", 0o4755), b"#!/bin/sh\n")
        .entry(program("bin/old", 0o4755), b"#!/bin/sh\n")
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .entry(program("usr/bin/node", 0o755), b"\x7fELF")
        .finish();
    let above = TarMaker::new()
        .directory("bin", 0o755)
        .file("bin/.wh.old", b"")
        .directory("srv", 0o755)
        .entry(program("srv/start", 0o755), b"#! /srv/run --flag\n")
        .entry(program("srv/run", 0o755), b"#!/bin/env sh\n")
        .symlink("bin/env", "../bin/sh")
        .finish();
    let layers = [below, above].map(|tar| LayerSource::new(tar, Compression::Plain).unwrap());
    let config = json!({ "Entrypoint": ["./start"], "WorkingDir": "/srv" });
    layout(environment).image_with(("linux", "amd64"), "v1", &layers, &config).unwrap();
}

fn program(name: &str, mode: u32) -> TarHeader {
    TarHeader { mode, ..TarHeader::file(name) }
}

#[test]
fn what_an_image_executes_is_judged_by_its_layers() {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["policy", "new", "node.policy"]).done();
    let simulate = ["policy", "simulate", "node.policy", "--image", "oci:image:v1"];
    let found = environment.run(simulate.iter().chain(&["--output", "json"]));
    assert_eq!(found.code, 13, "{found}");
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let denied: Vec<_> = report["subjects"][0]["denied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|denied| (denied["object"].as_str().unwrap(), denied["actors"].clone()))
        .collect();
    let names: Vec<_> = denied.iter().map(|(object, _)| *object).collect();
    let memory = "executable memory without a file";
    assert_eq!(names, [memory, "/bin/sh", "/bin/su", "/srv/run", "/srv/start"]);
    assert_eq!(denied[1].1, json!(["the entry point", "a setuid program"]));
    assert_eq!(report["subjects"][0]["denied"][1]["signed"], false);

    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    let signed = environment.run(simulate);
    assert_eq!(signed.code, 13, "{signed}");
    let lines: Vec<_> = signed.stdout.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "Denied: EXECUTE executable memory without a file",
            "  on no dm-verity volume; DEFAULT op=EXECUTE action=DENY",
            "  for Node.js (/usr/bin/node)",
            "Hint: Node.js: NODE_OPTIONS=--jitless runs it without compiling",
            "1 denied",
        ]
    );
}

#[test]
fn only_existing_images_and_good_policies_are_simulated() {
    let environment = Environment::with_keys();
    environment.write("bad.policy", b"policy_name=a policy_version=1.0.0\nDEFAULT action=DEN\n");
    assert_snapshot!(environment.refused(["policy", "simulate", "bad.policy", "--image", "oci:image:v1"]), @"
    --- standard error ---
    Error: bad.policy:2:9: a rule ends with an action, and this line with `action=DEN` (the kernel: EBADMSG)
    Hint: `osguard policy lint bad.policy` shows the line and a way out.
    --- exit code 2 ---
    ");
    environment.run(["policy", "new", "node.policy"]).done();
    assert_eq!(
        environment.refused(["policy", "simulate", "node.policy", "--image", "oci:image:v1"]).code,
        3
    );
    assert_eq!(environment.run(["policy", "simulate", "node.policy"]).code, 2);
}

#[test]
fn this_machine_is_asked_where_that_is_allowed() {
    let environment = Environment::new();
    environment.run(["policy", "new", "node.policy"]).done();
    let simulate = ["policy", "simulate", "node.policy", "--host", "--output", "json"];
    if !environment.is_root() {
        let refused = environment.refused(simulate);
        assert!(refused.code == 1 && refused.stderr.contains("root is needed"), "{refused}");
        return;
    }
    let found = environment.run(simulate);
    // Nothing here lies on a signed volume, the program that asks least of all.
    assert_eq!(found.code, 13, "{found}");
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let own = env!("CARGO_BIN_EXE_osguard");
    let lists =
        ["denied", "undecided"].map(|list| report["subjects"][0][list].as_array().unwrap().clone());
    let mut objects = lists.iter().flatten();
    assert!(objects.any(|one| one["object"] == own && one["vital"] == true), "{report}");
}

#[test]
fn former_rules_are_signed_under_a_higher_version() {
    let environment = Environment::with_keys();
    environment.run(["policy", "new", "old.policy", "--policy-version", "1.0.3"]).done();
    let rollback =
        ["policy", "rollback", "old.policy", "--key", "alice.key", "--policy-version", "1.0.9"];
    assert_snapshot!(environment.run(rollback), @"
    Policy osguard 1.0.9, with the rules of 1.0.3: osguard-1.0.9.p7b
    `osguard policy deploy osguard-1.0.9.p7b` brings it in force
    ");
    let text = String::from_utf8(environment.read("old.policy")).unwrap();
    let expected = text.replace("1.0.3", "1.0.9");
    let signed = environment.read("osguard-1.0.9.p7b");
    assert!(signed.windows(expected.len()).any(|window| window == expected.as_bytes()));

    // In two steps, the second with a signature that OpenSSL has made.
    let prepare = [
        "policy",
        "rollback",
        "old.policy",
        "--policy-version",
        "1.0.10",
        "--prepare",
        "back.policy",
    ];
    assert_snapshot!(environment.run(prepare), @"
    Policy osguard 1.0.10, with the rules of 1.0.3: back.policy
    Sign it where the key is; `osguard policy rollback --assemble back.policy --signature SIGNATURE --cert CERTIFICATE` takes the signature
    ");
    let Some(mut openssl) = osguard_testkit::or_skip(osguard_testkit::command::command("openssl"))
    else {
        return;
    };
    openssl.args(["dgst", "-sha256", "-sign"]).arg(environment.path("alice.key"));
    openssl.arg("-out").arg(environment.path("back.sig")).arg(environment.path("back.policy"));
    assert!(openssl.status().unwrap().success());
    let assemble = [
        "policy",
        "rollback",
        "--assemble",
        "back.policy",
        "--signature",
        "back.sig",
        "--cert",
        "alice.crt",
    ];
    environment.run(assemble).done();
    assert_eq!(environment.run(["policy", "lint", "osguard-1.0.10.p7b"]).code, 0);
    let lower =
        ["policy", "rollback", "old.policy", "--key", "alice.key", "--policy-version", "1.0.3"];
    assert_snapshot!(environment.refused(lower), @"
    --- standard error ---
    Error: old.policy: the version 1.0.3 is not higher than 1.0.3, and no kernel that has 1.0.3 takes it
    --- exit code 2 ---
    ");
}
