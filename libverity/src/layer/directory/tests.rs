//! Directories that change, and what is in the archives of those that do not; other tests compare
//! with GNU tar.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};

use super::*;
use crate::tar::TarReader;

fn write(directory: &Path, name: &str, content: &[u8]) {
    fs::write(directory.join(name), content).unwrap();
    set_time(&directory.join(name), 1_700_000_000);
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn archive(directory: &Path, options: DirectoryOptions) -> Result<Vec<u8>, DirectoryError> {
    let mut bytes = Vec::new();
    match DirectoryArchive::open(directory, options)?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

fn entries(directory: &Path, options: DirectoryOptions) -> Vec<Entry> {
    let bytes = archive(directory, options).unwrap();
    let mut reader = TarReader::new(&bytes[..]);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        entries.push(entry);
    }
    assert!(reader.divergences().is_empty());
    entries
}

/// Reads the archive of `directory` up to `bytes`, changes something, and reads on.
fn changed_after(bytes: u64, directory: &Path, change: impl FnOnce()) -> DirectoryError {
    let mut archive = DirectoryArchive::open(directory, DirectoryOptions::default()).unwrap();
    io::copy(&mut Read::take(&mut archive, bytes), &mut io::sink()).unwrap();
    change();
    io::copy(&mut archive, &mut io::sink()).unwrap_err().downcast().unwrap()
}

#[test]
fn names_come_in_byte_order_behind_their_directory() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b", "a.d", "a", "Z"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    write(directory.path(), "a/x", b"x");
    write(directory.path(), "a-file", b"");
    let names: Vec<_> = entries(directory.path(), DirectoryOptions::default())
        .into_iter()
        .map(|entry| String::from_utf8(entry.path).unwrap())
        .collect();
    assert_eq!(names, [".", "Z", "a", "a/x", "a-file", "a.d", "b"]);
}

#[test]
fn times_and_owners_are_those_of_the_options() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "f", b"");
    set_time(directory.path(), 1_600_000_000);
    let times = |times| {
        let options = DirectoryOptions { times, ..DirectoryOptions::default() };
        let times = entries(directory.path(), options).into_iter().map(|entry| entry.mtime);
        times.map(|time| (time.seconds, time.nanoseconds)).collect::<Vec<_>>()
    };
    assert_eq!(times(Times::Keep), [(1_600_000_000, 0), (1_700_000_000, 0)]);
    assert_eq!(times(Times::All(-7)), [(-7, 0), (-7, 0)]);
    assert_eq!(times(Times::NotAfter(1_650_000_000)), [(1_600_000_000, 0), (1_650_000_000, 0)]);

    let options = DirectoryOptions { owner: Some((7, 3_000_000)), ..DirectoryOptions::default() };
    for entry in entries(directory.path(), options) {
        assert_eq!((entry.uid, entry.gid), (7, 3_000_000));
    }
}

#[test]
fn a_second_name_is_a_hard_link_to_the_first() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "z", b"content");
    symlink("nowhere", directory.path().join("y")).unwrap();
    fs::hard_link(directory.path().join("z"), directory.path().join("b")).unwrap();
    fs::hard_link(directory.path().join("y"), directory.path().join("x")).unwrap();
    let kinds: Vec<_> = entries(directory.path(), DirectoryOptions::default())
        .into_iter()
        .skip(1)
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            EntryKind::Regular { size: 7 },
            EntryKind::Symlink { target: b"nowhere".to_vec() },
            EntryKind::HardLink { target: b"x".to_vec() },
            EntryKind::HardLink { target: b"b".to_vec() },
        ]
    );
}

#[test]
fn attributes_of_the_file_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    write(directory.path(), "f", b"");
    for (name, value) in [("user.z", &b"\0\n="[..]), ("user.a", b"")] {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    let entry = entries(directory.path(), DirectoryOptions::default()).pop().unwrap();
    let xattrs: Vec<_> = entry.xattrs.iter().map(|one| (&one.name[..], &one.value[..])).collect();
    assert_eq!(xattrs, [(&b"user.a"[..], &b""[..]), (b"user.z", b"\0\n=")]);
    assert!(!beneath::is_portable(b"security.selinux") && !beneath::is_portable(b"security.ima"));
    assert!(beneath::is_portable(b"security.capability") && beneath::is_portable(b"trusted.a"));
}

#[test]
fn a_socket_is_refused_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("run")).unwrap();
    let _socket = UnixListener::bind(directory.path().join("run/socket")).unwrap();
    let error = archive(directory.path(), DirectoryOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "run/socket is a socket, which no archive holds");
}

#[test]
fn a_pipe_is_taken_without_being_opened() {
    let directory = tempfile::tempdir().unwrap();
    rustix::fs::mkfifoat(CWD, directory.path().join("pipe"), rustix::fs::Mode::from(0o600))
        .unwrap();
    let entry = entries(directory.path(), DirectoryOptions::default()).pop().unwrap();
    assert_eq!((entry.kind, entry.mode), (EntryKind::Fifo, 0o600));
}

#[test]
fn what_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "file", b"");
    for (name, kind) in
        [("file", io::ErrorKind::NotADirectory), ("missing", io::ErrorKind::NotFound)]
    {
        let path = directory.path().join(name);
        let error = archive(&path, DirectoryOptions::default()).unwrap_err();
        let DirectoryError::Read { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), kind);
    }
}

#[test]
fn files_that_change_while_they_are_read_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    let within_content = 1024 + 100;
    let changes: [(&str, &dyn Fn()); 4] = [
        ("longer", &|| fs::write(&file, [1; 100_001]).unwrap()),
        ("shorter", &|| fs::write(&file, [1; 10]).unwrap()),
        ("touched", &|| set_time(&file, 1_500_000_000)),
        ("rewritten", &|| fs::write(&file, [2; 100_000]).unwrap()),
    ];
    for (name, change) in changes {
        write(directory.path(), "f", &[1; 100_000]);
        let error = changed_after(within_content, directory.path(), change);
        assert_eq!(error.to_string(), "f changed while it was read", "{name}");
    }
}

#[test]
fn files_that_vanish_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    for name in ["d/a", "d/b"] {
        write(directory.path(), name, b"content");
    }
    // The names of a directory are listed when the archive gets to it.
    let within_first = 3 * 512 + 1;
    let error = changed_after(within_first, directory.path(), || {
        fs::remove_file(directory.path().join("d/b")).unwrap();
    });
    assert_eq!(error.to_string(), "d/b vanished while the directory was read");
}

#[test]
fn nothing_outside_is_read_when_a_directory_is_swapped_for_a_link() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(outside.path(), "b", b"secret");
    fs::create_dir(directory.path().join("d")).unwrap();
    for name in ["d/a", "d/b"] {
        write(directory.path(), name, b"content");
    }
    let error = changed_after(3 * 512 + 1, directory.path(), || {
        fs::rename(directory.path().join("d"), directory.path().join("aside")).unwrap();
        symlink(outside.path(), directory.path().join("d")).unwrap();
    });
    assert_eq!(error.to_string(), "d/b changed while it was read");
}
