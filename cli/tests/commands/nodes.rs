//! `osguard node`, as far as it comes without devices; the rest is tested in a virtual machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use insta::assert_snapshot;
use osguard_testkit::{command, or_skip};
use tempfile::TempDir;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index};

#[test]
fn nothing_is_mounted_on_a_new_node() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["node", "list"]), @"Nothing of osguard is mounted");
    assert_snapshot!(environment.run(["node", "list", "--output", "json"]), @r#"
    {
      "schema": "osguard.node.list.v1",
      "mounts": []
    }
    "#);
    assert!(!environment.files().keys().any(|path| path.ends_with("state")));
}

/// What a node has in its keyrings is seen in a virtual machine; here it may be nothing, or not to be seen.
#[test]
fn a_node_is_described_or_the_reason_is_said() {
    let environment = Environment::new();
    let describe = ["node", "describe", "--name", "worker-1", "--output", "json", "--profile"];
    let ran = environment.run([&describe[..], &["containerd-full-v1"]].concat());
    match ran.code {
        0 => {
            let described = ran.json();
            assert_eq!(described["schema"], "osguard.node.describe.v1");
            assert_eq!(described["name"], "worker-1");
            assert_eq!(described["profiles"], serde_json::json!(["containerd-full-v1"]));
        }
        _ => assert!(ran.code == 1 && ran.stderr.contains("Hint: Root of the host"), "{ran}"),
    }
    let unknown = environment.run([&describe[..], &["mine"]].concat());
    assert!(unknown.code == 2 && unknown.stderr.contains("there is no profile"), "{unknown}");
    environment.write("node.toml", b"version = 1\nprofile = \"none\"\n");
    let ran = environment.run(["node", "describe", "--config", "node.toml"]);
    assert!(ran.code == 2 && ran.stderr.contains("node.toml"), "{ran}");
}

/// What is affected is seen in a virtual machine; here nothing is on a volume of dm-verity.
#[test]
fn nothing_here_runs_from_a_layer_that_is_denied() {
    let environment = Environment::new();
    environment.run(["policy", "new", "node.policy"]).done();
    environment.write("bad.policy", b"no policy");
    for (policy, code) in [("missing.policy", 3), ("bad.policy", 2)] {
        assert_eq!(environment.refused(["node", "affected", "--policy", policy]).code, code);
    }
    if !environment.is_root() {
        osguard_testkit::skip("root, who alone sees what all processes run");
        return;
    }
    let affected = ["node", "affected", "--policy", "node.policy", "--output", "json"];
    let report = environment.run(affected).json();
    assert_eq!(report["processes"].as_array().unwrap().len(), 0);
    assert_eq!(report["mounts"].as_array().unwrap().len(), 0);
    assert!(report["processes_looked_at"].as_u64().unwrap() > 0);
}

#[test]
fn root_is_needed() {
    let environment = Environment::with_keys();
    image(&environment);
    let Some(nobody) = Nobody::new(&environment) else { return };
    assert_snapshot!(nobody.refused(&["node", "mount", "oci:image:v1", "target"]), @"
    --- standard error ---
    Error: root is needed, and this process runs as user 65534
    Hint: Mounting needs root: run the command with sudo, or in a privileged container.
    --- exit code 1 ---
    ");
    assert_snapshot!(nobody.refused(&["node", "unmount", "target"]), @"
    --- standard error ---
    Error: root is needed, and this process runs as user 65534
    Hint: Mounting needs root: run the command with sudo, or in a privileged container.
    --- exit code 1 ---
    ");
}

#[test]
fn files_that_may_not_be_read_are_named() {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["policy", "new", "policy"]).done();
    let Some(nobody) = Nobody::new(&environment) else { return };
    fs::set_permissions(environment.path("alice.key"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_snapshot!(nobody.refused(&["sign", "oci:image:v1", "--key", "alice.key"]), @"
    --- standard error ---
    Error: alice.key: it cannot be read: Permission denied (os error 13)
    --- exit code 1 ---
    ");
    assert_snapshot!(nobody.refused(&["policy", "new", "new"]), @"
    --- standard error ---
    Error: cannot write new: Permission denied (os error 13)
    --- exit code 1 ---
    ");
    assert_snapshot!(nobody.refused(&["key", "generate", "new", "--kind", "ec-p256"]), @"
    --- standard error ---
    Error: new.key: it could not be created: Permission denied (os error 13)
    --- exit code 1 ---
    ");
}

#[test]
fn images_that_are_not_there_are_not_mounted() {
    let environment = Environment::new();
    if !environment.is_root() {
        return osguard_testkit::skip("root");
    }
    index(&environment);
    let mount = |arguments: &[&str]| {
        environment.refused(["node", "mount"].iter().chain(arguments).chain(&["target"]))
    };
    assert_snapshot!(mount(&["oci:nothing"]), @"
    --- standard error ---
    Error: oci:nothing does not exist
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 3 ---
    ");
    assert_snapshot!(mount(&["oci:image:v2"]), @"
    --- standard error ---
    Error: oci:image has no image with the tag v2; it has: amd64, arm64, statement, multi
    --- exit code 3 ---
    ");
    assert_snapshot!(mount(&["oci:image:multi", "--platform", "linux/s390x"]), @"
    --- standard error ---
    Error: sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d in oci:image has no image for linux/s390x; it has: linux/amd64, linux/arm64
    --- exit code 3 ---
    ");
}

/// Layers may take minutes to convert; that there is no device mapper is known before.
#[test]
fn a_kernel_without_device_mapper_is_found_out_first() {
    let environment = Environment::new();
    index(&environment);
    let hide = "[ ! -e /dev/mapper ] || mount -t tmpfs tmpfs /dev/mapper";
    let Some(mut mount) = environment.unshared(hide, "true") else { return };
    mount.args(["node", "mount", "oci:image:multi", "target", "--platform", "linux/arm64"]);
    let before = environment.files();
    let Some(ran) = environment.in_namespace(&mut mount) else { return };
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: this kernel has no device mapper: /dev/mapper/control cannot be opened: No such file or directory (os error 2)
    Hint: `modprobe dm_verity` loads it where the kernel has it (CONFIG_DM_VERITY); a container needs the host's /dev/mapper.
    --- exit code 1 ---
    ");
    assert_eq!(environment.files(), before);
}

#[test]
fn unmounting_what_is_not_mounted_is_no_failure() {
    let environment = Environment::new();
    if !environment.is_root() {
        return osguard_testkit::skip("root");
    }
    assert_snapshot!(environment.run(["node", "unmount", "target"]), @"Nothing of osguard is mounted at target");
}

/// Runs `osguard` as the user nobody, from a copy: nobody may not reach the build directory.
struct Nobody<'a> {
    environment: &'a Environment,
    setpriv: Command,
    _copy: TempDir,
}

impl<'a> Nobody<'a> {
    /// Makes the copy, if this test can become another user.
    fn new(environment: &'a Environment) -> Option<Self> {
        let mut setpriv = or_skip(command::command("setpriv"))?;
        setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        if !environment.is_root() {
            osguard_testkit::skip("root, to become another user");
            return None;
        }
        let copy = TempDir::with_prefix("osguard-test-").unwrap();
        fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = copy.path().join("osguard");
        fs::copy(env!("CARGO_BIN_EXE_osguard"), &program).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        setpriv.arg(program);
        Some(Self { environment, setpriv, _copy: copy })
    }

    fn refused(&self, arguments: &[&str]) -> Ran {
        let mut command = self.environment.program(self.setpriv.get_program());
        self.environment.refuses(command.args(self.setpriv.get_args()).args(arguments))
    }
}
