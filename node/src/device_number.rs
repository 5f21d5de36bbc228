//! Numbers of block devices.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use libverity::verity::Device;

/// Names a block device as the kernel does: major and minor number, written `7:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver: 7 is loop, the device mapper's is dynamic.
    pub major: u32,
    /// The device among those of its driver.
    pub minor: u32,
}

impl DeviceNumber {
    /// Reads the number of the device that a device node stands for.
    pub fn of_node(node: &Metadata) -> Self {
        Self::from_raw(node.rdev())
    }

    /// Reads the number of the device on which a file lies.
    pub fn of_file_system(file: &Metadata) -> Self {
        Self::from_raw(file.dev())
    }

    /// Reads the number of the device on which a file lies.
    pub fn of_stat(file: &rustix::fs::Stat) -> Self {
        Self::from_raw(file.st_dev)
    }

    fn from_raw(number: u64) -> Self {
        Self { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
    }
}

impl From<DeviceNumber> for Device {
    fn from(DeviceNumber { major, minor }: DeviceNumber) -> Self {
        Self::Number { major, minor }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = DeviceNumberError;

    fn from_str(text: &str) -> Result<Self, DeviceNumberError> {
        let error = || DeviceNumberError { text: text.to_owned() };
        let (major, minor) = text.trim_end().split_once(':').ok_or_else(error)?;
        Ok(Self {
            major: major.parse().map_err(|_| error())?,
            minor: minor.parse().map_err(|_| error())?,
        })
    }
}

/// Says that a text is no device number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a device number such as 7:0")]
pub struct DeviceNumberError {
    /// The text as it was given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_as_the_kernel_writes_it() {
        assert_eq!("254:7\n".parse(), Ok(DeviceNumber { major: 254, minor: 7 }));
        for text in ["", "7", "7:", ":7", "7:-1", "7:0:1"] {
            assert!(text.parse::<DeviceNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn null_device_has_its_well_known_number() {
        let node = std::fs::metadata("/dev/null").unwrap();
        assert_eq!(DeviceNumber::of_node(&node).to_string(), "1:3");
    }
}
