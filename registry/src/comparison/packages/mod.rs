//! Packages of two images, by the databases of their package managers.
//!
//! | manager | database |
//! |---|---|
//! | dpkg | `/var/lib/dpkg/status`, and the files of `/var/lib/dpkg/status.d`, which images without a shell have |
//! | apk | `/lib/apk/db/installed`, or the same below `/usr` |
//! | rpm | not read: `rpmdb.sqlite`, `Packages.db` or `Packages` in `/var/lib/rpm` or `/usr/lib/sysimage/rpm` |
//!
//! The databases say what is installed; whether the files are those of the packages is not looked at.

mod apk;
mod dpkg;

use std::collections::BTreeMap;
use std::fmt;

pub use self::apk::parse as parse_apk;
pub use self::dpkg::parse as parse_dpkg;
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
}

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Apk => "apk",
            Self::Dpkg => "dpkg",
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
    /// A line is neither a field nor the continuation of one.
    #[error("line {line} is no field")]
    NoField {
        /// The line, counted from 1.
        line: usize,
    },
    /// There are more packages than anybody installs.
    #[error("it has more than {limit} packages")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}

/// The longest database that is read: 32 MiB. That of a workstation with 5,000 packages has 6.
pub const MAX_DATABASE_BYTES: u64 = 32 << 20;

/// The most packages of one database.
pub const MAX_PACKAGES: usize = 100_000;

/// Tells whether a file is a database of packages that may be read.
pub(super) fn is_database(path: &ImagePath) -> bool {
    manager(path).is_some()
}

/// Reads all databases of an image.
pub(super) fn read(tree: &Tree<'_>) -> (Packages, Vec<Unread>) {
    let mut packages = Vec::new();
    let mut unread = Vec::new();
    for (path, content) in tree.databases() {
        let Some(content) = content else {
            let reason = format!("it is longer than {MAX_DATABASE_BYTES} bytes");
            unread.push(Unread { path: path.clone(), reason });
            continue;
        };
        let parsed = match manager(path) {
            Some(Manager::Apk) => apk::parse(content),
            Some(Manager::Dpkg) => dpkg::parse(content),
            None => continue,
        };
        match parsed {
            Ok(found) => packages.extend(found),
            Err(error) => unread.push(Unread { path: path.clone(), reason: error.to_string() }),
        }
    }
    for path in RPM.map(|path| ImagePath::of_member(path.as_bytes())) {
        if tree.file(&path).is_some() {
            let reason = "databases of rpm are not read".to_owned();
            unread.push(Unread { path, reason });
        }
    }
    (packages, unread)
}

/// Compares the packages of those managers of which no database is among `unread`: what is not known is not gone.
pub(super) fn compare(old: &Packages, new: &Packages, unread: &[Unread]) -> Vec<PackageChange> {
    type Versions<'a> = BTreeMap<(Manager, &'a str, &'a str), [Option<&'a str>; 2]>;
    let mut all: Versions<'_> = BTreeMap::new();
    for (number, packages) in [old, new].into_iter().enumerate() {
        let is_known = |package: &&Package| {
            unread.iter().all(|unread| manager(&unread.path) != Some(package.manager))
        };
        for Package { manager, name, architecture, version } in packages.iter().filter(is_known) {
            all.entry((*manager, name, architecture)).or_default()[number] = Some(version);
        }
    }
    all.into_iter()
        .filter(|(_, [old, new])| old != new)
        .map(|((manager, name, architecture), versions)| {
            let [old, new] = versions.map(|version| version.map(str::to_owned));
            let (name, architecture) = (name.to_owned(), architecture.to_owned());
            PackageChange { manager, name, architecture, old, new }
        })
        .collect()
}

fn manager(path: &ImagePath) -> Option<Manager> {
    match path.as_bytes() {
        b"var/lib/dpkg/status" => Some(Manager::Dpkg),
        b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Manager::Apk),
        path => {
            let name = path.strip_prefix(b"var/lib/dpkg/status.d/")?;
            let is_record = !name.contains(&b'/') && !name.ends_with(b".md5sums");
            is_record.then_some(Manager::Dpkg)
        }
    }
}

/// Where the database of rpm is, in its three forms.
const RPM: [&str; 6] = [
    "usr/lib/sysimage/rpm/Packages",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/rpmdb.sqlite",
];

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
        let is_database = |path: &str| is_database(&ImagePath::of_member(path.as_bytes()));
        for path in ["var/lib/dpkg/status", "var/lib/dpkg/status.d/base", "lib/apk/db/installed"] {
            assert!(is_database(path), "{path}");
        }
        for path in ["var/lib/dpkg/status-old", "var/lib/dpkg/status.d/base.md5sums", "dpkg/status"]
        {
            assert!(!is_database(path), "{path}");
        }
    }
}
