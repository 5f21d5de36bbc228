//! Does a device run the dm-verity table that it should?

use libverity::verity::VerityTable;

/// Is one line of a device-mapper table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where on the device the target starts, in sectors of 512 bytes.
    pub start_sectors: u64,
    /// How long it is, in sectors of 512 bytes.
    pub length_sectors: u64,
    /// The target type, such as `verity`.
    pub kind: String,
    /// Its parameters, as the kernel prints them.
    pub parameters: String,
}

/// Checks that `targets` are the table `expected`, on whatever device: data and tree on one of them here and there.
///
/// The kernel prints what it uses, so the two must agree word for word. An `ignore_corruption` or a vanished signature is
/// found; the flag by which IPE takes a device for signed shows neither.
///
/// # Errors
///
/// Says what differs.
pub fn check(expected: &VerityTable, targets: &[Target]) -> Result<(), TableMismatch> {
    let [target] = targets else {
        return Err(TableMismatch::TargetCount { found: targets.len() });
    };
    if target.kind != "verity" {
        return Err(TableMismatch::TargetType { found: target.kind.clone() });
    }
    if (target.start_sectors, target.length_sectors) != (0, expected.length_sectors()) {
        return Err(TableMismatch::Length {
            expected_sectors: expected.length_sectors(),
            found_sectors: target.length_sectors,
        });
    }
    let expected = expected.to_string();
    if without_devices(&expected) != without_devices(&target.parameters) {
        return Err(TableMismatch::Parameters { expected, found: target.parameters.clone() });
    }
    Ok(())
}

/// Says how a running table differs from the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableMismatch {
    /// The device has another size.
    #[error("it has {found_sectors} sectors instead of {expected_sectors}")]
    Length {
        /// The expected length in sectors of 512 bytes.
        expected_sectors: u64,
        /// The length found.
        found_sectors: u64,
    },
    /// The parameters differ.
    #[error("it runs with `{found}` instead of `{expected}`")]
    Parameters {
        /// The expected parameters.
        expected: String,
        /// Those that the kernel prints.
        found: String,
    },
    /// The device has no table, or one of several targets.
    #[error("it has {found} targets instead of 1")]
    TargetCount {
        /// The number of targets.
        found: usize,
    },
    /// The target is of another type.
    #[error("its target is `{found}` instead of `verity`")]
    TargetType {
        /// The type that the kernel names.
        found: String,
    },
}

/// Splits parameters into words and leaves out the second and the third; where those differ, it leaves out none.
fn without_devices(parameters: &str) -> Vec<&str> {
    let mut words: Vec<&str> = parameters.split_ascii_whitespace().collect();
    if words.len() > 3 && words[1] == words[2] {
        words.drain(1..3);
    }
    words
}

#[cfg(test)]
pub(crate) mod tests {
    use libverity::verity::{Device, Parameters, TableOptions};

    use super::*;

    pub(crate) fn table() -> VerityTable {
        let device = Device::Number { major: 7, minor: 3 };
        VerityTable {
            data_device: device.clone(),
            hash_device: device,
            parameters: Parameters::with_salt("001f".parse().unwrap()),
            data_blocks: 129,
            hash_start_block: 130,
            root_hash: "ab".repeat(32).parse().unwrap(),
            options: TableOptions::default(),
        }
    }

    fn target(table: &VerityTable) -> Target {
        Target {
            start_sectors: 0,
            length_sectors: table.length_sectors(),
            kind: "verity".to_owned(),
            parameters: table.to_string(),
        }
    }

    #[test]
    fn same_table_on_another_loop_device_passes() {
        let mut other = table();
        other.data_device = Device::Number { major: 7, minor: 9 };
        other.hash_device = other.data_device.clone();
        let target = target(&other);
        check(&table(), std::slice::from_ref(&target)).unwrap();
    }

    #[test]
    fn each_difference_is_found() {
        let expected = table();
        let changed = |change: fn(&mut Target)| {
            let mut found = target(&expected);
            change(&mut found);
            check(&expected, &[found])
        };
        assert_eq!(check(&expected, &[]), Err(TableMismatch::TargetCount { found: 0 }));
        let twice = [target(&expected), target(&expected)];
        assert_eq!(check(&expected, &twice), Err(TableMismatch::TargetCount { found: 2 }));
        assert!(matches!(
            changed(|found| found.kind = "linear".to_owned()),
            Err(TableMismatch::TargetType { .. })
        ));
        for change in [(|found| found.length_sectors -= 8) as fn(&mut Target), |found| {
            found.start_sectors = 8
        }] {
            assert!(matches!(changed(change), Err(TableMismatch::Length { .. })));
        }
        let parameters: [fn(&mut Target); 5] = [
            |found| found.parameters.push_str(" 1 ignore_corruption"),
            |found| found.parameters = found.parameters.replace("abab", "abac"),
            |found| found.parameters = found.parameters.replace("001f", "-"),
            |found| found.parameters = found.parameters.replacen("7:3", "7:4", 1),
            |found| found.parameters.push_str(" 2 root_hash_sig_key_desc k"),
        ];
        for change in parameters {
            assert!(matches!(changed(change), Err(TableMismatch::Parameters { .. })));
        }
    }
}
