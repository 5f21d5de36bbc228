//! Verity devices by name on real kernels, beside veritysetup.

use std::fs;

use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::find;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::host::Host;
use crate::{failed, succeeded};

#[test]
fn vm_6_12_opens_what_we_format() {
    opens_what_we_format(Kernel::V6_12);
}

#[test]
fn vm_7_2_opens_what_we_format() {
    opens_what_we_format(Kernel::V7_2);
}

fn opens_what_we_format(kernel: Kernel) {
    let Some(outcome) = or_skip(run(kernel)) else { return };
    println!("took {:?}", outcome.wall_time);
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    for (number, flags) in COMBINATIONS.iter().enumerate() {
        for step in ["open", "read", "close"] {
            succeeded(&outcome, &format!("{step}-{number}"));
        }
        let [ours, theirs] = ["ours", "theirs"]
            .map(|who| outcome.step(&format!("status-{who}-{number}")).stdout_text());
        assert_eq!(ours, theirs, "{flags}");
        assert!(ours.contains("  status:      verified\n"), "{ours}");
    }
    corrupt_blocks_are_where_we_say(&outcome);
    error_correction_brings_them_back(&outcome);
    signatures_reach_the_kernel(&outcome);
    devices_are_closed_as_asked(&outcome);
    assert_eq!(outcome.step("left").stdout_text(), "", "{}", outcome.console);
}

fn corrupt_blocks_are_where_we_say(outcome: &Outcome) {
    failed(outcome, "verify-corrupt", 2, "3 blocks are not what the root hash says");
    let ours = outcome.step("verify-corrupt").stdout_text();
    succeeded(outcome, "open-corrupt");
    assert_ne!(outcome.step("read-corrupt").exit_code, 0);
    for block in DAMAGED_BLOCKS {
        assert!(ours.contains(&format!("data block {block} (at byte {})", block * 4096)), "{ours}");
        assert!(
            outcome.console.contains(&format!("data block {block} is corrupted")),
            "{}",
            outcome.console
        );
    }
    let status = outcome.step("status-corrupt").stdout_text();
    assert!(status.contains("  status:      corrupted"), "{status}");
    assert_eq!(status, outcome.step("status-theirs-corrupt").stdout_text());
    succeeded(outcome, "open-wrong-root");
    let warning = outcome.step("open-wrong-root").stderr_text();
    assert!(warning.contains("Verity device detected corruption after activation."), "{warning}");
    succeeded(outcome, "read-ignored");
    let warning = outcome.step("open-ignored").stderr_text();
    assert!(warning.contains("Warning: --ignore-corruption"), "{warning}");
    let status = outcome.step("status-ignored").stdout_text();
    assert!(status.contains("ignore_corruption"), "{status}");
    assert_eq!(status, outcome.step("status-theirs-ignored").stdout_text());
}

fn error_correction_brings_them_back(outcome: &Outcome) {
    for step in ["open-fec", "read-fec", "repair", "verify-repaired"] {
        succeeded(outcome, step);
    }
    let status = outcome.step("status-fec").stdout_text();
    assert!(status.contains("  FEC roots:   4\n"), "{status}");
    assert_eq!(status, outcome.step("status-theirs-fec").stdout_text());
    let said = outcome.step("repair").stdout_text();
    assert_eq!(said, "Repaired 3 of 3 corrupt blocks, 12288 bytes.");
}

fn signatures_reach_the_kernel(outcome: &Outcome) {
    succeeded(outcome, "open-signed");
    let status = outcome.step("status-signed").stdout_text();
    assert!(status.contains("  status:      verified (with signature)\n"), "{status}");
    assert_eq!(status, outcome.step("status-theirs-signed").stdout_text());
    failed(outcome, "open-foreign", 1, "ENOKEY");
    assert_eq!(outcome.step("keys").stdout_text(), "", "no key is left");
}

fn devices_are_closed_as_asked(outcome: &Outcome) {
    failed(outcome, "open-twice", 5, "there is a device-mapper device signed already");
    failed(outcome, "close-busy", 5, "the device signed is still in use");
    succeeded(outcome, "close-deferred");
    let status = outcome.step("status-busy").stdout_text();
    assert!(status.starts_with("/dev/mapper/signed is active and is in use."), "{status}");
    succeeded(outcome, "close-kept");
    succeeded(outcome, "close-after-use");
    let status = outcome.step("status-inactive");
    assert_eq!(
        (status.exit_code, status.stdout_text()),
        (4, "/dev/mapper/signed is inactive.".to_owned())
    );
    let theirs = outcome.step("status-theirs-inactive");
    assert_eq!((theirs.exit_code, theirs.stdout_text()), (4, status.stdout_text()));
    failed(outcome, "close-again", 4, "device signed is not active");
    succeeded(outcome, "close-by-them");
    succeeded(outcome, "close-theirs");
}

fn run(kernel: Kernel) -> Result<Outcome> {
    let host = Host::new()?;
    fs::create_dir(host.path("verity")).expect("a directory");
    let data: Vec<u8> = (0..BLOCKS * 4096).map(|place| (place / 509) as u8).collect();
    let mut script = String::from(BEFORE);
    for (number, flags) in COMBINATIONS.iter().enumerate() {
        let (data_path, hash) = (format!("verity/data-{number}"), format!("verity/hash-{number}"));
        fs::write(host.path(&data_path), &data).expect("data");
        let root = format!("verity/root-{number}");
        let words: Vec<&str> = flags.split_whitespace().collect();
        // In the machine the files lie elsewhere.
        let parity = format!("--fec-device=verity/fec-{number}");
        let words: Vec<&str> =
            words.iter().map(|word| if *word == FEC { parity.as_str() } else { *word }).collect();
        let format = ["verity", "format", &data_path, &hash, "--root-hash-file", &root];
        host.osguard(&[&format[..], &words].concat());
        let needed: Vec<&str> = if flags.contains("--no-superblock") {
            words
        } else {
            words.into_iter().filter(|word| word.starts_with("--fec")).collect()
        };
        let needed = needed.join(" ").replace("verity/", "");
        script.push_str(&format!("combination {number} {needed}\n"));
    }
    let mut damaged = data;
    for block in DAMAGED_BLOCKS {
        damaged[block * 4096..][..4096].iter_mut().for_each(|byte| *byte ^= 0x5a);
    }
    fs::write(host.path("verity/damaged"), &damaged).expect("data");
    let format = ["verity", "format", "verity/data-0", "verity/hash", "--fec-device=verity/fec"];
    host.osguard(&[&format[..], &["--fec-roots=4", "--root-hash-file=verity/root"]].concat());
    let root_hash = fs::read_to_string(host.path("verity/root")).expect("a root hash");
    for key in ["trusted", "foreign"] {
        let signed = signature(&host, key, &root_hash);
        fs::write(host.path(&format!("verity/{key}.p7s")), signed).expect("a signature");
    }
    script.push_str(AFTER);
    host.machine_with(kernel, &["trusted"])?
        .program(find("veritysetup")?)
        .module("rmd160")
        .directory_disk(host.path("verity"))
        .script(script)
        .run()
}

fn signature(host: &Host, key: &str, root_hash: &str) -> Vec<u8> {
    let at = |ending: &str| host.path(&format!("{key}.{ending}"));
    let no_passphrase = &mut || unreachable!("the key is not encrypted");
    let signer = FileSigner::open(&at("key"), &at("crt"), no_passphrase).expect("a key");
    let root_hash = root_hash.parse().expect("a root hash");
    sign_root_hash(&root_hash, &signer, Embedding::Nothing).expect("a signature")
}

const BLOCKS: usize = 300;

/// Three blocks of one round, every byte of them wrong: without a hash tree, 4 roots could not tell
/// which.
const DAMAGED_BLOCKS: [usize; 3] = [10, 12, 200];

const FEC: &str = "FEC";

/// What the kernel takes; each is formatted here and opened there.
const COMBINATIONS: [&str; 9] = [
    "",
    "--data-block-size=512 --hash-block-size=512 --salt=-",
    "--data-block-size=1024 --hash-block-size=4096 --hash=sha1",
    "--data-block-size=4096 --hash-block-size=1024 --hash=sha512",
    "--format=0 --hash=sha384",
    "--hash=ripemd160 --hash-offset=8192",
    "--no-superblock --salt=00112233 --hash=sha224",
    "FEC --fec-roots=24",
    "FEC --fec-roots=2 --fec-offset=8192 --data-block-size=512 --hash-block-size=512",
];

const BEFORE: &str = r#"
export DM_DISABLE_UDEV=1
mkdir -p /files /work
mount -t ext4 -o ro /dev/vda /files
mount -t tmpfs tmpfs /work
cd /files
sum=$(sha256sum < data-0)
whole() { [ "$(sha256sum < "$1")" = "$sum" ]; }
echo 3 > /proc/sys/kernel/printk
combination() {
    number=$1
    shift
    offset=
    [ "$number" != 5 ] || offset=--hash-offset=8192
    step "open-$number" osguard verity open "data-$number" test "hash-$number" --root-hash-file "root-$number" $offset "$@"
    step "read-$number" whole /dev/mapper/test
    step "status-ours-$number" osguard verity status test
    step "status-theirs-$number" veritysetup status test
    step "close-$number" osguard verity close test
}
"#;

const AFTER: &str = r#"
root=$(cat root)
dmesg -c > /dev/null
echo 7 > /proc/sys/kernel/printk
step verify-corrupt osguard verity verify damaged hash "$root"
step open-corrupt osguard verity open damaged test hash "$root"
step read-corrupt sh -c 'for block in 10 12 200; do dd if=/dev/mapper/test bs=4096 skip=$block count=1 of=/dev/null 2> /dev/null && exit 0; done; exit 1'
step status-corrupt osguard verity status test
step status-theirs-corrupt veritysetup status test
osguard verity close test
step open-ignored osguard verity open damaged test hash "$root" --ignore-corruption --check-at-most-once
step read-ignored dd if=/dev/mapper/test of=/dev/null bs=4096
step status-ignored osguard verity status test
step status-theirs-ignored veritysetup status test
osguard verity close test
step open-wrong-root osguard verity open data-0 test hash "$(echo "$root" | tr 0123456789 1234567890)"
osguard verity close test

step open-fec osguard verity open damaged test hash "$root" --fec-device fec --fec-roots 4
step read-fec whole /dev/mapper/test
step status-fec osguard verity status test
step status-theirs-fec veritysetup status test
osguard verity close test
cp damaged hash /work
step repair osguard verity repair /work/damaged /work/hash "$root" --fec-device fec --fec-roots 4
step verify-repaired veritysetup verify /work/damaged /work/hash "$root"

step open-signed osguard verity open data-0 signed hash "$root" --root-hash-signature trusted.p7s
step status-signed osguard verity status signed
step status-theirs-signed veritysetup status signed
step open-foreign osguard verity open data-0 foreign hash "$root" --root-hash-signature foreign.p7s
# Flag i is of keys that are gone and wait to be collected.
step keys sh -c 'grep cryptsetup: /proc/keys | grep -v "^[0-9a-f]* [A-Z-]*i "'
step open-twice osguard verity open data-0 signed hash "$root"
exec 5< /dev/mapper/signed
step close-busy osguard verity close signed
step status-busy osguard verity status signed
step close-deferred osguard verity close signed --deferred
step close-kept osguard verity close signed --cancel-deferred
exec 5<&-
step close-after-use osguard verity close signed
step status-inactive osguard verity status signed
step status-theirs-inactive veritysetup status signed
step close-again osguard verity close signed
osguard verity open data-0 ours hash "$root"
step close-by-them veritysetup close ours
veritysetup open data-0 theirs hash "$root"
step close-theirs osguard verity close theirs
step left sh -c 'ls /dev/mapper | grep -v control; ls /sys/block | grep ^dm-; grep -l . /sys/block/loop*/loop/backing_file 2> /dev/null'
exit 0
"#;
