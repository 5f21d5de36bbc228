//! What `deploy/` holds, each by those whom it is for: systemd, dpkg, containerd, and the daemon itself.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use osguard_testkit::command::{command, find, run};
use osguard_testkit::node_guest::Containerd;
use osguard_testkit::{Error, Result, or_skip};
use serde_json::Value;

#[test]
fn systemd_understands_the_units() {
    let Some(mut verify) = or_skip(command("systemd-analyze")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    let names = [
        "osguard-node.service",
        "osguard-policy.service",
        "osguard-describe.service",
        "osguard-describe.timer",
    ];
    for name in names {
        let text = fs::read_to_string(deploy().join("systemd").join(name)).unwrap();
        // It is an error that a program is not there.
        let text = text.replace("/usr/bin/osguard", env!("CARGO_BIN_EXE_osguard"));
        let unit = directory.path().join(name);
        fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    let output = verify.args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("osguard")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    let node = fs::read_to_string(&units[0]).unwrap();
    // Each of these would give the daemon a table of mounts of its own.
    for setting in
        ["PrivateTmp=yes", "ProtectSystem=", "ProtectHome=", "PrivateMounts=", "ReadOnlyPaths="]
    {
        let is_set = node.lines().any(|line| line.starts_with(setting));
        assert!(!is_set, "{setting}");
    }
}

#[test]
fn the_package_is_installed_upgraded_and_removed() {
    let Some(()) = or_skip(install()) else { return };
}

fn install() -> Result<()> {
    // Scripts of packages run in a chroot.
    if String::from_utf8_lossy(&run(command("id")?.arg("-u"))?).trim() != "0" {
        return Err(Error::Missing("root".to_owned()));
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    let script = deploy().join("../scripts/package-deb");
    find("dpkg-deb")?;
    run(Command::new(script)
        .arg(env!("CARGO_BIN_EXE_osguard"))
        .arg(directory.path())
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none"))?;
    let package = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let name = package.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("osguard_0.1.0_") && name.ends_with(".deb"), "{name}");
    for path in ["root/usr/bin", "root/var/lib/dpkg/info", "root/var/lib/dpkg/updates"] {
        fs::create_dir_all(at(path)).unwrap();
    }
    std::os::unix::fs::symlink("usr/bin", at("root/bin")).unwrap();
    fs::copy(find("busybox")?, at("root/usr/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", at("root/usr/bin/sh")).unwrap();
    fs::write(at("root/var/lib/dpkg/status"), "").unwrap();
    fs::write(at("root/var/lib/dpkg/available"), "").unwrap();
    let dpkg = |arguments: &[&str]| {
        let root = format!("--root={}", at("root").display());
        // There are no other packages in that root.
        run(command("dpkg")?.args([&root, "--force-depends"]).args(arguments))
    };
    let package = package.to_string_lossy().into_owned();
    dpkg(&["--install", &package])?;
    for path in [
        "usr/bin/osguard",
        "usr/lib/systemd/system/osguard-node.service",
        "usr/lib/systemd/system/osguard-policy.service",
        "usr/lib/systemd/system/osguard-describe.timer",
        "usr/lib/systemd/system/containerd.service.d/10-osguard.conf",
        "usr/lib/systemd/system/kubelet.service.d/10-osguard.conf",
        "usr/share/osguard/containerd/1.7.toml",
        "usr/share/osguard/containerd/2.toml",
        "usr/share/man/man1/osguard-node-run.1.gz",
        "usr/share/man/man1/osguard-policy-deploy.1.gz",
        "usr/share/bash-completion/completions/osguard",
        "etc/osguard/node.toml",
    ] {
        assert!(at("root").join(path).is_file(), "{path}");
    }
    // What an operator has written stays.
    fs::write(at("root/etc/osguard/node.toml"), "version = 1\n").unwrap();
    dpkg(&["--force-confold", "--install", &package])?;
    assert_eq!(fs::read_to_string(at("root/etc/osguard/node.toml")).unwrap(), "version = 1\n");
    dpkg(&["--remove", "osguard"])?;
    assert!(!at("root/usr/bin/osguard").exists());
    assert!(at("root/etc/osguard/node.toml").exists());
    dpkg(&["--purge", "osguard"])?;
    assert!(!at("root/etc/osguard").exists());
    Ok(())
}

#[test]
fn each_containerd_understands_its_lines() {
    for (version, file) in [(Containerd::V1_7, "1.7.toml"), (Containerd::V2_1, "2.toml")] {
        let file = deploy().join("containerd").join(file);
        let Some(dump) = or_skip(dump(version, &file)) else { return };
        let text = |path: &[&str]| at(&dump, path).and_then(toml::Value::as_str).map(str::to_owned);
        assert_eq!(text(&["proxy_plugins", "osguard", "type"]).as_deref(), Some("snapshot"));
        assert_eq!(text(&["proxy_plugins", "osguard-diff", "type"]).as_deref(), Some("diff"));
        let (snapshotter, sandbox): (&[&str], &[&str]) = match version {
            Containerd::V1_7 => (
                &["plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"],
                &["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"],
            ),
            Containerd::V2_1 => (
                &["plugins", "io.containerd.cri.v1.images", "snapshotter"],
                &["plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"],
            ),
        };
        assert_eq!(text(snapshotter).as_deref(), Some("osguard"), "{version:?}");
        assert_eq!(text(sandbox).as_deref(), Some("registry.example/pause:signed"), "{version:?}");
        let differs = at(&dump, &["plugins", "io.containerd.service.v1.diff-service", "default"]);
        assert_eq!(differs, Some(&toml::Value::Array(vec!["osguard-diff".into()])), "{version:?}");
        let unpack = at(&dump, &["plugins", "io.containerd.transfer.v1.local", "unpack_config"]);
        let first = unpack.and_then(toml::Value::as_array).and_then(|list| list.first()).unwrap();
        assert_eq!(first["differ"].as_str(), Some("osguard-diff"), "{version:?}");
    }
}

/// What the comments in the files warn of.
#[test]
fn imported_files_lose_what_the_comments_say() {
    let directory = tempfile::tempdir().unwrap();
    let main = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let lines = |file: &str| deploy().join("containerd").join(file).display().to_string();
    let imports = |version: u8, file: &str, rest: &str| {
        format!("version = {version}\nimports = [\"{}\"]\n{rest}", lines(file))
    };
    let old = "[plugins.\"io.containerd.grpc.v1.cri\"]\nmax_container_log_line_size = 7\n";
    let new = "[plugins.'io.containerd.cri.v1.images']\nimage_pull_progress_timeout = '7s'\n";
    let replaced = main("replaced", &imports(2, "1.7.toml", old));
    let Some(replaced) = or_skip(dump(Containerd::V1_7, &replaced)) else { return };
    let size = ["plugins", "io.containerd.grpc.v1.cri", "max_container_log_line_size"];
    assert_eq!(at(&replaced, &size).unwrap().as_integer(), Some(16384), "the default again");

    let merged = main("merged", &imports(3, "2.toml", new));
    let merged = dump(Containerd::V2_1, &merged).unwrap();
    let images = ["plugins", "io.containerd.cri.v1.images"];
    let value = |dump: &toml::Table, key: &str| {
        at(dump, &[&images[..], &[key]].concat()).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(value(&merged, "image_pull_progress_timeout"), "7s");
    assert_eq!(value(&merged, "snapshotter"), "osguard");

    let lost = main("lost", &imports(2, "1.7.toml", old));
    let lost = dump(Containerd::V2_1, &lost).unwrap();
    assert_eq!(value(&lost, "snapshotter"), "overlayfs");
}

#[test]
fn the_daemon_understands_its_configurations() {
    for file in ["node.toml", "kubernetes/node.toml"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        // What is commented out is an example, and has to be right as well.
        let examples: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(example) if !example.starts_with(' ') => format!("{example}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("plain", text), ("examples", examples)] {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            let mut check = Command::new(env!("CARGO_BIN_EXE_osguard"));
            run(check.args(["node", "run", "--check", "--config"]).arg(&path)).unwrap();
        }
    }
}

#[test]
fn the_manifests_are_whole() {
    let directory = deploy().join("kubernetes");
    let read = |name: &str| -> Value {
        serde_saphyr::from_str(&fs::read_to_string(directory.join(name)).unwrap()).unwrap()
    };
    let kustomization = read("kustomization.yaml");
    let resources = kustomization["resources"].as_array().unwrap();
    for resource in resources {
        let manifest = read(resource.as_str().unwrap());
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(!manifest[field].is_null(), "{resource}: {field}");
        }
    }
    let pod = read("daemonset.yaml")["spec"]["template"]["spec"].clone();
    let container = &pod["containers"][0];
    assert_eq!(container["image"], kustomization["images"][0]["name"]);
    assert_eq!(pod["runtimeClassName"], read("runtimeclass.yaml")["metadata"]["name"]);
    let names = |list: &Value| -> Vec<String> {
        let entries = list.as_array().unwrap().iter();
        let mut names: Vec<_> =
            entries.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&pod["volumes"]), names(&container["volumeMounts"]));
    let config: toml::Table =
        fs::read_to_string(directory.join("node.toml")).unwrap().parse().unwrap();
    let (_, port) = config["status"].as_str().unwrap().split_once(':').unwrap();
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"].to_string(), port);
    }
    let propagates = |path: &str| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
        mount["mountPropagation"] == "Bidirectional"
    };
    assert!(propagates("/run/osguard") && propagates("/var/lib/osguard"));
}

fn dump(version: Containerd, file: &Path) -> Result<toml::Table> {
    let dump = run(version.command()?.arg("--config").arg(file).args(["config", "dump"]))?;
    Ok(String::from_utf8_lossy(&dump).parse().expect("TOML"))
}

fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, name| value.get(name))
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
