//! `osguard admission check`.

use std::io::{self, Write};

use libverity::digest::Digest;
use osguard_admission::decision::Consequence;
use osguard_admission::offline::Checked;
use osguard_admission::verdict::Reason;
use serde::Serialize;

use super::evaluation::{Evaluated, EvaluationArguments};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Tell whether the images of manifests would be let into a cluster
///
/// Looks at pods and at everything that makes pods: their containers, initial ones, sidecars and ephemeral ones, and
/// their image volumes. The answer is the one of `osguard admission serve`: exit code 13 if something would be
/// refused, 4 if that is for the registry's sake alone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Arguments {
    #[command(flatten)]
    evaluation: EvaluationArguments,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let evaluated = arguments.evaluation.evaluate(output)?;
    let report = CheckReport::of(&evaluated);
    output.report(&report)?;
    let noun = if report.refused == 1 { "image" } else { "images" };
    let refused = evaluated.iter().flat_map(|evaluated| &evaluated.checked);
    let mut refused = refused.filter(|checked| checked.is_refused()).peekable();
    if refused.peek().is_none() {
        return Ok(ExitStatus::Done);
    }
    // Where nothing is wrong but the registry, running it again may help.
    let count = report.refused;
    Err(match refused.all(Checked::is_unavailable) {
        true => Failure::new(ExitStatus::Registry, format!("{count} {noun} cannot be judged now"))
            .hint("Run it again when the registry answers."),
        false => Failure::new(ExitStatus::Refused, format!("{count} {noun} would be refused"))
            .hint("`osguard verify IMAGE` tells more of an image."),
    })
}

#[derive(Serialize)]
struct CheckReport {
    /// How many places name an image.
    images: usize,
    /// How many of these, and objects of unknown kinds, would be refused.
    refused: usize,
    findings: Vec<FindingReport>,
}

/// Is one place of a manifest.
#[derive(Serialize)]
struct FindingReport {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    object: ObjectReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    rule: String,
    mode: &'static str,
    #[serde(skip)]
    is_refused: bool,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct ObjectReport {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
}

impl CheckReport {
    fn of(evaluated: &[Evaluated]) -> Self {
        let findings = evaluated.iter().flat_map(|evaluated| {
            evaluated.checked.iter().map(move |checked| FindingReport::of(evaluated, checked))
        });
        let checked = || evaluated.iter().flat_map(|evaluated| &evaluated.checked);
        Self {
            images: checked().filter(|checked| checked.finding.image.is_some()).count(),
            refused: checked().filter(|checked| checked.is_refused()).count(),
            findings: findings.collect(),
        }
    }
}

impl FindingReport {
    fn of(evaluated: &Evaluated, checked: &Checked) -> Self {
        let finding = &checked.finding;
        let image = finding.image.as_ref();
        let verdict = finding.verdict.as_deref();
        let object = &finding.object;
        Self {
            file: evaluated.file.clone(),
            line: image.map_or(evaluated.workload.line, |image| image.line),
            object: ObjectReport {
                kind: object.kind.clone(),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            },
            field: image.map(|image| image.field.to_string()),
            image: image.map(|image| image.image.clone()),
            digest: verdict.and_then(|verdict| verdict.digest),
            verdict: verdict_name(checked),
            reason: verdict.map(|verdict| verdict.reason),
            details: verdict.map(|verdict| verdict.details.clone()).unwrap_or_default(),
            rule: checked.rule.clone(),
            mode: checked.mode.name(),
            is_refused: checked.is_refused(),
            text: format!("{object}, {finding}"),
        }
    }
}

/// Returns what happens for a finding.
pub(super) fn verdict_name(checked: &Checked) -> &'static str {
    match checked.finding.consequence {
        Consequence::Passes => "passes",
        Consequence::PassesUnseen => "passes unseen",
        Consequence::Refused if checked.is_refused() => "refused",
        Consequence::Refused => "would be refused",
    }
}

impl Report for CheckReport {
    const SCHEMA: &'static str = "osguard.admission.check.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        // Of most kinds nothing is known, because there is nothing to know.
        let is_shown = |finding: &&FindingReport| finding.image.is_some() || finding.is_refused;
        for finding in self.findings.iter().filter(is_shown) {
            write!(out, "{}", Printable(&finding.file))?;
            if let Some(line) = finding.line {
                write!(out, ":{line}")?;
            }
            writeln!(out, ": {}: {}", finding.verdict, Printable(&finding.text))?;
        }
        let noun = if self.images == 1 { "image" } else { "images" };
        writeln!(out, "{} {noun}, {} refused", self.images, self.refused)
    }
}

const EXAMPLE: &str = "\
Examples:
  osguard admission check deployment.yaml --trust release.crt
  helm template shop | osguard admission check - --config admission.toml --namespace shop";
