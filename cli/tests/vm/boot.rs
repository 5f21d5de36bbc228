//! A machine that systemd starts, with its root on a signed volume of our own making: it starts into enforcement with the file
//! that `policy deploy` has installed, and goes on to start after an update.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::{command, find, run};
use osguard_testkit::tools::{auditd, systemd};
use osguard_testkit::vm::{Kernel, Outcome, Vm};
use osguard_testkit::{Result, or_skip};

use crate::host::Host;
use crate::{failed, succeeded};

#[test]
fn vm_7_2_starts_into_enforcement() {
    let Some(outcomes) = or_skip(starts()) else { return };
    let [first, second, third] = &outcomes[..] else { panic!("three starts") };
    println!("took {:?}", outcomes.iter().map(|outcome| outcome.wall_time).sum::<Duration>());

    let status = first.step("status").stdout_text();
    assert_eq!(status, "No policy is loaded: the kernel runs everything", "{}", first.console);
    succeeded(first, "before");
    says(first, "deploy", "systemd loads it at boot: /etc/ipe/osguard.p7b");
    assert_eq!(first.step("denied").exit_code, 126);

    // Nobody but systemd can have loaded it.
    let at_boot = "At boot: osguard 1.0.1 from /etc/ipe/osguard.p7b";
    assert_eq!(second.step("status").stdout_text(), format!("osguard 1.0.1  in force\n{at_boot}"));
    assert_eq!(second.step("denied").exit_code, 126);
    succeeded(second, "basic");
    succeeded(second, "simulate");
    failed(second, "same-version", 2, "the policy osguard 1.0.1 is in force already");
    the_daemon_is_up_before_containerd(second);
    says(second, "try", "On trial: osguard 1.0.2, for");
    says(second, "confirm", "systemd loads it at boot: /etc/ipe/osguard.p7b");

    let at_boot = "At boot: osguard 1.0.2 from /etc/ipe/osguard.p7b";
    assert_eq!(third.step("status").stdout_text(), format!("osguard 1.0.2  in force\n{at_boot}"));
    assert_eq!(third.step("denied").exit_code, 126);
    succeeded(third, "basic");
    hears_of_denials_beside_auditd(third);
}

/// The units are those of `deploy/`; containerd is a stand-in that fails where the socket is not there yet.
fn the_daemon_is_up_before_containerd(outcome: &Outcome) {
    succeeded(outcome, "start-containerd");
    says(outcome, "units", "active\nactive");
    succeeded(outcome, "restart-node");
    // What it mounts has to be seen by everybody.
    succeeded(outcome, "mount-namespaces");
    let namespaces = outcome.step("mount-namespaces").stdout_text();
    let namespaces: Vec<_> = namespaces.lines().collect();
    assert!(namespaces.len() == 2 && namespaces[0] == namespaces[1], "{namespaces:?}");
}

/// The kernel logs nothing as long as auditd takes the records.
fn hears_of_denials_beside_auditd(outcome: &Outcome) {
    succeeded(outcome, "start-auditd");
    says(outcome, "auditd", "enabled 1");
    succeeded(outcome, "soak-good");
    failed(outcome, "soak", 13, "denials were recorded, of which the first is: ipe_op=EXECUTE");
    says(outcome, "soaked", "osguard 1.0.6  in force");
    let recorded = outcome.step("recorded").stdout_text();
    assert!(recorded.contains("IPE_ACCESS") || recorded.contains("UNKNOWN[1420]"), "{recorded}");
    says(outcome, "explain", "/var/busybox");
}

#[track_caller]
fn says(outcome: &Outcome, step: &str, text: &str) {
    succeeded(outcome, step);
    let output = outcome.step(step).stdout_text();
    assert!(output.contains(text), "{step}: {output}");
}

/// Starts one machine three times: `/dev/vda` is its root, `/dev/vdb` what it keeps.
fn starts() -> Result<Vec<Outcome>> {
    let host = Host::new()?;
    let volume = Volume::make(&host)?;
    fs::create_dir(host.path("data")).expect("a directory");
    for revision in 1..=6 {
        let text = format!("data/{revision}.policy");
        let version = format!("1.0.{revision}");
        host.osguard(&["policy", "new", &text, "--policy-version", &version]);
        let signed = format!("data/{revision}.p7b");
        host.osguard(&["policy", "sign", &text, &signed, "--key", "trusted.key"]);
    }
    fs::write(host.path("data/script"), SCRIPT).expect("a script");
    for (number, steps) in STARTS.iter().enumerate() {
        fs::write(host.path(&format!("data/start-{}", number + 1)), steps).expect("a script");
    }
    run(command("mke2fs")?
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .arg(host.path("data"))
        .arg(host.path("kept"))
        .arg("64M"))?;
    let machine = || -> Result<Vm> {
        let certificate = fs::read(host.path("trusted.crt")).expect("the certificate");
        Ok(Vm::new(Kernel::V7_2)
            .certificate(certificate)
            .program(find("veritysetup")?)
            .contents("/root.p7s", volume.signature.clone())
            .disk(host.path("root"))
            .writable_disk(host.path("kept"))
            .parameter("systemd.log_target=console")
            .time_limit(Duration::from_secs(240))
            .script(volume.script()))
    };
    (0..STARTS.len()).map(|_| machine()?.run()).collect()
}

/// Is the volume `root` in the directory of the host.
struct Volume {
    root_hash: String,
    image_bytes: u64,
    signature: Vec<u8>,
}

impl Volume {
    /// Makes the volume of Debian's systemd, busybox and osguard.
    fn make(host: &Host) -> Result<Self> {
        let tree = host.path("tree");
        for packages in [systemd()?, auditd()?] {
            run(command("cp")?.arg("-aT").arg(packages.root()).arg(&tree))?;
        }
        prepare(&tree)?;
        host.osguard(&["layer", "build", "tree", "root", "--archive", "root.tar"]);
        let output = host.command(&["layer", "inspect", "root", "--output", "json"]).output();
        let facts: serde_json::Value =
            serde_json::from_slice(&output.expect("osguard starts").stdout).expect("JSON");
        let root_hash = facts["root_hash"].as_str().expect("a root hash").to_owned();
        let no_passphrase = &mut || unreachable!("the key is not encrypted");
        let signer =
            FileSigner::open(&host.path("trusted.key"), &host.path("trusted.crt"), no_passphrase);
        let parsed = root_hash.parse().expect("a root hash");
        let signature = sign_root_hash(&parsed, &signer.expect("a key"), Embedding::Nothing)
            .expect("a signature");
        let image_bytes = facts["hash_offset_bytes"].as_u64().expect("an offset");
        Ok(Self { root_hash, image_bytes, signature })
    }

    /// Opens the root, and leaves the machine to systemd on it.
    fn script(&self) -> String {
        let Self { root_hash, image_bytes, .. } = self;
        format!(
            r#"
mkdir -p /newroot
export DM_DISABLE_UDEV=1
veritysetup open /dev/vda root /dev/vda {root_hash} --hash-offset={image_bytes} --root-hash-signature=/root.p7s || exit
mount -t erofs -o ro /dev/mapper/root /newroot || exit
mount -t tmpfs tmpfs /newroot/var
mkdir -p /newroot/var/log /newroot/var/lib /newroot/var/tmp
mount -t ext4 /dev/vdb /newroot/data
mkdir -p /newroot/data/ipe
mount --bind /newroot/data/ipe /newroot/etc/ipe
for directory in proc sys dev run; do mount --move "/$directory" "/newroot/$directory"; done
printf '#!/usr/bin/busybox sh\nexec /usr/bin/busybox switch_root /newroot /usr/lib/systemd/systemd\n' > /etc/next-init
chmod 755 /etc/next-init
"#
        )
    }
}

/// Makes the packages a system that starts nothing but itself and the test.
fn prepare(tree: &Path) -> Result<()> {
    let at = |path: &str| tree.join(path);
    let write = |path: &str, text: &str| fs::write(at(path), text).expect("a file");
    for unneeded in ["doc", "man", "locale", "bug", "lintian", "zoneinfo"] {
        // Not every package has all of them.
        let _ = fs::remove_dir_all(at("usr/share").join(unneeded));
    }
    for directory in ["data", "dev", "etc/ipe", "proc", "root", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(at(directory)).expect("a directory");
    }
    for (link, target) in
        [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")]
    {
        if fs::symlink_metadata(at(link)).is_err() {
            symlink(target, at(link)).expect("a link");
        }
    }
    for program in [Path::new(env!("CARGO_BIN_EXE_osguard")), &find("busybox")?] {
        let place = at("usr/bin").join(program.file_name().expect("a name"));
        fs::copy(program, &place).expect("a program");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    for applet in APPLETS {
        if fs::symlink_metadata(at("usr/bin").join(applet)).is_err() {
            symlink("busybox", at("usr/bin").join(applet)).expect("a link");
        }
    }
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    );
    write("etc/group", "root:x:0:\nadm:x:4:\nnogroup:x:65534:\n");
    write("etc/machine-id", "");
    write("etc/os-release", "ID=lab\n");
    let units = "usr/lib/systemd/system";
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    run(command("cp")?.arg("-rT").arg(deploy.join("systemd")).arg(at(units)))?;
    fs::create_dir_all(at("etc/osguard")).expect("a directory");
    fs::copy(deploy.join("node.toml"), at("etc/osguard/node.toml")).expect("the configuration");
    write(&format!("{units}/containerd.service"), CONTAINERD_SERVICE);
    write(&format!("{units}/lab.service"), LAB_SERVICE);
    write(
        &format!("{units}/lab.target"),
        "[Unit]\nRequires=basic.target lab.service\nAfter=basic.target\n",
    );
    let _ = fs::remove_file(at(units).join("default.target"));
    symlink("lab.target", at(units).join("default.target")).expect("a link");
    Ok(())
}

const APPLETS: [&str; 15] = [
    "cat", "cp", "dmesg", "echo", "ls", "mkdir", "poweroff", "sh", "sleep", "stat", "stty", "sync",
    "test", "true", "wc",
];

const LAB_SERVICE: &str = "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nExecStart=/usr/bin/sh /data/script\n\
    StandardOutput=tty\nTTYPath=/dev/ttyS0\nTimeoutStartSec=infinity\n";

const CONTAINERD_SERVICE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/usr/bin/test -S /run/osguard/containerd.sock\n";

/// Reports as the first process of other machines does. The shell reads it, which IPE does not ask about.
const SCRIPT: &str = r#"
export PATH=/usr/bin HOME=/root
exec 3<> /dev/ttyS1
stty raw -echo <&3
mkdir -p /run/lab
step() {
    step_name=$1
    shift
    "$@" > "/run/lab/$step_name.output" 2> "/run/lab/$step_name.error"
    echo "$?" > "/run/lab/$step_name.code"
}
number=$(($(cat /data/number 2> /dev/null || echo 0) + 1))
echo "$number" > /data/number
cp /usr/bin/busybox /var/busybox
. "/data/start-$number"
echo 0 > /sys/kernel/security/ipe/enforce
dmesg > /run/lab.log
{
    echo
    echo report
    for code in /run/lab/*.code; do
        step=${code%.code}
        echo "step ${step##*/} $(cat "$code") $(stat -c %s "$step.output") $(stat -c %s "$step.error")"
        cat "$step.output" "$step.error"
    done
    echo "log $(stat -c %s /run/lab.log)"
    cat /run/lab.log
    echo "exit 0"
} >&3
sync
poweroff -f
"#;

const STARTS: [&str; 3] = [
    "step status osguard policy status
step before /var/busybox true
step deploy osguard policy deploy /data/1.p7b
step denied /var/busybox true
",
    "step status osguard policy status
step denied /var/busybox true
step basic systemctl is-active basic.target
step start-containerd systemctl start containerd.service
step units systemctl is-active containerd.service osguard-node.service
step restart-node systemctl restart osguard-node.service
node=$(systemctl show --value --property MainPID osguard-node.service)
step mount-namespaces stat -L -c %i /proc/1/ns/mnt /proc/$node/ns/mnt
step simulate osguard policy simulate /data/2.p7b --host
step same-version osguard policy deploy /data/1.p7b --try 60s
step try osguard policy deploy /data/2.p7b --try 600s --fallback /data/3.p7b
step confirm osguard policy activate --confirm
",
    "step status osguard policy status
step denied /var/busybox true
step basic systemctl is-active basic.target
mkdir -p /var/log/audit /var/run
step start-auditd /usr/sbin/auditd
step auditd /usr/sbin/auditctl -s
step soak-good osguard policy deploy /data/3.p7b --soak 2s --fallback /data/4.p7b
(for second in 1 2 3; do sleep 1; /var/busybox true; done) &
step soak osguard policy deploy /data/5.p7b --soak 4s --fallback /data/6.p7b
step soaked osguard policy status
step recorded cat /var/log/audit/audit.log
step explain osguard audit explain
",
];
