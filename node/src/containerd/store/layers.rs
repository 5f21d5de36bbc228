//! Records of layers.

use libverity::digest::Digest;
use libverity::layer::Profile;
use redb::{ReadableMultimapTable as _, ReadableTable as _, ReadableTableMetadata as _};

use super::{
    LAYER_DIGESTS, LAYER_SIGNATURES, LAYER_USERS, LAYERS, LayerRecord, Store, StoreError, decode,
    encode,
};

impl Store {
    /// Writes down a layer whose image is in place, and returns its number: that which it has already, or the lowest free
    /// one.
    pub(crate) fn record_layer(&self, layer: &LayerRecord) -> Result<u32, StoreError> {
        self.write(|tables| {
            let key = key(&layer.layer_digest, layer.profile);
            let known = tables.layer_digests.get(key.as_str())?.map(|number| number.value());
            let number = match known {
                Some(number) => number,
                None => {
                    let mut free = 1;
                    for entry in tables.layers.iter()? {
                        if entry?.0.value() != free {
                            break;
                        }
                        free += 1;
                    }
                    free
                }
            };
            tables.layer_digests.insert(key.as_str(), number)?;
            tables.layers.insert(number, encode(layer)?.as_slice())?;
            Ok(number)
        })
    }

    /// Finds the layer that was made of a blob.
    pub(crate) fn layer_of_digest(
        &self,
        digest: &Digest,
        profile: Profile,
    ) -> Result<Option<(u32, LayerRecord)>, StoreError> {
        self.read(|transaction| {
            let digests = transaction.open_table(LAYER_DIGESTS)?;
            let number = digests.get(key(digest, profile).as_str())?.map(|number| number.value());
            let Some(number) = number else { return Ok(None) };
            let layers = transaction.open_table(LAYERS)?;
            let record = layers.get(number)?.map(|record| decode(record.value())).transpose()?;
            Ok(record.map(|record| (number, record)))
        })
    }

    /// Reads the record of a layer.
    pub(crate) fn layer(&self, number: u32) -> Result<Option<LayerRecord>, StoreError> {
        self.read(|transaction| {
            let layers = transaction.open_table(LAYERS)?;
            layers.get(number)?.map(|record| decode(record.value())).transpose()
        })
    }

    /// Reads the records of all layers, ordered by number.
    pub(crate) fn layers(&self) -> Result<Vec<(u32, LayerRecord)>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(LAYERS)?;
            let mut layers = Vec::new();
            for entry in table.iter()? {
                let (number, record) = entry?;
                layers.push((number.value(), decode(record.value())?));
            }
            Ok(layers)
        })
    }

    /// Counts the layers.
    pub(crate) fn layer_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(LAYERS)?.len()?))
    }

    /// Tells whether a snapshot uses the layer.
    pub(crate) fn is_used(&self, number: u32) -> Result<bool, StoreError> {
        self.read(|transaction| {
            Ok(!transaction.open_multimap_table(LAYER_USERS)?.get(number)?.is_empty())
        })
    }

    /// Removes the record of a layer that no snapshot uses; returns whether that is so.
    pub(crate) fn forget_layer(&self, number: u32) -> Result<bool, StoreError> {
        self.write(|tables| {
            if !tables.layer_users.get(number)?.is_empty() {
                return Ok(false);
            }
            let record = tables.layers.remove(number)?.map(|record| decode(record.value()));
            let record: Option<LayerRecord> = record.transpose()?;
            if let Some(record) = record {
                let key = key(&record.layer_digest, record.profile);
                tables.layer_digests.remove(key.as_str())?;
            }
            tables.layer_signatures.retain_in((number, FIRST)..=(number, LAST), |_, _| false)?;
            Ok(true)
        })
    }

    /// Keeps signatures of a layer besides those that are kept already, at most [`MAX_SIGNATURES`] in all.
    pub(crate) fn add_signatures(
        &self,
        number: u32,
        signatures: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        if signatures.is_empty() {
            return Ok(());
        }
        self.write(|tables| {
            let mut count = 0;
            for entry in tables.layer_signatures.range((number, FIRST)..=(number, LAST))? {
                entry?;
                count += 1;
            }
            for signature in signatures {
                let key = (number, *Digest::of(signature).as_bytes());
                if count >= MAX_SIGNATURES || tables.layer_signatures.get(key)?.is_some() {
                    continue;
                }
                tables.layer_signatures.insert(key, signature.as_slice())?;
                count += 1;
            }
            Ok(())
        })
    }

    /// Reads the signatures that are kept with a layer.
    pub(crate) fn signatures(&self, number: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(LAYER_SIGNATURES)?;
            let mut signatures = Vec::new();
            for entry in table.range((number, FIRST)..=(number, LAST))? {
                signatures.push(entry?.1.value().to_vec());
            }
            Ok(signatures)
        })
    }
}

fn key(digest: &Digest, profile: Profile) -> String {
    format!("{digest} {profile}")
}

/// How many signatures are kept with a layer: the signers of two generations of keys, in several forms.
pub(crate) const MAX_SIGNATURES: usize = 16;

const FIRST: [u8; 32] = [0; 32];
const LAST: [u8; 32] = [0xff; 32];
