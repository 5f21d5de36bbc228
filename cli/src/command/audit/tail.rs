//! `osguard audit tail`.

use osguard_node::audit_source::{Extent, Place};
use osguard_policy::audit::event::{Assembler, Event};
use osguard_policy::audit::explain::Verdict;
use osguard_policy::audit::reader::{Next, Reader};

use super::event_report::EventReport;
use super::records::{self, LookUp, LookUpArguments, PLACE_HELP};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{LineOutput, Output};

/// Follow what IPE and dm-verity record: denials, policies, enforcement, corrupt blocks
///
/// One line for each record, joined with what is known about process, container and volume. With --output json
/// each line is an object.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "WHERE", help = PLACE_HELP, default_value = "socket", value_parser = records::place)]
    place: Place,
    /// Print what is there already, too; standard input is always read from its start
    #[arg(long)]
    all: bool,
    /// Print only what was denied, or would have been
    #[arg(long)]
    denied: bool,
    /// Stop at the end of what is there
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    look_up: LookUpArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let place = &arguments.place;
    let extent = match (arguments.no_follow, arguments.all) {
        (true, _) => Extent::Past,
        (false, true) if *place != Place::Socket => Extent::PastAndFuture,
        (false, _) => Extent::Future,
    };
    let look_up = LookUp::new(&arguments.look_up, place);
    let mut reader = Reader::new(place.open(extent)?);
    let mut assembler = Assembler::default();
    let mut out = output.lines();
    let mut losses = 0;
    loop {
        match records::next(&mut reader, place)? {
            Next::Record(record) => {
                for event in assembler.push(record) {
                    print(&event, arguments, &look_up, &mut out)?;
                }
            }
            Next::Malformed(error) => output.warning(error),
            Next::Idle => {
                for event in assembler.flush() {
                    print(&event, arguments, &look_up, &mut out)?;
                }
                out.flush()?;
            }
            Next::End => break,
        }
        let lost = reader.source().losses();
        if lost > losses {
            losses = lost;
            output.warning("records came faster than they could be read, and some are lost");
        }
    }
    for event in assembler.flush() {
        print(&event, arguments, &look_up, &mut out)?;
    }
    out.flush()?;
    records::finish(&reader, place, output)?;
    Ok(ExitStatus::Done)
}

fn print(
    event: &Event,
    arguments: &Arguments,
    look_up: &LookUp,
    out: &mut LineOutput,
) -> Result<(), Failure> {
    let access = records::access(event);
    let is_denial = access.is_some_and(|access| {
        matches!(Verdict::of(access), Verdict::Denied | Verdict::WouldBeDenied)
    });
    if arguments.denied && !is_denial {
        return Ok(());
    }
    let context = access.map(|access| look_up.context(access, event));
    match EventReport::new(event, context.as_ref()) {
        Some(report) => out.line(&report),
        None => Ok(()),
    }
}
