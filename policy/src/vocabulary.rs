//! The words of the policy language.

use std::fmt;
use std::str::FromStr;

/// Is something that IPE can forbid.
///
/// Source: `security/ipe/policy.h`, `enum ipe_op_type`; `Documentation/admin-guide/LSM/ipe.rst`,
/// "Operations".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Executing a file, or mapping memory as executable.
    Execute,
    /// Loading firmware into a device.
    Firmware,
    /// Loading a kernel module.
    KernelModule,
    /// Loading the kernel to start next.
    KexecImage,
    /// Loading the initramfs of the kernel to start next.
    KexecInitramfs,
    /// Reading the policy of another part of the kernel, such as IMA; never IPE's own.
    Policy,
    /// Reading a certificate from a file that the kernel's configuration names.
    X509Certificate,
}

impl Operation {
    /// Lists all of them, in the order of the kernel's table.
    pub const ALL: [Self; 7] = [
        Self::Execute,
        Self::Firmware,
        Self::KernelModule,
        Self::KexecImage,
        Self::KexecInitramfs,
        Self::Policy,
        Self::X509Certificate,
    ];

    /// Returns the word of the language.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Execute => "EXECUTE",
            Self::Firmware => "FIRMWARE",
            Self::KernelModule => "KMODULE",
            Self::KexecImage => "KEXEC_IMAGE",
            Self::KexecInitramfs => "KEXEC_INITRAMFS",
            Self::Policy => "POLICY",
            Self::X509Certificate => "X509_CERT",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword())
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    /// Reads the word of the language, and nothing else, as the kernel does.
    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        let known = Self::ALL.into_iter().find(|operation| operation.keyword() == text);
        known.ok_or_else(|| UnknownOperation { word: text.chars().take(40).collect() })
    }
}

/// Says that no policy can name such an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no operation; {} are", Operation::ALL.map(Operation::keyword).join(", "))]
pub struct UnknownOperation {
    /// The start of the word.
    pub word: String,
}

/// Is what a rule says about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It fails with `EACCES`.
    Deny,
}

impl Action {
    /// Returns the word of the language.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword())
    }
}

/// Names what a rule can ask of a file.
///
/// Source: `security/ipe/policy.h`, `enum ipe_prop_type`; `Documentation/admin-guide/LSM/ipe.rst`,
/// "Properties".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PropertyName {
    /// Whether the file lies in the initramfs.
    BootVerified,
    /// The root hash of the dm-verity volume on which the file lies.
    DmVerityRootHash,
    /// Whether that root hash is signed.
    DmVeritySignature,
    /// The fs-verity digest of the file.
    FsVerityDigest,
    /// Whether that digest has a signature built into the file system.
    FsVeritySignature,
}

impl PropertyName {
    /// Lists all of them.
    pub const ALL: [Self; 5] = [
        Self::BootVerified,
        Self::DmVerityRootHash,
        Self::DmVeritySignature,
        Self::FsVerityDigest,
        Self::FsVeritySignature,
    ];

    /// Returns the word of the language.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::BootVerified => "boot_verified",
            Self::DmVerityRootHash => "dmverity_roothash",
            Self::DmVeritySignature => "dmverity_signature",
            Self::FsVerityDigest => "fsverity_digest",
            Self::FsVeritySignature => "fsverity_signature",
        }
    }

    /// Tells whether the value is a digest; otherwise it is `TRUE` or `FALSE`.
    pub const fn takes_digest(self) -> bool {
        matches!(self, Self::DmVerityRootHash | Self::FsVerityDigest)
    }

    /// Returns the option without which a kernel takes the property and never finds it true, neither
    /// as `TRUE` nor as `FALSE`; none is needed for `boot_verified`.
    ///
    /// Source: `security/ipe/Kconfig` and the stubs in `security/ipe/eval.c`.
    pub const fn kernel_option(self) -> Option<&'static str> {
        match self {
            Self::BootVerified => None,
            Self::DmVerityRootHash => Some("CONFIG_IPE_PROP_DM_VERITY"),
            Self::DmVeritySignature => Some("CONFIG_IPE_PROP_DM_VERITY_SIGNATURE"),
            Self::FsVerityDigest => Some("CONFIG_IPE_PROP_FS_VERITY"),
            Self::FsVeritySignature => Some("CONFIG_IPE_PROP_FS_VERITY_BUILTIN_SIG"),
        }
    }
}

impl fmt::Display for PropertyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword())
    }
}
