//! Reading records from where the user says.

use std::path::PathBuf;

use osguard_node::audit_join::Joiner;
use osguard_node::audit_source::{AuditSource, Extent, Place};
use osguard_node::state_directory::StateDirectory;
use osguard_policy::audit::context::Context;
use osguard_policy::audit::event::{Assembler, Event};
use osguard_policy::audit::reader::{Counts, Next, Reader};
use osguard_policy::audit::record::{Access, Content};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// What is looked up about records on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct LookUpArguments {
    /// The records in the file are of this machine: look up processes, containers and volumes
    ///
    /// Records from socket, journal, auditd and kernel-log are always looked up.
    #[arg(long)]
    here: bool,
    /// Where records of mounts are kept
    #[arg(long, value_name = "DIR", default_value = "/run/osguard", env = "OSGUARD_STATE")]
    state: PathBuf,
}

/// Looks records up, or leaves it at what they say themselves.
pub(super) struct LookUp(Option<Joiner>);

impl LookUpArguments {
    /// Tells whether what is read at `place` is about this machine.
    pub(super) fn is_here(&self, place: &Place) -> bool {
        self.here || place.is_here()
    }
}

impl LookUp {
    pub(super) fn new(arguments: &LookUpArguments, place: &Place) -> Self {
        let state = || StateDirectory::new(&arguments.state);
        Self(arguments.is_here(place).then(|| Joiner::new(&state())))
    }

    pub(super) fn context(&self, access: &Access, event: &Event) -> Context {
        match &self.0 {
            Some(joiner) => joiner.context(access, event.record.id, event.system_call.as_ref()),
            None => {
                let mut context = Context::of_record(access);
                if let Some(call) = &event.system_call {
                    context.process.parent = call.parent;
                    context.process.user = call.user;
                    context.process.executable.clone_from(&call.executable);
                }
                context.unknown.push(
                    "nothing was looked up: the records may be of another machine (--here says that they are not)"
                        .to_owned(),
                );
                context
            }
        }
    }
}

/// Understands a place as the user writes it.
pub(super) fn place(text: &str) -> Result<Place, String> {
    Ok(match text {
        "" => return Err("write socket, journal, auditd, kernel-log, a file, or -".to_owned()),
        "-" => Place::Input,
        "auditd" => Place::Auditd,
        "journal" => Place::Journal,
        "kernel-log" => Place::KernelLog,
        "socket" => Place::Socket,
        file => Place::File(file.into()),
    })
}

/// Passes every event of the past to `take`, in order, and returns what was read.
///
/// # Errors
///
/// Fails when the place cannot be read, and when it holds lines and none of them is an audit record.
pub(super) fn read_past(
    place: Option<&Place>,
    output: &Output,
    mut take: impl FnMut(Event),
) -> Result<(Place, Counts), Failure> {
    let (place, source) = match place {
        Some(place) => (place.clone(), place.open(Extent::Past)?),
        None => Place::open_history()?,
    };
    output.detail(format_args!("Reading {place}"));
    let mut reader = Reader::new(source);
    let mut assembler = Assembler::default();
    loop {
        match next(&mut reader, &place)? {
            Next::End => break,
            Next::Record(record) => assembler.push(record).for_each(&mut take),
            Next::Idle => {}
            Next::Malformed(error) => output.warning(error),
        }
    }
    assembler.flush().for_each(&mut take);
    finish(&reader, &place, output)?;
    Ok((place, reader.counts()))
}

pub(super) fn next(reader: &mut Reader<AuditSource>, place: &Place) -> Result<Next, Failure> {
    reader.next_record().map_err(|error| {
        Failure::from_error(ExitStatus::Failure, error).context(format!("cannot read {place}"))
    })
}

/// Says what was left out, and fails where nothing was a record.
pub(super) fn finish(
    reader: &Reader<AuditSource>,
    place: &Place,
    output: &Output,
) -> Result<(), Failure> {
    let counts = reader.counts();
    match counts.too_long {
        0 => {}
        1 => output.warning(format_args!("a line of {place} was too long to be a record")),
        lines => {
            output.warning(format_args!("{lines} lines of {place} were too long to be records"))
        }
    }
    // A kernel's log or a journal may well be without any by now.
    let is_file = matches!(place, Place::File(_) | Place::Input);
    match counts {
        Counts { lines, records: 0, .. } if lines > 0 && is_file => {
            Err(super::failure::no_records(place, lines))
        }
        _ => Ok(()),
    }
}

/// Returns what IPE judged, where an event is about that.
pub(super) fn access(event: &Event) -> Option<&Access> {
    match &event.record.content {
        Content::Access(access) => Some(access),
        _ => None,
    }
}

/// What `WHERE` may be, as it is in the help.
pub(super) const PLACE_HELP: &str =
    "socket, journal, auditd, kernel-log, a file, or - for standard input";
