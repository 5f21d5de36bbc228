//! Signatures that were brought to this machine: for images of others, and for machines without a network.
//!
//! ```text
//! /var/lib/osguard/signatures/<root hash>/<SHA-256 of the signature>.p7s    detached PKCS#7, DER
//! ```
//!
//! Names are lower-case hexadecimal. Files are looked for when a layer is unpacked and when it is mounted: what is put there
//! counts at once. A signature is over a root hash, so nothing else need be known of it; what is wrong there is refused by
//! the kernel.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use osguard_registry::artifact::MAX_SIGNATURE_BYTES;

/// Is a directory of signatures, which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureDirectory {
    root: PathBuf,
}

impl SignatureDirectory {
    /// Names the directory; nothing is made or read yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the signatures of a root hash, at most [`MAX_SIGNATURES`].
    ///
    /// # Errors
    ///
    /// Fails when the directory or a file in it cannot be read.
    pub fn find(&self, root_hash: &RootHash) -> Result<Vec<Vec<u8>>, SignatureDirectoryError> {
        let directory = self.of(root_hash);
        let mut signatures = Vec::new();
        for path in entries(&directory)? {
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && signatures.len() < MAX_SIGNATURES
            {
                signatures.push(read(&path)?);
            }
        }
        Ok(signatures)
    }

    /// Puts a signature of a root hash there; returns whether it was not there before.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be written.
    pub fn add(
        &self,
        root_hash: &RootHash,
        signature: &[u8],
    ) -> Result<bool, SignatureDirectoryError> {
        let directory = self.of(root_hash);
        let path = directory.join(Digest::of(signature).hex()).with_extension(EXTENSION);
        if path.exists() {
            return Ok(false);
        }
        let beside = path.with_extension("new");
        let written = fs::create_dir_all(&directory).and_then(|()| {
            let mut file = File::create(&beside)?;
            file.write_all(signature)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        });
        written.map_err(|source| {
            let _ = fs::remove_file(&beside);
            SignatureDirectoryError { path, source }
        })?;
        Ok(true)
    }

    /// Lists all signatures, ordered by root hash.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn list(&self) -> Result<Vec<(RootHash, Vec<u8>)>, SignatureDirectoryError> {
        let mut listed = Vec::new();
        for path in entries(&self.root)? {
            let name = path.file_name().and_then(|name| name.to_str());
            // Whatever else lies there is not ours.
            let Some(Ok(root_hash)) = name.map(str::parse::<RootHash>) else { continue };
            let found = self.find(&root_hash)?;
            listed.extend(found.into_iter().map(|signature| (root_hash.clone(), signature)));
        }
        Ok(listed)
    }

    fn of(&self, root_hash: &RootHash) -> PathBuf {
        self.root.join(root_hash.signed_text())
    }
}

/// Says which file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub struct SignatureDirectoryError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Lists a directory by name; one that does not exist is empty.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, SignatureDirectoryError> {
    let failed = |source| SignatureDirectoryError { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(failed(source)),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, SignatureDirectoryError> {
    let failed = |source| SignatureDirectoryError { path: path.to_owned(), source };
    let mut signature = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut signature).map_err(failed)?;
    if signature.len() as u64 > MAX_SIGNATURE_BYTES {
        return Err(failed(io::Error::other(format!(
            "it has more than {MAX_SIGNATURE_BYTES} bytes, which no signature has"
        ))));
    }
    Ok(signature)
}

/// How many signatures of one root hash are looked at.
pub const MAX_SIGNATURES: usize = 16;

const EXTENSION: &str = "p7s";

#[cfg(test)]
mod tests {
    use super::*;

    fn root_hash(byte: u8) -> RootHash {
        RootHash::from_bytes([byte; 32])
    }

    #[test]
    fn what_is_added_is_found_once() {
        let parent = tempfile::tempdir().unwrap();
        let directory = SignatureDirectory::new(parent.path().join("signatures"));
        assert_eq!(directory.find(&root_hash(1)).unwrap(), [] as [Vec<u8>; 0]);
        assert_eq!(directory.list().unwrap(), []);
        assert!(directory.add(&root_hash(1), b"one").unwrap());
        assert!(!directory.add(&root_hash(1), b"one").unwrap());
        assert!(directory.add(&root_hash(1), b"two").unwrap());
        assert!(directory.add(&root_hash(2), b"three").unwrap());
        let mut found = directory.find(&root_hash(1)).unwrap();
        found.sort();
        assert_eq!(found, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(directory.list().unwrap().len(), 3);
    }

    #[test]
    fn foreign_files_are_passed_over_and_large_ones_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = SignatureDirectory::new(parent.path());
        directory.add(&root_hash(1), b"one").unwrap();
        fs::write(parent.path().join("README"), "x").unwrap();
        fs::write(directory.of(&root_hash(1)).join("half.new"), "x").unwrap();
        fs::create_dir(parent.path().join("not-hexadecimal")).unwrap();
        assert_eq!(directory.list().unwrap(), [(root_hash(1), b"one".to_vec())]);
        let large = vec![0; MAX_SIGNATURE_BYTES as usize + 1];
        fs::write(directory.of(&root_hash(1)).join("large.p7s"), large).unwrap();
        assert!(directory.find(&root_hash(1)).is_err());
    }

    #[test]
    fn only_so_many_are_looked_at() {
        let parent = tempfile::tempdir().unwrap();
        let directory = SignatureDirectory::new(parent.path());
        for number in 0..=MAX_SIGNATURES {
            directory.add(&root_hash(1), number.to_string().as_bytes()).unwrap();
        }
        assert_eq!(directory.find(&root_hash(1)).unwrap().len(), MAX_SIGNATURES);
    }
}
