//! The configuration with which a kernel was built.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

use crate::vocabulary::PropertyName;

/// Is the part of a kernel's configuration that matters to policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Options that are `y` or `m`.
    options: BTreeSet<String>,
}

impl KernelConfig {
    /// Reads a configuration: `/boot/config-VERSION`, or `/proc/config.gz` compressed as it is.
    ///
    /// # Errors
    ///
    /// Fails where nothing in the file sets an option of a kernel, and where it is longer than
    /// [`MAX_KERNEL_CONFIG_BYTES`].
    pub fn read(bytes: &[u8]) -> Result<Self, KernelConfigError> {
        let mut inflated = Vec::new();
        let text = if bytes.starts_with(GZIP_MAGIC) {
            MultiGzDecoder::new(bytes)
                .take(MAX_KERNEL_CONFIG_BYTES as u64 + 1)
                .read_to_end(&mut inflated)
                .map_err(|source| KernelConfigError::Gzip { source })?;
            &inflated
        } else {
            bytes
        };
        if text.len() > MAX_KERNEL_CONFIG_BYTES {
            return Err(KernelConfigError::TooLong);
        }
        let text = String::from_utf8_lossy(text);
        let mut options = BTreeSet::new();
        let mut lines_count = 0;
        for line in text.lines().map(str::trim) {
            let is_unset = line.starts_with("# CONFIG_") && line.ends_with(" is not set");
            let set = line.split_once('=').filter(|(option, _)| option.starts_with("CONFIG_"));
            lines_count += usize::from(is_unset || set.is_some());
            if let Some((option, "y" | "m")) = set {
                options.insert(option.to_owned());
            }
        }
        match lines_count {
            0 => Err(KernelConfigError::NoOptions),
            _ => Ok(Self { options }),
        }
    }

    /// Tells whether an option, such as `CONFIG_SECURITY_IPE`, is `y` or `m`.
    pub fn is_set(&self, option: &str) -> bool {
        self.options.contains(option)
    }

    /// Tells whether a property can ever be true on this kernel.
    pub fn knows(&self, property: PropertyName) -> bool {
        property.kernel_option().is_none_or(|option| self.is_set(option))
    }
}

/// Says why a file is no configuration of a kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelConfigError {
    /// It is not inflated to the end.
    #[error("it cannot be inflated")]
    Gzip {
        /// Why.
        source: io::Error,
    },
    /// No line sets an option.
    #[error("it is no configuration of a kernel: no line is like CONFIG_SECURITY_IPE=y")]
    NoOptions,
    /// It is much longer than one.
    #[error("it is longer than {MAX_KERNEL_CONFIG_BYTES} bytes")]
    TooLong,
}

/// The longest configuration that is read; Debian's has 280 KiB.
pub const MAX_KERNEL_CONFIG_BYTES: usize = 4 << 20;

const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn options_are_read_from_either_form() {
        let text = b"# Linux\nCONFIG_SECURITY_IPE=y\n# CONFIG_IPE_PROP_FS_VERITY is not set\n\
            CONFIG_DM_VERITY=m\nCONFIG_IPE_BOOT_POLICY=\"\"\nCONFIG_IPE_PROP_DM_VERITY=n\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let plain = KernelConfig::read(text).unwrap();
        assert_eq!(KernelConfig::read(&gzip.finish().unwrap()).unwrap(), plain);
        assert!(plain.is_set("CONFIG_SECURITY_IPE") && plain.is_set("CONFIG_DM_VERITY"));
        assert!(plain.knows(PropertyName::BootVerified));
        assert!(!plain.knows(PropertyName::DmVerityRootHash));
        assert!(!plain.knows(PropertyName::FsVerityDigest));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for bytes in [&b""[..], b"hello\n", b"\x1f\x8bnothing", b"policy_name=t"] {
            assert!(KernelConfig::read(bytes).is_err());
        }
        let long = b"CONFIG_A=y\n".repeat(MAX_KERNEL_CONFIG_BYTES / 10);
        assert!(matches!(KernelConfig::read(&long), Err(KernelConfigError::TooLong)));
    }
}
