//! Directories of certificates by registry, as docker and podman have them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::client_certificate::Pair;
use super::{DEFAULT_PORT, TlsError, server_name};
use crate::environment::Environment;

/// Is one directory of one registry.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Files of certificate authorities.
    pub(super) authorities: Vec<PathBuf>,
    /// Client certificates with their keys.
    pub(super) pairs: Vec<Pair>,
}

impl Directory {
    /// Lists the directories that there are for `registry`, the user's own first.
    pub(super) fn find_all(
        registry: &str,
        environment: &Environment,
    ) -> Result<Vec<Self>, TlsError> {
        // No registry is called so, and the name becomes part of a path.
        if registry.contains('/') || matches!(registry, "" | "." | "..") {
            return Ok(Vec::new());
        }
        let user = [
            environment.config_home().map(|home| home.join("containers/certs.d")),
            environment.path("HOME").map(|home| home.join(".docker/certs.d")),
        ];
        let system =
            ["etc/containers/certs.d", "etc/docker/certs.d"].map(|path| environment.system(path));
        let name = server_name(registry);
        let names = [format!("{name}{DEFAULT_PORT}"), name];
        let parents = user.into_iter().flatten().chain(system);
        let paths = parents.flat_map(|parent| names.each_ref().map(|name| parent.join(name)));
        paths.filter_map(|path| Self::open(&path).transpose()).collect()
    }

    /// Lists one directory, in the order of names.
    fn open(path: &Path) -> Result<Option<Self>, TlsError> {
        let failed = |source| TlsError::Io { path: path.to_owned(), source };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if is_out_of_sight(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = PathBuf::from(entry.map_err(failed)?.file_name());
            if !matches!(extension(&file), Some("crt" | "cert" | "key")) {
                continue;
            }
            if names.len() == MAX_FILES {
                let directory = path.to_owned();
                return Err(TlsError::TooManyFiles { directory, limit: MAX_FILES });
            }
            names.push(file);
        }
        names.sort();
        let mut directory = Self::default();
        for name in &names {
            let counterpart = |wanted: &str| {
                let counterpart = name.with_extension(wanted);
                if names.contains(&counterpart) {
                    Ok(path.join(counterpart))
                } else {
                    let missing = path.join(counterpart);
                    Err(TlsError::Unpaired { present: path.join(name), missing })
                }
            };
            match extension(name) {
                Some("crt") => directory.authorities.push(path.join(name)),
                Some("cert") => directory
                    .pairs
                    .push(Pair { certificate: path.join(name), key: counterpart("key")? }),
                _ => drop(counterpart("cert")?),
            }
        }
        Ok(Some(directory))
    }
}

/// Tells whether nobody meant this user to have the directory: `/etc/docker` is often the
/// administrator's alone.
fn is_out_of_sight(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

fn extension(file: &Path) -> Option<&str> {
    file.extension().and_then(OsStr::to_str)
}

/// More than anybody has for one registry.
const MAX_FILES: usize = 256;
