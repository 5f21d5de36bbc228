//! Packages of two images, by the databases of their package managers.
//!
//! | manager | database |
//! |---|---|
//! | dpkg | `/var/lib/dpkg/status`, and the files of `/var/lib/dpkg/status.d`, which images without a shell have |
//! | apk | `/lib/apk/db/installed`, or the same below `/usr` |
//! | rpm | `rpmdb.sqlite` or `Packages.db` in `/var/lib/rpm` or `/usr/lib/sysimage/rpm`; `Packages` there is not read |
//!
//! The databases say what is installed; whether the files are those of the packages is not looked at.

mod apk;
mod dpkg;
mod rpm;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::apk::parse as parse_apk;
pub use self::dpkg::parse as parse_dpkg;
use self::rpm::DatabaseFile;
pub use self::rpm::{Header, HeaderError, NdbError, parse_header, parse_ndb};
use super::Packages;
use super::tree::Tree;
use crate::image_path::ImagePath;

/// Is a package that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The manager that has installed it.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// The architecture that it is for; empty where that is not said.
    pub architecture: String,
    /// Its version.
    pub version: String,
}

/// Tells package managers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// That of Alpine Linux.
    Apk,
    /// That of Debian and its descendants.
    Dpkg,
    /// That of Red Hat, SUSE and their descendants.
    Rpm,
}

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Apk => "apk",
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
        })
    }
}

/// Is a package that is not the same in both images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageChange {
    /// The manager.
    pub manager: Manager,
    /// The name.
    pub name: String,
    /// The architecture.
    pub architecture: String,
    /// The version in the old image, if it is installed there.
    pub old: Option<String>,
    /// The version in the new image, if it is installed there.
    pub new: Option<String>,
}

/// Is a database that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The file.
    pub path: ImagePath,
    /// Why.
    pub reason: String,
}

/// Says why a file is no database of packages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// A record lacks a field.
    #[error("the record that ends in line {line} has no {field}")]
    Missing {
        /// The last line of the record, counted from 1.
        line: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// A container of rpm's headers is none.
    #[error(transparent)]
    Ndb(#[from] NdbError),
    /// A line is neither a field nor the continuation of one.
    #[error("line {line} is no field")]
    NoField {
        /// The line, counted from 1.
        line: usize,
    },
    /// An SQLite database has no table of packages.
    #[error("it has no table Packages")]
    NoTable,
    /// A header of rpm's is none.
    #[error("package {number}: {source}")]
    RpmHeader {
        /// The number that rpm has given the package.
        number: u32,
        /// Why.
        source: HeaderError,
    },
    /// SQLite cannot read it.
    #[error("SQLite cannot read it: {reason}")]
    Sqlite {
        /// What it says.
        reason: String,
    },
    /// There are more packages than anybody installs.
    #[error("it has more than {limit} packages")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}

/// The longest database that is read, of dpkg and apk: 32 MiB. That of a workstation with 5,000 packages has 6.
pub const MAX_DATABASE_BYTES: u64 = 32 << 20;

/// The longest database of rpm that is read: 64 MiB. It has the names of all files, and takes 60 KiB for a package.
pub const MAX_RPM_DATABASE_BYTES: u64 = 64 << 20;

/// The most packages of one database.
pub const MAX_PACKAGES: usize = 100_000;

/// Returns up to which length a file is read as a database of packages; `None` for other files, and for databases that are
/// not read.
pub(super) fn database_limit_bytes(path: &ImagePath) -> Option<u64> {
    match manager(path)? {
        Manager::Apk | Manager::Dpkg => Some(MAX_DATABASE_BYTES),
        Manager::Rpm => match DatabaseFile::at(path.as_bytes())? {
            DatabaseFile::BerkeleyDb => None,
            DatabaseFile::Ndb | DatabaseFile::Sqlite | DatabaseFile::SqliteLog => {
                Some(MAX_RPM_DATABASE_BYTES)
            }
        },
    }
}

/// Reads all databases of an image.
pub(super) fn read(tree: &Tree<'_>) -> (Packages, Vec<Unread>) {
    let mut packages = Vec::new();
    let mut unread = Vec::new();
    let databases: BTreeMap<_, _> = tree.databases().collect();
    for (path, content) in &databases {
        let Some(content) = content else {
            let limit_bytes = database_limit_bytes(path).unwrap_or_default();
            let reason = format!("it is longer than {limit_bytes} bytes");
            unread.push(Unread { path: (*path).clone(), reason });
            continue;
        };
        let parsed = match manager(path) {
            Some(Manager::Apk) => apk::parse(content),
            Some(Manager::Dpkg) => dpkg::parse(content),
            Some(Manager::Rpm) => match DatabaseFile::at(path.as_bytes()) {
                Some(DatabaseFile::Ndb) => parse_ndb(content),
                Some(DatabaseFile::Sqlite) => {
                    let log = ImagePath::of_member(&[path.as_bytes(), b"-wal"].concat());
                    // One that is too long is told by itself.
                    let log = databases.get(&log).copied().flatten();
                    rpm::parse_sqlite(content, log.unwrap_or_default())
                }
                _ => continue,
            },
            None => continue,
        };
        match parsed {
            Ok(found) => packages.extend(found),
            Err(error) => {
                unread.push(Unread { path: (*path).clone(), reason: error.to_string() });
            }
        }
    }
    for path in BERKELEY_DB.map(|path| ImagePath::of_member(path.as_bytes())) {
        if tree.file(&path).is_some() {
            let reason = "databases of rpm in the form of Berkeley DB are not read".to_owned();
            unread.push(Unread { path, reason });
        }
    }
    (packages, unread)
}

/// Compares the packages of those managers of which no database is among `unread`: what is not known is not gone.
///
/// Of a package that is there in several versions, as kernels are with rpm, those are told that only one of the images has.
pub(super) fn compare(old: &Packages, new: &Packages, unread: &[Unread]) -> Vec<PackageChange> {
    type Versions<'a> = BTreeMap<(Manager, &'a str, &'a str), [BTreeSet<&'a str>; 2]>;
    let mut all: Versions<'_> = BTreeMap::new();
    for (number, packages) in [old, new].into_iter().enumerate() {
        let is_known = |package: &&Package| {
            unread.iter().all(|unread| manager(&unread.path) != Some(package.manager))
        };
        for Package { manager, name, architecture, version } in packages.iter().filter(is_known) {
            all.entry((*manager, name, architecture)).or_default()[number].insert(version);
        }
    }
    let mut changes = Vec::new();
    for ((manager, name, architecture), [old, new]) in all {
        let mut gone = old.difference(&new).map(|version| (*version).to_owned());
        let mut come = new.difference(&old).map(|version| (*version).to_owned());
        loop {
            let (old, new) = (gone.next(), come.next());
            if old.is_none() && new.is_none() {
                break;
            }
            let (name, architecture) = (name.to_owned(), architecture.to_owned());
            changes.push(PackageChange { manager, name, architecture, old, new });
        }
    }
    changes
}

fn manager(path: &ImagePath) -> Option<Manager> {
    match path.as_bytes() {
        b"var/lib/dpkg/status" => Some(Manager::Dpkg),
        b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Manager::Apk),
        path if DatabaseFile::at(path).is_some() => Some(Manager::Rpm),
        path => {
            let name = path.strip_prefix(b"var/lib/dpkg/status.d/")?;
            let is_record = !name.contains(&b'/') && !name.ends_with(b".md5sums");
            is_record.then_some(Manager::Dpkg)
        }
    }
}

/// Where rpm had its database before version 4.16.
const BERKELEY_DB: [&str; 2] = ["usr/lib/sysimage/rpm/Packages", "var/lib/rpm/Packages"];

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, architecture: &str, version: &str) -> Package {
        Package {
            manager: Manager::Dpkg,
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn versions_are_compared_by_name_and_architecture() {
        let old =
            vec![package("a", "amd64", "1"), package("b", "all", "1"), package("c", "all", "1")];
        let new =
            vec![package("a", "amd64", "1"), package("a", "i386", "2"), package("c", "all", "2")];
        let changes: Vec<_> = compare(&old, &new, &[])
            .into_iter()
            .map(|change| {
                format!("{} {} {:?} {:?}", change.name, change.architecture, change.old, change.new)
            })
            .collect();
        assert_eq!(
            changes,
            [r#"a i386 None Some("2")"#, r#"b all Some("1") None"#, r#"c all Some("1") Some("2")"#]
        );
    }

    #[test]
    fn a_package_may_be_there_in_several_versions() {
        let versions = |versions: &[&str]| {
            versions.iter().map(|version| package("kernel", "x86_64", version)).collect::<Vec<_>>()
        };
        let changes = |old: &[&str], new: &[&str]| {
            let changes = compare(&versions(old), &versions(new), &[]).into_iter();
            changes.map(|change| (change.old, change.new)).collect::<Vec<_>>()
        };
        let some = |version: &str| Some(version.to_owned());
        assert_eq!(changes(&["1", "2"], &["2", "3"]), [(some("1"), some("3"))]);
        assert_eq!(changes(&["1"], &["1", "2"]), [(None, some("2"))]);
        assert_eq!(changes(&["1", "2"], &["2", "1"]), []);
    }

    #[test]
    fn what_could_not_be_read_is_not_taken_for_gone() {
        let old = vec![package("a", "amd64", "1")];
        let unread = |path: &str| Unread {
            path: ImagePath::of_member(path.as_bytes()),
            reason: String::new(),
        };
        assert_eq!(compare(&old, &Vec::new(), &[unread("var/lib/dpkg/status")]), []);
        assert_eq!(compare(&old, &Vec::new(), &[unread("lib/apk/db/installed")]).len(), 1);
    }

    #[test]
    fn databases_are_known_by_their_paths() {
        let limit = |path: &str| database_limit_bytes(&ImagePath::of_member(path.as_bytes()));
        for path in ["var/lib/dpkg/status", "var/lib/dpkg/status.d/base", "lib/apk/db/installed"] {
            assert_eq!(limit(path), Some(MAX_DATABASE_BYTES), "{path}");
        }
        for path in ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db"] {
            assert_eq!(limit(path), Some(MAX_RPM_DATABASE_BYTES), "{path}");
        }
        for path in [
            "var/lib/dpkg/status-old",
            "var/lib/dpkg/status.d/base.md5sums",
            "dpkg/status",
            "var/lib/rpm/Packages",
        ] {
            assert_eq!(limit(path), None, "{path}");
        }
    }
}
