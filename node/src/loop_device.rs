//! Block devices over image files (`drivers/block/loop.c`, `include/uapi/linux/loop.h`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl};

use crate::device_number::DeviceNumber;

/// Is a read-only loop device that vanishes with its last user.
///
/// The kernel frees the device (`LO_FLAGS_AUTOCLEAR`) once this value is dropped and nothing else, such as a
/// device-mapper table, holds it: a killed process leaves no loop device behind.
#[derive(Debug)]
pub struct LoopDevice {
    node: File,
    path: PathBuf,
    number: DeviceNumber,
}

impl LoopDevice {
    /// Attaches an image file, with logical blocks of `block_size_bytes`, to a free loop device.
    ///
    /// The file is read past the page cache where its file system can do so, else through it; each page is then
    /// cached once, above dm-verity.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be opened for reading, when there is no loop driver, and when other processes
    /// took the free device away [`ATTEMPTS`] times in a row.
    pub fn attach(image: &Path, block_size_bytes: u32) -> Result<Self, LoopError> {
        let file = File::open(image)
            .map_err(|source| LoopError::Image { image: image.to_owned(), source })?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL)
            .map_err(|source| LoopError::Unavailable { source })?;
        // Threads of one process would take the same free device, and all but one in vain: 37 of 77 times with eight threads.
        let _turn = ATTACHING.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let index = free_index(&control)?;
            let path = PathBuf::from(format!("/dev/loop{index}"));
            let node = open_node(&path)?;
            match configure(&node, &file, block_size_bytes) {
                Ok(()) => {
                    let metadata = node
                        .metadata()
                        .map_err(|source| LoopError::Device { device: path.clone(), source })?;
                    return Ok(Self { node, path, number: DeviceNumber::of_node(&metadata) });
                }
                Err(Errno::BUSY) => {}
                Err(errno) => {
                    return Err(LoopError::Attach {
                        device: path,
                        image: image.to_owned(),
                        source: errno.into(),
                    });
                }
            }
        }
        Err(LoopError::NoneFree { image: image.to_owned() })
    }

    /// Returns the number by which a device-mapper table names the device.
    pub fn number(&self) -> DeviceNumber {
        self.number
    }

    /// Returns the device node, such as `/dev/loop0`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the opened device node.
    pub fn node(&self) -> &File {
        &self.node
    }
}

/// Says why no loop device was attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoopError {
    /// The kernel refused to attach the file.
    #[error("cannot attach {image} to {device}", image = image.display(), device = device.display())]
    Attach {
        /// The loop device.
        device: PathBuf,
        /// The image file.
        image: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A device node cannot be opened.
    #[error("cannot open the loop device {device}", device = device.display())]
    Device {
        /// The device node.
        device: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The image file cannot be opened.
    #[error("cannot open the image {image}", image = image.display())]
    Image {
        /// The image file.
        image: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Each free device was taken by somebody else before it could be used.
    #[error("no loop device stayed free long enough for {image}", image = image.display())]
    NoneFree {
        /// The image file.
        image: PathBuf,
    },
    /// There is no loop driver, or no right to use it.
    #[error("cannot use {CONTROL}; loop devices need root and the kernel module `loop`")]
    Unavailable {
        /// The kernel's answer.
        source: io::Error,
    },
}

#[expect(unsafe_code, reason = "ioctl")]
fn free_index(control: &File) -> Result<u32, LoopError> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and answers with the index as its return value.
    let index = unsafe { ioctl(control.as_fd(), FreeIndex) };
    index.map_err(|errno| LoopError::Unavailable { source: errno.into() })
}

fn open_node(path: &Path) -> Result<File, LoopError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| LoopError::Device { device: path.to_owned(), source })
}

#[expect(unsafe_code, reason = "ioctl")]
fn configure(node: &File, image: &File, block_size_bytes: u32) -> Result<(), Errno> {
    let attempt = |flags| {
        let descriptor = image.as_raw_fd().cast_unsigned();
        let configuration = LoopConfig::new(descriptor, block_size_bytes, flags);
        // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, whose layout `LoopConfig` has; the kernel takes its
        // own reference to the file before the call returns.
        unsafe { ioctl(node.as_fd(), Setter::<LOOP_CONFIGURE, LoopConfig>::new(configuration)) }
    };
    match attempt(READ_ONLY | AUTOCLEAR | DIRECT_IO) {
        Err(Errno::INVAL) => attempt(READ_ONLY | AUTOCLEAR),
        result => result,
    }
}

/// Is `LOOP_CTL_GET_FREE`, whose answer is the return value of the system call.
struct FreeIndex;

#[expect(
    unsafe_code,
    reason = "rustix has no pattern for an ioctl that answers by its return value"
)]
// SAFETY: the opcode takes no argument, so there is no memory to describe.
unsafe impl rustix::ioctl::Ioctl for FreeIndex {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut libc::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        index: rustix::ioctl::IoctlOutput,
        _: *mut libc::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(index).map_err(|_| Errno::RANGE)
    }
}

/// Is `struct loop_config`, 304 bytes.
///
/// | offset | size | field                                             |
/// |-------:|-----:|---------------------------------------------------|
/// |      0 |    4 | descriptor of the file                            |
/// |      4 |    4 | logical block size in bytes                       |
/// |      8 |  232 | `struct loop_info64`; at 52 in it: flags (32 bits) |
/// |    240 |   64 | reserved, zero                                    |
#[repr(C)]
struct LoopConfig {
    descriptor: u32,
    block_size_bytes: u32,
    before_flags: [u32; 13],
    flags: u32,
    after_flags: [u32; 44],
    reserved: [u64; 8],
}

impl LoopConfig {
    fn new(descriptor: u32, block_size_bytes: u32, flags: u32) -> Self {
        Self {
            descriptor,
            block_size_bytes,
            before_flags: [0; 13],
            flags,
            after_flags: [0; 44],
            reserved: [0; 8],
        }
    }
}

/// Is held by the thread that takes a free device.
static ATTACHING: Mutex<()> = Mutex::new(());

const CONTROL: &str = "/dev/loop-control";
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// How often another free device is asked for when somebody else was faster. As many processes would have to win the
/// race as there are attempts.
pub const ATTEMPTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_has_the_layout_of_the_kernel() {
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(std::mem::offset_of!(LoopConfig, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(LoopConfig, reserved), 8 + 232);
    }

    #[test]
    fn missing_image_is_named() {
        let error = LoopDevice::attach(Path::new("/no/such/image"), 4096).unwrap_err();
        assert!(error.to_string().contains("/no/such/image"), "{error}");
    }
}
