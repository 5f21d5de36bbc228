//! The members of an archive as the crate `tar` sees them: an archive that both accept, both read
//! alike.

use std::io::Read;

use libverity::tar::{DivergenceKind, EntryKind, TarReader};
use proptest::prelude::*;

use crate::archives::{archive, damaged_archive};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn archives_of_the_crate_are_read_alike(archive in archive(12)) {
        let archive = archive.bytes();
        let theirs = match read_by_crate(&archive) {
            Ok(theirs) => theirs,
            // The crate cuts records at newlines, which attributes may have.
            Err(error) => {
                prop_assert_eq!(error.to_string(), "malformed pax extension");
                return Ok(());
            }
        };
        match read_here(&archive) {
            Ok(ours) => prop_assert_eq!(ours, theirs),
            // Names of files ending in a slash come up among the generated ones.
            Err(reason) => prop_assert!(reason.contains("ends in \"/\""), "{}", reason),
        }
    }

    #[test]
    fn damaged_archives_are_refused_or_read_alike(archive in damaged_archive(6)) {
        let (Ok(ours), Ok(theirs)) = (read_here(&archive), read_by_crate(&archive)) else {
            return Ok(());
        };
        prop_assert_eq!(ours, theirs);
    }
}

/// Is what both readers say of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    path: Vec<u8>,
    typeflag: u8,
    target: Option<Vec<u8>>,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    content: Vec<u8>,
}

fn read_here(archive: &[u8]) -> Result<Vec<Member>, String> {
    let mut reader = TarReader::new(archive);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| error.to_string())? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| error.to_string())?;
        let (typeflag, target) = match entry.kind {
            EntryKind::BlockDevice(_) => (b'4', None),
            EntryKind::CharacterDevice(_) => (b'3', None),
            EntryKind::Directory => (b'5', None),
            EntryKind::Fifo => (b'6', None),
            EntryKind::HardLink { target } => (b'1', Some(target)),
            EntryKind::Regular { .. } => (b'0', None),
            EntryKind::Symlink { target } => (b'2', Some(target)),
        };
        members.push(Member {
            path: entry.path.strip_suffix(b"/").unwrap_or(&entry.path).to_vec(),
            typeflag,
            target,
            mode: entry.mode.into(),
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            mtime: entry.mtime.seconds,
            xattrs: entry.xattrs.into_iter().map(|xattr| (xattr.name, xattr.value)).collect(),
            content,
        });
    }
    // The crate lets an empty value stand.
    let takes_back = |kind| kind == DivergenceKind::EmptyPaxValue;
    if reader.divergences().iter().any(|(first, _)| takes_back(first.kind)) {
        return Err("an empty PAX value".to_owned());
    }
    Ok(members)
}

fn read_by_crate(archive: &[u8]) -> Result<Vec<Member>, Box<dyn std::error::Error>> {
    let mut archive = tar::Archive::new(archive);
    let mut members = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut mtime = i64::try_from(entry.header().mtime()?)?;
        if let Some(records) = entry.pax_extensions()? {
            for record in records {
                let record = record?;
                if let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                    match xattrs.iter_mut().find(|(known, _)| known == name) {
                        Some((_, value)) => *value = record.value_bytes().to_vec(),
                        None => xattrs.push((name.to_vec(), record.value_bytes().to_vec())),
                    }
                } else if record.key_bytes() == b"mtime" {
                    mtime = floor_of_time(record.value()?)?;
                }
            }
        }
        let header = entry.header();
        let typeflag = match header.entry_type() {
            tar::EntryType::XGlobalHeader => return Err("not applied by the crate".into()),
            tar::EntryType::Continuous => b'0',
            other => other.as_byte(),
        };
        let is_link = matches!(typeflag, b'1' | b'2');
        let target = is_link.then(|| entry.link_name_bytes().unwrap_or_default().into_owned());
        let mut path = entry.path_bytes().into_owned();
        while typeflag == b'5' && path.ends_with(b"/") {
            path.pop();
        }
        let (mode, uid, gid) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        members.push(Member { path, typeflag, target, mode, uid, gid, mtime, xattrs, content });
    }
    Ok(members)
}

/// Rounds a PAX time down to seconds, with nanoseconds as the finest.
fn floor_of_time(text: &str) -> Result<i64, std::num::ParseIntError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse()?;
    let has_fraction = fraction.bytes().take(9).any(|digit| digit != b'0');
    Ok(if text.starts_with('-') && has_fraction { seconds - 1 } else { seconds })
}
