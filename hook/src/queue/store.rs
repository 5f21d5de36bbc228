//! The queue's file.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libverity::digest::Digest;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};

use super::{Limits, QueueError};
use crate::repository::{Repository, Target};

/// Holds the queue in a redb database, `queue.redb`.
///
/// | table      | key                       | value                                                |
/// |------------|---------------------------|------------------------------------------------------|
/// | `facts`    | name                      | number: `version` (1), `next-serial`                 |
/// | `pending`  | repository, digest        | serial number, queued at, due at (ms), failures      |
/// | `done`     | repository, digest        | at (ms)                                              |
/// | `done-at`  | at (ms), repository, digest | nothing: `done` by age                             |
/// | `failed`   | repository, digest        | at (ms), attempts, reason                            |
/// | `failed-at` | at (ms), repository, digest | nothing: `failed` by age                          |
///
/// A target is in one of `pending`, `done` and `failed` at most. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    file: PathBuf,
    database: Database,
    limits: Limits,
}

/// Is what is written about a pending target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) serial: u64,
    pub(super) since: UnixMillis,
    pub(super) due: UnixMillis,
    pub(super) failures: u32,
}

/// Is a target that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was to be signed.
    pub target: Target,
    /// When it was given up.
    pub at: SystemTime,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
}

/// Is a time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnixMillis(pub(super) u64);

impl UnixMillis {
    pub(super) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or_else(SystemTime::now)
    }

    pub(super) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Store {
    pub(super) fn open(directory: &Path, limits: Limits) -> Result<Self, QueueError> {
        std::fs::create_dir_all(directory).map_err(|error| QueueError::Directory {
            directory: directory.to_owned(),
            reason: error.to_string(),
        })?;
        let file = directory.join(FILE);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&file)
            .map_err(|error| failure(&file, error))?;
        let store = Self { directory: directory.to_owned(), file, database, limits };
        let version = store.write(|tables| tables.version())?;
        if version != VERSION {
            let reason =
                format!("it has the format {version}, and this program knows format {VERSION}");
            return Err(QueueError::Store { file: store.file, reason });
        }
        Ok(store)
    }

    /// Opens the file anew, after an error that redb does not recover from.
    pub(super) fn reopen(self) -> Result<Self, (PathBuf, Limits, QueueError)> {
        let Self { directory, limits, database, .. } = self;
        drop(database);
        Self::open(&directory, limits).map_err(|error| (directory, limits, error))
    }

    /// Closes the file and returns what it takes to open it again.
    pub(super) fn into_broken(self, error: QueueError) -> (PathBuf, Limits, QueueError) {
        (self.directory, self.limits, error)
    }

    /// Lists everything that is pending.
    pub(super) fn pending(&self) -> Result<Vec<(Target, Pending)>, QueueError> {
        let list = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(PENDING)?;
            let mut pending = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                pending.push((target(key.value())?, Pending::new(value.value())));
            }
            Ok(pending)
        };
        list().map_err(|error| failure(&self.file, error))
    }

    pub(super) fn failed_count(&self) -> Result<usize, QueueError> {
        let count = || -> Result<_, redb::Error> {
            Ok(self.database.begin_read()?.open_table(FAILED)?.len()?)
        };
        Ok(count().map_err(|error| failure(&self.file, error))? as usize)
    }

    /// Lists the latest of what failed for good, newest first.
    pub(super) fn failed(&self, limit: usize) -> Result<Vec<Failed>, QueueError> {
        let list = || -> Result<_, redb::Error> {
            let read = self.database.begin_read()?;
            let (by_time, table) = (read.open_table(FAILED_AT)?, read.open_table(FAILED)?);
            let mut failed = Vec::new();
            for entry in by_time.iter()?.rev().take(limit) {
                let (key, _) = entry?;
                let (_, repository, digest) = key.value();
                let Some(value) = table.get((repository, digest))? else { continue };
                let (at, attempts, reason) = value.value();
                failed.push(Failed {
                    target: target((repository, digest))?,
                    at: UnixMillis(at).time(),
                    attempts,
                    reason: reason.to_owned(),
                });
            }
            Ok(failed)
        };
        list().map_err(|error| failure(&self.file, error))
    }

    /// Makes changes, all of them or none, and returns when they are on the disk.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, QueueError> {
        let write = || -> Result<T, redb::Error> {
            let mut transaction = self.database.begin_write()?;
            // Whoever pushes chooses what is written here, and may be able to make this crash.
            transaction.set_two_phase_commit(true);
            let changed = change(&mut Tables::open(&transaction, self.limits)?)?;
            transaction.commit()?;
            Ok(changed)
        };
        write().map_err(|error| failure(&self.file, error))
    }
}

/// Gives access to the tables within one transaction.
pub(super) struct Tables<'a> {
    facts: Table<'a, &'static str, u64>,
    pending: Table<'a, Key, PendingValue>,
    done: Table<'a, Key, u64>,
    done_at: Table<'a, TimeKey, ()>,
    failed: Table<'a, Key, (u64, u32, &'static str)>,
    failed_at: Table<'a, TimeKey, ()>,
    limits: Limits,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction, limits: Limits) -> Result<Self, redb::Error> {
        Ok(Self {
            facts: transaction.open_table(FACTS)?,
            pending: transaction.open_table(PENDING)?,
            done: transaction.open_table(DONE)?,
            done_at: transaction.open_table(DONE_AT)?,
            failed: transaction.open_table(FAILED)?,
            failed_at: transaction.open_table(FAILED_AT)?,
            limits,
        })
    }

    /// Returns the version of the format, which a new file gets here.
    fn version(&mut self) -> Result<u64, redb::Error> {
        let version = self.facts.get("version")?.map(|version| version.value());
        if version.is_none() {
            self.facts.insert("version", VERSION)?;
        }
        Ok(version.unwrap_or(VERSION))
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn pending_count(&self) -> Result<usize, redb::Error> {
        Ok(self.pending.len()? as usize)
    }

    pub(super) fn failed_count(&self) -> Result<usize, redb::Error> {
        Ok(self.failed.len()? as usize)
    }

    pub(super) fn pending(&self, target: &Target) -> Result<Option<Pending>, redb::Error> {
        Ok(self.pending.get(key(target))?.map(|value| Pending::new(value.value())))
    }

    /// Returns when the target was done, if that is remembered.
    pub(super) fn done_at(&self, target: &Target) -> Result<Option<UnixMillis>, redb::Error> {
        Ok(self.done.get(key(target))?.map(|at| UnixMillis(at.value())))
    }

    /// Adds a target that is not pending, or changes what is written about one.
    pub(super) fn set_pending(
        &mut self,
        target: &Target,
        pending: Pending,
    ) -> Result<(), redb::Error> {
        self.forget_outcome(target)?;
        self.pending.insert(key(target), pending.value())?;
        Ok(())
    }

    pub(super) fn remove_pending(&mut self, target: &Target) -> Result<(), redb::Error> {
        self.pending.remove(key(target))?;
        Ok(())
    }

    /// Returns a number that was never returned before.
    pub(super) fn next_serial(&mut self) -> Result<u64, redb::Error> {
        let serial = self.facts.get("next-serial")?.map_or(0, |serial| serial.value());
        self.facts.insert("next-serial", serial + 1)?;
        Ok(serial)
    }

    /// Remembers that a target is done, and forgets the oldest of too many.
    pub(super) fn set_done(&mut self, target: &Target, at: UnixMillis) -> Result<(), redb::Error> {
        self.remove_pending(target)?;
        self.forget_outcome(target)?;
        self.done.insert(key(target), at.0)?;
        self.done_at.insert(time_key(at.0, target), ())?;
        while self.done.len()? > self.limits.remembered as u64 {
            let Some(oldest) = pop_oldest(&mut self.done_at)? else { break };
            self.done.remove(key(&oldest))?;
        }
        Ok(())
    }

    /// Remembers that a target failed for good, and forgets the oldest of too many.
    pub(super) fn set_failed(
        &mut self,
        target: &Target,
        at: UnixMillis,
        attempts: u32,
        reason: &str,
    ) -> Result<(), redb::Error> {
        self.remove_pending(target)?;
        self.forget_outcome(target)?;
        let reason: String = reason.chars().take(MAX_REASON_CHARACTERS).collect();
        self.failed.insert(key(target), (at.0, attempts, reason.as_str()))?;
        self.failed_at.insert(time_key(at.0, target), ())?;
        while self.failed.len()? > self.limits.remembered as u64 {
            let Some(oldest) = pop_oldest(&mut self.failed_at)? else { break };
            self.failed.remove(key(&oldest))?;
        }
        Ok(())
    }

    /// Forgets that a target was done or has failed.
    pub(super) fn forget_outcome(&mut self, target: &Target) -> Result<(), redb::Error> {
        let done = self.done.remove(key(target))?.map(|at| at.value());
        if let Some(at) = done {
            self.done_at.remove(time_key(at, target))?;
        }
        let failed = self.failed.remove(key(target))?.map(|value| value.value().0);
        if let Some(at) = failed {
            self.failed_at.remove(time_key(at, target))?;
        }
        Ok(())
    }
}

impl Pending {
    fn new((serial, since, due, failures): (u64, u64, u64, u32)) -> Self {
        Self { serial, since: UnixMillis(since), due: UnixMillis(due), failures }
    }

    fn value(self) -> (u64, u64, u64, u32) {
        (self.serial, self.since.0, self.due.0, self.failures)
    }
}

fn key(target: &Target) -> (&str, &[u8; 32]) {
    (target.repository.as_str(), target.digest.as_bytes())
}

fn time_key(at: u64, target: &Target) -> (u64, &str, &[u8; 32]) {
    (at, target.repository.as_str(), target.digest.as_bytes())
}

fn target((repository, digest): (&str, &[u8; 32])) -> Result<Target, redb::Error> {
    let repository: Repository =
        repository.parse().map_err(|error: crate::repository::RepositoryError| {
            redb::Error::Corrupted(error.to_string())
        })?;
    Ok(Target { repository, digest: Digest::from_bytes(*digest) })
}

fn pop_oldest(by_time: &mut Table<'_, TimeKey, ()>) -> Result<Option<Target>, redb::Error> {
    let Some((oldest, ())) = by_time.pop_first()?.map(|(key, value)| (key, value.value())) else {
        return Ok(None);
    };
    let (_, repository, digest) = oldest.value();
    target((repository, digest)).map(Some)
}

fn failure(file: &Path, error: impl Into<redb::Error>) -> QueueError {
    QueueError::Store { file: file.to_owned(), reason: error.into().to_string() }
}

type Key = (&'static str, &'static [u8; 32]);
type TimeKey = (u64, &'static str, &'static [u8; 32]);
type PendingValue = (u64, u64, u64, u32);

const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const PENDING: TableDefinition<'_, Key, PendingValue> = TableDefinition::new("pending");
const DONE: TableDefinition<'_, Key, u64> = TableDefinition::new("done");
const DONE_AT: TableDefinition<'_, TimeKey, ()> = TableDefinition::new("done-at");
const FAILED: TableDefinition<'_, Key, (u64, u32, &str)> = TableDefinition::new("failed");
const FAILED_AT: TableDefinition<'_, TimeKey, ()> = TableDefinition::new("failed-at");

const FILE: &str = "queue.redb";

/// The version of the format, as the table above has it.
const VERSION: u64 = 1;

/// What redb may keep in memory; it would take a gigabyte by itself.
const CACHE_BYTES: usize = 8 << 20;

/// The longest reason that is kept: an error is one line.
const MAX_REASON_CHARACTERS: usize = 1000;
