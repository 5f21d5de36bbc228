//! The database of rpm: a header for each package, in one of three containers.
//!
//! | file | container | |
//! |---|---|---|
//! | `rpmdb.sqlite` | SQLite, with changes that are not in it yet in `rpmdb.sqlite-wal` | [`sqlite`] |
//! | `Packages.db` | rpm's own, NDB | [`ndb`] |
//! | `Packages` | Berkeley DB, which rpm has given up with version 4.17 | not read |
//!
//! They lie in `/var/lib/rpm` or in `/usr/lib/sysimage/rpm`. A name may be there several times: kernels, and keys by
//! which rpm trusts packages, which it lists as packages called `gpg-pubkey`.

mod header;
mod ndb;
mod sqlite;

pub use self::header::{Header, HeaderError, parse as parse_header};
pub use self::ndb::{NdbError, parse as parse_ndb};
pub(super) use self::sqlite::parse as parse_sqlite;
use super::{DatabaseError, MAX_PACKAGES, Manager, Package};

/// Is a file of rpm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseFile {
    BerkeleyDb,
    Ndb,
    Sqlite,
    /// Changes to the SQLite database beside it.
    SqliteLog,
}

impl DatabaseFile {
    /// Tells what the file at a path is; `None` if it is no database of rpm's.
    pub(super) fn at(path: &[u8]) -> Option<Self> {
        let name = DIRECTORIES.iter().find_map(|directory| path.strip_prefix(*directory))?;
        match name {
            b"Packages" => Some(Self::BerkeleyDb),
            b"Packages.db" => Some(Self::Ndb),
            b"rpmdb.sqlite" => Some(Self::Sqlite),
            b"rpmdb.sqlite-wal" => Some(Self::SqliteLog),
            _ => None,
        }
    }
}

/// Collects packages from headers, up to [`MAX_PACKAGES`].
#[derive(Default)]
struct Collected(Vec<Package>);

impl Collected {
    fn add(&mut self, number: u32, blob: &[u8]) -> Result<(), DatabaseError> {
        let header =
            parse_header(blob).map_err(|source| DatabaseError::RpmHeader { number, source })?;
        if self.0.len() == MAX_PACKAGES {
            return Err(DatabaseError::TooMany { limit: MAX_PACKAGES });
        }
        let version = header.full_version();
        let Header { name, architecture, .. } = header;
        self.0.push(Package { manager: Manager::Rpm, name, architecture, version });
        Ok(())
    }
}

const DIRECTORIES: [&[u8]; 2] = [b"usr/lib/sysimage/rpm/", b"var/lib/rpm/"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_paths() {
        for (path, expected) in [
            ("var/lib/rpm/Packages", Some(DatabaseFile::BerkeleyDb)),
            ("usr/lib/sysimage/rpm/Packages.db", Some(DatabaseFile::Ndb)),
            ("var/lib/rpm/rpmdb.sqlite", Some(DatabaseFile::Sqlite)),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", Some(DatabaseFile::SqliteLog)),
            ("var/lib/rpm/rpmdb.sqlite-shm", None),
            ("var/lib/rpm/Index.db", None),
            ("opt/var/lib/rpm/Packages", None),
        ] {
            assert_eq!(DatabaseFile::at(path.as_bytes()), expected, "{path}");
        }
    }
}
