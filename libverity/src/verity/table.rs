//! What the kernel is told about a verity device.

use std::fmt;
use std::str::FromStr;

use super::Parameters;
use super::fec::Roots;
use crate::digest::RootHash;

/// Is a device-mapper table of one verity target whose reads are all verified.
///
/// Its text form is the parameter string after `START LENGTH verity`:
///
/// ```text
/// HASH_TYPE DATA_DEVICE HASH_DEVICE DATA_BLOCK_SIZE HASH_BLOCK_SIZE DATA_BLOCKS
///     HASH_START_BLOCK ALGORITHM ROOT_HASH SALT [COUNT OPTION…]
/// ```
///
/// No table of this type can let unverified bytes through; for that there is [`WeakenedTable`].
///
/// Source: `verity_ctr` in `drivers/md/dm-verity-target.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerityTable {
    /// The device with the data.
    pub data_device: Device,
    /// The device with the tree, which may be the same.
    pub hash_device: Device,
    /// The parameters of the tree.
    pub parameters: Parameters,
    /// The number of data blocks.
    pub data_blocks: u64,
    /// Where the tree starts on the hash device, in hash blocks.
    pub hash_start_block: u64,
    /// The root hash.
    pub root_hash: RootHash,
    /// What else there is to say.
    pub options: TableOptions,
}

impl VerityTable {
    /// Returns the length of the device in sectors of 512 bytes.
    pub fn length_sectors(&self) -> u64 {
        let sectors_per_block = u64::from(self.parameters.data_block_size.bytes()) / 512;
        self.data_blocks.saturating_mul(sectors_per_block)
    }

    fn write_with(&self, options: &[String], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, salt } =
            &self.parameters;
        write!(
            formatter,
            "{} {} {} {data_block_size} {hash_block_size} {} {} {} {} {salt}",
            hash_type.number(),
            self.data_device,
            self.hash_device,
            self.data_blocks,
            self.hash_start_block,
            algorithm.kernel_name(),
            self.root_hash,
        )?;
        if options.is_empty() {
            return Ok(());
        }
        let words: usize = options.iter().map(|option| word_count(option)).sum();
        write!(formatter, " {words} {}", options.join(" "))
    }
}

impl fmt::Display for VerityTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with(&self.options.words(), formatter)
    }
}

/// Is a table whose device may return bytes that nobody verified.
///
/// It exists for rescue and for measurements. A signature means nothing on such a device: with
/// `ignore_corruption` the kernel reports it as signed all the same, and runs what was never
/// signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeakenedTable {
    /// The table to be weakened.
    pub table: VerityTable,
    /// Returns corrupted blocks as if nothing were wrong, whatever
    /// [`TableOptions::on_corruption`] says.
    pub ignore_corruption: bool,
    /// Verifies each block the first time only.
    pub check_at_most_once: bool,
}

impl fmt::Display for WeakenedTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = self.table.options.clone();
        let mut weakenings = Vec::new();
        if self.ignore_corruption {
            options.on_corruption = OnCorruption::Fail;
            weakenings.push("ignore_corruption".to_owned());
        }
        if self.check_at_most_once {
            weakenings.push("check_at_most_once".to_owned());
        }
        weakenings.extend(options.words());
        self.table.write_with(&weakenings, formatter)
    }
}

/// Holds the optional arguments of a table that do not weaken it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// What happens when a block is corrupted.
    pub on_corruption: OnCorruption,
    /// What happens when a block cannot be read.
    pub on_input_error: OnInputError,
    /// Returns zeros for data blocks whose expected digest is that of zeros, without a look at
    /// the device.
    pub ignore_zero_blocks: bool,
    /// Verifies in the bottom half of the read where that is possible, at a lower latency.
    pub try_verify_in_tasklet: bool,
    /// The parity that the kernel brings corrupt blocks back with.
    pub error_correction: Option<ErrorCorrection>,
    /// The description of the key, of type `user`, that holds the signature of the root hash.
    pub signature_key: Option<KeyDescription>,
}

impl TableOptions {
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut push = |word: &str| words.push(word.to_owned());
        match self.on_corruption {
            OnCorruption::Fail => {}
            OnCorruption::Panic => push("panic_on_corruption"),
            OnCorruption::Restart => push("restart_on_corruption"),
        }
        match self.on_input_error {
            OnInputError::Fail => {}
            OnInputError::Panic => push("panic_on_error"),
            OnInputError::Restart => push("restart_on_error"),
        }
        if self.ignore_zero_blocks {
            push("ignore_zero_blocks");
        }
        if self.try_verify_in_tasklet {
            push("try_verify_in_tasklet");
        }
        if let Some(ErrorCorrection { device, start_block, blocks, roots }) = &self.error_correction
        {
            push(&format!("use_fec_from_device {device}"));
            push(&format!("fec_start {start_block}"));
            push(&format!("fec_blocks {blocks}"));
            push(&format!("fec_roots {}", roots.count()));
        }
        if let Some(key) = &self.signature_key {
            push("root_hash_sig_key_desc");
            push(&key.0);
        }
        words
    }
}

/// Tells the kernel where parity lies and what it covers.
///
/// Source: `verity_fec_parse_opt_args` and `verity_fec_ctr` in `drivers/md/dm-verity-fec.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCorrection {
    /// The device with the parity.
    pub device: Device,
    /// Where the parity starts on it, in data blocks.
    pub start_block: u64,
    /// How many blocks are covered: [`FecLayout::blocks`](super::fec::FecLayout::blocks).
    pub blocks: u64,
    /// The number of roots.
    pub roots: Roots,
}

/// Says what the kernel does when a block does not match its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCorruption {
    /// The read fails (`EIO`).
    #[default]
    Fail,
    /// The kernel panics.
    Panic,
    /// The machine restarts.
    Restart,
}

/// Says what the kernel does when a block cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInputError {
    /// The read fails (`EIO`).
    #[default]
    Fail,
    /// The kernel panics.
    Panic,
    /// The machine restarts.
    Restart,
}

/// Names a block device in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// By number, which means the same in every mount namespace: to be preferred.
    Number {
        /// The driver.
        major: u32,
        /// The device of that driver.
        minor: u32,
    },
    /// By path, looked up in the mount namespace of the process that loads the table.
    Path(String),
}

impl fmt::Display for Device {
    /// A backslash goes before white space and backslashes in a path, which would otherwise cut
    /// the line (`dm_split_args` in `drivers/md/dm-table.c`).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { major, minor } => write!(formatter, "{major}:{minor}"),
            Self::Path(path) => path.chars().try_for_each(|letter| {
                if letter.is_ascii_whitespace() || letter == '\\' {
                    write!(formatter, "\\")?;
                }
                write!(formatter, "{letter}")
            }),
        }
    }
}

/// Counts the words of a part of a table; a space behind a backslash divides none.
fn word_count(text: &str) -> usize {
    let mut is_escaped = false;
    let mut is_divider = |byte: &u8| {
        let divides = *byte == b' ' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        divides
    };
    1 + text.as_bytes().iter().filter(|byte| is_divider(byte)).count()
}

/// Is the description of a key as a table can carry it: printable ASCII without white space and
/// backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription(String);

impl FromStr for KeyDescription {
    type Err = KeyDescriptionError;

    fn from_str(text: &str) -> Result<Self, KeyDescriptionError> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(fits) {
            return Err(KeyDescriptionError { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl KeyDescription {
    /// Returns the description, as `add_key` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The most bytes: the kernel's limit for a description, 4096 with the zero at its end
    /// (`KEY_MAX_DESC_SIZE` in `security/keys/keyctl.c`).
    pub const MAX_BYTES: usize = 4095;
}

/// Says that a text cannot describe a key in a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot describe a key: 1 to 4095 printable ASCII characters are needed, without spaces and backslashes"
)]
pub struct KeyDescriptionError {
    /// The text as it was given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{Algorithm, BlockSize, HashType, Salt};

    fn plain() -> VerityTable {
        VerityTable {
            data_device: Device::Number { major: 7, minor: 0 },
            hash_device: Device::Number { major: 7, minor: 1 },
            parameters: Parameters::with_salt(Salt::EMPTY),
            data_blocks: 129,
            hash_start_block: 1,
            root_hash: "ab".repeat(32).parse().unwrap(),
            options: TableOptions::default(),
        }
    }

    #[test]
    fn a_table_without_options_ends_with_the_salt() {
        let root_hash = "ab".repeat(32);
        assert_eq!(plain().to_string(), format!("1 7:0 7:1 4096 4096 129 1 sha256 {root_hash} -"));
        assert_eq!(plain().length_sectors(), 129 * 8);
    }

    #[test]
    fn every_field_is_in_its_place() {
        let table = VerityTable {
            parameters: Parameters {
                hash_type: HashType::ChromeOs,
                algorithm: Algorithm::Sha512,
                data_block_size: BlockSize::B512,
                hash_block_size: BlockSize::try_from(1024).unwrap(),
                salt: "00ff".parse().unwrap(),
            },
            root_hash: "cd".repeat(64).parse().unwrap(),
            hash_device: Device::Path("/dev/disk/by-label/a b\\c".to_owned()),
            ..plain()
        };
        let root_hash = "cd".repeat(64);
        assert_eq!(
            table.to_string(),
            format!("0 7:0 /dev/disk/by-label/a\\ b\\\\c 512 1024 129 1 sha512 {root_hash} 00ff")
        );
        assert_eq!(table.length_sectors(), 129);
    }

    #[test]
    fn options_are_counted_in_words() {
        let mut table = plain();
        table.options.signature_key = Some("cryptsetup:1-app".parse().unwrap());
        assert!(table.to_string().ends_with(" - 2 root_hash_sig_key_desc cryptsetup:1-app"));
        table.options = TableOptions {
            on_corruption: OnCorruption::Panic,
            on_input_error: OnInputError::Restart,
            ignore_zero_blocks: true,
            try_verify_in_tasklet: true,
            ..table.options
        };
        assert!(table.to_string().ends_with(
            " - 6 panic_on_corruption restart_on_error ignore_zero_blocks try_verify_in_tasklet \
             root_hash_sig_key_desc cryptsetup:1-app"
        ));
    }

    #[test]
    fn parity_takes_eight_words_whatever_its_device_is_called() {
        let mut table = plain();
        let roots = Roots::try_from(24).unwrap();
        table.options.error_correction = Some(ErrorCorrection {
            device: Device::Path("/dev/a b\\".to_owned()),
            start_block: 7,
            blocks: 132,
            roots,
        });
        assert!(table.to_string().ends_with(
            " - 8 use_fec_from_device /dev/a\\ b\\\\ fec_start 7 fec_blocks 132 fec_roots 24"
        ));
    }

    #[test]
    fn weakening_takes_a_type_of_its_own_and_overrides() {
        let mut table = plain();
        table.options.on_corruption = OnCorruption::Restart;
        let mut weakened =
            WeakenedTable { table, ignore_corruption: false, check_at_most_once: true };
        assert!(weakened.to_string().ends_with(" - 2 check_at_most_once restart_on_corruption"));
        weakened.ignore_corruption = true;
        assert!(weakened.to_string().ends_with(" - 2 ignore_corruption check_at_most_once"));
    }

    #[test]
    fn key_descriptions_cannot_smuggle_in_options() {
        for text in ["", "a b", "a\tb", "a\\b", "a\0b", "schlüssel", &"x".repeat(4096)] {
            assert_eq!(
                text.parse::<KeyDescription>(),
                Err(KeyDescriptionError { text: text.to_owned() })
            );
        }
    }
}
