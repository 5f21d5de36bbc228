//! The main job, once and for real: an image of Debian packages is signed, a stock kernel is booted
//! in QEMU, and runs what is signed and nothing else.
//!
//! `scripts/demo` builds this and runs it with the path of the `osguard` binary.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use osguard_testkit::command::{command, run};
use osguard_testkit::image::{RealImage, real};
use osguard_testkit::vm::{Kernel, Outcome, Vm};

fn main() -> Result<(), Box<dyn Error>> {
    let osguard = std::env::args_os().nth(1).ok_or("the path of osguard is missing")?;
    let start = Instant::now();
    let demo = Demo { osguard: osguard.into(), directory: tempfile::tempdir()? };

    heading("An image of Debian packages, made with umoci and skopeo (kept for the next run)");
    let image = real()?;
    run(command("cp")?.arg("-a").arg(&image.layout).arg(demo.path("images")))?;
    println!("oci:images:{} and oci:images:{}", image.tag, image.unsigned_tag);

    heading("On the build machine: a key, and a signature for each layer");
    demo.osguard(&["key", "generate", "release", "--quiet"])?;
    demo.osguard(&["sign", "oci:images:real", "--key", "release.key"])?;
    demo.osguard(&["verify", "oci:images:real", "--trust", "release.crt"])?;
    demo.osguard(&["verify", "oci:images:unsigned", "--trust", "release.crt"])?;

    heading("The node's policy: only code from signed volumes (and the initramfs) runs");
    demo.osguard(&["policy", "new", "node.pol", "--boot-verified", "--quiet"])?;
    print!("{}", std::fs::read_to_string(demo.path("node.pol"))?);
    demo.osguard(&["policy", "sign", "node.pol", "--key", "release.key"])?;

    heading("The node: Debian's Linux 6.12 in QEMU, with release.crt in the firmware's db");
    let outcome = demo.machine()?.run()?;
    account(&outcome, start);
    Ok(())
}

/// Is the directory of the demonstration, and the program that it shows.
struct Demo {
    osguard: PathBuf,
    directory: tempfile::TempDir,
}

impl Demo {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Shows a command and runs it; a refusal is a part of the demonstration.
    fn osguard(&self, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
        println!("\n$ osguard {}", arguments.join(" "));
        let program = self.osguard.canonicalize()?;
        let status =
            Command::new(program).current_dir(self.directory.path()).args(arguments).status()?;
        if !status.success() {
            println!("(exit code {})", status.code().unwrap_or_default());
        }
        Ok(())
    }

    fn machine(&self) -> Result<Vm, Box<dyn Error>> {
        Ok(Vm::new(Kernel::V6_12)
            .certificate(std::fs::read(self.path("release.crt"))?)
            .directory_disk(self.path("images"))
            .empty_disk(512)
            .program(&self.osguard)
            .file("/node.p7b", self.path("node.p7b"))
            .script(SCRIPT)
            .watch(show))
    }
}

/// Shows what the machine does, while it does it.
fn show(line: &str) {
    if let Some(step) = line.strip_prefix("--- ") {
        match step.split_once(": ") {
            Some((_, command)) => println!("# {command}"),
            None => println!("  {step}"),
        }
    }
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// Ends with what ran, what was blocked, and the kernel's own record of it.
fn account(outcome: &Outcome, start: Instant) {
    heading("What ran");
    println!("{}: {}", RealImage::PROGRAM, outcome.step("signed").stdout_text());
    heading("What was blocked");
    for (step, what) in [
        ("unsigned", "the program of the image that nobody signed"),
        ("dropped", "a copy of a signed program on tmpfs, as an intruder would drop it"),
    ] {
        println!("{what}: {}", outcome.step(step).stderr_text());
    }
    heading("The kernel's own record of it");
    for record in outcome.audit_records(1420) {
        println!("{record}");
    }
    let denials = outcome.audit_records(1420).len();
    let ran = outcome.step("signed").exit_code == 0;
    let blocked = ["unsigned", "dropped"].iter().all(|step| outcome.step(step).exit_code == 126);
    if ran && blocked && denials == 2 {
        println!("\nSigned code ran, unsigned code did not. ({:.0?})", start.elapsed());
    } else {
        println!("\nThat is not what should have happened; the console:\n{}", outcome.console);
        std::process::exit(1);
    }
}

const SCRIPT: &str = r#"
mkdir -p /images /node
mount -t ext4 -o ro /dev/vda /images
mount -t ext4 /dev/vdb /node
export OSGUARD_STORE=/node/store
step mount osguard node mount oci:/images:real /mnt
step mount-unsigned osguard node mount oci:/images:unsigned /unsigned --allow-unsigned
cp /mnt/usr/bin/busybox /tmp/dropped
step deploy osguard policy deploy /node.p7b
step signed chroot /mnt /usr/bin/hello
step unsigned /unsigned/usr/bin/unsigned-busybox echo it runs
step dropped /tmp/dropped echo it runs
step unmount osguard node unmount /mnt
step unmount-unsigned osguard node unmount /unsigned
"#;
