//! `osguard audit explain`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::audit_source::Place;
use osguard_policy::audit::event::Event;
use osguard_policy::audit::explain::{Advice, Explanation, KnownPolicy, Verdict, explain};
use osguard_policy::audit::record::{Access, EventId};
use serde::Serialize;

use super::event_report::EventReport;
use super::known_policy::PolicyArguments;
use super::records::{self, LookUp, LookUpArguments, PLACE_HELP};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Say why something was denied: which rule, which volume, signed or not, and what helps
///
/// Denials of the same file by the same program and rule are explained once, with their number; the newest
/// ones come last. What cannot be known any more, is said to be unknown.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[arg(value_name = "WHERE", help = PLACE_HELP, value_parser = records::place)]
    place: Option<Place>,
    /// Explain this event only, such as 1795425188.368:4
    #[arg(long, value_name = "TIME:SERIAL")]
    event: Option<EventId>,
    /// Explain what this process was denied
    #[arg(long, value_name = "NUMBER")]
    pid: Option<u32>,
    /// Explain the denials of this file, as the process saw its path
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// How many denials to explain at most, the newest of them
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    last: u16,
    #[command(flatten)]
    policy: PolicyArguments,
    #[command(flatten)]
    look_up: LookUpArguments,
}

#[derive(Serialize)]
struct ExplainReport {
    source: String,
    /// The count of all denials that were asked for, also of those that are not explained.
    count: u64,
    denials: Vec<DenialReport>,
}

#[derive(Serialize)]
struct DenialReport {
    /// How often it was denied.
    count: u64,
    /// The newest of them.
    #[serde(flatten)]
    event: EventReport,
    what: String,
    why: String,
    where_is_it: String,
    policy_line: Option<usize>,
    unknown: Vec<String>,
    remedies: Vec<AdviceReport>,
}

/// Is a remedy as it is printed.
#[derive(Serialize)]
pub(super) struct AdviceReport {
    pub(super) remedy: String,
    /// Whether the policy allows it then; none where that is not known.
    suffices: Option<bool>,
    changes_policy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    steps: Vec<String>,
}

impl AdviceReport {
    pub(super) fn new(advice: &Advice) -> Self {
        Self {
            remedy: advice.remedy.to_string(),
            suffices: advice.suffices,
            changes_policy: advice.remedy.changes_policy(),
            rule: advice.remedy.rule(),
            steps: advice.remedy.steps(),
        }
    }

    /// Writes the steps, and what they leave open, behind so many spaces.
    pub(super) fn write_steps(&self, out: &mut dyn Write, indentation: usize) -> io::Result<()> {
        for step in &self.steps {
            writeln!(out, "{:indentation$}{}", "", Printable(step))?;
        }
        match self.suffices {
            Some(false) => writeln!(
                out,
                "{:indentation$}NOT ENOUGH: the policy allows only volumes that it names; its root hash has to be added",
                ""
            ),
            _ => Ok(()),
        }
    }
}

impl Report for ExplainReport {
    const SCHEMA: &'static str = "osguard.audit.explain.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.denials.is_empty() {
            return writeln!(out, "Nothing was denied, as far as {} tells", self.source);
        }
        for (number, denial) in self.denials.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            denial.text(out)?;
        }
        let explained: u64 = self.denials.iter().map(|denial| denial.count).sum();
        match self.count - explained {
            0 => Ok(()),
            others => {
                writeln!(out, "\n{others} older denials are not explained: --last explains more")
            }
        }
    }
}

impl DenialReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let times = match self.count {
            1 => String::new(),
            count => format!(", {count} times"),
        };
        writeln!(out, "{}{times}", Printable(&self.what))?;
        let line = self
            .policy_line
            .map_or_else(String::new, |line| format!(" (line {line} of the policy)"));
        writeln!(out, "  rule     {}{line}", Printable(&self.why))?;
        writeln!(out, "  place    {}", Printable(&self.where_is_it))?;
        self.event.details(out)?;
        for unknown in &self.unknown {
            writeln!(out, "  unknown  {}", Printable(unknown))?;
        }
        for (number, advice) in self.remedies.iter().enumerate() {
            let head = if number == 0 { "remedy" } else { "or    " };
            writeln!(out, "  {head}   {}", Printable(&advice.remedy))?;
            advice.write_steps(out, 13)?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut newest = Newest { limit: usize::from(arguments.last), ..Newest::default() };
    let (place, _) = records::read_past(arguments.place.as_ref(), output, |event| {
        if records::access(&event).is_some_and(|access| arguments.asks_for(access, &event)) {
            newest.add(event);
        }
    })?;
    if newest.count == 0
        && (arguments.event.is_some() || arguments.pid.is_some() || arguments.path.is_some())
    {
        return Err(Failure::new(ExitStatus::NotFound, format!("{place} has no such denial"))
            .hint("`osguard audit explain` without --event, --pid and --path explains those that are there."));
    }
    let look_up = LookUp::new(&arguments.look_up, &place);
    let policy = arguments.policy.read(arguments.look_up.is_here(&place))?;
    let denials = newest
        .denials
        .iter()
        .filter_map(|(event, count)| denial(event, *count, &look_up, policy.as_ref()));
    output.report(&ExplainReport {
        source: place.to_string(),
        count: newest.count,
        denials: denials.collect(),
    })?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    fn asks_for(&self, access: &Access, event: &Event) -> bool {
        matches!(Verdict::of(access), Verdict::Denied | Verdict::WouldBeDenied | Verdict::Unknown)
            && self.event.is_none_or(|id| event.record.id == Some(id))
            && self.pid.is_none_or(|pid| access.pid == Some(pid))
            && self.path.as_ref().is_none_or(|path| access.path.as_ref() == Some(path))
    }
}

fn denial(
    event: &Event,
    count: u64,
    look_up: &LookUp,
    policy: Option<&KnownPolicy>,
) -> Option<DenialReport> {
    let access = records::access(event)?;
    let context = look_up.context(access, event);
    let Explanation { what, place, why, line, unknown, remedies } =
        explain(access, &context, policy);
    Some(DenialReport {
        count,
        event: EventReport::new(event, Some(&context))?,
        what,
        why,
        where_is_it: place,
        policy_line: line,
        unknown,
        remedies: remedies.iter().map(AdviceReport::new).collect(),
    })
}

/// Keeps the newest denials that differ, in order, and counts those that do not.
#[derive(Default)]
struct Newest {
    denials: VecDeque<(Event, u64)>,
    limit: usize,
    count: u64,
}

impl Newest {
    fn add(&mut self, event: Event) {
        self.count += 1;
        let same = self.denials.iter().position(|(known, _)| is_same(known, &event));
        let before =
            same.and_then(|position| self.denials.remove(position)).map_or(0, |(_, count)| count);
        if self.denials.len() == self.limit {
            self.denials.pop_front();
        }
        self.denials.push_back((event, before + 1));
    }
}

/// Tells whether two events differ in time and process only.
fn is_same(one: &Event, other: &Event) -> bool {
    let without_process =
        |event: &Event| records::access(event).map(|access| Access { pid: None, ..access.clone() });
    without_process(one) == without_process(other)
}

const EXAMPLES: &str = "\
Examples:
  osguard audit explain                           what this machine denied last
  osguard audit explain --path /usr/bin/app       why that did not start
  dmesg | osguard audit explain -                 from the kernel's log
  osguard audit explain node7.log --policy node.policy
                                                  a log of another machine, by the policy there";
