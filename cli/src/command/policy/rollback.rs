//! `osguard policy rollback`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use libverity::pkcs7::Embedding;
use libverity::signer::Signer;
use osguard_node::policy_history::PolicyHistory;
use osguard_node::probe::require_policy_rights;
use osguard_node::securityfs::IpeTree;
use osguard_node::status::IpeStatus;
use osguard_policy::revision::renumber;
use osguard_policy::sign::sign;
use osguard_policy::version::PolicyVersion;
use serde::Serialize;

use super::source::{KernelArguments, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::signing::SigningArguments;
use crate::two_steps::{given_signatures, read_signature};

/// Sign the rules of a former policy under a version that can follow upon the one in force
///
/// The kernel takes no lower version, so that the way back is a way on. What comes out is deployed like any other policy, or
/// given to `deploy --try` as --fallback beforehand. Where the key is elsewhere, --prepare writes the text that is to be signed,
/// and --assemble takes it with the signature.
#[derive(Debug, clap::Args)]
#[command(mut_arg("key", |key| key.required(false).required_unless_present_any(["prepare", "assemble"])))]
pub(crate) struct Arguments {
    /// The former policy: text or signed [default: what was in force on this node before]
    #[arg(value_name = "POLICY", conflicts_with = "assemble")]
    policy: Option<PathBuf>,
    /// The signed policy to write, which must not exist [default: NAME-VERSION.p7b]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The version, higher than that in force [default: the next]
    #[arg(long, value_name = "MAJOR.MINOR.REVISION", conflicts_with = "assemble")]
    policy_version: Option<PolicyVersion>,
    #[command(flatten)]
    signing: SigningArguments,
    /// Sign nothing, but write the text that is to be signed to this file, which must not exist
    #[arg(long, value_name = "FILE", conflicts_with_all = ["assemble", "key", "to"])]
    prepare: Option<PathBuf>,
    /// Take this text of --prepare and the signature that was made of it
    #[arg(long, value_name = "FILE", conflicts_with = "key", requires_all = ["signature", "cert"])]
    assemble: Option<PathBuf>,
    /// The signature of the text, as `policy sign --signature` takes it
    #[arg(long, value_name = "FILE", requires = "assemble")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    kernel: KernelArguments,
}

#[derive(Serialize)]
struct RollbackReport {
    name: String,
    version: String,
    /// The version whose rules these are, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_of: Option<String>,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl Report for RollbackReport {
    const SCHEMA: &'static str = "osguard.policy.rollback.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, version, file, .. } = self;
        let rules = self.rules_of.as_ref().map(|version| format!(", with the rules of {version}"));
        let (rules, file) = (rules.unwrap_or_default(), file.display());
        writeln!(out, "Policy {name} {version}{rules}: {file}")?;
        match self.digest {
            Some(_) => writeln!(out, "`osguard policy deploy {file}` brings it in force"),
            None => writeln!(
                out,
                "Sign it where the key is; `osguard policy rollback --assemble {file} --signature SIGNATURE --cert CERTIFICATE` takes the signature"
            ),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let report = match (&arguments.assemble, &arguments.signature) {
        (Some(text), Some(signature)) => {
            let source = Source::read(text)?;
            source.must_be_text()?;
            let mut signer = given_signatures(&arguments.signing.certificates()?)?;
            let inserted = signer.insert(source.text.clone(), &read_signature(signature)?);
            inserted.map_err(|error| {
                Failure::from_error(ExitStatus::Usage, error).context(signature.display())
            })?;
            write_signed(arguments, &source.text, None, &signer)?
        }
        _ => renumbered(arguments)?,
    };
    output.report(&report)?;
    Ok(ExitStatus::Done)
}

fn renumbered(arguments: &Arguments) -> Result<RollbackReport, Failure> {
    let source = match &arguments.policy {
        Some(path) => Source::read(path)?,
        None => former()?,
    };
    let kernel = arguments.kernel.kernel;
    let policy = source.policy(kernel)?;
    let name = String::from_utf8_lossy(&policy.header.name.value).into_owned();
    let in_force = highest_version(&name)?;
    let revision = renumber(&source.text, kernel, in_force, arguments.policy_version)
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error).context(&source.name))?;
    let rules_of = Some(policy.header.version.value.to_string());
    let Some(file) = &arguments.prepare else {
        let signer = arguments.signing.signer()?;
        return write_signed(arguments, &revision.text, rules_of, &*signer);
    };
    super::write_new(file, &revision.text)?;
    let version = revision.version.to_string();
    Ok(RollbackReport { name, version, rules_of, file: file.clone(), digest: None })
}

fn write_signed(
    arguments: &Arguments,
    text: &[u8],
    rules_of: Option<String>,
    signer: &dyn Signer,
) -> Result<RollbackReport, Failure> {
    let signed = sign(text, signer, Embedding::Certificate)
        .map_err(|error| Failure::from_error(ExitStatus::Failure, error))?;
    let header = signed.header();
    let file = arguments.to.clone();
    let file = file.unwrap_or_else(|| format!("{}-{}.p7b", header.name, header.version).into());
    super::write_new(&file, signed.as_bytes())?;
    Ok(RollbackReport {
        name: header.name.to_string(),
        version: header.version.to_string(),
        rules_of,
        file,
        digest: Some(signed.digest()),
    })
}

/// Finds the policy that was in force before the one that is.
fn former() -> Result<Source, Failure> {
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let status = IpeStatus::read(&tree)?;
    let none = || {
        Failure::new(ExitStatus::NotFound, "no former policy is known on this node")
            .hint("Name its text, or the signed policy.")
    };
    let active = status.active().ok_or_else(none)?;
    let kept = PolicyHistory::default()
        .all(&active.name)
        .map_err(|error| Failure::reading(Path::new("/var/lib/osguard/policies"), error))?;
    let former =
        kept.into_iter().rev().find(|(_, policy)| policy.header().version < active.version);
    let (path, policy) = former.ok_or_else(none)?;
    Ok(Source::new(path.display().to_string(), policy.as_bytes().to_vec()))
}

/// Returns the highest version that the kernel has of this name or in force; none on a machine without IPE, where policies can be
/// signed all the same.
fn highest_version(name: &str) -> Result<Option<PolicyVersion>, Failure> {
    let Ok(tree) = IpeTree::open() else { return Ok(None) };
    let status = match IpeStatus::read(&tree) {
        Ok(status) => status,
        // A user without rights signs for another machine.
        Err(_) if require_policy_rights().is_err() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let counting = status.policies.iter().filter(|policy| policy.active || policy.name == name);
    Ok(counting.map(|policy| policy.version).max())
}
