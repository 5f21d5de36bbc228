//! Verdicts that outlive the process, in a directory of this machine.
//!
//! Of an image that passed it is kept until when it does. A record is worth as much as the directory is: whoever can write there can
//! have any image pass. So it is used only where it belongs to this process's user and nobody else may write to it. A record that is
//! damaged, cut off or of another version is the same as none.
//!
//! One file for each verdict, `KEY_HEX.json`, of less than 1 KiB:
//!
//! | field | value |
//! |---|---|
//! | `writer` | the version of the program that judged; another one judges again |
//! | `key` | the digest of all that was asked: the image's digest, its repository, the policy, nodes and credentials |
//! | `until` | until when the verdict counts, in seconds since 1970 |
//! | `checksum` | the digest of the fields before, as they are written without it |

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libverity::digest::Digest;
use serde::{Deserialize, Serialize};

/// Keeps verdicts in a directory.
#[derive(Debug)]
pub struct VerdictStore {
    directory: PathBuf,
    limit: usize,
    /// How many records there are, about.
    count: AtomicUsize,
}

impl VerdictStore {
    /// Opens the store in `directory`, which is made if it is not there, for so many verdicts.
    ///
    /// # Errors
    ///
    /// Fails where the directory cannot be made or read, belongs to somebody else, or can be written to by others.
    pub fn open(directory: &Path, limit: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let metadata = fs::metadata(directory)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        let store = Self { directory: directory.to_owned(), limit, count: AtomicUsize::new(0) };
        store.prune()?;
        Ok(store)
    }

    /// Returns for how long a verdict counts that was kept.
    pub(crate) fn find(&self, key: &Digest, now: SystemTime) -> Option<Duration> {
        let path = self.file(key);
        let mut bytes = Vec::new();
        let file = File::open(&path).ok()?;
        let read = file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes);
        let record = read.ok().and_then(|_| serde_json::from_slice::<Checked>(&bytes).ok());
        let sound = record.filter(|record| {
            let Checked { facts, checksum } = record;
            facts.checksum() == *checksum && facts.writer == WRITER && facts.key == *key
        });
        match sound {
            Some(Checked { facts, .. }) => {
                let left = (UNIX_EPOCH + Duration::from_secs(facts.until)).duration_since(now);
                left.ok().filter(|left| !left.is_zero())
            }
            None => {
                let path = path.display();
                tracing::warn!(%path, "a verdict that was kept is damaged, or of another version");
                None
            }
        }
    }

    /// Keeps a verdict until then.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be written; an older one is then still there.
    pub(crate) fn keep(&self, key: &Digest, until: SystemTime) -> io::Result<()> {
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let facts = Facts { writer: WRITER.to_owned(), key: *key, until };
        let record = Checked { checksum: facts.checksum(), facts };
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        let path = self.file(key);
        let is_new = !path.exists();
        file.persist(path)?;
        if is_new && self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.prune()?;
        }
        Ok(())
    }

    /// Counts the records, removes the oldest ones where there are too many, and what a killed process has left.
    fn prune(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Another process may do the same.
            let Ok(metadata) = entry.metadata() else { continue };
            let written = metadata.modified().unwrap_or(UNIX_EPOCH);
            if name.ends_with(".json") {
                records.push((written, entry.path()));
            } else if name.starts_with(".tmp") && written < SystemTime::now() - ABANDONED {
                let _ = fs::remove_file(entry.path());
            }
        }
        records.sort();
        // A tenth more, so that not every verdict looks through all of them.
        let room = self.limit - self.limit / 10;
        if records.len() > self.limit {
            for (_, path) in records.drain(..records.len() - room) {
                let _ = fs::remove_file(path);
            }
        }
        self.count.store(records.len(), Ordering::Relaxed);
        Ok(())
    }

    fn file(&self, key: &Digest) -> PathBuf {
        self.directory.join(format!("{}.json", key.hex()))
    }
}

#[derive(Deserialize, Serialize)]
struct Checked {
    #[serde(flatten)]
    facts: Facts,
    checksum: Digest,
}

#[derive(Deserialize, Serialize)]
struct Facts {
    writer: String,
    key: Digest,
    until: u64,
}

impl Facts {
    fn checksum(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A mistake in a judgement is mended by a new version, and must not live on in here.
const WRITER: &str = env!("CARGO_PKG_VERSION");

/// Twenty times a usual record.
const MAX_RECORD_BYTES: u64 = 8 << 10;

/// Nobody writes a record for that long.
const ABANDONED: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_found_until_then_and_what_is_damaged_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = VerdictStore::open(&directory.path().join("verdicts"), 10).unwrap();
        let (key, now) = (Digest::of(b"key"), SystemTime::now());
        let hour = Duration::from_secs(3600);
        store.keep(&key, now + hour).unwrap();
        assert!(store.find(&key, now).is_some_and(|left| left <= hour));
        assert_eq!(store.find(&key, now + hour), None);
        assert_eq!(store.find(&Digest::of(b"other"), now), None);
        let path = store.file(&key);
        let text = fs::read_to_string(&path).unwrap();
        let later = text.replace("\"until\":1", "\"until\":9");
        assert_ne!(text, later);
        for damaged in [later, text[..text.len() / 2].to_owned(), String::new(), "\0".repeat(300)] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(store.find(&key, now), None);
        }
        // One record under the name of another.
        fs::write(store.file(&Digest::of(b"other")), &text).unwrap();
        assert_eq!(store.find(&Digest::of(b"other"), now), None);
        store.keep(&key, now + hour).unwrap();
        assert!(store.find(&key, now).is_some());
    }

    #[test]
    fn there_are_never_many_more_than_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let open = || VerdictStore::open(directory.path(), 20).unwrap();
        let store = open();
        let until = SystemTime::now() + Duration::from_secs(3600);
        let files = || fs::read_dir(directory.path()).unwrap().count();
        for number in 0..200_u32 {
            store.keep(&Digest::of(&number.to_le_bytes()), until).unwrap();
            assert!(files() <= 21);
        }
        assert!(store.find(&Digest::of(&199_u32.to_le_bytes()), SystemTime::now()).is_some());
        drop(VerdictStore::open(directory.path(), 5).unwrap());
        assert!(files() <= 5);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(VerdictStore::open(directory.path(), 10).is_err());
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(VerdictStore::open(&directory.path().join("file"), 10).is_err());
    }
}
