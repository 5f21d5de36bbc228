//! What a running dm-verity device does, as its table tells; the flag by which IPE takes a device for signed tells less.

use osguard_policy::syntax::DigestValue;

use crate::table_check::Target;

/// Is what the table of a dm-verity device says.
///
/// Source: `drivers/md/dm-verity-target.c`, `verity_status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningVerity {
    /// The root hash, with the name of the algorithm.
    pub root_hash: DigestValue,
    /// The device with the data, as the kernel prints it, `7:0`.
    pub data_device: String,
    /// Whether the table came with a signature of the root hash; the kernel has then verified it.
    pub is_signed: bool,
    /// The options that let bytes through which nobody verified: `ignore_corruption`, `check_at_most_once`.
    pub weakenings: Vec<String>,
    /// The options that stop the whole machine at a corrupt block or an error.
    pub stoppages: Vec<String>,
}

impl RunningVerity {
    /// Reads a table; `None` where its target is none of dm-verity, or there are several.
    pub fn of_table(targets: &[Target]) -> Option<Self> {
        match targets {
            [target] if target.kind == "verity" => Self::parse(&target.parameters),
            _ => None,
        }
    }

    /// Parses `VERSION DATA HASH DBS HBS BLOCKS START ALGORITHM ROOT_HASH SALT [COUNT OPTION…]`.
    fn parse(parameters: &str) -> Option<Self> {
        let words: Vec<_> = parameters.split_ascii_whitespace().collect();
        let root_hash = DigestValue {
            algorithm: words.get(7)?.as_bytes().to_vec(),
            bytes: hex_bytes(words.get(8)?)?,
        };
        let options = words.get(11..).unwrap_or_default();
        // The kernel takes them in any case of letters, and prints them in small ones.
        let among = |known: &[&str]| -> Vec<String> {
            let found = options.iter().filter(|option| known.contains(option));
            found.map(|option| (*option).to_owned()).collect()
        };
        Some(Self {
            root_hash,
            data_device: (*words.get(1)?).to_owned(),
            is_signed: options.contains(&"root_hash_sig_key_desc"),
            weakenings: among(&["ignore_corruption", "check_at_most_once"]),
            stoppages: among(&[
                "restart_on_corruption",
                "panic_on_corruption",
                "restart_on_error",
                "panic_on_error",
            ]),
        })
    }
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(options: &str) -> Option<RunningVerity> {
        let digits = "ab".repeat(32);
        RunningVerity::of_table(&[Target {
            start_sectors: 0,
            length_sectors: 8,
            kind: "verity".to_owned(),
            parameters: format!("1 7:0 7:0 4096 4096 1 2 sha256 {digits} -{options}"),
        }])
    }

    #[test]
    fn a_table_tells_what_it_does() {
        let plain = running("").unwrap();
        assert_eq!(plain.root_hash.to_string(), format!("sha256:{}", "ab".repeat(32)));
        assert!(!plain.is_signed && plain.weakenings.is_empty());
        let signed = running(" 3 ignore_corruption root_hash_sig_key_desc k").unwrap();
        assert!(signed.is_signed);
        assert_eq!(signed.weakenings, ["ignore_corruption"]);
        let fec = " 10 panic_on_error use_fec_from_device 7:1 fec_roots 2 fec_blocks 9 fec_start 3 check_at_most_once";
        let fec = running(fec).unwrap();
        assert_eq!(
            (&fec.weakenings[..], &fec.stoppages[..]),
            (&["check_at_most_once".to_owned()][..], &["panic_on_error".to_owned()][..])
        );
    }

    #[test]
    fn other_tables_are_not_read() {
        assert_eq!(RunningVerity::of_table(&[]), None);
        let linear = Target {
            start_sectors: 0,
            length_sectors: 8,
            kind: "linear".to_owned(),
            parameters: "7:0 0".to_owned(),
        };
        assert_eq!(RunningVerity::of_table(&[linear]), None);
        assert_eq!(RunningVerity::parse("1 7:0"), None);
        assert_eq!(RunningVerity::parse("1 7:0 7:0 4096 4096 1 2 sha256 xyz -"), None);
    }
}
