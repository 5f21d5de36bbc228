//! The node of the tests, with nothing of osguard on it: stock containerd on its own snapshotter, under a policy or not.

use std::path::Path;

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker};
use osguard_testkit::node_guest::{NodeGuest, busybox_layer, file_layer};
use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, command, or_skip};
use serde_json::json;

#[test]
fn vm_6_12_is_a_node_with_stock_containerd() {
    is_a_node_with_stock_containerd(Kernel::V6_12);
}

#[test]
fn vm_7_2_is_a_node_with_stock_containerd() {
    is_a_node_with_stock_containerd(Kernel::V7_2);
}

/// runc 1.1 is tried by containerd 1.7 and under the policy alone: it cannot start anything there.
const SCRIPT: &str = r#"
image=127.0.0.1:5000/app:v1
printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "127.0.0.1:5000/pause:v1"\n' > /etc/containerd/1.7
printf "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '127.0.0.1:5000/pause:v1'\n" > /etc/containerd/2.1
start_registry 5000
for version in 1.7 2.1; do
    use_containerd $version
    step start-$version start_containerd /etc/containerd/$version
    step version-$version osguard-cri version
    step pull-$version ctr images pull --plain-http $image
    step runc-$version ctr run --rm $image c1
    step crun-$version ctr run --rm --runc-binary /usr/bin/crun $image c2
    step cri-pull-$version osguard-cri pull $image
    step cri-images-$version osguard-cri images
    step cri-pod-$version osguard-cri run-pod pod
    pod=$(cat /run/steps/cri-pod-$version.output)
    step cri-create-$version osguard-cri create $pod pod main $image -- /bin/sleep 1000
    container=$(cat /run/steps/cri-create-$version.output)
    step cri-start-$version osguard-cri start $container
    step cri-exec-$version osguard-cri exec $container -- /bin/sh -c 'cat /hello; exit 3'
    step cri-one-$version osguard-cri create $pod pod one $image
    one=$(cat /run/steps/cri-one-$version.output)
    osguard-cri start $one
    step cri-wait-$version osguard-cri wait $one
    step cri-log-$version cat /var/log/pods/pod/one.log
    osguard-cri rm $container
    step cri-remove-$version osguard-cri rm-pod $pod
    step cri-left-$version osguard-cri ps
    if [ $version = 2.1 ]; then
        cat /run/lab/policy > /sys/kernel/security/ipe/new_policy
        echo 1 > /sys/kernel/security/ipe/policies/lab/active
        step denied ctr run --rm $image c3
        step runc-1.1 ctr run --rm --runc-binary /usr/lib/runc-1.1/runc $image c4
    fi
    stop_containerd --forget
done
echo 0 > /sys/kernel/security/ipe/enforce
tail -n 40 /run/containerd.log
exit 0
"#;

fn is_a_node_with_stock_containerd(kernel: Kernel) {
    let Some(outcome) = or_skip(run(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    for version in ["1.7", "2.1"] {
        let says = |step: &str, text: &str| says(&outcome, &format!("{step}-{version}"), text);
        says("start", "");
        says("version", &format!("containerd {version}."));
        says("pull", "");
        says("runc", "of the app");
        says("crun", "of the app");
        says("cri-images", "127.0.0.1:5000/app:v1");
        says("cri-start", "");
        says("cri-wait", "");
        says("cri-log", "stdout F of the app");
        says("cri-remove", "");
        let exec = outcome.step(&format!("cri-exec-{version}"));
        assert_eq!((exec.exit_code, exec.stdout_text()), (3, "of the app".to_owned()));
        assert_eq!(outcome.step(&format!("cri-left-{version}")).stdout_text(), "");
    }
    // The layers lie on a disk that nobody verifies, as ever.
    let denied = outcome.step("denied");
    assert!(denied.stderr_text().contains("permission denied"), "{}", denied.stderr_text());
    let records = outcome.audit_records(1420);
    assert!(records.iter().any(|record| record.contains("path=\"/bin/busybox\"")), "{records:?}");
    // It copies itself into memory, which is on no volume: `/memfd:runc_cloned`.
    assert_ne!(outcome.step("runc-1.1").exit_code, 0);
    let is_of_runc = |record: &&str| record.contains("path=2F6D656D66643A72756E635F636C6F6E6564");
    assert!(records.iter().any(is_of_runc), "{records:?}");
}

fn run(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("node guest")?;
    let registry = DockerRegistry::start()?;
    push(&registry)?;
    let policy = signer.sign_policy(POLICY)?;
    let cri = Path::new(env!("CARGO_BIN_EXE_osguard-cri"));
    NodeGuest::new(kernel, &signer, &[cri], Some(&registry.store()))?
        .contents("policy", policy)
        .run(SCRIPT)
}

fn push(registry: &DockerRegistry) -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut layout = LayoutMaker::new(directory.path())?;
    let base = LayerSource::new(busybox_layer()?, Compression::Gzip)?;
    let app = LayerSource::new(file_layer("hello", b"of the app\n"), Compression::Zstd)?;
    let platform = ("linux", "amd64");
    let config = json!({ "Entrypoint": ["/bin/cat", "/hello"], "Env": ["PATH=/bin"] });
    layout.image_with(platform, "app", &[base.clone(), app], &config)?;
    let config = json!({ "Entrypoint": ["/bin/sleep", "1000000"] });
    layout.image_with(platform, "pause", &[base], &config)?;
    for name in ["app", "pause"] {
        command::run(
            command::command("skopeo")?
                .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
                .arg(format!("oci:{}:{name}", directory.path().display()))
                .arg(format!("docker://{}/{name}:v1", registry.host())),
        )?;
    }
    Ok(())
}

#[track_caller]
fn says(outcome: &Outcome, name: &str, text: &str) {
    let step = outcome.step(name);
    let output = step.stdout_text();
    let failed = format!("{name}: {output}\n{}\n{}", step.stderr_text(), outcome.console);
    assert!(step.exit_code == 0 && output.contains(text), "{failed}");
}

const POLICY: &str = "policy_name=lab policy_version=1.0.0\nDEFAULT action=ALLOW\n\
    DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
