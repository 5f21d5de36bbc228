//! The one thread that writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::schedule::{Effect, Job, Schedule};
use super::store::{Failed, Pending, Store, Tables, UnixMillis};
use super::{Change, Limits, Noted, QueueError, Verdict};
use crate::repository::Target;

/// Is what callers ask of the writer, and where they wait for the answer.
#[derive(Debug)]
pub(super) enum Command {
    Begin { job: Job, wait: Duration, reply: Reply<Option<Job>> },
    Finish { job: Job, verdict: Verdict, reply: Reply<()> },
    ListFailed { limit: usize, reply: Reply<Vec<Failed>> },
    Notify { changes: Vec<Change>, reply: Reply<Vec<Noted>> },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, QueueError>>;

pub(super) struct Writer {
    store: Access,
    schedule: Arc<Schedule>,
}

/// Is the store, or what it takes to open it again: redb does not go on after an error of the disk.
enum Access {
    Broken {
        directory: PathBuf,
        limits: Limits,
    },
    Open(Store),
    /// The last write failed.
    Suspect(Store),
}

impl Writer {
    pub(super) fn new(store: Store, schedule: Arc<Schedule>) -> Self {
        Self { store: Access::Open(store), schedule }
    }

    /// Does what is asked until nobody is left who could ask.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH
                && let Ok(next) = commands.try_recv()
            {
                batch.push(next);
            }
            self = self.process(batch);
        }
    }

    fn process(self, batch: Vec<Command>) -> Self {
        let Self { store, schedule } = self;
        let opened = match store {
            Access::Open(store) => Ok(store),
            Access::Suspect(store) => store.reopen().and_then(|store| store.resumed(&schedule)),
            Access::Broken { directory, limits } => Store::open(&directory, limits)
                .map_err(|error| (directory, limits, error))
                .and_then(|store| store.resumed(&schedule)),
        };
        let store = match opened {
            Err((directory, limits, error)) => {
                refuse(batch, &error, &schedule);
                Access::Broken { directory, limits }
            }
            Ok(store) => match write(&store, &batch) {
                Err(error) => {
                    refuse(batch, &error, &schedule);
                    Access::Suspect(store)
                }
                Ok(written) => {
                    answer(batch, written, &store, &schedule);
                    Access::Open(store)
                }
            },
        };
        Self { store, schedule }
    }
}

impl Store {
    /// Has the schedule follow what is on the disk, which is not known after an error.
    fn resumed(self, schedule: &Schedule) -> Result<Self, (PathBuf, Limits, QueueError)> {
        let read = self.pending().and_then(|pending| Ok((pending, self.failed_count()?)));
        match read {
            Ok((pending, failed)) => {
                schedule.replace(pending, failed);
                Ok(self)
            }
            Err(error) => Err(self.into_broken(error)),
        }
    }
}

/// Is what a batch has changed, once it is on the disk.
struct Written {
    /// One for each command, in order.
    results: Vec<Result<Applied, QueueError>>,
    failed: usize,
}

/// Is what one command has changed.
#[derive(Default)]
struct Applied {
    noted: Vec<Noted>,
    effects: Vec<Effect>,
    /// Whether the job that was to begin is gone.
    is_gone: bool,
}

/// Applies all commands in one transaction. A command for which there is no room changes nothing,
/// and does not keep the others from being written.
fn write(store: &Store, batch: &[Command]) -> Result<Written, QueueError> {
    let now = UnixMillis::now();
    store.write(|tables| {
        let apply = |command: &Command| match command {
            Command::Begin { job, wait, .. } => begin(tables, job, *wait, now),
            Command::Finish { job, verdict, .. } => finish(tables, job, verdict, now),
            Command::ListFailed { .. } => Ok(Ok(Applied::default())),
            Command::Notify { changes, .. } => notify(tables, changes, now),
        };
        let results = batch.iter().map(apply).collect::<Result<_, redb::Error>>()?;
        Ok(Written { results, failed: tables.failed_count()? })
    })
}

fn answer(batch: Vec<Command>, written: Written, store: &Store, schedule: &Schedule) {
    for (command, result) in batch.into_iter().zip(written.results) {
        let result = result.map(|mut applied| {
            schedule.follow(std::mem::take(&mut applied.effects), written.failed);
            applied
        });
        // Nobody waits where a connection was closed or a process is about to end.
        match command {
            Command::Begin { job, reply, .. } => {
                let _ = reply.send(result.map(|applied| (!applied.is_gone).then_some(job)));
            }
            Command::Finish { job, reply, .. } => {
                if result.is_err() {
                    schedule.put_back(job, WAIT_FOR_ROOM);
                }
                let _ = reply.send(result.map(|_| ()));
            }
            Command::ListFailed { limit, reply } => {
                let _ = reply.send(store.failed(limit));
            }
            Command::Notify { reply, .. } => {
                let _ = reply.send(result.map(|applied| applied.noted));
            }
        }
    }
}

fn refuse(batch: Vec<Command>, error: &QueueError, schedule: &Schedule) {
    for command in batch {
        match command {
            Command::Begin { job, reply, .. } => {
                schedule.put_back(job, WAIT_FOR_DISK);
                let _ = reply.send(Err(error.clone()));
            }
            Command::Finish { job, reply, .. } => {
                schedule.put_back(job, WAIT_FOR_DISK);
                let _ = reply.send(Err(error.clone()));
            }
            Command::ListFailed { reply, .. } => {
                let _ = reply.send(Err(error.clone()));
            }
            Command::Notify { reply, .. } => {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

type Outcome = Result<Result<Applied, QueueError>, redb::Error>;

fn notify(tables: &mut Tables<'_>, changes: &[Change], now: UnixMillis) -> Outcome {
    let pushed = changes.iter().filter_map(|change| match change {
        Change::Deleted(_) => None,
        Change::Pushed(target) => Some(target),
    });
    if let Some(full) = check_room(tables, pushed, |tables, target| is_new(tables, target, now))? {
        return Ok(Err(full));
    }
    let mut applied = Applied::default();
    for change in changes {
        let noted = match change {
            Change::Deleted(target) => {
                if let Some(pending) = tables.pending(target)? {
                    tables.remove_pending(target)?;
                    applied.effects.push(Effect::Removed(pending));
                }
                tables.forget_outcome(target)?;
                Noted::Forgotten
            }
            Change::Pushed(target) if is_new(tables, target, now)? => {
                applied.effects.push(add(tables, target, now)?);
                Noted::Queued
            }
            Change::Pushed(_) => Noted::Duplicate,
        };
        applied.noted.push(noted);
    }
    Ok(Ok(applied))
}

fn begin(tables: &mut Tables<'_>, job: &Job, wait: Duration, now: UnixMillis) -> Outcome {
    let mut applied = Applied::default();
    match tables.pending(&job.target)? {
        Some(pending) if pending.serial == job.serial => {
            let failures = pending.failures.saturating_add(1);
            let begun = Pending { due: now.plus(wait), failures, ..pending };
            tables.set_pending(&job.target, begun)?;
        }
        other => {
            applied.effects.push(Effect::Released(job.target.clone(), other));
            applied.is_gone = true;
        }
    }
    Ok(Ok(applied))
}

fn finish(tables: &mut Tables<'_>, job: &Job, verdict: &Verdict, now: UnixMillis) -> Outcome {
    let target = &job.target;
    let mut applied = Applied::default();
    let pending = match tables.pending(target)? {
        Some(pending) if pending.serial == job.serial => pending,
        // Deleted meanwhile, and maybe pushed again: that is another job.
        other => {
            applied.effects.push(Effect::Released(target.clone(), other));
            return Ok(Ok(applied));
        }
    };
    let mut still_pending = None;
    match verdict {
        Verdict::Done { made } => {
            tables.set_done(target, now)?;
            if let Some(made) = made {
                // The registry may have told of it already.
                if let Some(pending) = tables.pending(made)? {
                    applied.effects.push(Effect::Removed(pending));
                }
                tables.set_done(made, now)?;
            }
        }
        Verdict::Failed { reason } => {
            tables.set_failed(target, now, pending.failures, reason)?;
        }
        Verdict::Retry(wait) => {
            let pending = Pending { due: now.plus(*wait), ..pending };
            tables.set_pending(target, pending)?;
            still_pending = Some(pending);
        }
        Verdict::Split(parts) => {
            if let Some(full) = check_room(tables, parts.iter(), is_unknown)? {
                return Ok(Err(full));
            }
            tables.set_done(target, now)?;
            for part in parts {
                if is_unknown(tables, part)? {
                    applied.effects.push(add(tables, part, now)?);
                }
            }
        }
    }
    applied.effects.push(Effect::Released(target.clone(), still_pending));
    Ok(Ok(applied))
}

/// Returns why there is no room for those of `targets` that are to be added.
fn check_room<'t>(
    tables: &Tables<'_>,
    targets: impl Iterator<Item = &'t Target>,
    is_added: impl Fn(&Tables<'_>, &Target) -> Result<bool, redb::Error>,
) -> Result<Option<QueueError>, redb::Error> {
    let limit = tables.limits().pending;
    let mut count = tables.pending_count()?;
    for target in targets {
        count += usize::from(is_added(tables, target)?);
    }
    Ok((count > limit).then_some(QueueError::Full { limit }))
}

/// Tells whether a target that was pushed is to be looked at. One that has failed is.
fn is_new(tables: &Tables<'_>, target: &Target, now: UnixMillis) -> Result<bool, redb::Error> {
    let fresh = tables.limits().fresh;
    // What was done in the future was done by a clock that was wrong.
    let is_fresh = tables.done_at(target)?.is_some_and(|at| at <= now && now < at.plus(fresh));
    Ok(!is_fresh && tables.pending(target)?.is_none())
}

/// Tells whether a target that is part of an index is to be looked at. It was pushed before the
/// index was, so that whatever is known of it is enough, unless it has failed.
fn is_unknown(tables: &Tables<'_>, target: &Target) -> Result<bool, redb::Error> {
    Ok(tables.done_at(target)?.is_none() && tables.pending(target)?.is_none())
}

fn add(tables: &mut Tables<'_>, target: &Target, now: UnixMillis) -> Result<Effect, redb::Error> {
    let serial = tables.next_serial()?;
    let pending = Pending { serial, since: now, due: now, failures: 0 };
    tables.set_pending(target, pending)?;
    Ok(Effect::Added(target.clone(), pending))
}

/// How many commands go into one transaction.
const MAX_BATCH: usize = 256;

/// How long a job rests that could not be given back because the disk failed.
const WAIT_FOR_DISK: Duration = Duration::from_secs(10);

/// How long an index rests for whose manifests there is no room.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(30);
