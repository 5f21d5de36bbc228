//! `osguard policy show`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::pkcs7;
use osguard_node::securityfs::{IpeTree, PolicyFile};
use osguard_node::status::IpeStatus;
use osguard_policy::explain::{OperationExplanation, explain, left_to_default};
use osguard_policy::syntax::{Policy, position};
use osguard_policy::vocabulary::Action;
use serde::Serialize;

use super::source::{KernelArguments, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Explain a policy rule by rule in plain words
///
/// Of a text, of a signed policy, or of what this machine's kernel has loaded.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy: text or signed; - is standard input [default: the policy in force]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Explain the policy of this name that is loaded into the kernel
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    loaded: Option<String>,
    #[command(flatten)]
    kernel: KernelArguments,
}

#[derive(Serialize)]
struct ShowReport {
    name: String,
    version: String,
    /// Who signed it, if it is signed; whether the kernel trusts them is another question.
    signers: Vec<String>,
    operations: Vec<OperationReport>,
    /// What the default of all decides.
    others: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    others_are: Option<&'static str>,
}

#[derive(Serialize)]
struct OperationReport {
    operation: &'static str,
    title: &'static str,
    rules: Vec<RuleReport>,
    otherwise: &'static str,
}

#[derive(Serialize)]
struct RuleReport {
    line: usize,
    subject: String,
    action: &'static str,
}

impl Report for ShowReport {
    const SCHEMA: &'static str = "osguard.policy.show.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Policy {} {}", self.name.escape_debug(), self.version)?;
        for signer in &self.signers {
            writeln!(out, "Signed by {signer}")?;
        }
        for operation in &self.operations {
            let OperationReport { operation, title, rules, otherwise } = operation;
            writeln!(out, "\n{operation}: {title}")?;
            for RuleReport { line, subject, action } in rules {
                writeln!(out, "  {subject}: {action}  (line {line})")?;
            }
            let all = if rules.is_empty() { "everything" } else { "everything else" };
            writeln!(out, "  {all}: {otherwise}")?;
        }
        match self.others_are {
            None => Ok(()),
            Some(action) => writeln!(
                out,
                "\n{}, and what newer kernels know besides: {action}",
                self.others.join(", ")
            ),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let source = match &arguments.file {
        Some(path) => Source::read(path)?,
        None => loaded(arguments.loaded.as_deref())?,
    };
    let policy = source.policy(arguments.kernel.kernel)?;
    let operations = explain(&policy);
    output.report(&ShowReport {
        name: String::from_utf8_lossy(&policy.header.name.value).into_owned(),
        version: policy.header.version.value.to_string(),
        signers: source.signers.clone(),
        operations: operations.iter().map(|one| operation(one, &source)).collect(),
        others: left_to_default(&policy).iter().map(|operation| operation.keyword()).collect(),
        others_are: others_are(&policy),
    })?;
    Ok(ExitStatus::Done)
}

/// Reads a policy out of the kernel: that of the name, or else the one in force.
fn loaded(name: Option<&str>) -> Result<Source, Failure> {
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => IpeStatus::read(&tree)?
            .policies
            .into_iter()
            .find(|policy| policy.active)
            .map(|policy| policy.name)
            .ok_or_else(|| {
                Failure::new(
                    ExitStatus::NotFound,
                    "no policy is in force: the kernel runs everything",
                )
                .hint("Name a FILE, or a policy that is loaded with --loaded.")
            })?,
    };
    // A name is that of one directory, whatever was typed.
    let is_listed = tree.policy_names()?.contains(&name);
    let text = match is_listed {
        true => tree.read_policy(&name, PolicyFile::Text)?,
        false => None,
    };
    let text = text.ok_or_else(|| {
        Failure::new(ExitStatus::NotFound, format!("no policy {name:?} is loaded"))
            .hint("`osguard policy status` lists those that are.")
    })?;
    let blob = tree.read_policy(&name, PolicyFile::Pkcs7)?.unwrap_or_default();
    let signers = pkcs7::inspect(&blob)
        .map(|message| message.signers.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    Ok(Source { signers, ..Source::new(format!("the loaded policy {name}"), text) })
}

fn operation(explanation: &OperationExplanation, source: &Source) -> OperationReport {
    let rules = explanation.rules.iter().map(|rule| RuleReport {
        line: position(&source.text, rule.offset).line,
        subject: rule.subject.clone(),
        action: word(rule.action),
    });
    OperationReport {
        operation: explanation.operation.keyword(),
        title: explanation.title,
        rules: rules.collect(),
        otherwise: word(explanation.otherwise),
    }
}

fn others_are(policy: &Policy) -> Option<&'static str> {
    (!left_to_default(policy).is_empty())
        .then(|| policy.global_default().map(|default| word(default.action.value)))
        .flatten()
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allowed",
        Action::Deny => "denied",
    }
}
