//! What has to be true for a rule to match, with what follows from it.

use crate::syntax::{DigestValue, Property, Rule};

/// Is the condition of a rule that can match at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Condition<'a> {
    pub(super) shape: Shape,
    volume: Option<&'a DigestValue>,
    file: Option<&'a DigestValue>,
}

/// Is a condition without the values of its digests; there are few, however many rules there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    boot_verified: Option<bool>,
    volume_signed: Option<bool>,
    file_signed: Option<bool>,
    has_volume: bool,
    has_file: bool,
}

impl<'a> Condition<'a> {
    /// Returns the condition of a rule, or the two properties that exclude each other.
    pub(super) fn of(rule: &'a Rule) -> Result<Self, (&'a Property, &'a Property)> {
        let properties = || rule.properties.iter().map(|property| &property.value);
        for (index, first) in properties().enumerate() {
            if let Some(second) = properties().skip(index + 1).find(|other| exclude(first, other)) {
                return Err((first, second));
            }
        }
        let mut condition = Self::asked(rule);
        condition.shape = condition.shape.closed();
        Ok(condition)
    }

    /// Returns the same without what follows from the rest, to tell what an earlier rule asks for.
    pub(super) fn asked(rule: &'a Rule) -> Self {
        let mut condition = Self { shape: Shape::default(), volume: None, file: None };
        for property in &rule.properties {
            match &property.value {
                Property::BootVerified(truth) => condition.shape.boot_verified = Some(*truth),
                Property::DmVeritySignature(truth) => condition.shape.volume_signed = Some(*truth),
                Property::FsVeritySignature(truth) => condition.shape.file_signed = Some(*truth),
                Property::DmVerityRootHash(digest) => condition.volume = Some(digest),
                Property::FsVerityDigest(digest) => condition.file = Some(digest),
            }
        }
        condition.shape.has_volume = condition.volume.is_some();
        condition.shape.has_file = condition.file.is_some();
        condition
    }

    /// Tells whether whatever meets this meets `asked` as well.
    pub(super) fn implies(&self, asked: &Self) -> bool {
        let flag = |own: Option<bool>, asked: Option<bool>| asked.is_none() || own == asked;
        flag(self.shape.boot_verified, asked.shape.boot_verified)
            && flag(self.shape.volume_signed, asked.shape.volume_signed)
            && flag(self.shape.file_signed, asked.shape.file_signed)
            && (asked.volume.is_none() || asked.volume == self.volume)
            && (asked.file.is_none() || asked.file == self.file)
    }

    /// Tells whether something can meet both this and a condition of that shape; two digests of the same
    /// kind are for the caller to compare.
    pub(super) fn meets(&self, other: Shape) -> bool {
        let flag = |own: Option<bool>, other: Option<bool>| match (own, other) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        flag(self.shape.boot_verified, other.boot_verified)
            && flag(self.shape.volume_signed, other.volume_signed)
            && flag(self.shape.file_signed, other.file_signed)
    }

    /// Returns its digests: of the volume, of the file.
    pub(super) fn digests(&self) -> impl Iterator<Item = &'a DigestValue> {
        self.volume.into_iter().chain(self.file)
    }
}

impl Shape {
    /// Tells whether one volume or one file is named.
    pub(super) fn has_digest(self) -> bool {
        self.has_volume || self.has_file
    }

    /// Tells whether both name a volume, or both a file.
    pub(super) fn shares_digest_kind(self, other: Self) -> bool {
        self.has_volume && other.has_volume || self.has_file && other.has_file
    }

    /// Adds what follows: the initramfs is in memory, neither on a volume nor with fs-verity.
    fn closed(mut self) -> Self {
        let is_on_disk = self.has_volume
            || self.has_file
            || self.volume_signed == Some(true)
            || self.file_signed == Some(true);
        if is_on_disk {
            self.boot_verified = Some(false);
        } else if self.boot_verified == Some(true) {
            self.volume_signed = Some(false);
            self.file_signed = Some(false);
        }
        self
    }
}

/// Tells whether two properties are never true of the same file.
fn exclude(one: &Property, other: &Property) -> bool {
    use Property::{
        BootVerified, DmVerityRootHash, DmVeritySignature, FsVerityDigest, FsVeritySignature,
    };

    let is_on_disk = |property: &Property| {
        matches!(
            property,
            DmVerityRootHash(_)
                | DmVeritySignature(true)
                | FsVerityDigest(_)
                | FsVeritySignature(true)
        )
    };
    match (one, other) {
        (BootVerified(true), other) if is_on_disk(other) => true,
        (other, BootVerified(true)) if is_on_disk(other) => true,
        (one, other) if one.name() != other.name() => false,
        (one, other) => one != other,
    }
}
