//! The device mapper (`drivers/md/dm-ioctl.c`, `include/uapi/linux/dm-ioctl.h`).
//!
//! This is the only file that speaks to `devicemapper`. Two requests, resume and remove, go past that crate to the same
//! control file: it waits for udev after both whenever udev runs, which hangs for ever in a container that sees the
//! host's `/run/udev` but not its semaphores. Here nobody waits for udev, and nobody needs its links: a device is opened
//! as `/dev/dm-<minor>`, which the kernel makes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devicemapper::{DM, DevId, DmError as CrateError, DmFlags, DmName, DmOptions, DmUuid, errors};
use libverity::verity::{VerityTable, WeakenedTable};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};

use crate::device_number::DeviceNumber;
use crate::kernel_log::{KernelLog, KernelMessages};
use crate::table_check::{TableMismatch, Target, check};

/// Is the opened control file of the device mapper.
pub struct DeviceMapper {
    control: DM,
}

impl DeviceMapper {
    /// Opens `/dev/mapper/control`.
    ///
    /// # Errors
    ///
    /// Fails with [`DmError::NotPermitted`] without root, with [`DmError::Unavailable`] on a kernel without device
    /// mapper.
    pub fn open() -> Result<Self, DmError> {
        // The crate would lose the error number.
        File::open(CONTROL).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => DmError::NotPermitted { source },
            _ => DmError::Unavailable { source },
        })?;
        let control =
            DM::new().map_err(|error| DmError::Unavailable { source: io::Error::other(error) })?;
        Ok(Self { control })
    }

    /// Reads the version of a loaded target type; `None` where the kernel has it not, or not yet, as the module is loaded
    /// with the first table that asks for it.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn target_version(&self, target: &str) -> Result<Option<TargetVersion>, DmError> {
        let versions =
            self.control.list_versions().map_err(|error| request("list targets", "", error))?;
        let version = versions.into_iter().find(|(name, ..)| name == target);
        Ok(version.map(|(_, major, minor, patch)| TargetVersion { major, minor, patch }))
    }

    /// Lists the names of all devices.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn names(&self) -> Result<Vec<String>, DmError> {
        let devices =
            self.control.list_devices().map_err(|error| request("list devices", "", error))?;
        Ok(devices.into_iter().map(|(name, ..)| name.to_string()).collect())
    }

    /// Makes the device `name` with `table`, read-only, and reads the table back.
    ///
    /// `table` must be loaded by the thread that holds the key which the table names. The device is opened before it is
    /// returned, and the kernel has been told to remove it with its last user: dropping the returned value, or the death
    /// of the process, removes the device unless it is mounted.
    ///
    /// # Errors
    ///
    /// Whatever fails, no device is left. A signature that the kernel refuses is [`DmError::Signature`].
    pub fn create_verity(
        &self,
        name: &str,
        uuid: &str,
        table: &VerityTable,
    ) -> Result<VerityDevice, DmError> {
        let number = self.create(name, uuid)?;
        let started = self.start(name, number, table);
        if started.is_err() {
            // The first error is the one to report; a leftover is found again by its name.
            let _ = self.remove(name);
        }
        started
    }

    /// Makes the device `name` with `table`, read-only, to stay until it is removed, and returns its number.
    ///
    /// `table` must be loaded by the thread that holds the key which the table names. udev is told of the device as of any
    /// other, and makes its links where it runs.
    ///
    /// # Errors
    ///
    /// As [`create_verity`](Self::create_verity).
    pub fn create_lasting_verity(
        &self,
        name: &str,
        uuid: &str,
        table: &WeakenedTable,
    ) -> Result<DeviceNumber, DmError> {
        let number = self.create(name, uuid)?;
        let started = self.load(name, &table.table, table.to_string()).and_then(|()| {
            self.send(Request::Resume, name, 0, FROM_PRIMARY_SOURCE)
                .map_err(|errno| refused_request("resume", name, errno))
        });
        if started.is_err() {
            // The first error is the one to report.
            let _ = self.remove(name);
        }
        started.map(|()| number)
    }

    /// Opens the existing device `name` after checking that it is what `table` says, on whatever loop device; `None` where
    /// there is no such device.
    ///
    /// # Errors
    ///
    /// Fails with [`DmError::Table`] when something else carries the name.
    pub fn open_verity(
        &self,
        name: &str,
        table: &VerityTable,
    ) -> Result<Option<VerityDevice>, DmError> {
        let Some(live) = self.live_table(name)? else { return Ok(None) };
        // Held open, the device cannot vanish or change its number between the check and its use.
        let node = match open_node(live.number) {
            Ok(node) => node,
            Err(_) if self.live_table(name)?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.check_table(name, table)?;
        Ok(Some(VerityDevice { name: name.to_owned(), number: live.number, node }))
    }

    /// Reads the active table of the device `name`; `None` where there is no such device.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn live_table(&self, name: &str) -> Result<Option<LiveTable>, DmError> {
        self.targets(name, DmFlags::DM_STATUS_TABLE)
    }

    /// Reads the status of the device `name`, each target's in the place of its parameters: of a dm-verity device `V`, or `C`
    /// once it has met a corrupt block; `None` where there is no such device.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn live_status(&self, name: &str) -> Result<Option<LiveTable>, DmError> {
        self.targets(name, DmFlags::empty())
    }

    fn targets(&self, name: &str, flags: DmFlags) -> Result<Option<LiveTable>, DmError> {
        let id = DmName::new(name).map_err(|error| request("name", name, error))?;
        let options = DmOptions::default().set_flags(flags);
        let (device, targets) = match self.control.table_status(&DevId::Name(id), options) {
            Ok(answer) => answer,
            Err(error) if errno(&error) == Some(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(request("read the table of", name, error)),
        };
        let number = DeviceNumber { major: device.device().major, minor: device.device().minor };
        let targets =
            targets.into_iter().map(|(start_sectors, length_sectors, kind, parameters)| Target {
                start_sectors,
                length_sectors,
                kind,
                parameters,
            });
        Ok(Some(LiveTable { number, targets: targets.collect() }))
    }

    /// Removes the device `name` now, or with its last user; returns whether there was such a device.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn remove(&self, name: &str) -> Result<bool, DmError> {
        self.send_remove(name, DEFERRED_REMOVE)
    }

    /// Removes the device `name` at once; returns whether there was such a device.
    ///
    /// # Errors
    ///
    /// Fails with [`DmError::Busy`] while it is used, and without root.
    pub fn remove_now(&self, name: &str) -> Result<bool, DmError> {
        match self.send_remove(name, 0) {
            Err(DmError::Request { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy =>
            {
                Err(DmError::Busy { name: name.to_owned() })
            }
            other => other,
        }
    }

    /// Takes back that the device `name` is removed with its last user.
    ///
    /// # Errors
    ///
    /// Fails where there is no such device, and without root.
    pub fn keep(&self, name: &str) -> Result<(), DmError> {
        let id = DmName::new(name).map_err(|error| request("name", name, error))?;
        self.control
            .target_msg(&DevId::Name(id), None, "@cancel_deferred_remove")
            .map(drop)
            .map_err(|error| request("keep", name, error))
    }

    /// Tells how often the device `name` is open, by mounts, programs and devices above it; `None` where there is no such
    /// device.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn open_count(&self, name: &str) -> Result<Option<u32>, DmError> {
        let id = DmName::new(name).map_err(|error| request("name", name, error))?;
        match self.control.device_info(&DevId::Name(id)) {
            Ok(device) => Ok(Some(device.open_count().unsigned_abs())),
            Err(error) if errno(&error) == Some(Errno::NXIO) => Ok(None),
            Err(error) => Err(request("look up", name, error)),
        }
    }

    fn send_remove(&self, name: &str, flags: u32) -> Result<bool, DmError> {
        match self.send(Request::Remove, name, flags, LEAVE_ALONE) {
            Ok(()) => Ok(true),
            Err(Errno::NXIO) => Ok(false),
            Err(errno) => Err(refused_request("remove", name, errno)),
        }
    }

    /// Waits until the device `name` is gone with all that it used, at most `patience`; returns whether it came true.
    ///
    /// The kernel first forgets the name, then lets go of the devices below, and last removes the block device.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn wait_until_gone(&self, name: &str, patience: Duration) -> Result<bool, DmError> {
        let deadline = Instant::now() + patience;
        while self.live_table(name)?.is_some() || may_linger(name) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    fn create(&self, name: &str, uuid: &str) -> Result<DeviceNumber, DmError> {
        let id = DmName::new(name).map_err(|error| request("name", name, error))?;
        let uuid = DmUuid::new(uuid).map_err(|error| request("name", name, error))?;
        let created = self.control.device_create(id, Some(uuid), DmOptions::default());
        let created = created.map_err(|error| match errno(&error) {
            Some(Errno::BUSY) => DmError::Exists { name: name.to_owned() },
            _ => request("create", name, error),
        })?;
        Ok(DeviceNumber { major: created.device().major, minor: created.device().minor })
    }

    /// Loads the table into the new device, opens it, has it removed with its last user, and lets it run.
    fn start(
        &self,
        name: &str,
        number: DeviceNumber,
        table: &VerityTable,
    ) -> Result<VerityDevice, DmError> {
        self.load(name, table, table.to_string())?;
        self.send(Request::Resume, name, 0, LEAVE_ALONE)
            .map_err(|errno| refused_request("resume", name, errno))?;
        let node = open_node(number)?;
        self.remove(name)?;
        self.check_table(name, table)?;
        Ok(VerityDevice { name: name.to_owned(), number, node })
    }

    /// Loads the parameters that stand for `table` into a device, read-only.
    fn load(&self, name: &str, table: &VerityTable, parameters: String) -> Result<(), DmError> {
        let id = DmName::new(name).map_err(|error| request("name", name, error))?;
        let options = DmOptions::default().set_flags(DmFlags::DM_READONLY);
        let target = (0, table.length_sectors(), "verity".to_owned(), parameters);
        let mut log = KernelLog::from_here();
        if let Err(error) = self.control.table_load(&DevId::Name(id), &[target], options) {
            let errno = errno(&error).unwrap_or(Errno::IO);
            // An unknown target type has no error number of its own.
            if errno == Errno::INVAL && self.target_version("verity")?.is_none() {
                return Err(DmError::VerityUnavailable { name: name.to_owned() });
            }
            let messages = log.messages("device-mapper: ");
            return Err(refused_table(name, table, errno, messages));
        }
        Ok(())
    }

    fn check_table(&self, name: &str, expected: &VerityTable) -> Result<(), DmError> {
        let live = self.live_table(name)?.unwrap_or_default();
        check(expected, &live.targets)
            .map_err(|source| DmError::Table { name: name.to_owned(), source })
    }

    /// Sends a request that takes a name and flags, and others that udev's rules look at.
    #[expect(unsafe_code, reason = "ioctl")]
    fn send(&self, request: Request, name: &str, flags: u32, udev_flags: u32) -> Result<(), Errno> {
        let mut header = Header::new(name, flags, udev_flags).ok_or(Errno::INVAL)?;
        let control = self.control.file().as_fd();
        // SAFETY: both requests read and write one `struct dm_ioctl`, whose layout and size `Header` has and which says
        // by `data_size_bytes` that nothing follows it.
        unsafe {
            match request {
                Request::Remove => {
                    ioctl(control, Updater::<REMOVE_OPCODE, Header>::new(&mut header))
                }
                Request::Resume => {
                    ioctl(control, Updater::<SUSPEND_OPCODE, Header>::new(&mut header))
                }
            }
        }
    }
}

/// Is a running dm-verity device, held open; the kernel removes it once this value is dropped and nothing has it mounted.
#[derive(Debug)]
pub struct VerityDevice {
    name: String,
    number: DeviceNumber,
    node: File,
}

impl VerityDevice {
    /// Returns the name in the device mapper.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device number.
    pub fn number(&self) -> DeviceNumber {
        self.number
    }

    /// Returns the device node, `/dev/dm-<minor>`.
    pub fn path(&self) -> PathBuf {
        node_path(self.number)
    }

    /// Returns the opened device; each block read from it has been verified.
    pub fn node(&self) -> &File {
        &self.node
    }
}

/// Is what a device runs at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTable {
    /// The device.
    pub number: DeviceNumber,
    /// The targets of its active table; none before the first resume.
    pub targets: Vec<Target>,
}

impl Default for LiveTable {
    fn default() -> Self {
        Self { number: DeviceNumber { major: 0, minor: 0 }, targets: Vec::new() }
    }
}

/// Is the version of a target type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetVersion {
    /// Changes with the meaning of old parameters.
    pub major: u32,
    /// Changes with new parameters.
    pub minor: u32,
    /// Changes with repairs.
    pub patch: u32,
}

/// Says why the device mapper did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DmError {
    /// The device is used, and cannot be removed.
    #[error("the device {name} is still in use")]
    Busy {
        /// The name of the device.
        name: String,
    },
    /// The name is taken.
    #[error("there is a device-mapper device {name} already")]
    Exists {
        /// The name of the device.
        name: String,
    },
    /// The device node is not there or cannot be opened.
    #[error("cannot open {node}; is /dev a devtmpfs?", node = node.display())]
    Node {
        /// The device node.
        node: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The caller is not root.
    #[error("{CONTROL} may be used by root only")]
    NotPermitted {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the device mapper cannot {request} {name}")]
    Request {
        /// What was asked for.
        request: &'static str,
        /// The name of the device.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused the signature of the root hash.
    #[error("the kernel refuses the signature of the root hash of {name}: {reason}{messages}")]
    Signature {
        /// The name of the device.
        name: String,
        /// What the kernel found wrong.
        reason: SignatureRefusal,
        /// What the kernel says about it.
        messages: KernelMessages,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device runs something else than it should.
    #[error("the device {name} does not run the table that it should")]
    Table {
        /// The name of the device.
        name: String,
        /// What differs.
        source: TableMismatch,
    },
    /// The kernel refused the table for a reason that is not the signature.
    #[error("the kernel refuses the dm-verity table of {name}: {table}{messages}")]
    TableRefused {
        /// The name of the device.
        name: String,
        /// The parameters of the table.
        table: String,
        /// What the kernel says about it.
        messages: KernelMessages,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no device mapper.
    #[error("this kernel has no device mapper: {CONTROL} cannot be opened")]
    Unavailable {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no dm-verity.
    #[error("this kernel has no dm-verity")]
    VerityUnavailable {
        /// The name of the device.
        name: String,
    },
}

/// Says what the kernel found wrong with a signature (`drivers/md/dm-verity-verify-sig.c`,
/// `crypto/asymmetric_keys/pkcs7_verify.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureRefusal {
    /// `ENOPKG`.
    #[error("it uses an algorithm that this kernel does not have or does not take (ENOPKG)")]
    Algorithm,
    /// `EINVAL` with the words of a failed verification: what an RSA signature decrypts to is no padded digest. Without
    /// certificate in the message, the kernel gives `EKEYREJECTED` instead.
    #[error("its bytes are damaged (EINVAL)")]
    Damaged,
    /// A key cannot hold it, so the kernel was not asked.
    #[error("it is empty, or longer than the 32,767 bytes of a key")]
    Length,
    /// `EBADMSG`.
    #[error("it is no detached PKCS#7 signature in DER, or it is cut off (EBADMSG)")]
    Malformed,
    /// `EKEYREJECTED`.
    #[error("it does not belong to this root hash, or its key is revoked (EKEYREJECTED)")]
    Rejected,
    /// `ENOKEY` for a table without signature.
    #[error("there is none, and dm_verity.require_signatures=1 asks for one (ENOKEY)")]
    Required,
    /// `ENOKEY` for a table with signature.
    #[error(
        "no certificate in the keyrings .secondary_trusted_keys, .platform or .dm-verity made it (ENOKEY)"
    )]
    UnknownSigner,
}

fn refused_table(
    name: &str,
    table: &VerityTable,
    errno: Errno,
    messages: KernelMessages,
) -> DmError {
    let name = name.to_owned();
    let reason = match (errno, table.options.signature_key.is_some()) {
        (Errno::NOKEY, false) => Some(SignatureRefusal::Required),
        (Errno::NOKEY, true) => Some(SignatureRefusal::UnknownSigner),
        (Errno::KEYREJECTED, true) => Some(SignatureRefusal::Rejected),
        (Errno::BADMSG, true) => Some(SignatureRefusal::Malformed),
        (Errno::NOPKG, true) => Some(SignatureRefusal::Algorithm),
        // The number alone could also mean any other part of the table.
        (Errno::INVAL, true) if messages.mention("Root hash verification failed") => {
            Some(SignatureRefusal::Damaged)
        }
        _ => None,
    };
    let source = io::Error::from(errno);
    match reason {
        Some(reason) => DmError::Signature { name, reason, messages, source },
        None => DmError::TableRefused { name, table: table.to_string(), messages, source },
    }
}

fn refused_request(request: &'static str, name: &str, errno: Errno) -> DmError {
    DmError::Request { request, name: name.to_owned(), source: errno.into() }
}

fn request(request: &'static str, name: &str, error: CrateError) -> DmError {
    let source = match errno(&error) {
        Some(errno) => errno.into(),
        None => io::Error::other(error),
    };
    DmError::Request { request, name: name.to_owned(), source }
}

fn errno(error: &CrateError) -> Option<Errno> {
    match error {
        CrateError::Core(errors::Error::Ioctl(.., errno)) => {
            Some(Errno::from_raw_os_error(**errno as i32))
        }
        _ => None,
    }
}

/// Tells whether a block device is, or was until a moment ago, the device `name`.
///
/// While a device is being removed its name cannot be read (`drivers/md/dm-sysfs.c`), so any such device may be the one.
fn may_linger(name: &str) -> bool {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices.filter(|device| device.file_name().as_encoded_bytes().starts_with(b"dm-")).any(
        |device| match std::fs::read_to_string(device.path().join("dm/name")) {
            Ok(found) => found.trim_end() == name,
            Err(_) => device.path().exists(),
        },
    )
}

fn open_node(number: DeviceNumber) -> Result<File, DmError> {
    let node = node_path(number);
    OpenOptions::new().read(true).open(&node).map_err(|source| DmError::Node { node, source })
}

fn node_path(number: DeviceNumber) -> PathBuf {
    Path::new("/dev").join(format!("dm-{}", number.minor))
}

/// Names the two requests that do not go through the crate.
#[derive(Clone, Copy)]
enum Request {
    Remove,
    Resume,
}

/// Is `struct dm_ioctl`, 312 bytes.
///
/// | offset | size | field                                                     |
/// |-------:|-----:|-----------------------------------------------------------|
/// |      0 |   12 | version of the interface: major, minor, patch              |
/// |     12 |    4 | size of the header and what follows it                    |
/// |     16 |    4 | offset of what follows it                                 |
/// |     20 |    4 | number of targets                                         |
/// |     24 |    4 | open count (answer)                                       |
/// |     28 |    4 | flags                                                     |
/// |     32 |    4 | event number; in a request: flags for udev in the upper half |
/// |     36 |    4 | padding                                                   |
/// |     40 |    8 | device number (answer)                                    |
/// |     48 |  128 | name, ends with NUL                                       |
/// |    176 |  129 | uuid                                                      |
/// |    305 |    7 | padding                                                   |
#[repr(C)]
struct Header {
    version: [u32; 3],
    data_size_bytes: u32,
    data_start_bytes: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

impl Header {
    fn new(name: &str, flags: u32, udev_flags: u32) -> Option<Self> {
        let mut field = [0; 128];
        field[..127].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self {
            version: [4, 0, 0],
            data_size_bytes: size_of::<Self>() as u32,
            data_start_bytes: size_of::<Self>() as u32,
            target_count: 0,
            open_count: 0,
            flags,
            event_number: udev_flags,
            padding: 0,
            device: 0,
            name: field,
            uuid: [0; 129],
            data: [0; 7],
        })
    }
}

const CONTROL: &str = "/dev/mapper/control";
const REMOVE_OPCODE: Opcode = 0xc138_fd04;
const SUSPEND_OPCODE: Opcode = 0xc138_fd06;
const DEFERRED_REMOVE: u32 = 1 << 17;
/// Tells udev's rules not to look into the device: disable subsystem, disk and other rules, in the upper half of the
/// event number (libdevmapper.h, `DM_UDEV_DISABLE_*`). No cookie is in the lower half, so nobody answers.
const LEAVE_ALONE: u32 = (0x0002 | 0x0004 | 0x0008) << 16;
/// Tells them that this is the change after which the device can be used (`DM_UDEV_PRIMARY_SOURCE_FLAG`).
const FROM_PRIMARY_SOURCE: u32 = 0x0040 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_layout_of_the_kernel() {
        assert_eq!(size_of::<Header>(), 312);
        assert_eq!(std::mem::offset_of!(Header, name), 48);
        assert_eq!(std::mem::offset_of!(Header, data), 305);
        assert!(Header::new(&"n".repeat(127), 0, LEAVE_ALONE).is_some());
        assert!(Header::new(&"n".repeat(128), 0, LEAVE_ALONE).is_none());
    }

    #[test]
    fn refusals_of_a_signature_are_told_apart() {
        let mut table = crate::table_check::tests::table();
        table.options.signature_key = Some("osguard:key".parse().unwrap());
        let reason = |table: &VerityTable, errno| match refused_table(
            "name",
            table,
            errno,
            KernelMessages::default(),
        ) {
            DmError::Signature { reason, .. } => Some(reason),
            _ => None,
        };
        assert_eq!(reason(&table, Errno::NOKEY), Some(SignatureRefusal::UnknownSigner));
        assert_eq!(reason(&table, Errno::KEYREJECTED), Some(SignatureRefusal::Rejected));
        assert_eq!(reason(&table, Errno::BADMSG), Some(SignatureRefusal::Malformed));
        assert_eq!(reason(&table, Errno::NOPKG), Some(SignatureRefusal::Algorithm));
        assert_eq!(reason(&table, Errno::INVAL), None);
        let mut messages = KernelMessages::default();
        messages
            .push("device-mapper: table: 253:1: verity: Root hash verification failed (-EINVAL)");
        assert!(matches!(
            refused_table("name", &table, Errno::INVAL, messages),
            DmError::Signature { reason: SignatureRefusal::Damaged, .. }
        ));
        table.options.signature_key = None;
        assert_eq!(reason(&table, Errno::NOKEY), Some(SignatureRefusal::Required));
        assert_eq!(reason(&table, Errno::BADMSG), None);
    }
}
