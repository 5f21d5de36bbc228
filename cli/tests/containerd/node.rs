//! The machine with osguard on it.

use std::path::{Path, PathBuf};

use osguard_testkit::Result;
use osguard_testkit::cri::CriClient;
use osguard_testkit::node_guest::{Containerd, NodeGuest};
use osguard_testkit::vm::{Kernel, Outcome};

use crate::images::{Images, osguard};

/// Prepares a node with the images, the policy, and configurations of the daemon and of containerd; `prelude.sh` tells what
/// its scripts can call.
pub(crate) fn node(kernel: Kernel, images: &Images) -> Result<NodeGuest> {
    let (root_hash, signature) = images.local_signature()?;
    let cri = CriClient::program()?;
    let programs = [osguard(), &cri];
    let mut guest =
        NodeGuest::new(kernel, &images.signer, &programs, Some(&images.registry.store()))?
            .contents("policy", images.signer.sign_policy(POLICY)?)
            .contents("node.toml", NODE)
            .contents("prelude.sh", PRELUDE)
            .contents("archive.tar", images.archive())
            .contents("local.p7s", signature)
            .contents("local.root-hash", root_hash)
            .machine(|machine| machine.empty_disk(256));
    for version in Containerd::ALL {
        let config = deployed_configuration(version) + certificates(version);
        let number = version.number();
        // Without osguard's differ the built-in one is all there is.
        let walking = config.replace(r#"default = ["osguard-diff"]"#, r#"default = ["walking"]"#);
        let walking = walking.replace("default = ['osguard-diff']", "default = ['walking']");
        assert_ne!(walking, config);
        let both = config.replace(r#"["osguard-diff"]"#, r#"["osguard-diff", "walking"]"#);
        let both = both.replace("['osguard-diff']", "['osguard-diff', 'walking']");
        guest = guest
            .contents(&format!("bootstrap-{number}.toml"), both + bootstrap_runtime(version))
            .contents(&format!("containerd-{number}.toml"), config)
            .contents(&format!("walking-{number}.toml"), walking);
    }
    Ok(guest)
}

/// Returns what `deploy/` says for a version of containerd, with the sandbox image of the tests.
fn deployed_configuration(version: Containerd) -> String {
    let file = match version {
        Containerd::V1_7 => "1.7.toml",
        Containerd::V2_1 => "2.toml",
    };
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/containerd").join(file);
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let adapted = text.replace("registry.example/pause:signed", "127.0.0.1/pause:v1");
    assert_ne!(adapted, text);
    adapted
}

/// Names the directory where the registry of the tests is said to speak plain HTTP, for pods of 2.x; 1.7 takes that for granted.
fn certificates(version: Containerd) -> &'static str {
    match version {
        Containerd::V1_7 => "",
        Containerd::V2_1 => {
            "[plugins.'io.containerd.cri.v1.images'.registry]\n\
             config_path = '/etc/containerd/certs.d'\n"
        }
    }
}

/// Is the runtime class whose pods run on overlayfs, as `deploy/README.md` has it.
fn bootstrap_runtime(version: Containerd) -> &'static str {
    match version {
        Containerd::V1_7 => {
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
             runtime_type = \"io.containerd.runc.v2\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.osguard-bootstrap]\n\
             runtime_type = \"io.containerd.runc.v2\"\nsnapshotter = \"overlayfs\"\n"
        }
        Containerd::V2_1 => {
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.osguard-bootstrap]\n\
             runtime_type = 'io.containerd.runc.v2'\nsnapshotter = 'overlayfs'\n\
             [plugins.'io.containerd.cri.v1.images'.runtime_platforms.osguard-bootstrap]\n\
             platform = 'linux/amd64'\nsnapshotter = 'overlayfs'\n"
        }
    }
}

#[track_caller]
pub(crate) fn succeeded(outcome: &Outcome, name: &str) {
    says(outcome, name, "");
}

#[track_caller]
pub(crate) fn says(outcome: &Outcome, name: &str, text: &str) {
    let step = outcome.step(name);
    let (output, error) = (step.stdout_text(), step.stderr_text());
    let is_right = step.exit_code == 0 && output.contains(text);
    assert!(is_right, "{name} {}: {output}\n{error}\n{}", step.exit_code, outcome.console);
}

#[track_caller]
pub(crate) fn refused(outcome: &Outcome, name: &str, text: &str) {
    let step = outcome.step(name);
    let said = format!("{}\n{}", step.stdout_text(), step.stderr_text());
    let is_right = step.exit_code != 0 && said.contains(text);
    assert!(is_right, "{name} {}: {said}\n{}", step.exit_code, outcome.console);
}

const POLICY: &str = "policy_name=lab policy_version=1.0.0\nDEFAULT action=ALLOW\n\
    DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n";

const NODE: &str = r#"version = 1
status = "127.0.0.1:9464"

[signatures]
mode = "require"

[signatures.registry]
plain-http = true

[limits]
keep-unused-seconds = 1

[canary]
interval-seconds = 5
"#;

/// Is sourced by every script.
const PRELUDE: &str = include_str!("prelude.sh");
