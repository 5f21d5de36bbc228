//! The records of snapshots and layers, on the disk before anything is answered.
//!
//! One file of redb, `records.redb`; what is read and written together is in one transaction.
//!
//! | table | key | value |
//! |---|---|---|
//! | `facts` | name | number: `version` (1), `next-id`, `probe` |
//! | `snapshots` | name | [`SnapshotRecord`], JSON |
//! | `children` | name of a parent | names of the snapshots upon it |
//! | `ids` | id of a snapshot | its name |
//! | `layers` | number | [`LayerRecord`], JSON |
//! | `layer-digests` | layer digest and profile | number of the layer |
//! | `layer-users` | number of a layer | ids of the snapshots that use it |
//! | `layer-signatures` | number of a layer, SHA-256 of the signature | signature, DER |
//! | `removed` | id of a snapshot | nothing: its directory is still to be removed |

mod error;
mod layers;
mod record;
mod snapshots;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{
    Database, MultimapTable, MultimapTableDefinition, ReadTransaction, ReadableDatabase as _,
    ReadableTable as _, Table, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::error::StoreError;
#[cfg(test)]
pub(crate) use self::record::tests as samples;
pub(crate) use self::record::{Content, LayerRecord, LayerUse, SnapshotKind, SnapshotRecord, Time};
pub(crate) use self::snapshots::{Lower, Removed};

/// Is the file with the records. One process at a time can have it open.
#[derive(Debug)]
pub(crate) struct Store {
    file: PathBuf,
    /// `None` while the file is opened anew, and when that failed.
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the file in `directory`, which is there, or makes it.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let file = directory.join(FILE);
        let database = RwLock::new(Some(open(&file)?));
        let store = Self { file, database };
        let version = store.write(|tables| {
            let version = tables.facts.get("version")?.map(|version| version.value());
            if version.is_none() {
                tables.facts.insert("version", VERSION)?;
            }
            Ok(version.unwrap_or(VERSION))
        })?;
        match version {
            VERSION => Ok(store),
            found => Err(StoreError::Version { file: store.file, found }),
        }
    }

    /// Writes to the disk to see whether that is possible.
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        self.write(|tables| {
            let last = tables.facts.get("probe")?.map_or(0, |last| last.value());
            tables.facts.insert("probe", last.wrapping_add(1))?;
            Ok(())
        })
    }

    /// Makes changes, all of them or none, and returns when they are on the disk.
    fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_database(|database| {
            let transaction = database.begin_write()?;
            let changed = change(&mut Tables::open(&transaction)?)?;
            transaction.commit()?;
            Ok(changed)
        })
    }

    /// Reads from one state of the records.
    fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_database(|database| look(&database.begin_read()?))
    }

    /// Opens the file anew first, where an error of the disk has left it unusable: redb then refuses everything else.
    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            drop(guard);
            let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_none() {
                *slot = Some(open(&self.file)?);
            }
            drop(slot);
            guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        }
        let Some(database) = &*guard else { return Err(StoreError::Unusable) };
        let result = work(database);
        drop(guard);
        if let Err(StoreError::Database(error)) = &result {
            tracing::error!(%error, file = %self.file.display(), "the records cannot be used");
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }
}

/// Gives access to the tables within one transaction.
struct Tables<'a> {
    facts: Table<'a, &'static str, u64>,
    snapshots: Table<'a, &'static str, &'static [u8]>,
    children: MultimapTable<'a, &'static str, &'static str>,
    ids: Table<'a, u64, &'static str>,
    layers: Table<'a, u32, &'static [u8]>,
    layer_digests: Table<'a, &'static str, u32>,
    layer_users: MultimapTable<'a, u32, u64>,
    layer_signatures: Table<'a, (u32, [u8; 32]), &'static [u8]>,
    removed: Table<'a, u64, ()>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            facts: transaction.open_table(FACTS)?,
            snapshots: transaction.open_table(SNAPSHOTS)?,
            children: transaction.open_multimap_table(CHILDREN)?,
            ids: transaction.open_table(IDS)?,
            layers: transaction.open_table(LAYERS)?,
            layer_digests: transaction.open_table(LAYER_DIGESTS)?,
            layer_users: transaction.open_multimap_table(LAYER_USERS)?,
            layer_signatures: transaction.open_table(LAYER_SIGNATURES)?,
            removed: transaction.open_table(REMOVED)?,
        })
    }
}

fn open(file: &Path) -> Result<Database, StoreError> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(file)?)
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|source| StoreError::Record { source })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Record { source })
}

const FILE: &str = "records.redb";
const VERSION: u64 = 1;

/// Records of some thousand snapshots; redb would take a gibibyte.
const CACHE_BYTES: usize = 2 << 20;

const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const SNAPSHOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshots");
const CHILDREN: MultimapTableDefinition<'_, &str, &str> = MultimapTableDefinition::new("children");
const IDS: TableDefinition<'_, u64, &str> = TableDefinition::new("ids");
const LAYERS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("layers");
const LAYER_DIGESTS: TableDefinition<'_, &str, u32> = TableDefinition::new("layer-digests");
const LAYER_USERS: MultimapTableDefinition<'_, u32, u64> =
    MultimapTableDefinition::new("layer-users");
const LAYER_SIGNATURES: TableDefinition<'_, (u32, [u8; 32]), &[u8]> =
    TableDefinition::new("layer-signatures");
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");
