//! Records of snapshots.

use std::collections::BTreeMap;

use redb::{ReadableMultimapTable as _, ReadableTable, ReadableTableMetadata as _};

use super::{
    Content, IDS, LAYERS, LayerRecord, LayerUse, REMOVED, SNAPSHOTS, SnapshotKind, SnapshotRecord,
    Store, StoreError, Tables, Time, decode, encode,
};
use crate::containerd::keys::{SnapshotKey, chain_id};
use crate::mount::LOWER_LIMIT;

/// Is a layer below a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lower {
    pub(crate) used: LayerUse,
    pub(crate) record: LayerRecord,
}

/// Says what is left to be removed after a snapshot is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The id of the snapshot, which may have a directory.
    pub(crate) directory: Option<u64>,
    /// The number of the layer that it was the last one to use.
    pub(crate) unused_layer: Option<u32>,
}

impl Store {
    /// Adds an active snapshot or a view.
    pub(crate) fn prepare(
        &self,
        name: &str,
        parent: Option<&str>,
        kind: SnapshotKind,
        content: &Content,
        labels: &BTreeMap<String, String>,
    ) -> Result<SnapshotRecord, StoreError> {
        self.write(|tables| {
            tables.check_free(name)?;
            if let Some(parent) = parent {
                tables.committed(parent)?;
                tables.children.insert(parent, name)?;
            }
            let id = tables.facts.get("next-id")?.map_or(1, |id| id.value());
            tables.facts.insert("next-id", id + 1)?;
            let now = Time::now();
            let record = SnapshotRecord {
                id,
                kind,
                parent: parent.map(str::to_owned),
                labels: labels.clone(),
                created: now,
                updated: now,
                content: content.clone(),
            };
            tables.ids.insert(id, name)?;
            tables.put(name, &record)?;
            Ok(record)
        })
    }

    /// Reads a record.
    pub(crate) fn snapshot(&self, name: &str) -> Result<SnapshotRecord, StoreError> {
        self.read(|transaction| required(&transaction.open_table(SNAPSHOTS)?, name))
    }

    /// Finds a snapshot by its id.
    pub(crate) fn snapshot_of_id(
        &self,
        id: u64,
    ) -> Result<Option<(String, SnapshotRecord)>, StoreError> {
        self.read(|transaction| {
            let ids = transaction.open_table(IDS)?;
            let Some(name) = ids.get(id)?.map(|name| name.value().to_owned()) else {
                return Ok(None);
            };
            let record = required(&transaction.open_table(SNAPSHOTS)?, &name)?;
            Ok(Some((name, record)))
        })
    }

    /// Reads all records, ordered by name.
    pub(crate) fn snapshots(&self) -> Result<Vec<(String, SnapshotRecord)>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SNAPSHOTS)?;
            let mut snapshots = Vec::new();
            for entry in table.iter()? {
                let (name, record) = entry?;
                snapshots.push((name.value().to_owned(), decode(record.value())?));
            }
            Ok(snapshots)
        })
    }

    /// Counts the records.
    pub(crate) fn snapshot_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(SNAPSHOTS)?.len()?))
    }

    /// Changes the labels of a snapshot.
    pub(crate) fn update_labels(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<SnapshotRecord, StoreError> {
        self.write(|tables| {
            let mut record = required(&tables.snapshots, name)?;
            change(&mut record.labels);
            record.updated = Time::now();
            tables.put(name, &record)?;
            Ok(record)
        })
    }

    /// Notes that a layer was unpacked into the snapshot `id`; returns a layer that nobody uses any more because of that.
    pub(crate) fn attach(&self, id: u64, used: &LayerUse) -> Result<Option<u32>, StoreError> {
        self.write(|tables| {
            let name = tables.ids.get(id)?.map(|name| name.value().to_owned());
            let Some(name) = name else {
                return Err(StoreError::NotFound { name: format!("of id {id}") });
            };
            let mut record = required(&tables.snapshots, &name)?;
            if record.kind != SnapshotKind::Active {
                return Err(StoreError::NotActive { name, kind: record.kind });
            }
            if tables.layers.get(used.layer)?.is_none() {
                return Err(StoreError::LayerGone { layer: used.layer });
            }
            let unused = match &record.content {
                Content::Unpacking => None,
                Content::Layer(former) => tables.release(former.layer, id)?,
                Content::Directory | Content::Nothing => {
                    return Err(StoreError::NotForLayers { name });
                }
            };
            tables.layer_users.insert(used.layer, id)?;
            record.content = Content::Layer(used.clone());
            tables.put(&name, &record)?;
            Ok(unused.filter(|layer| *layer != used.layer))
        })
    }

    /// Makes an active snapshot a committed one of another name.
    ///
    /// `written` is the layer that was made of what a container has written, where the snapshot is one for that. The
    /// layer of an unpacked one must make the chain that both names stand for.
    pub(crate) fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &BTreeMap<String, String>,
        written: Option<LayerUse>,
    ) -> Result<SnapshotRecord, StoreError> {
        self.write(|tables| {
            let mut record = required(&tables.snapshots, key)?;
            if record.kind != SnapshotKind::Active {
                return Err(StoreError::NotActive { name: key.to_owned(), kind: record.kind });
            }
            tables.check_free(name)?;
            let mut used = match (&record.content, written) {
                (Content::Layer(used), _) => used.clone(),
                (Content::Directory, Some(written)) => {
                    if tables.layers.get(written.layer)?.is_none() {
                        return Err(StoreError::LayerGone { layer: written.layer });
                    }
                    tables.layer_users.insert(written.layer, record.id)?;
                    tables.removed.insert(record.id, ())?;
                    written
                }
                _ => return Err(StoreError::NotUnpacked { name: key.to_owned() }),
            };
            let former = record.parent.clone();
            if let Some(wanted) = parent {
                match &former {
                    Some(found) if found != wanted => {
                        return Err(StoreError::OtherParent {
                            name: key.to_owned(),
                            found: found.clone(),
                            wanted: wanted.to_owned(),
                        });
                    }
                    _ => record.parent = Some(wanted.to_owned()),
                }
            }
            let below = match &record.parent {
                None => None,
                Some(parent) => tables.committed(parent)?.chain(),
            };
            let layer = tables.layer(used.layer)?;
            let found = chain_id(below, layer.diff_id);
            if SnapshotKey::parse(key).is_unpack() {
                for text in [name, key] {
                    match SnapshotKey::parse(text).chain_id() {
                        Some(expected) if expected != found => {
                            return Err(StoreError::Chain {
                                name: text.to_owned(),
                                expected,
                                found,
                            });
                        }
                        _ => {}
                    }
                }
            }
            used.chain_id = Some(found);
            record.kind = SnapshotKind::Committed;
            record.labels = labels.clone();
            record.created = Time::now();
            record.updated = record.created;
            record.content = Content::Layer(used);
            if let Some(former) = &former {
                tables.children.remove(former.as_str(), key)?;
            }
            if let Some(parent) = &record.parent {
                tables.children.insert(parent.as_str(), name)?;
            }
            tables.snapshots.remove(key)?;
            tables.ids.insert(record.id, name)?;
            tables.put(name, &record)?;
            Ok(record)
        })
    }

    /// Removes a snapshot upon which there is no other one. Its name is free at once.
    pub(crate) fn remove(&self, name: &str) -> Result<Removed, StoreError> {
        self.write(|tables| {
            let record = required(&tables.snapshots, name)?;
            if !tables.children.get(name)?.is_empty() {
                return Err(StoreError::HasChildren { name: name.to_owned() });
            }
            if let Some(parent) = &record.parent {
                tables.children.remove(parent.as_str(), name)?;
            }
            tables.snapshots.remove(name)?;
            tables.ids.remove(record.id)?;
            let mut removed = Removed::default();
            match &record.content {
                Content::Directory => {
                    tables.removed.insert(record.id, ())?;
                    removed.directory = Some(record.id);
                }
                Content::Layer(used) => {
                    removed.unused_layer = tables.release(used.layer, record.id)?
                }
                Content::Nothing | Content::Unpacking => {}
            }
            Ok(removed)
        })
    }

    /// Lists the layers of the committed snapshot `name` and of all below it, the topmost first.
    pub(crate) fn lowers(&self, name: Option<&str>) -> Result<Vec<Lower>, StoreError> {
        self.read(|transaction| {
            let snapshots = transaction.open_table(SNAPSHOTS)?;
            let layers = transaction.open_table(LAYERS)?;
            let mut lowers = Vec::new();
            let mut next = name.map(str::to_owned);
            while let Some(name) = next {
                if lowers.len() == LOWER_LIMIT {
                    return Err(StoreError::TooDeep { name, limit: LOWER_LIMIT });
                }
                let record = required(&snapshots, &name)?;
                let (SnapshotKind::Committed, Content::Layer(used)) = (record.kind, record.content)
                else {
                    return Err(StoreError::ParentNotCommitted { name, kind: record.kind });
                };
                let layer = layers.get(used.layer)?;
                let layer = layer.ok_or(StoreError::LayerGone { layer: used.layer })?;
                lowers.push(Lower { used, record: decode(layer.value())? });
                next = record.parent;
            }
            Ok(lowers)
        })
    }

    /// Lists the snapshots whose directories are still to be removed.
    pub(crate) fn removed_directories(&self) -> Result<Vec<u64>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(REMOVED)?;
            let ids = table.iter()?.map(|entry| Ok(entry?.0.value()));
            ids.collect()
        })
    }

    /// Notes that the directory of a snapshot is gone.
    pub(crate) fn forget_directory(&self, id: u64) -> Result<(), StoreError> {
        self.write(|tables| {
            tables.removed.remove(id)?;
            Ok(())
        })
    }

    /// Counts the snapshots upon `name`.
    #[cfg(test)]
    pub(crate) fn child_count(&self, name: &str) -> Result<u64, StoreError> {
        self.read(|transaction| {
            Ok(transaction.open_multimap_table(super::CHILDREN)?.get(name)?.len())
        })
    }
}

impl Tables<'_> {
    fn put(&mut self, name: &str, record: &SnapshotRecord) -> Result<(), StoreError> {
        self.snapshots.insert(name, encode(record)?.as_slice())?;
        Ok(())
    }

    fn check_free(&self, name: &str) -> Result<(), StoreError> {
        match self.snapshots.get(name)? {
            Some(_) => Err(StoreError::Exists { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    fn committed(&self, name: &str) -> Result<SnapshotRecord, StoreError> {
        let record = required(&self.snapshots, name)?;
        match record.kind {
            SnapshotKind::Committed => Ok(record),
            kind => Err(StoreError::ParentNotCommitted { name: name.to_owned(), kind }),
        }
    }

    fn layer(&self, number: u32) -> Result<LayerRecord, StoreError> {
        let layer = self.layers.get(number)?;
        decode(layer.ok_or(StoreError::LayerGone { layer: number })?.value())
    }

    /// Ends the use of a layer; returns its number if that was the last one.
    fn release(&mut self, layer: u32, id: u64) -> Result<Option<u32>, StoreError> {
        self.layer_users.remove(layer, id)?;
        Ok(self.layer_users.get(layer)?.is_empty().then_some(layer))
    }
}

impl SnapshotRecord {
    fn chain(&self) -> Option<libverity::digest::Digest> {
        match &self.content {
            Content::Layer(used) => used.chain_id,
            _ => None,
        }
    }
}

fn required(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<SnapshotRecord, StoreError> {
    match table.get(name)? {
        Some(record) => decode(record.value()),
        None => Err(StoreError::NotFound { name: name.to_owned() }),
    }
}
