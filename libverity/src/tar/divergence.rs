//! Archives that erofs-utils 1.8 turns into another image than 1.9.

use std::collections::BTreeMap;
use std::fmt;

use super::error::shown;

/// Says where in an archive, and why, erofs-utils 1.8 and 1.9 part ways.
///
/// The root hash computed here is that of 1.9; a node whose containerd converts layers with 1.8
/// computes another one, or fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The member, or nothing where it is the archive as a whole.
    pub path: Vec<u8>,
    /// Why they differ.
    pub kind: DivergenceKind,
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.kind.fmt(formatter);
        }
        write!(formatter, "{}: {}", shown(&self.path), self.kind)
    }
}

/// Tells the differences between erofs-utils 1.8.6 and 1.9.4 apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DivergenceKind {
    /// A time before 1970 in base 256; 1.8 fails.
    BinaryNegativeTime,
    /// A directory announced again after two of the directories in it were replaced; 1.8 writes `.`
    /// and `..` twice.
    DirectoryAnnouncedAgain,
    /// A directory in place of a hard link to a file of another directory; 1.8 gives it a wrong
    /// parent.
    DirectoryReplacesHardLink,
    /// A PAX record with an empty value; 1.8 fails or keeps the earlier value.
    EmptyPaxValue,
    /// A fraction of a second that is not nine digits long; 1.8 takes its digits for nanoseconds.
    FractionalTime,
    /// A device whose minor number has its highest bit; 1.8 sets all bits above it.
    LargeMinorNumber,
    /// An attribute in libarchive's own keyword; 1.8 fails or stores garbage.
    LibarchiveXattr,
    /// A hard link to itself; 1.8 fails.
    LinkToItself,
    /// A PAX header longer than 32 KiB; 1.8 puts it together wrongly.
    LongPaxHeader,
    /// No two zero blocks at the end; 1.8 fails.
    MissingEndMarker,
    /// The root directory under a name of slashes alone; 1.8 crashes.
    RootNamedBySlash,
    /// A time within the first second of 1970; 1.8 stores it, 1.9 stores zero.
    SubsecondEpoch,
    /// An attribute outside `user.`, `trusted.`, `security.` and the two ACLs; 1.8 drops it.
    UnknownXattrNamespace,
    /// Several attributes in another order than that of their names; 1.8 keeps that order.
    XattrOrder,
}

impl fmt::Display for DivergenceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BinaryNegativeTime => "time before 1970 in base 256",
            Self::DirectoryAnnouncedAgain => {
                "directory announced again after directories in it were replaced"
            }
            Self::DirectoryReplacesHardLink => "directory in place of a hard link",
            Self::EmptyPaxValue => "PAX record with an empty value",
            Self::FractionalTime => "modification time with a fraction of a second",
            Self::LargeMinorNumber => "device with a minor number of 524288 or more",
            Self::LibarchiveXattr => "extended attribute in libarchive's own keyword",
            Self::LinkToItself => "hard link to itself",
            Self::LongPaxHeader => "PAX header longer than 32 KiB",
            Self::MissingEndMarker => "no two zero blocks at the end of the archive",
            Self::RootNamedBySlash => "root directory under the name /",
            Self::SubsecondEpoch => "modification time within the first second of 1970",
            Self::UnknownXattrNamespace => "extended attribute in an unknown namespace",
            Self::XattrOrder => "extended attributes that are not sorted by name",
        })
    }
}

/// Collects divergences: of each kind the first one and the count, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Divergences(BTreeMap<DivergenceKind, (Vec<u8>, u64)>);

impl Divergences {
    /// Adds one more.
    pub fn record(&mut self, path: &[u8], kind: DivergenceKind) {
        let (_, count) = self.0.entry(kind).or_insert_with(|| (path.to_vec(), 0));
        *count += 1;
    }

    /// Adds those that another stage has found.
    pub fn merge(&mut self, other: &Self) {
        for (&kind, (path, count)) in &other.0 {
            let (_, sum) = self.0.entry(kind).or_insert_with(|| (path.clone(), 0));
            *sum += count;
        }
    }

    /// Tells whether erofs-utils 1.8 makes the same image.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the first divergence of each kind and how many of that kind there are, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (Divergence, u64)> {
        self.0
            .iter()
            .map(|(&kind, (path, count))| (Divergence { path: path.clone(), kind }, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_stands_for_all() {
        let mut divergences = Divergences::default();
        assert!(divergences.is_empty());
        divergences.record(b"b", DivergenceKind::XattrOrder);
        divergences.record(b"a", DivergenceKind::FractionalTime);
        divergences.record(b"c", DivergenceKind::XattrOrder);
        let mut other = Divergences::default();
        other.record(b"d", DivergenceKind::XattrOrder);
        other.record(b"e", DivergenceKind::LinkToItself);
        divergences.merge(&other);
        let seen: Vec<_> = divergences.iter().map(|(first, n)| (first.to_string(), n)).collect();
        assert_eq!(
            seen,
            [
                ("\"a\": modification time with a fraction of a second".to_owned(), 1),
                ("\"e\": hard link to itself".to_owned(), 1),
                ("\"b\": extended attributes that are not sorted by name".to_owned(), 3),
            ]
        );
    }
}
