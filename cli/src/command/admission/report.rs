//! `osguard admission report`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use osguard_admission::verdict::Reason;
use serde::Serialize;

use super::check::verdict_name;
use super::evaluation::{Evaluated, EvaluationArguments};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// List the images of workloads, what would be refused today, and why
///
/// As `osguard admission check`, by image: what to sign before the webhook enforces anything. The exit code is 0
/// whatever is found.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Arguments {
    #[command(flatten)]
    evaluation: EvaluationArguments,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    output.report(&ImagesReport::of(&arguments.evaluation.evaluate(output)?))?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct ImagesReport {
    /// How many workloads name an image.
    workloads: usize,
    /// How many of them have one that does not pass.
    concerned: usize,
    images: Vec<ImageReport>,
}

/// Is an image under one verdict.
#[derive(Serialize)]
struct ImageReport {
    image: String,
    verdict: &'static str,
    reason: Reason,
    details: Vec<String>,
    workloads: Vec<String>,
}

impl ImagesReport {
    fn of(evaluated: &[Evaluated]) -> Self {
        let mut images: BTreeMap<(&str, &'static str), ImageReport> = BTreeMap::new();
        let mut workloads = BTreeSet::new();
        let mut concerned = BTreeSet::new();
        for Evaluated { checked, workload, .. } in evaluated {
            let object = workload.name.to_string();
            for checked in checked {
                let finding = &checked.finding;
                let (Some(image), Some(found)) = (&finding.image, &finding.verdict) else {
                    continue;
                };
                let verdict = verdict_name(checked);
                workloads.insert(object.clone());
                if verdict != PASSES {
                    concerned.insert(object.clone());
                }
                let report = images.entry((&image.image, verdict)).or_insert_with(|| ImageReport {
                    image: image.image.clone(),
                    verdict,
                    reason: found.reason,
                    details: found.details.clone(),
                    workloads: Vec::new(),
                });
                if report.workloads.last() != Some(&object) {
                    report.workloads.push(object.clone());
                }
            }
        }
        let mut images: Vec<ImageReport> = images.into_values().collect();
        // What is to be done comes first, what concerns most workloads before the rest.
        images.sort_by_key(|image| {
            (image.verdict == PASSES, std::cmp::Reverse(image.workloads.len()))
        });
        Self { workloads: workloads.len(), concerned: concerned.len(), images }
    }
}

impl Report for ImagesReport {
    const SCHEMA: &'static str = "osguard.admission.report.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for image in &self.images {
            let name = Printable(&image.image);
            writeln!(out, "{name}: {}, {}", image.verdict, image.reason.words())?;
            if image.verdict == PASSES {
                continue;
            }
            for detail in &image.details {
                writeln!(out, "  {}", Printable(detail))?;
            }
            for workload in image.workloads.iter().take(MAX_WORKLOADS) {
                writeln!(out, "  in {}", Printable(workload))?;
            }
            if let more @ 1.. = image.workloads.len().saturating_sub(MAX_WORKLOADS) {
                writeln!(out, "  and in {more} more")?;
            }
        }
        let noun = if self.workloads == 1 { "workload" } else { "workloads" };
        writeln!(
            out,
            "{} {noun}, {} with an image that does not pass",
            self.workloads, self.concerned
        )
    }
}

const PASSES: &str = "passes";

/// How many workloads are listed for people; JSON has all of them.
const MAX_WORKLOADS: usize = 5;

const EXAMPLE: &str = "\
Example:
  kubectl get pods -A -o json | osguard admission report - --config admission.toml";
