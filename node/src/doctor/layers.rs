//! Do the devices of mounted images run what was activated?

use super::{Check, Finding, Machine, Unchecked};
use crate::dm::{DeviceMapper, LiveTable};
use crate::image_mount::{self, MountState};
use crate::record::{LayerName, MountRecord};
use crate::running_verity::RunningVerity;

pub(super) const CHECK: Check = Check {
    name: "layers",
    title: "Mounted images run on the volumes that osguard activated",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mounts = image_mount::list(machine.state()).map_err(|error| Unchecked::error(&error))?;
    let mapper = DeviceMapper::open().map_err(|error| Unchecked::error(&error))?;
    let mut findings = Vec::new();
    let mut names = Vec::new();
    for mount in &mounts {
        if mount.state == MountState::Incomplete {
            findings.push(Finding::warning(
                format!("the image at {} is not completely mounted", mount.record.target.display()),
                format!("osguard node unmount {}", mount.record.target.display()),
            ));
            continue;
        }
        for layer in &mount.record.layers {
            names.push((layer.name(), &mount.record));
        }
    }
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    names.dedup_by(|(one, _), (other, _)| one == other);
    for (name, record) in names {
        let table = mapper.live_table(&name.device()).map_err(|error| Unchecked::error(&error))?;
        findings.extend(judge(&name, record, table.as_ref()));
    }
    Ok(findings)
}

/// Judges the device of one layer by its table.
fn judge(name: &LayerName, record: &MountRecord, table: Option<&LiveTable>) -> Option<Finding> {
    let device = name.device();
    let target = record.target.display();
    let remedy =
        format!("unmount the image at {target}, find out who did that, and mount it again");
    let Some(table) = table else {
        return Some(Finding::critical(
            format!("the image at {target} has a layer whose device {device} is not there"),
            remedy,
        ));
    };
    let Some(verity) = RunningVerity::of_table(&table.targets) else {
        let kinds: Vec<_> = table.targets.iter().map(|target| target.kind.as_str()).collect();
        return Some(Finding::critical(
            format!(
                "the image at {target} has a layer whose device {device} runs `{}` instead of verity",
                kinds.join(", ")
            ),
            remedy,
        ));
    };
    let expected = format!("sha256:{}", name.root_hash);
    if verity.root_hash.to_string() != expected {
        return Some(Finding::critical(
            format!(
                "the image at {target} has a layer whose device {device} runs with the root hash {}",
                verity.root_hash
            ),
            remedy,
        ));
    }
    match (name.signed, verity.is_signed) {
        (true, false) => Some(Finding::critical(
            format!(
                "the image at {target} has a layer whose device {device} has lost its signature"
            ),
            remedy,
        )),
        (false, _) => Some(Finding::note(
            format!("the image at {target} has an unsigned layer, root hash {}", name.root_hash),
            "sign the image and mount it again: under a policy that asks for signatures nothing on this layer runs",
        )),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_number::DeviceNumber;
    use crate::doctor::Severity;
    use crate::record::tests::record;
    use crate::table_check::Target;

    fn table(kind: &str, digits: &str, options: &str) -> LiveTable {
        LiveTable {
            number: DeviceNumber { major: 254, minor: 0 },
            targets: vec![Target {
                start_sectors: 0,
                length_sectors: 8,
                kind: kind.to_owned(),
                parameters: format!("1 7:0 7:0 4096 4096 1 2 sha256 {digits} -{options}"),
            }],
        }
    }

    #[test]
    fn only_what_was_activated_passes() {
        let record = record("/mnt".as_ref());
        let name = record.layers[0].name();
        let severity = |table: Option<LiveTable>| {
            judge(&name, &record, table.as_ref()).map(|finding| finding.severity)
        };
        let digits = "ab".repeat(32);
        let signed = " 2 root_hash_sig_key_desc k";
        assert_eq!(severity(Some(table("verity", &digits, signed))), None);
        for other in [
            None,
            Some(table("linear", &digits, signed)),
            Some(table("verity", &"ac".repeat(32), signed)),
            Some(table("verity", &digits, "")),
        ] {
            assert_eq!(severity(other), Some(Severity::Critical));
        }
        let unsigned = record.layers[1].name();
        let found = judge(&unsigned, &record, Some(&table("verity", &"cd".repeat(32), "")));
        assert_eq!(found.unwrap().severity, Severity::Note);
    }
}
