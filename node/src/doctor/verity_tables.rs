//! Do the running dm-verity devices verify what they return?

use super::{Check, Finding, Machine, Unchecked};
use crate::dm::DeviceMapper;
use crate::running_verity::RunningVerity;
use crate::table_check::Target;

pub(super) const CHECK: Check = Check {
    name: "verity-tables",
    title: "Every dm-verity device verifies all that it returns",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mapper = DeviceMapper::open().map_err(|error| Unchecked::error(&error))?;
    let mut findings = Vec::new();
    for name in mapper.names().map_err(|error| Unchecked::error(&error))? {
        let table = mapper.live_table(&name).map_err(|error| Unchecked::error(&error))?;
        let status = mapper.live_status(&name).map_err(|error| Unchecked::error(&error))?;
        // It may have gone meanwhile.
        let (Some(table), Some(status)) = (table, status) else { continue };
        let uuid = format!("/sys/dev/block/{}/dm/uuid", table.number);
        let uuid = machine.read(&uuid).unwrap_or_default();
        findings.extend(judge(&name, uuid.trim_end(), &table.targets, &status.targets));
    }
    Ok(findings)
}

/// Judges one device by its table and its status.
fn judge(name: &str, uuid: &str, table: &[Target], status: &[Target]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(verity) = RunningVerity::of_table(table) else {
        // The kernel remembers the signature of a table through one of another type, and IPE believes it.
        if uuid.starts_with("CRYPT-VERITY-") && !table.is_empty() {
            let kinds: Vec<_> = table.iter().map(|target| target.kind.as_str()).collect();
            findings.push(Finding::critical(
                format!(
                    "the device {name} was made as a dm-verity device and now runs `{}`: IPE may take it for \
                     signed all the same",
                    kinds.join(", ")
                ),
                format!("unmount it, remove it (`dmsetup remove {name}`), and find out who did that"),
            ));
        }
        return findings;
    };
    for weakening in &verity.weakenings {
        let effect = match weakening.as_str() {
            "ignore_corruption" => "it returns bytes that do not belong to its root hash",
            _ => "it verifies a block once, and never again what is read later",
        };
        let believed = if verity.is_signed { ", and IPE takes it for signed" } else { "" };
        findings.push(Finding::critical(
            format!("the device {name} runs with {weakening}: {effect}{believed}"),
            format!("unmount it and make it without {weakening}"),
        ));
    }
    for stoppage in &verity.stoppages {
        findings.push(Finding::warning(
            format!(
                "the device {name} runs with {stoppage}: one bad block stops the whole machine"
            ),
            format!("make it without {stoppage}, so that the read fails instead"),
        ));
    }
    if status.iter().any(|target| target.parameters.split_ascii_whitespace().next() == Some("C")) {
        findings.push(Finding::warning(
            format!("the device {name} has met corrupt blocks of {}", verity.data_device),
            "the disk fails, or somebody writes to it: remove the image file, and mount it again",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn target(kind: &str, parameters: &str) -> [Target; 1] {
        [Target {
            start_sectors: 0,
            length_sectors: 8,
            kind: kind.to_owned(),
            parameters: parameters.to_owned(),
        }]
    }

    fn found(kind: &str, options: &str, status: &str) -> Vec<(Severity, String)> {
        let table = format!("1 7:0 7:0 4096 4096 1 2 sha256 {} -{options}", "ab".repeat(32));
        let findings = judge("d", "CRYPT-VERITY-x-d", &target(kind, &table), &target(kind, status));
        findings.into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn what_does_not_verify_is_critical() {
        assert_eq!(found("verity", " 2 root_hash_sig_key_desc k", "V -"), []);
        let ignoring = found("verity", " 3 ignore_corruption root_hash_sig_key_desc k", "V");
        assert_eq!(
            ignoring,
            [(
                Severity::Critical,
                "the device d runs with ignore_corruption: it returns bytes that do not belong to its root hash, \
                 and IPE takes it for signed"
                    .to_owned()
            )]
        );
        assert_eq!(found("verity", " 1 check_at_most_once", "V")[0].0, Severity::Critical);
        assert_eq!(found("linear", "", "")[0].0, Severity::Critical);
    }

    #[test]
    fn what_stops_the_machine_or_is_corrupt_is_a_warning() {
        assert_eq!(found("verity", " 1 panic_on_corruption", "V")[0].0, Severity::Warning);
        assert_eq!(found("verity", "", "C -")[0].0, Severity::Warning);
    }

    #[test]
    fn devices_of_others_are_left_alone() {
        let linear = target("linear", "7:0 0");
        assert_eq!(judge("vg-root", "LVM-x", &linear, &linear), []);
    }
}
