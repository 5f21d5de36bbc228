//! The durable queue between the registry's notifications and the signatures.
//!
//! ```text
//! notifications ──▶ notify ──▶ writer ──▶ store (redb, one file)
//!                                │
//! workers ◀── take ── schedule ◀─┘        finish ──▶ writer
//! ```
//!
//! One thread writes. What came while it wrote goes into one transaction, so a thousand
//! notifications at once cost a few fsyncs and not a thousand. Callers get their answers after the
//! transaction is on the disk, and only then does the schedule change. The schedule is in memory
//! and holds no more than what is pending; a process that is killed loses nothing but who was
//! working on what.
//!
//! What is done is remembered for a while, so that a notification that comes twice, or a second tag
//! for the same image, costs nothing. What failed for good is remembered with its reason.

mod schedule;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::schedule::Job;
use self::schedule::Schedule;
pub use self::store::Failed;
use self::store::Store;
use self::writer::{Command, Writer};
use crate::repository::Target;

/// Holds what is to be signed until it is, across restarts and crashes.
#[derive(Debug)]
pub struct Queue {
    schedule: Arc<Schedule>,
    /// `None` only while the queue is dropped.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

/// Bounds what the queue holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many targets may be pending, in memory and on the disk.
    pub pending: usize,
    /// How many of what is done are remembered, and how many of what failed.
    pub remembered: usize,
    /// How long after it was done a target is not looked at again when it is pushed once more.
    pub fresh: Duration,
}

impl Default for Limits {
    /// Allows 100,000 targets, about 40 MB of memory if all their names are as long as can be.
    fn default() -> Self {
        Self { pending: 100_000, remembered: 10_000, fresh: Duration::from_secs(300) }
    }
}

/// Is something that happened to a target in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is gone: what is known of it is no longer true.
    Deleted(Target),
    /// It was pushed.
    Pushed(Target),
}

/// Says what became of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The target is pending already, or was done a moment ago.
    Duplicate,
    /// Nothing is known of the target any more.
    Forgotten,
    /// The target was added.
    Queued,
}

/// Says how a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done {
        /// What was pushed for it, of which the registry tells, and which is done as well.
        made: Option<Target>,
    },
    /// It failed for good.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is to be done again after this time.
    Retry(Duration),
    /// It is done as soon as these are, which take its place.
    Split(Vec<Target>),
}

/// Counts what is in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What waits for a worker or for its time.
    pub waiting: usize,
    /// What workers have.
    pub running: usize,
    /// What failed for good and is remembered.
    pub failed: usize,
}

/// Says why the queue did not do something. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue is being closed.
    #[error("the queue is closed")]
    Closed,
    /// There is no room.
    #[error("the queue is full: {limit} targets are pending")]
    Full {
        /// How many may be pending.
        limit: usize,
    },
    /// The directory cannot be used.
    #[error("cannot use the directory {directory} for the queue: {reason}", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("the queue in {file} cannot be used: {reason}", file = file.display())]
    Store {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Queue {
    /// Opens the queue in `directory`, which is made if there is none.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be read and written, if it is damaged or of another
    /// version, or if another process has it.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, QueueError> {
        let store = Store::open(directory, limits)?;
        let schedule = Arc::new(Schedule::new(store.pending()?, store.failed_count()?));
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let writer = Writer::new(store, Arc::clone(&schedule));
        let run = std::thread::Builder::new().name("queue".to_owned());
        let writer = run.spawn(move || writer.run(receiver)).map_err(|error| {
            QueueError::Directory { directory: directory.to_owned(), reason: error.to_string() }
        })?;
        Ok(Self { schedule, commands: Some(commands), writer: Some(writer) })
    }

    /// Takes note of changes, all of them or none, and returns what became of each once that is
    /// on the disk.
    ///
    /// # Errors
    ///
    /// Returns [`QueueError::Full`] if there is no room for all that is new.
    pub async fn notify(&self, changes: Vec<Change>) -> Result<Vec<Noted>, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands()?
            .send(Command::Notify { changes, reply })
            .await
            .map_err(|_| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    /// Takes the job that is due, waiting for one; it is this caller's until [`Self::finish`].
    /// Returns `None` once the queue is closed.
    pub fn take(&self) -> Option<Job> {
        self.schedule.take()
    }

    /// Notes that an attempt begins, and returns once that is on the disk; or `None` if the job is
    /// gone, because its target was deleted.
    ///
    /// The attempt counts as failed until [`Self::finish`] knows better: if it ends this process,
    /// the next one does not begin with it again before `wait` is over.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing could be written. The job is then due again after some seconds.
    pub fn begin(&self, job: Job, wait: Duration) -> Result<Option<Job>, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands()?
            .blocking_send(Command::Begin { job, wait, reply })
            .map_err(|_| QueueError::Closed)?;
        answer.blocking_recv().map_err(|_| QueueError::Closed)?
    }

    /// Gives a job back, and returns once that is on the disk.
    ///
    /// # Errors
    ///
    /// Returns an error if it could not be written, or if there is no room for what an index was
    /// split into. The job is then due again after some seconds.
    pub fn finish(&self, job: Job, verdict: Verdict) -> Result<(), QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands()?
            .blocking_send(Command::Finish { job, verdict, reply })
            .map_err(|_| QueueError::Closed)?;
        answer.blocking_recv().map_err(|_| QueueError::Closed)?
    }

    /// Writes to the disk to see whether that is possible.
    pub async fn probe(&self) -> Result<(), QueueError> {
        self.notify(Vec::new()).await.map(|_| ())
    }

    /// Lists the latest of what failed for good, newest first.
    pub async fn failed(&self, limit: usize) -> Result<Vec<Failed>, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands()?
            .send(Command::ListFailed { limit, reply })
            .await
            .map_err(|_| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    /// Counts what is in the queue.
    pub fn counts(&self) -> Counts {
        self.schedule.counts()
    }

    /// Hands out no further jobs; those that are out can still be given back.
    pub fn close(&self) {
        self.schedule.close();
    }

    fn commands(&self) -> Result<&mpsc::Sender<Command>, QueueError> {
        self.commands.as_ref().ok_or(QueueError::Closed)
    }
}

impl Drop for Queue {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.schedule.close();
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by its thread.
            let _ = writer.join();
        }
    }
}

/// How many callers may wait for the writer; further ones wait for room.
const MAX_COMMANDS: usize = 1024;
