//! Where root hashes of layers come from: the flag `--root-hash`.

use std::path::PathBuf;

use clap::ValueEnum;
use osguard_registry::root_hash_cache::RootHashCache;
use osguard_registry::verification::RootHashes;
use serde::Serialize;

use crate::output::Output;

/// How the root hashes in signatures are compared with the layers.
#[derive(Debug, clap::Args)]
pub(crate) struct RootHashArguments {
    /// What the root hashes in signatures are compared with
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    root_hash: How,
}

/// The values of `--root-hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// The layers' own: each layer is read and converted
    #[default]
    Recompute,
    /// Those that were computed here before; layers that are not known are read and kept in mind
    Cached,
    /// Nothing: layers are not read, and only the kernel will find out
    Skip,
}

/// Is the source of root hashes for one command.
pub(crate) struct Source {
    how: How,
    cache: Option<RootHashCache>,
}

impl RootHashArguments {
    /// Opens the cache, if it is wanted; a cache that cannot be used is done without.
    pub(crate) fn source(&self, output: &Output) -> Source {
        let how = self.root_hash;
        let cache = match (how, directory()) {
            (How::Cached, Some(directory)) => RootHashCache::open(&directory)
                .inspect_err(|error| {
                    let directory = directory.display();
                    output.warning(format_args!(
                        "the cache {directory} is not used, and layers are read: {error}"
                    ));
                })
                .ok(),
            (How::Cached, None) => {
                output.warning(
                    "layers are read, for there is no place for a cache: neither XDG_CACHE_HOME nor \
                     HOME is set",
                );
                None
            }
            _ => None,
        };
        Source { how, cache }
    }
}

impl Source {
    /// Compares with nothing.
    pub(crate) fn none() -> Self {
        Self { how: How::Skip, cache: None }
    }

    /// Returns what was asked for.
    pub(crate) fn how(&self) -> How {
        self.how
    }

    /// Returns what the library takes.
    pub(crate) fn root_hashes(&self) -> RootHashes<'_> {
        match (self.how, &self.cache) {
            (How::Skip, _) => RootHashes::Skip,
            (_, Some(cache)) => RootHashes::Cached(cache),
            (_, None) => RootHashes::Recompute,
        }
    }
}

/// Returns the directory of the cache: `osguard/root-hashes` where caches of this user are.
fn directory() -> Option<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(caches.join("osguard/root-hashes"))
}
