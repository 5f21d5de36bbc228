//! `osguard audit suggest`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use osguard_node::audit_source::Place;
use osguard_policy::audit::context::Context;
use osguard_policy::audit::event::Event;
use osguard_policy::audit::record::Access;
use osguard_policy::audit::suggest::{Suggestion, Suggestions};
use serde::Serialize;

use super::explain::AdviceReport;
use super::known_policy::PolicyArguments;
use super::records::{self, LookUp, LookUpArguments, PLACE_HELP};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Find the least that has to change so that nothing is denied: sign this image, move this file, pin this volume
///
/// Each remedy comes once, with the number of denials that it settles, the ones that settle most first. None allows
/// more than what was denied, and nothing is changed by this command.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "WHERE", help = PLACE_HELP, value_parser = records::place)]
    place: Option<Place>,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    look_up: LookUpArguments,
}

#[derive(Serialize)]
struct SuggestReport {
    source: String,
    denials: u64,
    /// Against so many denials nothing is known, because their records do not say enough.
    unexplained: u64,
    /// So many denials were counted only, for they are too many.
    left_out: u64,
    suggestions: Vec<SuggestionReport>,
}

#[derive(Serialize)]
struct SuggestionReport {
    /// How many denials it settles.
    denials: u64,
    #[serde(flatten)]
    advice: AdviceReport,
    /// What would do as well, and reaches further.
    alternatives: Vec<AdviceReport>,
    /// The newest of the denials.
    example: String,
    /// Some of the files.
    paths: BTreeSet<String>,
    /// Some of the containers.
    containers: BTreeSet<String>,
}

impl Report for SuggestReport {
    const SCHEMA: &'static str = "osguard.audit.suggest.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.denials == 0 {
            return writeln!(out, "Nothing was denied, as far as {} tells", self.source);
        }
        for (number, suggestion) in self.suggestions.iter().enumerate() {
            let SuggestionReport { denials, advice, alternatives, example, containers, .. } =
                suggestion;
            let plural = if *denials == 1 { "denial" } else { "denials" };
            let remedy = Printable(&advice.remedy);
            writeln!(out, "{}. {remedy} ({denials} {plural})", number + 1)?;
            advice.write_steps(out, 6)?;
            writeln!(out, "   for example: {}", Printable(example))?;
            if !containers.is_empty() {
                let names: Vec<_> = containers.iter().map(String::as_str).collect();
                writeln!(out, "   in: {}", Printable(&names.join(", ")))?;
            }
            for alternative in alternatives {
                writeln!(out, "   or {}", Printable(&alternative.remedy))?;
            }
        }
        if self.unexplained > 0 {
            let count = self.unexplained;
            writeln!(
                out,
                "{count} denials have records that do not say enough: `osguard audit explain`"
            )?;
        }
        if self.left_out > 0 {
            writeln!(out, "{} further denials are not among these", self.left_out)?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    // Where nobody says otherwise, the records are this machine's.
    let place = arguments.place.as_ref();
    let is_here = place.is_none_or(|place| arguments.look_up.is_here(place));
    let policy = arguments.policy.read(is_here)?;
    let mut look_up =
        Cached::new(LookUp::new(&arguments.look_up, place.unwrap_or(&Place::KernelLog)));
    let mut suggestions = Suggestions::default();
    let (place, _) = records::read_past(place, output, |event| {
        if let Some(access) = records::access(&event) {
            suggestions.add(access, look_up.context(access, &event), policy.as_ref());
        }
    })?;
    output.report(&SuggestReport {
        source: place.to_string(),
        denials: suggestions.denials(),
        unexplained: suggestions.unexplained(),
        left_out: suggestions.left_out(),
        suggestions: suggestions.in_order().into_iter().map(suggestion).collect(),
    })?;
    Ok(ExitStatus::Done)
}

fn suggestion(suggestion: &Suggestion) -> SuggestionReport {
    SuggestionReport {
        denials: suggestion.denials,
        advice: AdviceReport::new(&suggestion.advice),
        alternatives: suggestion.alternatives.iter().map(AdviceReport::new).collect(),
        example: suggestion.example.clone(),
        paths: suggestion.paths.clone(),
        containers: suggestion.containers.clone(),
    }
}

/// Looks up once what was denied again and again.
struct Cached {
    look_up: LookUp,
    contexts: HashMap<Access, Context>,
}

impl Cached {
    fn new(look_up: LookUp) -> Self {
        Self { look_up, contexts: HashMap::new() }
    }

    fn context(&mut self, access: &Access, event: &Event) -> &Context {
        if self.contexts.len() == CACHE_LIMIT {
            self.contexts.clear();
        }
        self.contexts.entry(access.clone()).or_insert_with(|| self.look_up.context(access, event))
    }
}

/// How many contexts are kept, of about 1 KiB each.
const CACHE_LIMIT: usize = 4096;
