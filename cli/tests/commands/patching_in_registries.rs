//! `osguard patch` on images in registries.

use std::fs;
use std::path::Path;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::{command, run};
use osguard_testkit::debian::{Package, Packages, Suite};
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, Tree, apply};
use osguard_testkit::or_skip;
use osguard_testkit::registry::{Fault, Gate, Registry, Request};
use serde_json::Value;

use crate::environment::{Environment, Ran};
use crate::fixtures::image;
use crate::patching::patch_directory;

/// Is a registry in which the signed image `app:v1` lies, with the directory `fix` at hand.
struct Scene {
    environment: Environment,
    registry: Registry,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::start().unwrap();
        let scene = Self { environment: Environment::with_keys(), registry };
        image(&scene.environment);
        let _ = scene.push("v1").done();
        patch_directory(&scene.environment, "fix", "patched");
        scene
    }

    fn push(&self, tag: &str) -> Ran {
        let from = format!("oci:image:{tag}");
        let to = self.at("app:v1");
        self.environment.run(["push", &from, &to, "--sign", "--key", "alice.key"])
    }

    fn at(&self, image: &str) -> String {
        format!("{}/{image}", self.registry.host())
    }

    fn patch(&self, more: &[&str]) -> Ran {
        let image = self.at("app:v1");
        let patch = ["patch", &image, "--tag", "v2", "--owner", "0:0", "--mtime", "0"];
        let signing = ["--trust", "alice.crt", "--sign", "--key", "alice.key"];
        self.environment.run([&patch[..], &signing, more].concat())
    }

    fn verify(&self, tag: &str) -> i32 {
        let image = self.at(&format!("app:{tag}"));
        self.environment.run(["verify", &image, "--trust", "alice.crt"]).code
    }

    fn digest(&self, tag: &str) -> Option<String> {
        let manifest = self.registry.manifest("app", tag)?;
        Some(osguard_testkit::digest::sha256(&manifest.contents))
    }
}

#[test]
fn only_what_is_new_is_sent_and_the_tag_is_written_last() {
    let scene = Scene::new();
    // The cache is warm from the second time on.
    let verify = ["verify", &scene.at("app:v1"), "--trust", "alice.crt", "--root-hash", "cached"];
    let _ = scene.environment.run(verify).done();
    scene.registry.forget_requests();
    // No directory that is a link in most images, for which layers would be read.
    fs::create_dir_all(scene.environment.path("lean/opt")).unwrap();
    scene.environment.write("lean/opt/tool", b"patched");
    let report =
        scene.patch(&["--add", "lean", "--root-hash", "cached", "--output", "json"]).json();
    let requests = scene.registry.requests();
    assert_eq!(scene.verify("v2"), 0);
    assert_eq!(report["stored"], 2);
    let name = scene.at("app:v1");
    let patched = scene.registry.manifest("app", "v2").unwrap();
    let patched: Value = serde_json::from_slice(&patched.contents).unwrap();
    assert_eq!(patched["annotations"]["org.osguard.patch.origin-name"], name);

    let writes: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert!(writes.last().unwrap().path.ends_with("/manifests/v2"), "{writes:?}");
    // Layer, configuration and one signature; the others are there.
    let uploads = requests.iter().filter(|request| request.parameter("digest").is_some());
    assert_eq!(uploads.filter(|request| request.method == "PUT").count(), 3);
    let layers: Vec<_> = patched["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect();
    let fetched = |request: &&Request| {
        request.method == "GET" && layers.iter().any(|layer| request.path.ends_with(layer))
    };
    assert_eq!(requests.iter().filter(fetched).count(), 0);
    assert_eq!(scene.registry.open_uploads(), 0);
}

#[test]
fn a_tag_that_moves_meanwhile_is_left_alone() {
    for tag in ["v1", "v2"] {
        let scene = Scene::new();
        scene.environment.run(["copy", &scene.at("app:v1"), &scene.at("app:other")]).done();
        let other = scene.registry.manifest("app", "other").unwrap();
        let gate = Gate::new();
        // Held before the signatures are attached, all of it is nearly done.
        scene
            .registry
            .fault(Fault::new().method("PUT").path_contains("/manifests/sha256:").hold(&gate));
        let ran = std::thread::scope(|scope| {
            let patching = scope.spawn(|| scene.patch(&["--add", "fix"]));
            gate.wait_for(1);
            let moved = [other.contents.as_slice(), b" "].concat();
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            scene.registry.put_manifest("app", Some(tag), media_type, &moved);
            gate.release();
            patching.join().unwrap()
        });
        assert_eq!(ran.code, 1, "{ran}");
        assert!(ran.stderr.contains(&format!("the tag {tag} in")), "{ran}");
        assert!(ran.stderr.contains("moved while the new image was made"), "{ran}");
        let digest = osguard_testkit::digest::sha256(&[other.contents.as_slice(), b" "].concat());
        assert_eq!(scene.digest(tag), Some(digest));
        assert_eq!(scene.registry.tags("app").len(), if tag == "v1" { 2 } else { 3 });
    }
}

/// One of them may find the tag moved; what has it in the end is whole.
#[test]
fn two_patches_at_once_leave_a_whole_image() {
    let scene = &Scene::new();
    patch_directory(&scene.environment, "other", "patched in another way");
    let codes: Vec<_> = std::thread::scope(|scope| {
        let patches =
            ["fix", "other"].map(|fix| scope.spawn(move || scene.patch(&["--add", fix]).code));
        patches.into_iter().map(|patch| patch.join().unwrap()).collect()
    });
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
    assert_eq!((scene.verify("v1"), scene.verify("v2")), (0, 0));
}

#[test]
fn other_tools_see_an_ordinary_image() {
    let Some(registry) = or_skip(DockerRegistry::start()) else { return };
    let clients = Clients::new().unwrap();
    let environment = Environment::with_keys();
    image(&environment);
    let v1 = format!("{}/app:v1", registry.host());
    let v2 = format!("{}/app:v2", registry.host());
    environment.run(["push", "oci:image:v1", &v1, "--sign", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let patch = ["patch", &v1, "--tag", "v2", "--add", "fix", "--owner", "0:0"];
    let signing = ["--trust", "alice.crt", "--sign", "--key", "alice.key"];
    environment.run([&patch[..], &signing].concat()).done();
    assert_eq!(environment.run(["verify", &v2, "--trust", "alice.crt"]).code, 0);

    if let Some(mut skopeo) = or_skip(clients.skopeo()) {
        let copied = environment.path("skopeo");
        let to = format!("oci:{}:v2", copied.display());
        // It checks digests and, on the way into another form, diffIDs.
        run(skopeo.args(["copy", "--src-tls-verify=false", &format!("docker://{v2}"), &to]))
            .unwrap();
        let mut inspect = clients.skopeo().unwrap();
        let inspected = run(inspect.args(["inspect", &to])).unwrap();
        let inspected: Value = serde_json::from_slice(&inspected).unwrap();
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
        if let Some(mut umoci) = or_skip(command("umoci")) {
            let bundle = environment.path("bundle");
            let unpack = umoci.args(["unpack", "--rootless", "--image"]);
            run(unpack.arg(format!("{}:v2", copied.display())).arg(&bundle)).unwrap();
            assert_eq!(fs::read(bundle.join("rootfs/bin/program")).unwrap(), b"patched");
        }
    }
    if let Some(mut oras) = or_skip(clients.oras()) {
        let fetched = run(oras.args(["manifest", "fetch", "--plain-http", &v2])).unwrap();
        let manifest: Value = serde_json::from_slice(&fetched).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
        let mut discover = clients.oras().unwrap();
        let found =
            run(discover.args(["discover", "--plain-http", "--format", "json", &v2])).unwrap();
        assert!(String::from_utf8_lossy(&found).contains("dm-verity"), "oras finds the signatures");
    }
}

/// As Copa works: an image gets a layer with newer packages, made by Debian's own tools, and then another one.
#[test]
fn packages_are_updated_and_the_package_manager_agrees() {
    let fetched = |suite, name: &str| {
        or_skip(Package::fetched(name, suite, &[Packages::Alone(&["erofs-utils", "hello"])]))
    };
    let (Some(old), Some(new)) = (
        fetched(Suite::Trixie, "packages/patch-trixie"),
        fetched(Suite::Sid, "packages/patch-sid"),
    ) else {
        return;
    };
    let Some(dpkg) = or_skip(command("dpkg")) else { return };
    let environment = Environment::with_keys();
    if !environment.is_root() {
        osguard_testkit::skip("root, for whom alone dpkg unpacks packages");
        return;
    }
    let at = |name: &str| environment.path(name);
    let unpack = |packages: &[&Package], root: &Path| {
        let mut unpack = std::process::Command::new(dpkg.get_program());
        unpack.arg("--root").arg(root).args(["--force-depends", "--unpack"]);
        for package in packages {
            unpack.arg(package.file());
        }
        run(unpack.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")).unwrap();
    };
    for directory in ["info", "updates"] {
        fs::create_dir_all(at("base").join("var/lib/dpkg").join(directory)).unwrap();
    }
    environment.write("base/var/lib/dpkg/status", b"");
    unpack(&old.iter().collect::<Vec<_>>(), &at("base"));
    let archive = at("base.tar");
    run(command("tar").unwrap().arg("-C").arg(at("base")).arg("-cf").arg(&archive).arg("."))
        .unwrap();
    let base = LayerSource::new(fs::read(&archive).unwrap(), Compression::Plain).unwrap();
    LayoutMaker::new(at("image")).unwrap().image("v1", &[base]).unwrap();
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();

    let updated = |name: &str, from: &Path, package: &Package| {
        run(command("cp").unwrap().arg("-a").arg(from).arg(at(name))).unwrap();
        unpack(&[package], &at(name));
        difference(from, &at(name), &at(&format!("{name}-patch")))
    };
    let patch = |from: &str, to: &str, directory: &str, removed: &[String]| {
        let image = format!("oci:image:{from}");
        let mut arguments = vec!["patch", &image, "--tag", to, "--add", directory];
        arguments.extend(["--trust", "alice.crt", "--sign", "--key", "alice.key"]);
        for path in removed {
            arguments.extend(["--remove", path]);
        }
        environment.run(arguments).done()
    };
    let package = |packages: &[Package], name: &str| {
        packages.iter().find(|package| package.name() == name).unwrap().clone()
    };
    let erofs = updated("erofs", &at("base"), &package(&new, "erofs-utils"));
    patch("v1", "v2", "erofs-patch", &erofs);
    assert_eq!(listed(&environment, "v2"), versions(&at("erofs")));
    // Then the other one as well: a patch of both takes the place of the first.
    run(command("cp").unwrap().arg("-a").arg(at("erofs")).arg(at("both"))).unwrap();
    unpack(&[&package(&new, "hello")], &at("both"));
    let both = difference(&at("base"), &at("both"), &at("both-patch"));
    patch("v2", "v3", "both-patch", &both);
    assert_eq!(listed(&environment, "v3"), versions(&at("both")));
    assert_eq!(environment.run(["verify", "oci:image:v3", "--trust", "alice.crt"]).code, 0);

    let diff = environment.run(["diff", "oci:image:v1", "oci:image:v2", "--output", "json"]).json();
    let packages = diff["images"][0]["packages"].as_array().unwrap();
    let [changed] = &packages[..] else { panic!("{packages:?}") };
    assert_eq!(changed["name"], "erofs-utils");
    let has = |root: &Path, version: &Value| {
        versions(root).iter().any(|line| line.contains(version.as_str().unwrap()))
    };
    assert!(has(&at("base"), &changed["old"]) && has(&at("erofs"), &changed["new"]));
}

/// Copies what `new` has differently from `old` into `patch`, and returns what it has no more.
fn difference(old: &Path, new: &Path, patch: &Path) -> Vec<String> {
    let (before, after) = (Tree::of(old).unwrap(), Tree::of(new).unwrap());
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let changed = after.print();
    let lines: std::collections::BTreeSet<_> = before.print().lines().map(str::to_owned).collect();
    fs::create_dir(patch).unwrap();
    for line in changed.lines().filter(|line| !lines.contains(*line)) {
        let path = line.split(' ').next().unwrap();
        let mut copy = command("cp").unwrap();
        copy.args(["-a", "--parents", path]).arg(patch).current_dir(new);
        if !new.join(path).is_dir() || new.join(path).is_symlink() {
            run(&mut copy).unwrap();
        }
    }
    let kept: std::collections::BTreeSet<_> = after.paths().collect();
    before.paths().filter(|path| !kept.contains(path)).map(text).collect()
}

/// Applies the layers of an image, by GNU tar, and asks dpkg what is there.
fn listed(environment: &Environment, tag: &str) -> Vec<String> {
    let manifest = crate::layouts::manifest(environment, tag);
    let root = environment.path(format!("root-{tag}"));
    fs::create_dir(&root).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        apply(&environment.path(format!("image/blobs/sha256/{}", &digest[7..])), &root).unwrap();
    }
    versions(&root)
}

/// Returns what `dpkg -l` says of the packages below `root`.
fn versions(root: &Path) -> Vec<String> {
    let mut list = command("dpkg").unwrap();
    list.arg("--admindir").arg(root.join("var/lib/dpkg")).arg("-l").env("COLUMNS", "200");
    let list = String::from_utf8(run(&mut list).unwrap()).unwrap();
    let packages =
        list.lines().filter(|line| line.contains("erofs-utils") || line.contains("hello"));
    packages.map(str::to_owned).collect()
}
