//! Patches of an index of ten platforms that fail or are killed, at every step: no tag moves before everything is there.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use osguard_testkit::command::find;
use osguard_testkit::or_skip;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};

use serde_json::Value;

use crate::environment::{Environment, Ran};
use crate::fixtures::{layer, layout};
use crate::patching::patch_directory;

/// Is a signed index of ten platforms, `oci:image:multi` and `app:v1` in a registry, with a patch for each of them.
struct Scene {
    environment: Environment,
    registry: Registry,
}

const ARCHITECTURES: [&str; 10] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "sparc64",
];

impl Scene {
    fn new(registry: Registry) -> Self {
        let environment = Environment::with_keys();
        let mut made = layout(&environment);
        let images = ARCHITECTURES.map(|name| {
            patch_directory(&environment, name, &format!("patched for {name}"));
            made.image_for(("linux", name), name, &[layer("base"), layer(name)]).unwrap()
        });
        let entries: Vec<_> = ARCHITECTURES
            .iter()
            .zip(&images)
            .map(|(name, digest)| (("linux", *name), digest.as_str()))
            .collect();
        made.index("multi", &entries).unwrap();
        environment.run(["sign", "oci:image:multi", "--key", "alice.key"]).done();
        let scene = Self { environment, registry };
        scene.environment.run(["copy", "oci:image:multi", &scene.at("v1")]).done();
        scene
    }

    fn at(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.registry.host())
    }

    /// Returns the arguments of a patch; each time has other layers.
    fn arguments(image: &str, tag: &str, time: u64) -> Vec<String> {
        let time = time.to_string();
        let patch = ["patch", image, "--tag", tag, "--mtime", &time, "--owner", "0:0", "--quiet"];
        let signing = ["--trust", "alice.crt", "--sign", "--key", "alice.key"];
        let cached = ["--root-hash", "cached"];
        let all = patch.iter().chain(&signing).chain(&cached).map(|text| (*text).to_owned());
        let each = ARCHITECTURES
            .iter()
            .flat_map(|name| ["--add".to_owned(), format!("linux/{name}={name}")]);
        all.chain(each).collect()
    }

    fn patch(&self, tag: &str, time: u64) -> Ran {
        self.environment.run(Self::arguments(&self.at("v1"), tag, time))
    }

    fn verify(&self, image: &str) -> i32 {
        let verify = ["verify", image, "--trust", "alice.crt", "--root-hash", "cached"];
        self.environment.run(verify).code
    }

    /// Returns all tags, and what the one that is patched names.
    fn tags(&self) -> (Vec<String>, Option<Vec<u8>>) {
        let registry = &self.registry;
        (registry.tags("app"), registry.manifest("app", "v1").map(|found| found.contents))
    }
}

fn denied() -> Answer {
    Answer::error(403, "DENIED", "no")
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_write_that_a_registry_refuses_moves_no_tag() {
    let scene = Scene::new(Registry::start().unwrap());
    let before = scene.tags();
    let mut runs = 0;
    // Each run may write one thing, and so each write is once the one that is refused.
    loop {
        scene.registry.clear_faults();
        let refused =
            scene.registry.fault(Fault::new().method("PUT").after(1).always().answer(denied()));
        let ran = scene.patch("v2", 0);
        if refused.count() == 0 {
            assert_eq!(ran.code, 0, "{ran}");
            break;
        }
        assert_eq!(ran.code, 4, "run {runs}: {ran}");
        assert_eq!(scene.tags(), before, "run {runs}");
        runs += 1;
    }
    // For each platform a layer, a configuration, a signature and two manifests.
    assert_eq!(runs, 10 * 5);
    scene.registry.clear_faults();
    assert_eq!(scene.verify(&scene.at("v2")), 0);
    assert_eq!(scene.tags().1, before.1);

    // The very last step is the tag's.
    scene.registry.delete_manifest("app", "v2");
    let last = Fault::new().method("PUT").path_contains("/manifests/v2");
    scene.registry.fault(last.answer(denied()));
    assert_eq!(scene.patch("v2", 0).code, 4);
    assert_eq!(scene.tags(), before);
}

/// Of whatever kind the request is.
#[test]
fn a_registry_that_is_gone_from_a_request_on_moves_no_tag() {
    let scene = Scene::new(Registry::start().unwrap());
    let before = scene.tags();
    let mut runs = 0;
    // Each run has other layers to store, and comes some requests further.
    loop {
        scene.registry.clear_faults();
        let refused = scene.registry.fault(Fault::new().after(runs * 13).always().answer(denied()));
        let ran = scene.patch("v2", runs);
        if refused.count() == 0 {
            assert_eq!(ran.code, 0, "{ran}");
            break;
        }
        assert_eq!(ran.code, 4, "run {runs}: {ran}");
        assert_eq!(scene.tags(), before, "run {runs}");
        runs += 1;
    }
    assert!(runs > 15, "{runs}");
}

#[test]
fn a_killed_patch_moves_no_tag_and_is_completed_by_the_next() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let scene = Scene::new(builder.start().unwrap());
        let before = scene.tags();
        scene.registry.forget_requests();
        assert_eq!(scene.patch("whole", 1).code, 0);
        let requests = scene.registry.requests().len() as u64;
        for round in 0..5 {
            let tag = format!("killed-{round}");
            let gate = Gate::new();
            // Each in another fifth, of both kinds of registries at other places; the last one is the tag's.
            let at = requests * (2 * round + u64::from(with_api)) / 10;
            scene.registry.fault(Fault::new().after(at).times(1).hold_answer(&gate));
            let mut command = scene.environment.osguard();
            command.args(Scene::arguments(&scene.at("v1"), &tag, 2 + round));
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            gate.wait_for(1);
            kill(child);
            scene.registry.clear_faults();
            assert_eq!(scene.registry.manifest("app", &tag).map(drop), None, "request {at}");
            assert_eq!(scene.tags().1, before.1);
            let ran = scene.patch(&tag, 2 + round);
            assert_eq!(ran.code, 0, "{ran}");
            assert_eq!(scene.verify(&scene.at(&tag)), 0, "request {at}");
        }
    }
}

/// Every file is written beside and renamed: at the first renaming of a thread, or at its second, third and so on, the
/// process is killed, or the disk is full.
#[test]
fn a_patch_of_a_directory_that_ends_at_any_file_moves_no_tag() {
    let Some(strace) = or_skip(find("strace")) else { return };
    let scene = Scene::new(Registry::start().unwrap());
    let tags = || {
        let index: Value =
            serde_json::from_slice(&scene.environment.read("image/index.json")).unwrap();
        let entries = index["manifests"].as_array().unwrap().iter();
        let tag = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].clone();
        let tagged = entries.map(|entry| (tag(entry), entry["digest"].clone()));
        tagged.filter(|(tag, _)| !tag.is_null()).collect::<Vec<_>>()
    };
    let before = tags();
    let mut runs = 0;
    // A thread that stores blobs has some of them, and the one that comes to the tag in the end has the most.
    loop {
        let how = if runs % 2 == 0 { "signal=KILL" } else { "error=ENOSPC" };
        let inject = format!("inject={RENAMING}:{how}:when={}", runs + 1);
        let mut trace = Command::new(&strace);
        trace.args(["-f", "-o"]).arg(scene.environment.path("trace"));
        // A cache that cannot be written holds up nothing.
        for directory in ["image", "image/blobs/sha256"] {
            trace.arg("-P").arg(scene.environment.path(directory));
        }
        trace.args(["-e", &format!("trace={RENAMING}"), "-e", &inject]);
        let mut command = scene.environment.wrapped(&trace);
        // Each run has other layers to store.
        let ran =
            scene.environment.ran(command.args(Scene::arguments("oci:image:multi", "v2", runs)));
        fs::remove_file(scene.environment.path("trace")).unwrap();
        if ran.code == 0 {
            break;
        }
        assert_eq!(tags(), before, "run {runs}: {ran}");
        runs += 1;
        assert!(runs < 200, "{ran}");
    }
    // The manifests and signatures of ten platforms, and the index.
    assert!(runs > 20, "{runs}");
    for tag in ["multi", "v2"] {
        assert_eq!(scene.verify(&format!("oci:image:{tag}")), 0, "{tag}");
    }
    let mut left = scene.environment.files().into_keys();
    let is_partial = |path: &PathBuf| path.to_string_lossy().contains(".osguard-partial-");
    assert_eq!(left.find(is_partial), None, "what the killed ones have left is gone");
}

const RENAMING: &str = "rename,renameat,renameat2,link,linkat";
