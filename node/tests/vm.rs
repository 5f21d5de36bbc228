//! Mounts and policies on the real kernels: what runs, what is refused, and that nothing is left behind.

mod evaluation;
mod guest;
mod verity_keyring;

use guest::{Guest, Layer};
use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

#[test]
fn vm_6_12_mounts_what_is_signed() {
    mounts_what_is_signed(Kernel::V6_12);
}

#[test]
fn vm_7_2_mounts_what_is_signed() {
    mounts_what_is_signed(Kernel::V7_2);
}

#[test]
fn vm_6_12_survives_a_kill_at_each_step() {
    survives_a_kill_at_each_step(Kernel::V6_12);
}

#[test]
fn vm_7_2_survives_a_kill_at_each_step() {
    survives_a_kill_at_each_step(Kernel::V7_2);
}

#[test]
fn vm_6_12_deploys_policies() {
    deploys_policies(Kernel::V6_12);
}

#[test]
fn vm_7_2_deploys_policies() {
    deploys_policies(Kernel::V7_2);
}

#[test]
fn vm_7_2_without_ipe_says_so() {
    let Some(outcome) = or_skip(without_ipe()) else { return };
    refused(
        &outcome,
        "status",
        "this kernel has IPE and was started without it: its security modules are",
    );
    refused(&outcome, "user", "root is needed, and this process runs as user 65534");
    refused(&outcome, "no_verity", "this kernel has no dm-verity");
    assert_nothing_left(&outcome, "no_verity_left");
}

fn without_ipe() -> Result<Outcome> {
    let signer = Signer::generate("node test")?;
    let mut guest = Guest::new(Kernel::V7_2, &signer)?;
    guest.layer("bottom", &Layer::bottom()?, Some(&signer))?;
    guest.run_with(
        |machine| {
            machine
                .parameter("lsm=lockdown,capability")
                .contents("/etc/passwd", "nobody:x:65534:65534:nobody:/:/bin/sh\n")
        },
        r#"
step status node status
step user busybox su -s /usr/bin/sh nobody -c 'node unmount /mnt/app'
rmmod dm_verity
step no_verity node mount /mnt/app /layers/bottom.json
step no_verity_left left
"#,
    )
}

const MOUNTS: &str = r#"
step mount node mount /mnt/app /layers/bottom.json /layers/top.json
step list node list
step tree find /mnt/app
step runs /mnt/app/bin/busybox echo through the overlay
step runs_directly "/run/osguard/layers/$BOTTOM/bin/busybox" echo on the layer
step read_only touch /mnt/app/new
step again node mount /mnt/app /layers/bottom.json
step shared node mount /mnt/shared /layers/bottom.json
step devices ls /sys/block
cd /mnt/app; step busy node unmount /mnt/app; cd /
step unmount node unmount /mnt/app
step runs_shared /mnt/shared/bin/busybox echo still there
step unmount_shared node unmount /mnt/shared
step unmount_again node unmount /mnt/shared
step left left

node mount /mnt/app /layers/bottom.json
mount -t tmpfs cover /mnt/app
step covered node unmount /mnt/app
step covered_beside node mount /mnt/shared /layers/bottom.json
step covered_list node list
umount /mnt/app
step uncovered node unmount /mnt/app
node unmount /mnt/shared
unshare -m sh -c 'node mount /mnt/private /layers/bottom.json; : > /run/ready; exec sleep 1000' &
until [ -e /run/ready ]; do sleep 1; done
step elsewhere node unmount /mnt/private
step elsewhere_list node list
step elsewhere_beside node mount /mnt/app /layers/bottom.json
node unmount /mnt/app
step elsewhere_runs nsenter -m -t "$!" /mnt/private/bin/busybox true
kill -9 "$!"
wait
step elsewhere_gone node unmount /mnt/private
step elsewhere_left left

step twice node mount /mnt/app /layers/twice.json
node unmount /mnt/app
step unknown_signer node mount /mnt/app /layers/bottom.json /layers/rogue.json
step other_root_hash node mount /mnt/app /layers/bottom.json /layers/crossed.json
step truncated node mount /mnt/app /layers/bottom.json /layers/truncated.json
step damaged node mount /mnt/app /layers/bottom.json /layers/damaged.json
step unsigned node mount /mnt/app /layers/bottom.json /layers/unsigned.json
step further_devices node mount /mnt/app /layers/multiple.json
step no_erofs node mount /mnt/app /layers/noise.json
step no_image node mount /mnt/app /layers/missing.json
step refused_left left

flip() {
    cp /layers/bottom.erofs /store/flipped.erofs
    printf '\377' | dd of=/store/flipped.erofs bs=1 seek="$1" conv=notrunc 2>/dev/null
}
flip 1100; step flipped_first node mount /mnt/app /layers/flipped.json
flip "$LEAVES"; step flipped_leaf node mount /mnt/app /layers/flipped.json
flip "$TREE"; step flipped_top node mount /mnt/app /layers/flipped.json
step flipped_left left
flip "$PAYLOAD"; step flipped_file node mount /mnt/app /layers/flipped.json
step flipped_read cat /mnt/app/payload
node unmount /mnt/app
flip "$SUPERBLOCK"; step flipped_superblock node mount /mnt/app /layers/flipped.json
step flipped_superblock_runs /mnt/app/bin/busybox true
node unmount /mnt/app
step flipped_after left

step impostor sh -c 'veritysetup open /layers/bottom.erofs "osguard-$BOTTOM" /layers/bottom.erofs "$BOTTOM" --hash-offset="$SUPERBLOCK"'
step mistaken node mount /mnt/app /layers/bottom.json
veritysetup close "osguard-$BOTTOM"
step mistaken_left left
"#;

fn mounts_what_is_signed(kernel: Kernel) {
    let Some(outcome) = or_skip(mount_layers(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    for step in ["mount", "shared", "runs", "runs_directly", "unmount", "runs_shared"] {
        succeeded(&outcome, step);
    }
    assert_eq!(outcome.step("list").stdout_text(), "/mnt/app 2 Complete");
    let tree = outcome.step("tree").stdout_text();
    for path in ["/mnt/app/bin/busybox", "/mnt/app/added", "/mnt/app/payload"] {
        assert!(tree.lines().any(|line| line == path), "{tree}");
    }
    assert!(!tree.contains("/mnt/app/removed"), "{tree}");
    refused(&outcome, "read_only", "Read-only file system");
    refused(&outcome, "again", "an image is mounted at /mnt/app already");
    let devices = outcome.step("devices").stdout_text();
    assert_eq!(devices.lines().filter(|name| name.starts_with("dm-")).count(), 2, "{devices}");
    refused(&outcome, "busy", "/mnt/app is busy");
    succeeded(&outcome, "unmount_shared");
    succeeded(&outcome, "unmount_again");
    assert!(outcome.step("unmount_again").stdout_text().contains("found: false"));
    assert_nothing_left(&outcome, "left");

    refused(&outcome, "covered", "a tmpfs is mounted over the image at /mnt/app");
    succeeded(&outcome, "covered_beside");
    let list = outcome.step("covered_list").stdout_text();
    assert_eq!(list, "/mnt/app 1 Complete\n/mnt/shared 1 Complete");
    succeeded(&outcome, "uncovered");
    refused(&outcome, "elsewhere", "in another mount namespace");
    assert_eq!(outcome.step("elsewhere_list").stdout_text(), "/mnt/private 1 Elsewhere");
    for step in ["elsewhere_beside", "elsewhere_runs", "elsewhere_gone"] {
        succeeded(&outcome, step);
    }
    assert_nothing_left(&outcome, "elsewhere_left");

    // One signer that the kernel trusts is enough.
    succeeded(&outcome, "twice");
    refused(&outcome, "unknown_signer", "(ENOKEY)");
    refused(&outcome, "unknown_signer", "Root hash verification failed (-ENOKEY)");
    refused(&outcome, "other_root_hash", "it does not belong to this root hash");
    refused(&outcome, "truncated", "or it is cut off (EBADMSG)");
    refused(&outcome, "damaged", "(EKEYREJECTED)");
    refused(&outcome, "unsigned", "has no signature");
    refused(&outcome, "further_devices", "names 1 further devices");
    refused(&outcome, "no_erofs", "is no EROFS image");
    refused(&outcome, "no_image", "cannot open the image /layers/missing.erofs");
    assert_nothing_left(&outcome, "refused_left");

    for step in ["flipped_first", "flipped_leaf", "flipped_top"] {
        refused(&outcome, step, "does not belong to the root hash");
        refused(&outcome, step, "Input/output error");
    }
    assert_nothing_left(&outcome, "flipped_left");
    succeeded(&outcome, "flipped_file");
    refused(&outcome, "flipped_read", "Input/output error");
    // Nothing in the superblock of dm-verity is believed, so it may say what it will.
    succeeded(&outcome, "flipped_superblock");
    succeeded(&outcome, "flipped_superblock_runs");
    assert_nothing_left(&outcome, "flipped_after");

    succeeded(&outcome, "impostor");
    refused(&outcome, "mistaken", "does not run the table that it should");
    assert_nothing_left(&outcome, "mistaken_left");
}

fn mount_layers(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("node test")?;
    let rogue = Signer::generate("nobody knows")?;
    let mut guest = Guest::new(kernel, &signer)?;
    let bottom = Layer::bottom()?;
    let top = Layer::top()?;
    guest.layer("bottom", &bottom, Some(&signer))?;
    guest.layer("top", &top, Some(&signer))?;
    guest.layer("rogue", &top, Some(&rogue))?;
    guest.signed_layer(
        "twice",
        &bottom,
        &[
            &[],
            &rogue.sign_root_hash(&bottom.root_hash)?,
            &signer.sign_root_hash(&bottom.root_hash)?,
        ],
    );
    guest.layer("unsigned", &top, None)?;
    guest.layer("multiple", &Layer::with_a_further_device()?, Some(&signer))?;
    guest.layer("noise", &Layer::noise(), Some(&signer))?;
    let signature = signer.sign_root_hash(&bottom.root_hash)?;
    guest.signed_layer("crossed", &top, &[&signature]);
    let signature = signer.sign_root_hash(&top.root_hash)?;
    guest.signed_layer("damaged", &top, &[&with_damaged_signature(&signature)]);
    guest.signed_layer("truncated", &top, &[&signature[..signature.len() / 2]]);
    guest.description("missing", "/layers/missing.erofs", &top, &["/layers/top.0.p7s".to_owned()]);
    guest.description(
        "flipped",
        "/store/flipped.erofs",
        &bottom,
        &["/layers/bottom.0.p7s".to_owned()],
    );
    let payload = bottom.find(b"payload payload payload");
    guest.variable("BOTTOM", &bottom.root_hash);
    guest.variable("PAYLOAD", payload);
    guest.variable("SUPERBLOCK", bottom.data_bytes());
    guest.variable("TREE", bottom.data_bytes() + 4096);
    guest.variable("LEAVES", bottom.data_bytes() + 2 * 4096);
    guest.run(MOUNTS)
}

/// Runs `node mount` again and again under strace, which kills it where it enters its first, second, third … system call
/// of a kind, until it comes through, for each kind that changes something; the same with `node unmount`.
///
/// The last step goes the other way: `node mount` itself has to cope with what the killed one left.
const KILLS: &str = r#"
mount() { "$@" node mount /mnt/app /layers/bottom.json /layers/top.json; }
unmount() { "$@" node unmount /mnt/app > /run/unmounted; }
killed() { strace -f -o /run/trace -e "trace=$call" -e "inject=$call:signal=KILL:when=$count" "$@" 2>/dev/null; }
check() {
    unmount || { cat /run/unmounted; tail -n 1 /run/trace; }
    left
    kills=$((kills + 1))
    count=$((count + 1))
    [ "$count" -lt 100 ]
}
kill_mounts() {
    kills=0
    for call in mkdir flock write fsync rename ioctl add_key keyctl fsopen fsmount move_mount; do
        count=1
        until mount killed; do check || return 1; done
        unmount
    done
    echo "$kills" > /run/mount_kills
}
kill_unmounts() {
    kills=0
    for call in flock umount2 rmdir ioctl unlink; do
        count=1
        mount
        until unmount killed; do check && mount || return 1; done
        left
    done
    echo "$kills" > /run/unmount_kills
}
remount() {
    call=ioctl
    for count in 2 5 8 11 14; do
        mount killed && return 1
        mount && unmount || return 1
        left
    done
}
step mounts kill_mounts
step unmounts kill_unmounts
step remounts remount
step counts cat /run/mount_kills /run/unmount_kills
step left left
"#;

fn survives_a_kill_at_each_step(kernel: Kernel) {
    let Some(outcome) = or_skip(kill_mounts(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    for step in ["mounts", "unmounts", "remounts"] {
        succeeded(&outcome, step);
        assert_nothing_left(&outcome, step);
    }
    assert_nothing_left(&outcome, "left");
    let counts = outcome.step("counts").stdout_text();
    let counts: Vec<u32> = counts.lines().map(|count| count.parse().expect("a number")).collect();
    println!("killed at so many places: {counts:?}");
    // At least the calls that cannot be left out; how often the kernel is asked whether a device is
    // gone depends on how busy the machine is.
    assert!(counts[0] >= 35 && counts[1] >= 10, "{counts:?} are too few to be all");
}

fn kill_mounts(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("node test")?;
    let mut guest = Guest::new(kernel, &signer)?;
    guest.layer("bottom", &Layer::bottom()?, Some(&signer))?;
    guest.layer("top", &Layer::top()?, Some(&signer))?;
    let strace = osguard_testkit::command::find("strace")?;
    // Most of the time goes into grace periods of RCU, which devices wait for when they are removed.
    guest.run_with(|machine| machine.program(strace).parameter("rcupdate.rcu_expedited=1"), KILLS)
}

const POLICIES: &str = r#"
node mount /mnt/signed /layers/bottom.json
node mount /mnt/unsigned --allow-unsigned /layers/unsigned.json
mkdir -p /tmp/upper /tmp/work
node mount /mnt/writable --upper /tmp/upper /tmp/work /layers/bottom.json
cp /mnt/signed/bin/busybox /mnt/writable/bin/new
chmod 700 /mnt/writable/bin/busybox
cp /mnt/signed/bin/busybox /tmp/busybox
step unsigned_before /mnt/unsigned/bin/busybox true

step unknown_signer node deploy /policies/rogue --activate
step altered node deploy /policies/altered --activate
step damaged node deploy /policies/damaged --activate
step none node status
step load node deploy /policies/lab-1 
step loaded node status
step activate node deploy /policies/lab-1 --activate
step same node deploy /policies/lab-1 --activate
step active node status

step signed /mnt/signed/bin/busybox true
step unsigned /mnt/unsigned/bin/busybox true
step tmpfs /tmp/busybox true
step upper /mnt/writable/bin/new true
step copied_up /mnt/writable/bin/busybox true

step update node deploy /policies/lab-2 --activate
step older node deploy /policies/lab-1 --activate
step other node deploy /policies/other
step other_active node activate other
step absent node activate absent
step final node status
node unmount /mnt/writable
node unmount /mnt/unsigned
node unmount /mnt/signed
step left left
"#;

fn deploys_policies(kernel: Kernel) {
    let Some(outcome) = or_skip(deploy_policies(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    succeeded(&outcome, "unsigned_before");
    refused(&outcome, "unknown_signer", "(ENOKEY); enrol the signer's certificate");
    refused(&outcome, "altered", "(EKEYREJECTED); sign again");
    refused(&outcome, "damaged", "or the signature is damaged (EINVAL)");
    assert_eq!(outcome.step("none").stdout_text(), "IpeStatus { enforce: true, policies: [] }");
    let says = |step: &str, text: &str| {
        succeeded(&outcome, step);
        let output = outcome.step(step).stdout_text();
        assert!(output.contains(text), "{step}: {output}");
    };
    says("load", "load: Loaded, activation: NotAsked");
    says(
        "loaded",
        "version: PolicyVersion { major: 1, minor: 0, revision: 0 }, active: false, signed: true",
    );
    says("activate", "load: AlreadyLoaded, activation: Activated { previous: None }");
    says("same", "load: AlreadyLoaded, activation: AlreadyActive");
    says(
        "active",
        "version: PolicyVersion { major: 1, minor: 0, revision: 0 }, active: true, signed: true",
    );

    succeeded(&outcome, "signed");
    for step in ["unsigned", "tmpfs", "upper", "copied_up"] {
        assert_eq!(outcome.step(step).exit_code, 126, "{step}");
    }
    let denials = outcome.audit_records(1420);
    for path in [
        "/mnt/unsigned/bin/busybox",
        "/tmp/busybox",
        "/mnt/writable/bin/new",
        "/mnt/writable/bin/busybox",
    ] {
        let path = format!("path=\"{path}\"");
        assert!(denials.iter().any(|record| record.contains(&path)), "{path}: {denials:?}");
    }

    says(
        "update",
        "load: Updated { from: PolicyVersion { major: 1, minor: 0, revision: 0 } }, activation: AlreadyActive",
    );
    refused(&outcome, "older", "is loaded in version 1.1.0, and version 1.0.0 is not newer");
    says("other", "load: Loaded, activation: NotAsked");
    refused(&outcome, "other_active", "lab 1.1.0 is active");
    refused(&outcome, "absent", "no policy absent is loaded");
    says(
        "final",
        "name: \"lab\", version: PolicyVersion { major: 1, minor: 1, revision: 0 }, active: true",
    );
    assert_nothing_left(&outcome, "left");
}

fn deploy_policies(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("node test")?;
    let rogue = Signer::generate("nobody knows")?;
    let mut guest = Guest::new(kernel, &signer)?;
    let bottom = Layer::bottom()?;
    guest.layer("bottom", &bottom, Some(&signer))?;
    guest.layer("unsigned", &bottom, None)?;
    let policy = |name: &str, version: &str| {
        format!(
            "policy_name={name} policy_version={version}\nDEFAULT action=ALLOW\n\
             DEFAULT op=EXECUTE action=DENY\nop=EXECUTE boot_verified=TRUE action=ALLOW\n\
             op=EXECUTE dmverity_signature=TRUE action=ALLOW\n"
        )
    };
    let first = signer.sign_policy(&policy("lab", "1.0.0"))?;
    let rule = first.windows(4).position(|window| window == b"boot").expect("a rule");
    let mut altered = first.clone();
    altered[rule] = b'B';
    guest.contents("/policies/altered", &altered);
    guest.contents("/policies/damaged", &with_damaged_signature(&first));
    guest.contents("/policies/lab-1", &first);
    guest.contents("/policies/lab-2", &signer.sign_policy(&policy("lab", "1.1.0"))?);
    guest.contents("/policies/other", &signer.sign_policy(&policy("other", "1.0.5"))?);
    guest.contents("/policies/rogue", &rogue.sign_policy(&policy("lab", "1.0.0"))?);
    guest.run(POLICIES)
}

/// Changes the last byte, which belongs to the signature.
fn with_damaged_signature(message: &[u8]) -> Vec<u8> {
    let mut damaged = message.to_vec();
    *damaged.last_mut().expect("a signature") ^= 1;
    damaged
}

#[track_caller]
fn succeeded(outcome: &Outcome, step: &str) {
    let result = outcome.step(step);
    assert_eq!(result.exit_code, 0, "{step}: {}", result.stderr_text());
}

#[track_caller]
fn refused(outcome: &Outcome, step: &str, reason: &str) {
    let result = outcome.step(step);
    assert_ne!(result.exit_code, 0, "{step} succeeded");
    assert!(result.stderr_text().contains(reason), "{step}: {}", result.stderr_text());
}

#[track_caller]
fn assert_nothing_left(outcome: &Outcome, step: &str) {
    let result = outcome.step(step);
    assert_eq!(result.stdout_text(), "", "{step}: {}", result.stderr_text());
}
