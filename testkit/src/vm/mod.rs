//! A real kernel in a test: an unmodified distribution kernel in QEMU.
//!
//! ```no_run
//! use osguard_testkit::vm::{Kernel, Vm};
//!
//! let outcome = Vm::new(Kernel::V7_2)
//!     .program("/usr/bin/keyctl")
//!     .script("step keyrings cat /proc/keys\nstep describe keyctl describe @s\n")
//!     .run()
//!     .unwrap();
//! assert_eq!(outcome.exit_code, 0);
//! assert!(outcome.step("keyrings").stdout_text().contains(".platform"));
//! ```
//!
//! The machine is emulated: it works wherever QEMU does, with no KVM and no privilege, and a boot
//! takes about ten seconds. It has no network. Its root file system is the initramfs, which holds
//! busybox, the modules of [`Vm::module`] and what the test puts in; `/proc`, `/sys`, `/dev`,
//! `/run`, `/tmp` and securityfs are mounted.
//!
//! # The script
//!
//! A POSIX shell script (busybox). `step NAME COMMAND …` runs a command and records its output and
//! exit code under the name, which [`Outcome::step`] then returns; it fails as its command does.
//! What else the script prints goes to the console. If there is an executable `/etc/next-init` in the end, the first process
//! becomes that program, and whatever it starts writes the report, by sourcing `/run/report`.
//!
//! # Kernels and firmware
//!
//! Debian's packages, fetched from the mirror of this machine and kept in `target/vm`. Elsewhere
//! than on Debian these variables point at one's own:
//!
//! | Variable | Names |
//! | --- | --- |
//! | `OSGUARD_VM_KERNEL_6_12`, `OSGUARD_VM_KERNEL_7_2` | a directory with `lib/modules/VERSION` or `usr/lib/modules/VERSION`, and the kernel as `boot/vmlinuz-VERSION` or `vmlinuz` beside its modules; the same for `config`, where a test asks for it |
//! | `OSGUARD_VM_FIRMWARE` | a directory with `OVMF_CODE_4M.fd` and `OVMF_VARS_4M.fd` |

mod disk;
mod firmware;
mod initramfs;
mod kernel;
mod outcome;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cache;
use crate::command::command;
use crate::error::{Error, Result, or_skip};
use disk::Disk;
use initramfs::Initramfs;
pub use kernel::Kernel;
pub use outcome::{Outcome, Step};

/// Is a virtual machine that has not been started.
#[derive(Clone, Debug)]
pub struct Vm {
    kernel: Kernel,
    certificates: Vec<Vec<u8>>,
    revoked: Vec<u8>,
    disks: Vec<Disk>,
    files: Vec<(String, Source)>,
    programs: Vec<PathBuf>,
    modules: Vec<String>,
    parameters: Vec<String>,
    script: String,
    watch: Option<fn(&str)>,
    memory_mebibytes: u32,
    time_limit: Duration,
}

#[derive(Clone, Debug)]
enum Source {
    Contents(Vec<u8>),
    Host(PathBuf),
}

impl Vm {
    /// Returns a machine that boots `kernel`, with 1 GiB of memory and 120 seconds to finish.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            certificates: Vec::new(),
            revoked: Vec::new(),
            disks: Vec::new(),
            files: Vec::new(),
            programs: Vec::new(),
            modules: MODULES.map(str::to_owned).to_vec(),
            parameters: Vec::new(),
            script: String::new(),
            watch: None,
            memory_mebibytes: 1024,
            time_limit: Duration::from_secs(120),
        }
    }

    /// Enrols a certificate (PEM) in the firmware's `db`, whence the kernel takes it into its
    /// `.platform` keyring.
    #[must_use]
    pub fn certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.push(pem.into());
        self
    }

    /// Puts signature lists (UEFI 2.10, section 32.4.1, `EFI_SIGNATURE_LIST`) into the firmware's `dbx`,
    /// whence the kernel takes some of them into its `.blacklist` keyring.
    #[must_use]
    pub fn revoked(mut self, signature_lists: impl Into<Vec<u8>>) -> Self {
        self.revoked = signature_lists.into();
        self
    }

    /// Attaches a file as a read-only disk: the first is `/dev/vda`, the second `/dev/vdb`.
    ///
    /// Its size has to be a multiple of 512 bytes; QEMU drops the rest.
    #[must_use]
    pub fn disk(mut self, path: impl Into<PathBuf>) -> Self {
        self.disks.push(Disk::File { path: path.into(), writable: false });
        self
    }

    /// Attaches a file as a disk that the guest may write to; names go on as in [`Vm::disk`].
    #[must_use]
    pub fn writable_disk(mut self, path: impl Into<PathBuf>) -> Self {
        self.disks.push(Disk::File { path: path.into(), writable: true });
        self
    }

    /// Attaches a read-only disk with an ext4 file system that holds a copy of a directory; names
    /// go on as in [`Vm::disk`].
    #[must_use]
    pub fn directory_disk(mut self, directory: impl Into<PathBuf>) -> Self {
        self.disks.push(Disk::Directory(directory.into()));
        self
    }

    /// Attaches a writable disk with an empty ext4 file system of this size; names go on as in
    /// [`Vm::disk`].
    #[must_use]
    pub fn empty_disk(mut self, mebibytes: u32) -> Self {
        self.disks.push(Disk::Empty { mebibytes });
        self
    }

    /// Copies a file of this machine into the guest; it is executable there if it is here.
    #[must_use]
    pub fn file(mut self, guest_path: &str, host_path: impl Into<PathBuf>) -> Self {
        self.files.push((guest_path.to_owned(), Source::Host(host_path.into())));
        self
    }

    /// Puts a file of mode 0644 with these bytes into the guest.
    #[must_use]
    pub fn contents(mut self, guest_path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((guest_path.to_owned(), Source::Contents(bytes.into())));
        self
    }

    /// Copies a program into the guest's `/usr/bin`, and its shared libraries to where they lie here.
    #[must_use]
    pub fn program(mut self, host_path: impl Into<PathBuf>) -> Self {
        self.programs.push(host_path.into());
        self
    }

    /// Loads a further kernel module before the script starts, after those it depends on.
    ///
    /// Loaded anyway: what virtio disks, loop devices, dm-verity, EROFS, overlay and ext4 need.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Adds a parameter to the kernel's command line, for example `ipe.enforce=0`.
    #[must_use]
    pub fn parameter(mut self, parameter: &str) -> Self {
        self.parameters.push(parameter.to_owned());
        self
    }

    /// Sets what the machine does; see the [module](self) for `step`.
    #[must_use]
    pub fn script(mut self, text: impl Into<String>) -> Self {
        self.script = text.into();
        self
    }

    /// Has each line of the console seen as soon as it is complete.
    #[must_use]
    pub fn watch(mut self, watch: fn(&str)) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Sets the memory of the machine, the initramfs included.
    #[must_use]
    pub fn memory_mebibytes(mut self, memory_mebibytes: u32) -> Self {
        self.memory_mebibytes = memory_mebibytes;
        self
    }

    /// Sets the time after which the machine is stopped.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Runs the machine; returns `None` where this machine lacks what it takes, after the calling
    /// test has been [marked as skipped](crate::skip).
    ///
    /// # Panics
    ///
    /// Panics if the machine gave no result, and on CI if something is missing.
    #[track_caller]
    pub fn run_or_skip(&self) -> Option<Outcome> {
        or_skip(self.run())
    }

    /// Boots the machine, runs the script and returns what happened.
    ///
    /// One machine of a checkout runs at a time: two emulated processors fill a small host.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if QEMU, kernel or firmware are not to be had, [`Error::NoResult`] if the
    /// guest panicked or the time limit passed, others if a file could not be read.
    pub fn run(&self) -> Result<Outcome> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Missing("a machine of type x86_64".to_owned()));
        }
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let at = |name: &str| directory.path().join(name);
        let kernel = self.kernel.installed()?;
        let firmware =
            firmware::with_certificates(&self.certificates, &self.revoked, directory.path())?;
        cache::write(&at("initramfs"), &self.initramfs(&kernel)?)?;

        let mut qemu = command("qemu-system-x86_64")?;
        qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args(["-nodefaults", "-display", "none", "-no-reboot", "-m"])
            .arg(format!("{}M", self.memory_mebibytes));
        firmware.attach(&mut qemu);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(at("initramfs"));
        qemu.arg("-append").arg(format!("{PARAMETERS} {}", self.parameters.join(" ")));
        for (number, disk) in self.disks.iter().enumerate() {
            disk.attach(number, directory.path(), &mut qemu)?;
        }
        for port in ["console", "report"] {
            qemu.arg("-serial").arg(format!("file:{}", quoted(&at(port))));
        }

        let _lock = cache::lock("vm/machine")?;
        let start = Instant::now();
        let mut console = Follower { path: at("console"), seen_bytes: 0, watch: self.watch };
        let ended = wait(qemu, self.time_limit, &at("errors"), &mut console)?;
        let console = read_lossy(&at("console"))? + &read_lossy(&at("errors"))?;
        let report = fs::read(at("report")).map_err(Error::io(&at("report")))?;
        match Outcome::parse(&report) {
            Ok(outcome) if ended => Ok(Outcome { console, wall_time: start.elapsed(), ..outcome }),
            _ => Err(Error::NoResult { after: start.elapsed(), console: last_lines(&console) }),
        }
    }

    fn initramfs(&self, kernel: &kernel::Installed) -> Result<Vec<u8>> {
        let mut initramfs = Initramfs::new();
        let busybox = crate::command::find("busybox")?;
        initramfs.file("/usr/bin/busybox", &busybox)?;
        initramfs.contents("/init", 0o755, INIT.as_bytes().to_vec());
        initramfs.contents("/etc/script", 0o644, self.script.clone().into_bytes());
        let mut order = String::new();
        for module in kernel.modules(&self.modules)? {
            order = order + "/modules/" + &module.name + "\n";
            initramfs.contents(&format!("/modules/{}", module.name), 0o644, module.object);
        }
        initramfs.contents("/modules/order", 0o644, order.into_bytes());
        for path in &self.programs {
            program::add(path, &mut initramfs)?;
        }
        for (guest_path, source) in &self.files {
            match source {
                Source::Contents(bytes) => initramfs.contents(guest_path, 0o644, bytes.clone()),
                Source::Host(path) => initramfs.file(guest_path, path)?,
            }
        }
        Ok(initramfs.finish())
    }
}

/// Doubles the commas of a path, as QEMU's options ask for.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Runs QEMU and tells whether it ended by itself within `time_limit`.
fn wait(
    mut qemu: Command,
    time_limit: Duration,
    errors: &Path,
    console: &mut Follower,
) -> Result<bool> {
    let errors_file = fs::File::create(errors).map_err(Error::io(errors))?;
    let child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors_file)
        .spawn()
        .map_err(Error::io(Path::new("qemu-system-x86_64")))?;
    let mut machine = Running(child);
    let deadline = Instant::now() + time_limit;
    while Instant::now() < deadline {
        console.follow();
        if machine.0.try_wait().map_err(Error::io(Path::new("qemu-system-x86_64")))?.is_some() {
            console.follow();
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

/// Passes on the lines of a console that is being written.
struct Follower {
    path: PathBuf,
    seen_bytes: usize,
    watch: Option<fn(&str)>,
}

impl Follower {
    fn follow(&mut self) {
        // The console is read in the end again, and then an error is one.
        let (Some(watch), Ok(text)) = (self.watch, fs::read(&self.path)) else { return };
        let Some(fresh) = text.get(self.seen_bytes..) else { return };
        let Some(end) = fresh.iter().rposition(|&byte| byte == b'\n') else { return };
        String::from_utf8_lossy(&fresh[..end]).lines().for_each(watch);
        self.seen_bytes += end + 1;
    }
}

/// Is a QEMU that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_lossy(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

/// Are the modules that every machine loads, before those they depend on are added.
///
/// Hashing with the processor's instructions comes before dm-verity: it takes what is there when
/// a device is made.
const MODULES: [&str; 9] = [
    "crc32c-intel",
    "crc32c_generic",
    "sha256-ssse3",
    "virtio_blk",
    "loop",
    "dm-verity",
    "erofs",
    "overlay",
    "ext4",
];

/// A panic ends the machine at once. The log keeps every record that a test may want to see.
const PARAMETERS: &str =
    "console=ttyS0 panic=-1 printk.devkmsg=on log_buf_len=4M audit_backlog_limit=8192";

/// A panic with its call trace fills 60 lines of the console.
const CONSOLE_LINES: usize = 120;

/// Is the first program of the guest.
const INIT: &str = include_str!("init.sh");
