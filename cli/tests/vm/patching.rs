//! A patch, a better one, and the first one taken back: on a node that runs both.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libverity::digest::RootHash;
use osguard_testkit::command::find;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarHeader, TarMaker};
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};
use serde_json::Value;

use crate::host::Host;
use crate::{debian_packages, succeeded};

#[test]
fn vm_6_12_takes_a_patch_back() {
    takes_a_patch_back(Kernel::V6_12);
}

#[test]
fn vm_7_2_takes_a_patch_back() {
    takes_a_patch_back(Kernel::V7_2);
}

/// Is what a machine has told, with what it was to be.
struct Ran {
    /// The root hashes that were taken back.
    revoked: Vec<RootHash>,
    /// What dpkg lists in the tree that was to come out of a patch.
    packages: String,
    outcome: Outcome,
}

fn takes_a_patch_back(kernel: Kernel) {
    let Some(Ran { revoked, packages, outcome }) = or_skip(run(kernel)) else { return };
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    for step in ["mount-old", "mount-new", "deploy", "deploy-next", "still-running"] {
        succeeded(&outcome, step);
    }
    // The base is one device for both, and each patch another.
    let devices = |step: &str| outcome.step(step).stdout_text();
    assert_eq!((devices("devices-old"), devices("devices-new")), ("2".into(), "3".into()));
    let list = outcome.step("list").stdout_text();
    assert!(list.contains("/old") && list.contains("/new"), "{list}");

    both_generations_are_told(&outcome);

    let prints = |step: &str, text: &str| {
        succeeded(&outcome, step);
        assert_eq!(outcome.step(step).stdout_text(), text, "{step}");
    };
    prints("run-old", "vulnerable");
    prints("run-new", "fixed");
    for (step, code) in [("deny-old", 126), ("deny-start", 126)] {
        assert_eq!(outcome.step(step).exit_code, code, "{step}: {}", outcome.console);
    }
    prints("run-new-after", "fixed");
    prints("run-others", "others");
    succeeded(&outcome, "mount-debian");
    prints("packages", packages.trim());
    for step in ["affected", "affected-after"] {
        what_runs_on_the_layer_is_told(&outcome, step, &revoked);
    }
}

/// They share the base; each has a patch and its device of its own.
fn both_generations_are_told(outcome: &Outcome) {
    succeeded(outcome, "generations");
    let report: Value = serde_json::from_slice(&outcome.step("generations").stdout).expect("JSON");
    let generations = report["generations"].as_array().expect("generations");
    let [new, old] = &generations[..] else { panic!("{report:#}") };
    for (generation, target, tag) in [(old, "/old", "v2"), (new, "/new", "v3")] {
        assert_eq!(generation["target"], target, "{report:#}");
        assert_eq!(generation["name"], format!("oci:/images:{tag}"));
        let layers = generation["layers"].as_array().expect("layers").iter();
        let told: Vec<_> = layers
            .map(|layer| (layer["shared"] == true, layer["devices"][0]["signed"] == true))
            .collect();
        assert_eq!(told, [(true, true), (false, true)], "{report:#}");
    }
    let base = |generation: &Value| generation["layers"][0]["devices"].clone();
    assert_eq!(base(old), base(new));
    assert_eq!(report["devices"], 3);
}

/// The container that still runs on the layer, and the image that has it.
fn what_runs_on_the_layer_is_told(outcome: &Outcome, step: &str, revoked: &[RootHash]) {
    succeeded(outcome, step);
    let report: Value = serde_json::from_slice(&outcome.step(step).stdout).expect("JSON");
    let processes = report["processes"].as_array().expect("processes");
    let [process] = &processes[..] else { panic!("{step}: {report:#}") };
    assert_eq!(process["name"], "busybox-old", "{step}");
    let root_hash = process["files"][0]["root_hash"].as_str().expect("a root hash");
    let is_revoked = |text: &str| revoked.iter().any(|revoked| text == revoked.to_string());
    assert!(is_revoked(root_hash.trim_start_matches("sha256:")), "{step}: {report:#}");
    let mounts = report["mounts"].as_array().expect("mounts");
    let [mount] = &mounts[..] else { panic!("{step}: {report:#}") };
    assert_eq!(mount["target"], "/old", "{step}");
    assert_eq!(mount["root_hashes"].as_array().expect("root hashes").len(), 1, "{step}");
}

/// Makes the image `v1`, its patch `v2`, and `v3`, which has a better patch in the place of that one; and `debian` with the
/// patch `debian2`, in which dpkg has put a newer package.
fn run(kernel: Kernel) -> Result<Ran> {
    let host = Host::new()?;
    let busybox = fs::read(find("busybox")?).expect("the program");
    let program = |name: &str| TarHeader { mode: 0o755, ..TarHeader::file(name) };
    let base = TarMaker::new()
        .directory("./", 0o755)
        .directory("bin", 0o755)
        .entry(program("bin/busybox"), &busybox)
        .symlink("bin/sh", "busybox")
        .entry(program("bin/app"), b"#!/bin/sh\necho first\n")
        .finish();
    let base = LayerSource::new(base, Compression::Gzip)?;
    let mut layout = LayoutMaker::new(host.path("images"))?;
    layout.image("v1", &[base])?;
    layout.image("debian", &[debian_packages::unpacked(&host)?])?;
    for image in ["oci:images:v1", "oci:images:debian"] {
        host.osguard(&["sign", image, "--key", "trusted.key"]);
    }
    let write = |path: &str, contents: &[u8]| {
        let path = host.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, contents).expect("a file");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a program");
    };
    write("fix1/bin/app", b"#!/bin/sh\necho vulnerable\n");
    write("fix1/bin/busybox-old", &busybox);
    write("fix2/bin/app", b"#!/bin/sh\necho fixed\n");
    for (from, fix, to) in [
        ("oci:images:v1", "fix1", "v2"),
        ("oci:images:v2", "fix2", "v3"),
        ("oci:images:debian", "debian-fix", "debian2"),
    ] {
        let patch = ["patch", from, "--add", fix, "--tag", to, "--owner", "0:0"];
        let signing = ["--trust", "trusted.crt", "--sign", "--key", "trusted.key"];
        host.osguard(&[&patch[..], &signing].concat());
    }
    let revoke = ["policy", "revoke", "policies/1.pol", "oci:images:v2", "--superseded-by"];
    let to = ["oci:images:v3", "--to", "policies/next.pol", "--output", "json"];
    let output = host.command(&[&revoke[..], &to].concat()).output().expect("osguard starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let revoked = report["revoked"].as_array().expect("root hashes").iter();
    let revoked = revoked.map(|hash| hash.as_str().expect("text").parse().expect("a root hash"));
    let revoked = revoked.collect();
    host.osguard(&["policy", "sign", "policies/next.pol", "--key", "trusted.key"]);
    let machine = host
        .machine(kernel)?
        .file("/policies/next.p7b", host.path("policies/next.p7b"))
        .program(find("dpkg-query")?);
    let packages = ["debian", "debian-fix"].map(|tree| debian_packages::listed(&host.path(tree)));
    let [before, after] = packages;
    let (before, after) = (before?, after?);
    assert_ne!(before, after, "the newer package has another version");
    Ok(Ran { revoked, packages: after, outcome: machine.script(SCRIPT).run()? })
}

const SCRIPT: &str = r#"
mkdir -p /images /node /old /new
mount -t ext4 -o ro /dev/vda /images
mount -t ext4 /dev/vdb /node
export OSGUARD_STORE=/node/store

step mount-old osguard node mount oci:/images:v2 /old
step devices-old sh -c 'ls /sys/block | grep -c ^dm-'
step mount-new osguard node mount oci:/images:v3 /new
step devices-new sh -c 'ls /sys/block | grep -c ^dm-'
step list osguard node list
step generations osguard node list --image oci:/images --output json
step deploy osguard policy deploy /policies/1.p7b
step run-old chroot /old /bin/app
step run-new chroot /new /bin/app
chroot /old /bin/busybox-old sleep 1000 &
old=$!
until grep -q busybox-old /proc/$old/comm; do sleep 1; done
step affected osguard node affected --policy /policies/next.p7b --output json
step deploy-next osguard policy deploy /policies/next.p7b

step deny-old chroot /old /bin/app
step deny-start chroot /old /bin/busybox-old true
step run-new-after chroot /new /bin/app
step run-others chroot /old /bin/busybox echo others
step still-running kill -0 $old
step affected-after osguard node affected --output json
kill -9 $old
mkdir -p /debian
step mount-debian osguard node mount oci:/images:debian2 /debian
export COLUMNS=200 LC_ALL=C
step packages dpkg-query --admindir=/debian/var/lib/dpkg -l
exit 0
"#;
