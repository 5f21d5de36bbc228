//! A signer that writes down what it was asked for.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use libverity::digest::Digest;
use osguard_hook::repository::Target;
use osguard_hook::sign::{Outcome, Retry, SignFailure, SignImage};

/// Stands in for a registry and a key: what is "signed" gets a file, and every step a line, so that
/// both outlive the process.
pub(crate) struct Diary {
    pub(crate) directory: PathBuf,
    pub(crate) lines: Mutex<File>,
    /// How long the two halves of a signature take.
    pub(crate) half: Duration,
    /// How often the first attempts at a target fail.
    pub(crate) failures: usize,
}

impl Diary {
    pub(crate) fn open(directory: &Path) -> Self {
        std::fs::create_dir_all(directory.join("signed")).unwrap();
        let lines = directory.join("lines");
        let lines = OpenOptions::new().append(true).create(true).open(lines).unwrap();
        Self {
            directory: directory.to_owned(),
            lines: Mutex::new(lines),
            half: Duration::ZERO,
            failures: 0,
        }
    }

    fn write(&self, word: &str, target: &Target) {
        let line = format!("{word} {target}\n");
        self.lines.lock().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

impl SignImage for Diary {
    fn sign(&self, target: &Target) -> Result<Outcome, SignFailure> {
        self.write("begun", target);
        if count(&self.directory, "begun", target) <= self.failures {
            let reason = "the registry is away".to_owned();
            return Err(SignFailure { reason, retry: Retry::After(None) });
        }
        std::thread::sleep(self.half);
        let signature = self.directory.join("signed").join(target.digest.hex());
        // As with a registry: whoever comes second finds it there.
        let outcome = match File::create_new(&signature) {
            Ok(_) => Outcome::Signed { artifact: Digest::of(b"signature") },
            Err(_) => Outcome::AlreadySigned,
        };
        if matches!(outcome, Outcome::Signed { .. }) {
            self.write("signed", target);
        }
        std::thread::sleep(self.half);
        Ok(outcome)
    }

    fn check(&self) -> Result<(), SignFailure> {
        Ok(())
    }
}

/// Returns how often each target was begun or signed, by its text.
pub(crate) fn counts(directory: &Path, word: &str) -> BTreeMap<String, usize> {
    let lines = std::fs::read_to_string(directory.join("lines")).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for line in lines.lines() {
        if let Some((found, target)) = line.split_once(' ')
            && found == word
        {
            *counts.entry(target.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns how many targets have their signature, whether that could be written down or not.
pub(crate) fn signatures(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("signed")).unwrap().count()
}

fn count(directory: &Path, word: &str, target: &Target) -> usize {
    counts(directory, word).get(&target.to_string()).copied().unwrap_or_default()
}
