//! Our answer for a policy and a file is the kernel's: every policy here is asked about every file in every way, by us and by
//! the kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use osguard_testkit::command::{command, find, run};
use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::guest::{Guest, Layer};

#[test]
fn vm_6_12_decides_as_we_do() {
    decides_as_we_do(Kernel::V6_12);
}

#[test]
fn vm_7_2_decides_as_we_do() {
    decides_as_we_do(Kernel::V7_2);
}

/// Makes one file of each kind, and has them judged under each policy. `mount` and `cp` are busybox's.
const SCRIPT: &str = r#"
mkdir -p /files /lower /mnt/bound /mnt/over /mnt/loop /mnt/meta
node mount /mnt/signed /layers/bottom.json
node mount /mnt/other /layers/other.json
node mount /mnt/unsigned --allow-unsigned /layers/unsigned.json
cp /layers/bottom.erofs /store/flipped.erofs
printf '\377' | dd of=/store/flipped.erofs bs=1 seek="$PROGRAM" conv=notrunc 2>/dev/null
node mount /mnt/flipped /layers/flipped.json
node mount /mnt/two /layers/bottom.json /layers/other.json
mkdir -p /store/upper /store/work
node mount /mnt/writable --upper /store/upper /store/work /layers/bottom.json
cp /mnt/signed/bin/busybox /mnt/writable/bin/new
cp /mnt/signed/payload /mnt/writable/kept
chmod 700 /mnt/writable/bin/busybox
cp /usr/bin/busybox /store/busybox
printf '#!/usr/bin/busybox sh\n' > /store/script; chmod 755 /store/script
cp /usr/bin/busybox /lower/busybox
mount --bind /lower /mnt/bound
mkdir -p /store/upper2 /store/work2 /store/upper3 /store/work3
mount -t overlay overlay -o lowerdir=/lower,upperdir=/store/upper2,workdir=/store/work2 /mnt/over
mount -t overlay overlay -o "metacopy=on,lowerdir=/run/osguard/layers/$BOTTOM,upperdir=/store/upper3,workdir=/store/work3" /mnt/meta
chmod 700 /mnt/meta/bin/busybox
loop=$(losetup -f); losetup "$loop" /layers/bottom.erofs
mount -t erofs -o ro "$loop" /mnt/loop
mkdir /verity; mount -t ext4 /dev/vda /verity
cp /usr/bin/busybox /verity/signed; cp /usr/bin/busybox /verity/unsigned
step fs_verity sh -ec '
    keyctl padd asymmetric "" %keyring:.fs-verity < /fs-verity.der
    fsverity enable /verity/signed --signature=/fs-verity.sig
    fsverity enable /verity/unsigned'
cat /proc/self/mountinfo > /run/mounts
step evaluate evaluate /policies \
    /usr/bin/busybox /lower/busybox /mnt/bound/busybox /mnt/over/busybox \
    /mnt/signed/bin/busybox /mnt/other/bin/other /mnt/unsigned/bin/busybox /mnt/flipped/bin/busybox \
    /mnt/two/bin/busybox /mnt/two/bin/other \
    /mnt/writable/payload /mnt/writable/bin/busybox /mnt/writable/bin/new /mnt/writable/kept \
    /mnt/meta/bin/busybox /mnt/meta/payload /store/busybox /store/script /mnt/loop/bin/busybox \
    /verity/signed /verity/unsigned anonymous memfd
step mounts cat /run/mounts
"#;

fn decides_as_we_do(kernel: Kernel) {
    let Some(outcome) = or_skip(evaluate(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    let verity = outcome.step("fs_verity");
    assert_eq!(verity.exit_code, 0, "{}", verity.stderr_text());
    let step = outcome.step("evaluate");
    assert_eq!(step.exit_code, 0, "{}\n{}", step.stderr_text(), outcome.console);
    let report = step.stdout_text();
    let mounts = outcome.step("mounts").stdout_text();
    let mut differences = Vec::new();
    let mut allowed = BTreeSet::new();
    let mut denied = BTreeSet::new();
    for line in report.lines() {
        let [policy, operation, file, kernel, ours] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line:?} is no answer");
        };
        match kernel {
            "ALLOW" => allowed.insert((operation.to_owned(), file.to_owned())),
            _ => denied.insert((operation.to_owned(), file.to_owned())),
        };
        if kernel != ours {
            let text = &policies_of_the_report()[policy.parse::<usize>().expect("a number")];
            differences.push(format!("{line}: {}", text.replace('\n', "; ")));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}\n{mounts}",
        differences.len(),
        differences.join("\n")
    );
    let count = report.lines().count();
    println!("{count} answers");
    assert!(count >= 500, "{count}");
    // Every file was let through by some policy and held back by another one, in each way.
    assert_eq!(allowed, denied);
}

fn evaluate(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("node test")?;
    let mut guest = Guest::new(kernel, &signer)?;
    let bottom = Layer::bottom()?;
    let other = Layer::other()?;
    guest.layer("bottom", &bottom, Some(&signer))?;
    guest.layer("other", &other, Some(&signer))?;
    guest.layer("unsigned", &Layer::program()?, None)?;
    guest.description(
        "flipped",
        "/store/flipped.erofs",
        &bottom,
        &["/layers/bottom.0.p7s".to_owned()],
    );
    guest.variable("BOTTOM", &bottom.root_hash);
    // Deep in the program: its head is read when it is opened, its end never is.
    guest.variable("PROGRAM", bottom.find(b"\x7fELF") + 512 * 1024);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let verity = FsVerityFile::sign(&signer, directory.path())?;
    guest.contents("/fs-verity.der", &verity.certificate);
    guest.contents("/fs-verity.sig", &verity.signature);
    let mut batch = Vec::new();
    for text in policies(&bottom.root_hash, &other.root_hash, &verity.digest) {
        let signed = signer.sign_policy(&text)?;
        batch
            .extend_from_slice(&u32::try_from(signed.len()).expect("a short policy").to_le_bytes());
        batch.extend_from_slice(&signed);
    }
    guest.contents("/policies", &batch);
    let (keyctl, fsverity) = (find("keyctl")?, find("fsverity")?);
    guest.run_with(
        |machine| {
            machine
                .program(crate::guest::example("evaluate"))
                .program(keyctl)
                .program(fsverity)
                .writable_disk(verity.disk)
        },
        SCRIPT,
    )
}

/// Is what makes of a copy of busybox a file with fs-verity, and a disk that can have such files.
struct FsVerityFile {
    digest: String,
    signature: Vec<u8>,
    /// In DER.
    certificate: Vec<u8>,
    disk: PathBuf,
}

impl FsVerityFile {
    fn sign(signer: &Signer, directory: &Path) -> Result<Self> {
        let busybox = find("busybox")?;
        let (signature, disk) = (directory.join("signature"), directory.join("disk"));
        let digest = run(command("fsverity")?.args(["digest", "--compact"]).arg(&busybox))?;
        run(command("fsverity")?
            .arg("sign")
            .arg(&busybox)
            .arg(&signature)
            .arg("--key")
            .arg(signer.key_path())
            .arg("--cert")
            .arg(signer.certificate_path()))?;
        let certificate = run(command("openssl")?
            .args(["x509", "-outform", "der", "-in"])
            .arg(signer.certificate_path()))?;
        run(command("mke2fs")?
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "verity"])
            .arg(&disk)
            .arg("16M"))?;
        Ok(Self {
            digest: String::from_utf8_lossy(&digest).trim().to_owned(),
            signature: std::fs::read(signature).expect("the signature can be read"),
            certificate,
            disk,
        })
    }
}

/// For messages only, where the root hashes do not matter.
fn policies_of_the_report() -> Vec<String> {
    policies("bottom", "other", "file")
}

/// Makes policies of one name, each with a higher version than the one before; the last one lets the machine go on.
fn policies(bottom: &str, other: &str, file: &str) -> Vec<String> {
    let upper = bottom.to_uppercase();
    let zeros = "00".repeat(32);
    let properties = [
        "boot_verified=TRUE".to_owned(),
        "boot_verified=FALSE".to_owned(),
        "dmverity_signature=TRUE".to_owned(),
        "dmverity_signature=FALSE".to_owned(),
        "fsverity_signature=TRUE".to_owned(),
        "fsverity_signature=FALSE".to_owned(),
        format!("fsverity_digest=sha256:{zeros}"),
        format!("fsverity_digest=sha256:{file}"),
        format!("fsverity_digest=sha512:{file}"),
        format!("fsverity_digest=sha256:{file} fsverity_signature=FALSE"),
        format!("dmverity_roothash=sha256:{bottom}"),
        format!("dmverity_roothash=sha256:{upper}"),
        format!("dmverity_roothash=sha512:{bottom}"),
        format!("dmverity_roothash=sha256:{other}"),
        format!("dmverity_roothash=sha256:{zeros}"),
        "dmverity_signature=TRUE boot_verified=FALSE".to_owned(),
        "dmverity_signature=FALSE boot_verified=FALSE".to_owned(),
        "dmverity_signature=TRUE boot_verified=TRUE".to_owned(),
        "dmverity_signature=TRUE dmverity_signature=FALSE".to_owned(),
        format!("dmverity_signature=TRUE dmverity_roothash=sha256:{other}"),
        format!("dmverity_signature=FALSE dmverity_roothash=sha256:{other}"),
        format!("dmverity_roothash=sha256:{bottom} dmverity_roothash=sha256:{other}"),
    ];
    let mut bodies: Vec<String> = Vec::new();
    for property in &properties {
        for (default, action) in [("DENY", "ALLOW"), ("ALLOW", "DENY")] {
            let rules = ["EXECUTE", "KMODULE", "KEXEC_IMAGE"]
                .map(|operation| format!("op={operation} {property} action={action}\n"));
            bodies.push(format!("DEFAULT action={default}\n{}", rules.concat()));
        }
    }
    let denial = format!("op=EXECUTE dmverity_roothash=sha256:{bottom} action=DENY\n");
    let allowance = "op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
    bodies
        .push(format!("DEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\n{denial}{allowance}"));
    bodies
        .push(format!("DEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\n{allowance}{denial}"));
    bodies.push(format!("DEFAULT action=DENY\nDEFAULT op=KMODULE action=ALLOW\n{allowance}op=EXECUTE boot_verified=TRUE action=ALLOW\n"));
    bodies.push(
        "DEFAULT action=ALLOW\nop=EXECUTE action=DENY\nop=KMODULE boot_verified=TRUE action=DENY\n"
            .to_owned(),
    );
    bodies.push("DEFAULT action=DENY\nop=EXECUTE action=ALLOW\n".to_owned());
    bodies.push("DEFAULT action=DENY\n".to_owned());
    bodies.push("DEFAULT action=ALLOW\n".to_owned());
    let named = bodies.iter().enumerate();
    named
        .map(|(number, body)| format!("policy_name=lab policy_version=1.0.{number}\n{body}"))
        .collect()
}
