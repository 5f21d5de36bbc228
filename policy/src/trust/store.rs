//! Trust stores: certificates under one name.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use libverity::certificate::{Certificate, DistinguishedName};

use super::error::TrustError;

/// Holds the certificates of signers, or of the authorities that issue theirs.
#[derive(Clone, Debug)]
pub struct TrustStore {
    /// The name, for reports.
    pub name: String,
    /// The certificates that are trusted.
    pub anchors: Vec<Certificate>,
    /// The subjects of signers that are trusted, if not every one that leads to an anchor is; one that
    /// has all attributes of one of these is meant.
    pub subjects: Vec<DistinguishedName>,
}

impl TrustStore {
    /// Reads the certificates in files, and in the files of directories; at least one.
    ///
    /// # Errors
    ///
    /// Returns [`TrustError::Certificate`], [`TrustError::EmptyStore`], [`TrustError::Read`],
    /// [`TrustError::TooLarge`] and [`TrustError::TooMany`].
    pub fn read(name: &str, paths: &[PathBuf]) -> Result<Self, TrustError> {
        let mut anchors = Vec::new();
        for path in paths {
            anchors.extend(read_certificates(path)?);
            if anchors.len() > MAX_STORE_CERTIFICATES {
                return Err(TrustError::TooMany {
                    store: name.to_owned(),
                    limit: MAX_STORE_CERTIFICATES,
                });
            }
        }
        match anchors.is_empty() {
            true => Err(TrustError::EmptyStore { store: name.to_owned() }),
            false => Ok(Self { name: name.to_owned(), anchors, subjects: Vec::new() }),
        }
    }

    /// Tells whether a signer with this certificate is meant by the store.
    pub(super) fn takes(&self, certificate: &Certificate) -> bool {
        self.subjects.is_empty()
            || certificate
                .subject_name()
                .is_some_and(|subject| self.subjects.iter().any(|wanted| subject.contains(wanted)))
    }
}

/// Reads the certificates in a file, PEM or DER, or in all files of a directory, in the order of
/// their names.
///
/// # Errors
///
/// As [`TrustStore::read`].
pub fn read_certificates(path: &Path) -> Result<Vec<Certificate>, TrustError> {
    let failed = |source| TrustError::Read { path: path.to_owned(), source };
    let mut certificates = Vec::new();
    for file in files(path).map_err(failed)? {
        let contents = read_file(&file, MAX_CERTIFICATE_FILE_BYTES)?;
        let found = Certificate::all_from_file_contents(&contents)
            .map_err(|source| TrustError::Certificate { path: file, source })?;
        certificates.extend(found);
    }
    Ok(certificates)
}

/// Reads a file of at most `limit_bytes`.
pub(super) fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit_bytes + 1).read_to_end(&mut bytes))
        .map_err(|source| TrustError::Read { path: path.to_owned(), source })?;
    match bytes.len() as u64 > limit_bytes {
        true => Err(TrustError::TooLarge { path: path.to_owned(), limit_bytes }),
        false => Ok(bytes),
    }
}

/// Lists a file alone, or the files of a directory in the order of their names.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

/// The most bytes that a file of certificates may have; a bundle of a few hundred fits.
pub const MAX_CERTIFICATE_FILE_BYTES: u64 = 1 << 20;

/// The most certificates that a store may hold. The keyrings of a machine hold less than 100.
pub const MAX_STORE_CERTIFICATES: usize = 4096;
