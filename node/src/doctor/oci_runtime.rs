//! Can the runtime start a container under a policy?
//!
//! A runtime protects its own program from the container. runc 1.1.15 copies itself into memory for that, and a copy in
//! memory is on no signed volume; runc 1.2 and newer seal themselves by an overlay, older ones by a read-only bind mount.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use osguard_program::Limits;

use super::containerd_config::ContainerdConfig;
use super::{Check, Finding, Machine, Unchecked};

pub(super) const CHECK: Check =
    Check { name: "oci-runtime", title: "The runtime can start containers under a policy", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mut findings = Vec::new();
    for program in programs(machine)? {
        let answer = osguard_program::run(Command::new(&program).arg("--version"), &[], LIMITS)
            .map_err(|error| Unchecked::because(format_args!("{}: {error}", program.display())))?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        if let Some(version) = runc_version(&answer).filter(|version| copies_itself(*version)) {
            let (major, minor, patch) = version;
            findings.push(Finding::warning(
                format!(
                    "{} is runc {major}.{minor}.{patch}, which copies itself into memory: under an enforcing policy no \
                     container starts, and the audit log has /memfd:runc_cloned",
                    program.display()
                ),
                "use runc 1.2 or newer, or crun",
            ));
        }
    }
    Ok(findings)
}

/// Lists the runtimes that containerd starts: those that its configuration names, and runc where it names none.
fn programs(machine: &Machine) -> Result<BTreeSet<PathBuf>, Unchecked> {
    let mut names = BTreeSet::new();
    for config in ContainerdConfig::all(machine)? {
        for (_, runtime) in config.runtimes() {
            let options = runtime.get("options").and_then(|options| options.get("BinaryName"));
            let name = options.and_then(|name| name.as_str()).filter(|name| !name.is_empty());
            names.insert(name.unwrap_or("runc").to_owned());
        }
    }
    let found = names.iter().filter_map(|name| {
        let mut places = DIRECTORIES.iter().map(|directory| machine.path(directory).join(name));
        places.find(|place| place.is_file())
    });
    Ok(found.collect())
}

/// Reads the numbers of `runc version 1.3.6+ds1`; other runtimes have another first line.
fn runc_version(answer: &str) -> Option<(u32, u32, u32)> {
    let version = answer.lines().next()?.strip_prefix("runc version ")?;
    let mut numbers = version
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// The read-only bind mount went away with 1.1.15 (opencontainers/runc#4392); the overlay came with 1.2.0.
fn copies_itself(version: (u32, u32, u32)) -> bool {
    ((1, 1, 15)..(1, 2, 0)).contains(&version)
}

/// What systemd gives to services as `PATH`, and an absolute name replaces.
const DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

const LIMITS: Limits = Limits { answer_bytes: 1 << 16, time: Duration::from_secs(10) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_copies_itself_is_found() {
        let judge = |answer: &str| runc_version(answer).map(copies_itself);
        assert_eq!(judge("runc version 1.1.15+ds1\ncommit: x\nspec: 1.0.2\n"), Some(true));
        assert_eq!(judge("runc version 1.1.5\n"), Some(false));
        assert_eq!(judge("runc version 1.2.0-rc.1\n"), Some(false));
        assert_eq!(judge("runc version 1.3.6+ds1\n"), Some(false));
        assert_eq!(judge("crun version 1.28\n"), None);
        assert_eq!(judge("runc version\n"), None);
    }
}
