//! The machine of a node: Debian's containerd on a root file system that is a signed verity volume.
//!
//! Under a policy that allows nothing but signed volumes it goes on to run: both versions of containerd,
//! their runtimes, a registry, busybox, and the programs of the test, which lie on a second signed volume.
//!
//! | device | holds | mounted at |
//! | --- | --- | --- |
//! | `/dev/vda` | the root, verified, signed | `/` |
//! | `/dev/vdb` | the programs of the test, verified, signed | `/opt/osguard` |
//! | `/dev/vdc` | an empty ext4 | `/var` |
//! | `/dev/vdd` | the store of the registry, read-only, if there is one | `/srv` |
//! | `/dev/vde` … | further disks | |
//!
//! Files of the test lie in `/run/lab`. `/etc/containerd`, `/etc/osguard`, `/tmp` and `/mnt` are writable and empty.
//!
//! # The script
//!
//! As for [`Vm`], with these functions besides:
//!
//! | function | does |
//! | --- | --- |
//! | `start_registry [PORT]` | serves `/srv` at `127.0.0.1`, at HTTP's own port if there is none |
//! | `stop_registry` | ends it |
//! | `use_containerd 1.7`, `use_containerd 2.1` | takes `containerd`, its shim and `ctr` of that version from now on |
//! | `start_containerd FILE` | starts it with a configuration, and waits until it answers |
//! | `stop_containerd` | ends it, with what it has kept in `/var/lib/containerd` if `--forget` is said |
//! | `await SECONDS COMMAND …` | repeats a command until it succeeds |

mod containerd;
mod layers;
mod root;

use std::path::Path;
use std::time::Duration;

use crate::cache;
use crate::command::{find, run};
use crate::error::{Error, Result};
use crate::pki::Signer;
use crate::verity_image::VerityImage;
use crate::vm::{Kernel, Outcome, Vm};
pub use containerd::Containerd;
pub use layers::{busybox_layer, file_layer};

/// Is a node that has not been started.
#[derive(Debug)]
pub struct NodeGuest {
    machine: Vm,
    /// Holds the volume with the programs.
    _directory: tempfile::TempDir,
}

impl NodeGuest {
    /// Prepares a node that trusts `signer`, with these programs on a signed volume, and a registry
    /// that serves the directory `store` as Debian's docker-registry keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where packages or tools are not to be had.
    pub fn new(
        kernel: Kernel,
        signer: &Signer,
        programs: &[&Path],
        store: Option<&Path>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let root = root::volume()?;
        let programs = programs_volume(directory.path(), programs)?;
        let mut machine = Vm::new(kernel)
            .certificate(signer.certificate()?)
            .program(find("veritysetup")?)
            .memory_mebibytes(1536)
            // A device that is removed waits for a grace period, which takes long on an emulated machine.
            .parameter("rcupdate.rcu_expedited=1")
            .time_limit(Duration::from_secs(300))
            .disk(root.path())
            .disk(programs.path())
            .empty_disk(4096);
        machine = match store {
            Some(store) => machine.directory_disk(store),
            None => machine.empty_disk(16),
        };
        let mut open = String::new();
        for (device, name, volume) in [("vda", "root", &root), ("vdb", "programs", &programs)] {
            let signature = signer.sign_root_hash(volume.root_hash())?;
            machine = machine.contents(&format!("/{name}.p7s"), signature);
            open += &format!(
                "veritysetup open /dev/{device} {name} /dev/{device} {} --hash-offset={} \
                 --root-hash-signature=/{name}.p7s || exit\n",
                volume.root_hash(),
                volume.hash_offset_bytes(),
            );
        }
        machine = machine
            .contents("/lab/second-stage", SECOND_STAGE)
            .contents("/lab/kernel-config", kernel.configuration()?)
            .contents("/open", open);
        Ok(Self { machine, _directory: directory })
    }

    /// Puts a file into the guest, as `/run/lab/NAME`.
    #[must_use]
    pub fn contents(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.machine = self.machine.contents(&format!("/lab/{name}"), bytes);
        self
    }

    /// Changes the machine itself: its memory, its time limit, further disks.
    #[must_use]
    pub fn machine(mut self, change: impl FnOnce(Vm) -> Vm) -> Self {
        self.machine = change(self.machine);
        self
    }

    /// Boots the node, runs the script and returns what happened.
    ///
    /// # Errors
    ///
    /// As [`Vm::run`].
    pub fn run(self, script: &str) -> Result<Outcome> {
        self.machine.contents("/lab/script", script).script(FIRST_STAGE).run()
    }
}

/// Makes a volume with programs in `bin`; the C library, `libgcc_s` and `libm` are on the root.
fn programs_volume(directory: &Path, programs: &[&Path]) -> Result<VerityImage> {
    let tree = directory.join("programs");
    cache::create_directories(&tree.join("bin"))?;
    for program in programs {
        let name = program.file_name().unwrap_or_default();
        let place = tree.join("bin").join(name);
        copy(program, &place)?;
        // Symbols for a debugger are nine tenths of a program, and every block of it would be hashed. Where there is no
        // `strip`, they stay.
        if let Ok(strip) = find("strip") {
            run(std::process::Command::new(strip).arg("--strip-debug").arg(&place))?;
        }
    }
    VerityImage::of_directory(&tree, &directory.join("programs.image"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map_err(Error::io(from))?;
    Ok(())
}

/// Opens both volumes and leaves the machine to the second stage.
const FIRST_STAGE: &str = r#"
export DM_DISABLE_UDEV=1
. /open
mkdir -p /newroot
mount -t erofs -o ro /dev/mapper/root /newroot || exit
mount -t erofs -o ro /dev/mapper/programs /newroot/opt/osguard || exit
cp -a /lab /run/lab
for directory in proc sys dev run; do mount --move "/$directory" "/newroot/$directory"; done
printf '#!/usr/bin/busybox sh\nexec /usr/bin/busybox switch_root /newroot /usr/bin/busybox sh /run/lab/second-stage\n' > /etc/next-init
chmod 755 /etc/next-init
"#;

/// Is the first process on the signed root.
const SECOND_STAGE: &str = include_str!("second-stage.sh");
