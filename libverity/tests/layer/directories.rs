//! Archives of directories beside those of GNU tar.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use libverity::layer::{
    DirectoryArchive, DirectoryOptions, ExpectedLayer, ImageFile, Profile, convert,
};
use libverity::tar::{Entry, EntryKind, TarReader};
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev};

#[test]
fn directories_become_what_gnu_tar_makes_of_them() {
    let Some(mut tar) = or_skip(command("tar")) else { return };
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let mut ours = Vec::new();
    let mut archive =
        DirectoryArchive::open(directory.path(), DirectoryOptions::default()).unwrap();
    archive.read_to_end(&mut ours).unwrap();

    let theirs = run(tar
        .args(["--create", "--sort=name", "--format=posix", "--numeric-owner", "--xattrs"])
        .args(["--xattrs-include=*", "--pax-option=delete=atime,delete=ctime", "--directory"])
        .args([directory.path(), Path::new(".")]))
    .unwrap();
    let (our_members, their_members) = (members(&ours), members(&theirs));
    assert!(our_members.len() > 300, "there is something to compare");
    assert_eq!(our_members, their_members);

    // All but the first block, in which the UUID is: it follows from the bytes of the archive.
    let [ours, theirs] = [ours, theirs].map(|archive| image(&archive).split_off(4096));
    assert!(ours == theirs, "the images differ");
}

#[test]
fn archives_do_not_depend_on_how_a_directory_came_about() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut names: Vec<_> = (0..200).map(|number| format!("{:x}", number * 7919 % 200)).collect();
    let archives = directories.each_ref().map(|directory| {
        for name in &names {
            fs::write(directory.path().join(name), name).unwrap();
        }
        set_time(directory.path(), "", 1);
        names.iter().for_each(|name| set_time(directory.path(), name, 1));
        names.reverse();
        let options = DirectoryOptions::default();
        let mut bytes = Vec::new();
        let mut archive = DirectoryArchive::open(directory.path(), options).unwrap();
        archive.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert!(archives[0] == archives[1]);
}

/// Makes one file of every kind, with names and contents of many lengths.
fn fill(directory: &Path) {
    let at = |name: &str| directory.join(name);
    let long = format!("d/{}/{}", "n".repeat(120), "ü".repeat(120));
    fs::create_dir_all(at(&long)).unwrap();
    for (number, size) in [0, 1, 511, 512, 513, 4095, 4096, 4097, 1 << 20].into_iter().enumerate() {
        fs::write(at(&format!("{long}/{number}")), vec![number as u8; size]).unwrap();
    }
    for number in 0..300 {
        fs::write(at(&format!("d/{number}")), number.to_string()).unwrap();
    }
    for length in [1, 100, 101, 4000] {
        symlink("t".repeat(length), at(&format!("d/link-{length}"))).unwrap();
    }
    fs::hard_link(at("d/299"), at("d/0-again")).unwrap();
    fs::hard_link(at("d/link-4000"), at("d/link-again")).unwrap();
    fs::set_permissions(at("d/7"), fs::Permissions::from_mode(0o4751)).unwrap();
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::from(0o640)).unwrap();
    // Devices, other owners and attributes of the system are for root alone.
    if rustix::process::geteuid().is_root() {
        let mode = Mode::from(0o600);
        for (name, kind) in [("c", FileType::CharacterDevice), ("b", FileType::BlockDevice)] {
            rustix::fs::mknodat(CWD, at(name), kind, mode, makedev(259, 70_000)).unwrap();
        }
        std::os::unix::fs::chown(at("d/8"), Some(3_000_000), Some(70_000)).unwrap();
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for (name, value) in [("trusted.t", &b"="[..]), ("security.capability", capability)] {
            rustix::fs::setxattr(at("d/9"), name, value, XattrFlags::empty()).unwrap();
        }
        let flags = XattrFlags::empty();
        rustix::fs::lsetxattr(at("d/link-1"), "trusted.link", b"\0\n", flags).unwrap();
    }
    rustix::fs::setxattr(at("d"), "user.of-directory", b"", XattrFlags::empty()).unwrap();
    for name in ["d/10", "d/link-1", "pipe", "d", ""] {
        set_time(directory, name, 1_000_000_000);
    }
    set_time(directory, "d/11", -1_000);
    set_time(directory, "d/12", 1 << 33);
    // What was not set is cut to whole seconds, or GNU tar writes its fraction.
    for file in walk(directory) {
        let seconds = rustix::fs::lstat(&file).unwrap().st_mtime;
        set_time(&file, "", seconds);
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn set_time(directory: &Path, name: &str, seconds: i64) {
    let path = if name.is_empty() { directory.to_owned() } else { directory.join(name) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Returns the members of an archive with their contents; names without `./`, and of a hard link
/// what counts.
fn members(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = TarReader::new(archive);
    let mut members = Vec::new();
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let without_dot = |path: &[u8]| path.strip_prefix(b"./").unwrap_or(path).to_vec();
        entry.path = without_dot(&entry.path);
        if let EntryKind::HardLink { target } = &mut entry.kind {
            *target = without_dot(target);
            entry.xattrs.clear();
        }
        entry.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        members.push((entry, content));
    }
    members
}

fn image(archive: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = ImageFile::new(file.as_file(), &std::env::temp_dir()).unwrap();
    let profiles = [Profile::DiffidFullV1];
    let layer = convert(archive, &ExpectedLayer::default(), &profiles, &mut sink).unwrap();
    let mut image = fs::read(file.path()).unwrap();
    image.truncate(usize::try_from(layer.images[0].image_size_bytes).unwrap());
    image
}
