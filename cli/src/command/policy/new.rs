//! `osguard policy new`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::RootHash;
use osguard_policy::name::PolicyName;
use osguard_policy::node_policy::NodePolicy;
use osguard_policy::version::PolicyVersion;
use osguard_policy::vocabulary::Operation;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Write the policy of a node as text
///
/// Under this policy the kernel executes only files on dm-verity volumes whose root hash is signed
/// by a key in its keyrings.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The name; one node should keep to one
    #[arg(long, default_value = "osguard")]
    name: PolicyName,
    /// The version, three numbers up to 65535; a kernel takes only higher ones than it has
    #[arg(long, value_name = "MAJOR.MINOR.REVISION", default_value = "1.0.0")]
    policy_version: PolicyVersion,
    /// Allow what lies in the initramfs, too
    #[arg(long)]
    boot_verified: bool,
    /// Deny the volume with this root hash, whoever signed it; may be repeated
    #[arg(long, value_name = "ROOT_HASH")]
    revoke: Vec<RootHash>,
    /// Guard kernel modules, firmware and kexec images in the same way
    #[arg(long)]
    strict: bool,
    /// The file to write, which must not exist [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct NewReport {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    policy: String,
}

impl Report for NewReport {
    const SCHEMA: &'static str = "osguard.policy.new.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.file {
            None => out.write_all(self.policy.as_bytes()),
            Some(file) => {
                writeln!(out, "Policy {} {}: {}", self.name, self.version, file.display())
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut policy = NodePolicy::new(arguments.name.clone(), arguments.policy_version);
    if arguments.boot_verified {
        policy = policy.allow_boot_verified();
    }
    if arguments.strict {
        for operation in STRICT {
            policy = policy.guard(operation);
        }
    }
    for root_hash in &arguments.revoke {
        policy = policy
            .revoke(root_hash.clone())
            .map_err(|error| Failure::from_error(ExitStatus::Usage, error))?;
    }
    let text = policy.to_string();
    if let Some(path) = &arguments.file {
        super::write_new(path, text.as_bytes())?;
    }
    output.report(&NewReport {
        name: policy.name().to_string(),
        version: policy.version().to_string(),
        file: arguments.file.clone(),
        policy: text,
    })?;
    Ok(ExitStatus::Done)
}

const STRICT: [Operation; 4] = [
    Operation::Firmware,
    Operation::KernelModule,
    Operation::KexecImage,
    Operation::KexecInitramfs,
];
