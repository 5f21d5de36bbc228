//! What an operator meets, from the first pull to the last image that goes.

use std::time::Duration;

use osguard_testkit::node_guest::Containerd;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};
use serde_json::{Value, json};

use crate::images::Images;
use crate::node::{node, refused, says, succeeded};

#[test]
fn vm_6_12_with_containerd_1_7_runs_what_is_signed() {
    runs_what_is_signed(Kernel::V6_12, Containerd::V1_7);
}

#[test]
#[ignore = "each kernel and each containerd is in one of the others; by hand, with --run-ignored all"]
fn vm_6_12_with_containerd_2_1_runs_what_is_signed() {
    runs_what_is_signed(Kernel::V6_12, Containerd::V2_1);
}

#[test]
#[ignore = "each kernel and each containerd is in one of the others; by hand, with --run-ignored all"]
fn vm_7_2_with_containerd_1_7_runs_what_is_signed() {
    runs_what_is_signed(Kernel::V7_2, Containerd::V1_7);
}

#[test]
fn vm_7_2_with_containerd_2_1_runs_what_is_signed() {
    runs_what_is_signed(Kernel::V7_2, Containerd::V2_1);
}

fn runs_what_is_signed(kernel: Kernel, containerd: Containerd) {
    let Some(outcome) = or_skip(run(kernel, containerd)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    let scenes = Scenes { kernel, outcome: &outcome, version: containerd.number() };
    scenes.the_node_is_ready();
    scenes.signed_images_run();
    scenes.a_patch_needs_one_device_more();
    scenes.unsigned_images_are_refused();
    scenes.what_containers_make_does_not_run();
    scenes.user_namespaces_get_no_copy();
    scenes.clocks_may_jump();
    scenes.pods_run();
    scenes.denials_in_containers_are_explained();
    scenes.restarts_touch_no_container();
    scenes.changed_blocks_are_not_read();
    scenes.nothing_is_left();
    scenes.a_failing_disk_is_no_end();
    scenes.a_disk_without_answers_is_no_end();
    scenes.the_built_in_differ_commits_nothing();
}

fn run(kernel: Kernel, containerd: Containerd) -> Result<Outcome> {
    let images = Images::new()?;
    let script = format!(
        ". /run/lab/prelude.sh\nstart_registry\nversion={}\n{SCENES}\ntail -n 60 /run/node.log\nexit 0\n",
        containerd.number()
    );
    node(kernel, &images)?
        .machine(|machine| machine.time_limit(Duration::from_secs(400)))
        .run(&script)
}

struct Scenes<'a> {
    kernel: Kernel,
    outcome: &'a Outcome,
    version: &'static str,
}

impl Scenes<'_> {
    fn name(&self, step: &str) -> String {
        format!("{step}-{}", self.version)
    }

    #[track_caller]
    fn says(&self, step: &str, text: &str) {
        says(self.outcome, &self.name(step), text);
    }

    #[track_caller]
    fn succeeded(&self, steps: &[&str]) {
        for step in steps {
            succeeded(self.outcome, &self.name(step));
        }
    }

    #[track_caller]
    fn refused(&self, step: &str, text: &str) {
        refused(self.outcome, &self.name(step), text);
    }

    fn text(&self, step: &str) -> String {
        self.outcome.step(&self.name(step)).stdout_text()
    }

    fn the_node_is_ready(&self) {
        self.succeeded(&["node", "containerd", "preflight", "bootstrap-pod"]);
        let snapshots = self.text("bootstrap-overlayfs");
        assert!(snapshots.contains(&self.text("bootstrap-pod")), "{snapshots}");
        self.says("preflight", "This node is ready for the policy");
        self.refused("preflight-none", "critical: the policy would deny /usr/bin/busybox");
        // Nothing is in force yet, which is critical, and nothing else is.
        let report: Value = serde_json::from_str(&self.text("doctor")).expect("JSON");
        for check in ["containerd", "oci-runtime", "overlay", "loop-devices"] {
            let mut checks = report["checks"].as_array().expect("checks").iter();
            let found = checks.find(|found| found["check"] == check).expect("the check");
            assert_eq!(found["findings"], json!([]), "{check}");
            assert!(found["unchecked"].is_null(), "{found}");
        }
        self.refused("canary-before", "the kernel ran an unsigned program");
        self.says("canary", "the kernel denies an unsigned program and runs a signed one");
    }

    fn signed_images_run(&self) {
        for name in ["app", "embedded", "local", "many"] {
            self.succeeded(&[&format!("pull-{name}")]);
        }
        self.says("run-app", "of hello");
        self.says("run-app-crun", "of hello");
        self.says("run-embedded", "of embedded");
        self.refused("pull-local-unsigned", "there is no signature of its root hash");
        self.says("run-local", "of local");
        assert_eq!(self.text("run-many"), "of layer-1\nof layer-39\n39");
        match self.version {
            "1.7" => self.refused("pull-port", "there is no signature of its root hash"),
            _ => self.succeeded(&["pull-port"]),
        }
        self.succeeded(&["import"]);
        self.says("run-imported", "of embedded");
        self.succeeded(&["pull-twin"]);
        self.says("run-twin", "of hello");
        // One for busybox and one for the file, however many containers there are.
        assert_eq!((&*self.text("devices-app"), &*self.text("devices-second")), ("2", "2"));
        self.succeeded(&["other-pull", "other-devices"]);
        self.says("other-run", "of hello");
    }

    fn a_patch_needs_one_device_more(&self) {
        self.succeeded(&["fetch-patched", "list-patched"]);
        self.says("run-patched", "of the patch");
        self.says("run-patched-again", "of the patch");
        let devices = |step: &str| self.text(step).parse::<u32>().expect("a number");
        assert_eq!(devices("devices-patched"), devices("devices-unpatched") + 1);
        println!(
            "from the blob to the output of the patched program: {} hundredths of a second, of which a second container takes {}",
            self.text("took-patched"),
            self.text("took-again")
        );

        let report: Value = serde_json::from_str(&self.text("list-patched")).expect("JSON");
        let generations = report["generations"].as_array().expect("generations");
        let [old, new] = &generations[..] else { panic!("{report:#}") };
        for (generation, name, shared) in [
            (old, "127.0.0.1/app:v1", &[true, true][..]),
            (new, "127.0.0.1/app:v2", &[true, true, false]),
        ] {
            assert_eq!(generation["name"], name);
            assert_eq!(generation["namespace"], "default");
            let layers = generation["layers"].as_array().expect("layers");
            let found: Vec<_> = layers.iter().map(|layer| layer["shared"] == true).collect();
            assert_eq!(found, shared, "{report:#}");
            for layer in layers {
                let [device] = &layer["devices"].as_array().expect("devices")[..] else {
                    panic!("{report:#}")
                };
                assert_eq!(device["signed"], true);
            }
        }
        assert_eq!((&report["devices"], &report["unknown"]), (&json!(3), &json!([])));
    }

    fn unsigned_images_are_refused(&self) {
        for way in ["", "--local"] {
            let name = |image: &str| format!("{image}{way}");
            self.refused(&name("unsigned"), "signatures are required for");
            self.refused(&name("unsigned"), "there is no signature of its root hash");
            self.refused(&name("foreign"), "signatures are required for");
            self.refused(&name("wrong"), "diff");
        }
        let images = self.text("refused-images");
        assert!(images.contains("/app:v1"), "{images}");
        // The chain of a layer that was refused is not among those that were committed: each of the images that run has the
        // layer with busybox and those of its own, and one of them is patched.
        let snapshots = self.text("refused-snapshots");
        let committed = snapshots.lines().filter(|line| line.contains("Committed")).count();
        let by_port = usize::from(self.version != "1.7");
        assert_eq!(committed, 1 + 1 + 1 + 1 + 1 + 39 + by_port, "{snapshots}");
    }

    fn what_containers_make_does_not_run(&self) {
        let dropped = self.outcome.step(&self.name("dropped"));
        let output = dropped.stdout_text();
        assert_eq!(output.lines().collect::<Vec<_>>(), ["126", "126"], "{}", dropped.stderr_text());
        let records = self.outcome.audit_records(1420);
        for path in ["/tmp/new", "/bin/busybox"] {
            let path = format!("path=\"{path}\"");
            assert!(records.iter().any(|record| record.contains(&path)), "{path}: {records:?}");
        }
    }

    fn user_namespaces_get_no_copy(&self) {
        self.refused(
            "user-namespace",
            "cannot be committed: what was written into it is not signed",
        );
    }

    fn clocks_may_jump(&self) {
        self.says("clock-ahead", "of hello");
        self.says("clock-behind", "of hello");
        self.succeeded(&["clock-snapshots"]);
    }

    fn a_failing_disk_is_no_end(&self) {
        self.succeeded(&["failing-pull"]);
        // 6.12 then fails what is read around the page cache as well, and with it the container.
        let exec = self.outcome.step(&self.name("failed-exec"));
        if self.kernel == Kernel::V7_2 || exec.exit_code == 0 {
            self.says("failed-exec", "of hello");
        }
        self.nothing_is_promised("failed");
        self.is_mended("mended");
    }

    fn a_disk_without_answers_is_no_end(&self) {
        self.succeeded(&["breaking-pull", "breaking-disk"]);
        self.nothing_is_promised("broken");
        self.succeeded(&["replaced-disk"]);
        self.is_mended("replaced");
    }

    /// With a disk that fails, containers and pulls are refused with the reason, and the daemon says that it is not ready.
    fn nothing_is_promised(&self, scene: &str) {
        for step in ["run", "image"] {
            let step = self.outcome.step(&self.name(&format!("{scene}-{step}")));
            let said = format!("{}\n{}", step.stdout_text(), step.stderr_text());
            println!("{}: {}", step.exit_code, step.stderr_text());
            let reasons = ["ead-only file system", "nput/output error"];
            let is_told = reasons.iter().any(|reason| said.contains(reason));
            assert!(step.exit_code != 0 && is_told, "{said}");
        }
        let ready = self.outcome.step(&self.name(&format!("{scene}-ready")));
        assert_ne!(ready.exit_code, 0, "{}", ready.stdout_text());
    }

    /// Once the disk is back, the daemon is, too, and leaves nothing behind.
    fn is_mended(&self, scene: &str) {
        for step in ["umount", "node", "reconnect"] {
            self.succeeded(&[&format!("{scene}-{step}")]);
        }
        self.says(&format!("{scene}-run"), "of hello");
        let left = self.outcome.step(&self.name(&format!("{scene}-left")));
        assert_eq!(left.exit_code, 0, "{}", self.text(&format!("{scene}-left-what")));
    }

    fn pods_run(&self) {
        self.succeeded(&[
            "cri-pull",
            "cri-pod",
            "cri-init",
            "cri-init-wait",
            "cri-create",
            "cri-start",
        ]);
        self.refused("cri-unsigned", "signatures are required for");
        self.says("cri-exec", "of hello");
        self.succeeded(&["cri-affected"]);
        let affected: Value = serde_json::from_str(&self.text("cri-affected")).expect("JSON");
        let mut processes = affected["processes"].as_array().expect("processes").iter();
        let main = processes.find(|process| process["container"] == "main").expect("the container");
        assert_eq!(main["pod"], "default/pod", "{main:#}");
        let image = main["image"].as_str().expect("an image");
        assert!(image.starts_with("127.0.0.1/app"), "{main:#}");
        assert_eq!(main["name"], "sleep", "{main:#}");
        self.says("cri-log", "stdout F prepared");
        assert_eq!(self.outcome.step(&self.name("cri-dropped")).exit_code, 126);
        self.succeeded(&["cri-remove"]);
    }

    /// The programs are gone when the question is asked; their containers are there still.
    fn denials_in_containers_are_explained(&self) {
        self.succeeded(&["explain-pod", "explain-exec", "suggest"]);
        assert_eq!(self.outcome.step(&self.name("exec-dropped")).exit_code, 126);
        let denial = |step: &str| {
            let explained: Value = serde_json::from_str(&self.text(step)).expect("JSON");
            let denials = explained["denials"].as_array().expect("denials");
            denials.last().expect("a denial").clone()
        };
        let pod = denial("explain-pod");
        let container = &pod["container"];
        assert_eq!(container["id"], self.text("cri-create").trim(), "{pod:#}");
        assert_eq!(container["name"], "main", "{pod:#}");
        let image = container["image"].as_str().expect("an image");
        assert!(image.contains("127.0.0.1/app:v1"), "{pod:#}");
        let exec = denial("explain-exec");
        assert_eq!(exec["container"]["id"], "second", "{exec:#}");
        let place = "in the writable layer of an overlay, where it was made anew";
        for denial in [pod, exec] {
            assert_eq!(denial["place"], place, "{denial:#}");
        }
        let suggested: Value = serde_json::from_str(&self.text("suggest")).expect("JSON");
        let suggestions = suggested["suggestions"].as_array().expect("suggestions");
        let signed = "put /tmp/new into the image 127.0.0.1/app:v1, signed";
        assert!(suggestions.iter().any(|one| one["remedy"] == signed), "{suggested:#}");
    }

    fn restarts_touch_no_container(&self) {
        for step in ["killed-exec", "killed-cri-exec", "stopped-exec", "containerd-exec"] {
            self.says(step, "of hello");
        }
        // Nothing new can be started without the daemon.
        self.refused("killed-run", "containerd.sock");
        self.refused("killed-preflight", "nobody answers at /run/osguard/containerd.sock");
        self.succeeded(&[
            "restart",
            "reconnect",
            "restarted-devices",
            "start",
            "containerd-restart",
        ]);
        self.says("restarted-run", "of hello");
        self.says("containerd-run", "of hello");
    }

    fn changed_blocks_are_not_read(&self) {
        self.succeeded(&["pull-large", "changed"]);
        let large = self.outcome.step(&self.name("run-large"));
        assert_ne!(large.exit_code, 0, "{}", large.stderr_text());
    }

    fn nothing_is_left(&self) {
        let left = self.outcome.step(&self.name("left"));
        assert_eq!(left.exit_code, 0, "{}\n{}", self.text("left-what"), self.outcome.console);
        let metrics = self.text("metrics");
        for line in ["osguard_node_canary_unsigned_denied 1", "osguard_node_canary_signed_runs 1"] {
            assert!(metrics.lines().any(|found| found == line), "{metrics}");
        }
    }

    fn the_built_in_differ_commits_nothing(&self) {
        self.succeeded(&["walking-containerd"]);
        assert_ne!(self.outcome.step(&self.name("walking-pull")).exit_code, 0);
        let snapshots = self.text("walking-snapshots");
        assert!(!snapshots.contains("Committed"), "{snapshots}");
        let left = self.outcome.step(&self.name("end-left"));
        assert_eq!(left.exit_code, 0, "{}", self.text("end-left-what"));
    }
}

const SCENES: &str = include_str!("scenes.sh");
