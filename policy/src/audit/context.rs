//! What is known about a denial besides its record, and what is not.

use std::fmt;
use std::path::PathBuf;

use super::container::ContainerId;
use super::record::{Access, RecordedOperation};
use crate::evaluate::{Facts, Volume};
use crate::syntax::DigestValue;
use crate::vocabulary::Operation;

/// Is what somebody who looked found out about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The process.
    pub process: Process,
    /// The container in which it ran.
    pub container: Option<Container>,
    /// Where the file lies.
    pub place: Place,
    /// What could not be found out, and why, each a sentence without its full stop.
    pub unknown: Vec<String>,
}

impl Context {
    /// Knows what the record alone says.
    pub fn of_record(access: &Access) -> Self {
        Self {
            process: Process::default(),
            container: None,
            place: Place::of_record(access),
            unknown: Vec::new(),
        }
    }
}

/// Is what is known about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its parent.
    pub parent: Option<u32>,
    /// The program that it runs, as it sees it itself.
    pub executable: Option<PathBuf>,
    /// The user.
    pub user: Option<u32>,
    /// The control group.
    pub cgroup: Option<String>,
}

/// Is what is known about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its identifier.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: Option<String>,
    /// The pod, as `NAMESPACE/NAME`.
    pub pod: Option<String>,
    /// The image from which it was started, in the words of whoever started it.
    pub image: Option<String>,
}

/// Tells where the judged file lies, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// On a block device.
    Device(Device),
    /// In the file system into which the initramfs was unpacked.
    Initramfs,
    /// In memory without a file, or in a buffer that was handed to the kernel.
    Memory,
    /// In a file that lies in no directory: memfd, shared memory.
    MemoryFile,
    /// In a file system without a block device.
    NoDevice {
        /// Its type.
        file_system: String,
    },
    /// In an overlay, nobody knows in which layer of it.
    Overlay,
    /// In the writable layer of an overlay.
    OverlayUpper {
        /// Whether the file came from a layer below and was changed (copied up); otherwise it is new. None
        /// where that cannot be told.
        is_copy: Option<bool>,
    },
    /// Nothing is known.
    Unknown,
}

/// Is a block device, and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// The kernel's name, such as `dm-7`.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// Tells what a block device is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A device of the device mapper with another target than verity.
    Mapped {
        /// The type of the target.
        target: String,
    },
    /// Some other block device: a disk, a partition, a loop device.
    Plain,
    /// A device of the device mapper of which nothing more is known.
    Unknown,
    /// A dm-verity device.
    Verity(VerityVolume),
}

/// Is a dm-verity device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerityVolume {
    /// The root hash.
    pub root_hash: DigestValue,
    /// Whether its table has a signature, which the kernel verified. By whom, the kernel does not keep.
    pub is_signed: bool,
    /// The image file of the layer, where osguard mounted it.
    pub layer: Option<PathBuf>,
    /// Where images with this layer are mounted, as far as osguard did it.
    pub mounted_at: Vec<PathBuf>,
}

impl Place {
    /// Tells what the record alone says. Of a device of the device mapper that is not much.
    pub fn of_record(access: &Access) -> Self {
        let path = access.path.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
        let Some(device) = access.device.as_deref() else {
            // The path is the longest field, and what follows it may be cut off.
            return if access.is_cut_off { Self::Unknown } else { Self::Memory };
        };
        let is_memory_file = path.is_some_and(|path| {
            [&b"/memfd:"[..], b"/SYSV", b"/dev/zero (deleted)", b"/anon_hugepage"]
                .iter()
                .any(|start| path.starts_with(start))
        });
        match device {
            "tmpfs" | "hugetlbfs" if is_memory_file => Self::MemoryFile,
            "overlay" => Self::Overlay,
            "rootfs" => Self::Initramfs,
            name => match DeviceKind::of_name(name) {
                Some(kind) => Self::Device(Device { name: name.to_owned(), kind }),
                None => Self::NoDevice { file_system: name.to_owned() },
            },
        }
    }

    /// Returns what the kernel knew about the file when it decided, as far as it is known here.
    pub fn facts(&self) -> Option<Facts> {
        match self {
            Self::Initramfs => Some(Facts { is_in_initramfs: true, ..Facts::default() }),
            Self::Memory | Self::MemoryFile | Self::NoDevice { .. } | Self::OverlayUpper { .. } => {
                Some(Facts::default())
            }
            Self::Device(Device { kind: DeviceKind::Verity(volume), .. }) => {
                let volume =
                    Volume { root_hash: volume.root_hash.clone(), is_signed: volume.is_signed };
                Some(Facts { volume: Some(volume), ..Facts::default() })
            }
            Self::Device(Device { kind: DeviceKind::Unknown, .. }) => None,
            Self::Device(_) => Some(Facts::default()),
            Self::Overlay | Self::Unknown => None,
        }
    }
}

impl DeviceKind {
    /// Tells block devices from types of file systems, both of which stand in the same field.
    fn of_name(name: &str) -> Option<Self> {
        let is_disk = ["sd", "vd", "xvd", "hd"].iter().any(|prefix| {
            let rest = name.strip_prefix(prefix).unwrap_or_default();
            let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            (1..=3).contains(&letters)
                && rest.bytes().skip(letters).all(|byte| byte.is_ascii_digit())
        });
        let is_numbered = |prefix: &str| {
            let rest = name.strip_prefix(prefix).unwrap_or_default();
            rest.starts_with(|first: char| first.is_ascii_digit())
        };
        if name.strip_prefix("dm-").is_some_and(|minor| minor.parse::<u32>().is_ok()) {
            Some(Self::Unknown)
        } else if is_disk || BLOCK_DEVICES.iter().any(|prefix| is_numbered(prefix)) {
            Some(Self::Plain)
        } else {
            None
        }
    }
}

impl fmt::Display for Place {
    /// Writes what comes behind "It lies".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(formatter),
            Self::Initramfs => formatter.write_str("in the initramfs"),
            Self::Memory => formatter.write_str("in memory, without a file"),
            Self::MemoryFile => formatter.write_str("in a file in memory, which no device holds"),
            Self::NoDevice { file_system } => {
                write!(formatter, "in a file system without a device ({file_system})")
            }
            Self::Overlay => formatter.write_str("in an overlay; in which of its layers, is not known"),
            Self::OverlayUpper { is_copy: Some(true) } => formatter.write_str(
                "in the writable layer of an overlay, where a change (chmod, chown, a write) copied it",
            ),
            Self::OverlayUpper { is_copy: Some(false) } => {
                formatter.write_str("in the writable layer of an overlay, where it was made anew")
            }
            Self::OverlayUpper { is_copy: None } => {
                formatter.write_str("in the writable layer of an overlay")
            }
            Self::Unknown => formatter.write_str("where the record does not tell any more"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind } = self;
        match kind {
            DeviceKind::Mapped { target } => {
                write!(
                    formatter,
                    "on {name}, a device-mapper device of type {target}: no dm-verity"
                )
            }
            DeviceKind::Plain => write!(formatter, "on the device {name}, which is no dm-verity"),
            DeviceKind::Unknown => write!(formatter, "on {name}, of which nothing more is known"),
            DeviceKind::Verity(volume) => {
                let signed = match volume.is_signed {
                    true => "with a signature that the kernel verified (by whom, it does not keep)",
                    false => "without a signature",
                };
                write!(
                    formatter,
                    "on {name}, a dm-verity volume {signed}, root hash {}",
                    volume.root_hash
                )
            }
        }
    }
}

/// Puts an operation into words that take an object.
pub(super) fn activity(operation: &RecordedOperation, is_mapping: bool) -> &'static str {
    let RecordedOperation::Known(operation) = operation else { return "an unknown use of" };
    match operation {
        Operation::Execute if is_mapping => "mapping as executable of",
        Operation::Execute => "execution of",
        Operation::Firmware => "loading as firmware of",
        Operation::KernelModule => "loading as a kernel module of",
        Operation::KexecImage => "loading as the next kernel of",
        Operation::KexecInitramfs => "loading as the next initramfs of",
        Operation::Policy => "reading as another module's policy of",
        Operation::X509Certificate => "reading as a certificate of",
    }
}

/// How the names of block devices begin.
const BLOCK_DEVICES: [&str; 7] = ["nvme", "mmcblk", "loop", "md", "nbd", "zram", "pmem"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Content, Record};

    fn place(fields: &str) -> Place {
        let line = format!(
            "IPE_ACCESS ipe_op=EXECUTE ipe_hook=MMAP enforcing=1 {fields} rule=\"DEFAULT action=DENY\""
        );
        match Record::of_line(line.as_bytes()).unwrap().unwrap().content {
            Content::Access(access) => Place::of_record(&access),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_says_what_it_can() {
        assert_eq!(place("path=? dev=? ino=?"), Place::Memory);
        let memfd = "path=2F6D656D66643A6D202864656C6574656429 dev=\"tmpfs\" ino=2";
        assert_eq!(place(memfd), Place::MemoryFile);
        assert_eq!(place("path=\"/x\" dev=\"overlay\" ino=2"), Place::Overlay);
        assert_eq!(place("path=\"/x\" dev=\"rootfs\" ino=2"), Place::Initramfs);
        for name in ["tmpfs", "nfs", "sdcardfs", "0:45", "ramfs"] {
            let expected = Place::NoDevice { file_system: name.to_owned() };
            assert_eq!(place(&format!("path=\"/x\" dev=\"{name}\" ino=2")), expected);
        }
        for (name, kind) in [
            ("dm-7", DeviceKind::Unknown),
            ("sda1", DeviceKind::Plain),
            ("vda", DeviceKind::Plain),
            ("nvme0n1p2", DeviceKind::Plain),
            ("loop7", DeviceKind::Plain),
            ("md127", DeviceKind::Plain),
        ] {
            let expected = Place::Device(Device { name: name.to_owned(), kind });
            assert_eq!(place(&format!("path=\"/x\" dev=\"{name}\" ino=2")), expected);
        }
    }
}
