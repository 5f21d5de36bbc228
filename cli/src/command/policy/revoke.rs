//! `osguard policy revoke`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use libverity::layer::Profile;
use libverity::pkcs7::MAX_MESSAGE_BYTES;
use osguard_policy::budget::USUAL_TEXT_BYTES;
use osguard_policy::revision::{RevisionError, revoke};
use osguard_policy::version::PolicyVersion;
use serde::Serialize;

use super::source::{KernelArguments, Source};
use super::superseded::SupersededArguments;
use super::volumes::{self, Volumes};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::network::NetworkArguments;
use crate::new_file::NewFile;
use crate::output::{Output, Report};
use crate::signing::certificates;

/// Deny volumes in a policy, and give the policy a higher version
///
/// The denials come in front of all other rules; whatever else is in the text stays as it is. What
/// comes out has to be signed and deployed. The root hashes of an image and of a file are worked out
/// from their bytes, for each profile. With its signature a policy has at most 65,535 bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The text of the policy; it is rewritten
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// What to deny: a ROOT_HASH, the image of a layer as in ./layer.erofs, a device as in /dev/dm-3, or all layers of an IMAGE;
    /// may be repeated
    #[arg(value_name = "VOLUME", required = true, value_parser = Volumes::parse)]
    volumes: Vec<Volumes>,
    /// Of the images, deny what the key of this certificate has signed, and nothing else; may be repeated
    ///
    /// The kernel trusts a key or does not; this takes back what it has signed so far, where it can be found.
    #[arg(long, value_name = "FILE")]
    signed_by: Vec<PathBuf>,
    #[command(flatten)]
    superseded: SupersededArguments,
    /// Write the result there instead, into a file that must not exist; - is standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The version, higher than the policy's [default: the next]
    #[arg(long, value_name = "MAJOR.MINOR.REVISION")]
    policy_version: Option<PolicyVersion>,
    #[command(flatten)]
    kernel: KernelArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct RevokeReport {
    name: String,
    version: String,
    file: Option<PathBuf>,
    /// Those that were not denied before.
    revoked: Vec<RootHash>,
    policy: String,
}

impl Report for RevokeReport {
    const SCHEMA: &'static str = "osguard.policy.revoke.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(file) = &self.file else { return out.write_all(self.policy.as_bytes()) };
        for root_hash in &self.revoked {
            writeln!(out, "Denied {root_hash}")?;
        }
        let Self { name, version, .. } = self;
        match self.revoked.is_empty() {
            true => {
                writeln!(out, "All of that is denied already: policy {name} stays at {version}")
            }
            false => writeln!(out, "Policy {name} {version}: {}", file.display()),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.policy;
    let source = Source::read(path)?;
    source.must_be_text()?;
    let kernel = arguments.kernel.kernel;
    let policy = source.policy(kernel)?;
    let mut signers = Vec::new();
    for path in &arguments.signed_by {
        signers.extend(certificates(path)?);
    }
    let (named, network) = (&arguments.volumes, &arguments.network);
    let root_hashes = match (arguments.superseded.is_given(), signers.is_empty()) {
        (true, _) => arguments.superseded.root_hashes(named, network, output)?,
        (false, true) => volumes::root_hashes(named, &Profile::ALL, network, output)?,
        (false, false) => volumes::signed_by(named, &signers, network)?,
    };
    let revision =
        revoke(&source.text, kernel, &root_hashes, arguments.policy_version).map_err(|error| {
            let failure =
                Failure::from_error(ExitStatus::Usage, error.clone()).context(&source.name);
            match error {
                RevisionError::NoHigherVersion { .. } => {
                    failure.hint("A policy of another name starts anew, after the next boot.")
                }
                RevisionError::TooLong { .. } => failure
                    .hint("Retire a key: without its certificate in the kernel's keyrings nothing that it has signed runs, and its denials can go.")
                    .hint("Or pin: `osguard policy new --pin` allows the volumes in use alone, and needs no denials."),
                _ => failure,
            }
        })?;
    if revision.text.len() > USUAL_TEXT_BYTES {
        output.warning(format_args!(
            "the policy has {} bytes: with its signature it may have more than the {MAX_MESSAGE_BYTES} that the kernel \
             takes",
            revision.text.len()
        ));
    }
    let file = destination(arguments);
    match &file {
        Some(file) if file == path && revision.added.is_empty() => {}
        Some(file) if file == path => {
            rewrite(file, &revision.text).map_err(|error| Failure::writing(file, error))?;
        }
        Some(file) => super::write_new(file, &revision.text)?,
        None => {}
    }
    output.report(&RevokeReport {
        name: String::from_utf8_lossy(&policy.header.name.value).into_owned(),
        version: revision.version.to_string(),
        file,
        revoked: revision.added,
        policy: String::from_utf8_lossy(&revision.text).into_owned(),
    })?;
    Ok(ExitStatus::Done)
}

/// Returns where the result goes, none where it is printed.
fn destination(arguments: &Arguments) -> Option<PathBuf> {
    let standard = |path: &&PathBuf| **path != Path::new("-");
    match &arguments.to {
        Some(to) => Some(to).filter(standard).cloned(),
        None => Some(&arguments.policy).filter(standard).cloned(),
    }
}

fn rewrite(path: &Path, policy: &[u8]) -> io::Result<()> {
    let file = NewFile::create(path)?;
    file.file().write_all(policy)?;
    file.complete()
}
