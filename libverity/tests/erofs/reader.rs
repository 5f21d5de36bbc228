//! The reader against fsck.erofs, dump.erofs and trees that mkfs.erofs made images of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use libverity::erofs::{BlockPart, FileKind, Inode, ReadError, Reader};
use libverity::tar::TarReader;
use osguard_testkit::tools::ErofsUtils;
use osguard_testkit::{or_skip, skip};
use rustix::fs::XattrFlags;

use crate::convert::{UUID, full_image, index_image};
use crate::generator;
use crate::golden::VECTORS;
use crate::tree::{of_directory, of_image};

#[test]
fn trees_are_those_that_fsck_unpacks() {
    if !rustix::process::geteuid().is_root() {
        return skip("root, to unpack devices and owners");
    }
    let Some(_) = or_skip(ErofsUtils::V1_9.fsck()) else { return };
    let golden = VECTORS.iter().map(|vector| (vector.name.to_owned(), vector.archive()));
    let random = (1000..1030).map(|seed| (format!("archive {seed}"), generator::archive(seed)));
    let mut compared = 0;
    for (name, archive) in golden.chain(random) {
        for image in ImageFiles::both(&archive) {
            let name = format!("{name}, {}", image.mode);
            let unpacked = image.directory.path().join("tree");
            let mut fsck = ErofsUtils::V1_9.fsck().unwrap();
            fsck.arg(format!("--extract={}", unpacked.display())).arg("--preserve");
            let output = image.arguments(&mut fsck).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            if message.contains("failed to create symlink") {
                continue; // An empty link text, which an image can have and Linux cannot make.
            }
            assert!(output.status.success(), "{name}: {message}");
            let mut read = of_image(&image.reader()).unwrap();
            let mut expected = of_directory(&unpacked);
            for file in read.values_mut().chain(expected.values_mut()) {
                file.forget_what_the_machine_does_not_keep();
            }
            assert!(read.keys().eq(expected.keys()), "{name}");
            for (path, file) in &read {
                assert_eq!(file, &expected[path], "{name}: {}", String::from_utf8_lossy(path));
            }
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared} images of 45 archives in two modes");
}

/// Is an image on disk, and where it points into an archive, that beside it.
struct ImageFiles {
    mode: &'static str,
    directory: tempfile::TempDir,
    /// The image, with the archive behind it.
    bytes: Vec<u8>,
}

impl ImageFiles {
    /// Makes the images that there are of an archive.
    fn both(archive: &[u8]) -> Vec<Self> {
        let full = full_image(archive).map(|(image, _)| ("full", image, &[][..]));
        let index = index_image(archive).map(|(image, _)| ("index", image, archive));
        let files = |(mode, image, archive): (_, Vec<u8>, &[u8])| {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("image"), &image).unwrap();
            fs::write(directory.path().join("archive"), archive).unwrap();
            Self { mode, directory, bytes: [&image[..], archive].concat() }
        };
        full.into_iter().chain(index).map(files).collect()
    }

    /// Tells one of the tools of erofs-utils where the image is.
    fn arguments<'a>(&self, tool: &'a mut Command) -> &'a mut Command {
        if self.mode == "index" {
            tool.arg(format!("--device={}", self.directory.path().join("archive").display()));
        }
        tool.arg(self.directory.path().join("image"))
    }

    fn reader(&self) -> Reader<&[u8]> {
        match self.mode {
            "index" => Reader::open_index(&self.bytes[..]).unwrap(),
            _ => Reader::open(&self.bytes[..]).unwrap(),
        }
    }
}

#[test]
fn images_of_directories_are_read_with_tails_and_shared_attributes() {
    for version in ErofsUtils::ALL {
        let Some(mut mkfs) = or_skip(version.mkfs()) else { return };
        let directory = tempfile::tempdir().unwrap();
        let (tree, file) = (directory.path().join("tree"), directory.path().join("image"));
        fs::create_dir(&tree).unwrap();
        make_tree(&tree);
        run(mkfs.args(["-T0", "--mkfs-time", "-x1", "--quiet"]).arg(&file).arg(&tree));
        let reader = Reader::open(fs::File::open(&file).unwrap()).unwrap();
        assert_eq!(of_image(&reader).unwrap(), of_directory(&tree), "{version:?}");
        let error = reader.check().unwrap_err().to_string();
        assert!(error.contains("shares attributes"), "{error}");
    }
}

#[test]
fn facts_are_those_of_dump() {
    let Some(_) = or_skip(ErofsUtils::V1_9.dump()) else { return };
    let vectors = VECTORS.iter().flat_map(|vector| ImageFiles::both(&vector.archive()));
    for image in vectors {
        let output = run(image.arguments(ErofsUtils::V1_9.dump().unwrap().arg("-s")));
        let dumped: BTreeMap<&str, &str> = output
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let reader = image.reader();
        let facts = reader.facts();
        assert_eq!(facts.uuid.as_bytes(), &UUID);
        for (key, value) in [
            ("Filesystem blocksize", facts.block_bytes.to_string()),
            ("Filesystem blocks", (facts.blocks + facts.archive_blocks.unwrap_or(0)).to_string()),
            ("Filesystem inode count", facts.inodes.to_string()),
            ("Filesystem root nid", facts.root_nid.to_string()),
            ("Filesystem UUID", facts.uuid.to_string()),
        ] {
            assert_eq!(dumped[key], value, "{key} in {output}");
        }
        assert_eq!(facts.block_bytes, if image.mode == "full" { 4096 } else { 512 });
    }
}

/// Asks for each of the first files of each image, since each costs two processes.
#[test]
fn files_are_those_of_dump() {
    let Some(_) = or_skip(ErofsUtils::V1_9.dump()) else { return };
    for vector in VECTORS {
        for image in ImageFiles::both(&vector.archive()) {
            let reader = image.reader();
            for file in reader.walk().take(DUMPED_FILES) {
                let file = file.unwrap();
                let path = OsStr::from_bytes(file.path.as_bytes());
                let context = format!("{}, {}: {path:?}", vector.name, image.mode);
                let dump = |options: &[&str]| {
                    let mut dump = ErofsUtils::V1_9.dump().unwrap();
                    dump.args(options).arg("--path").arg(path);
                    run(image.arguments(&mut dump))
                };
                let shown = dump(&[]);
                let Inode { nid, size_bytes, links, uid, gid, permissions, kind, .. } = file.inode;
                for expected in [
                    format!("\nSize: {size_bytes}  On-disk size: "),
                    format!("\nNID: {nid}   Links: {links}   Layout: "),
                    format!("\nUid: {uid}   Gid: {gid}  Access: {:04o}/", permissions & 0o777),
                ] {
                    assert!(shown.contains(&expected), "{context}: {expected:?} in {shown}");
                }
                if kind == FileKind::Regular {
                    let mut content = Vec::new();
                    reader.read_file(&file).unwrap().read_to_end(&mut content).unwrap();
                    assert_eq!(dump(&["--cat"]).as_bytes(), content, "{context}");
                }
            }
        }
    }
}

/// Of the other vectors, one has attributes that Linux takes for damaged capabilities.
#[test]
fn attributes_are_those_that_fsck_unpacks() {
    if !rustix::process::geteuid().is_root() {
        return skip("root, to set attributes of overlayfs");
    }
    let Some(_) = or_skip(ErofsUtils::V1_9.fsck()) else { return };
    for name in ["g06_whiteout", "g15_acl_xattr_many"] {
        let vector = VECTORS.iter().find(|vector| vector.name == name).unwrap();
        for image in ImageFiles::both(&vector.archive()) {
            let unpacked = image.directory.path().join("tree");
            let mut fsck = ErofsUtils::V1_9.fsck().unwrap();
            fsck.arg(format!("--extract={}", unpacked.display())).arg("--xattrs");
            run(image.arguments(&mut fsck));
            let mut found = of_directory(&unpacked);
            let mut attributes = 0;
            for (path, file) in of_image(&image.reader()).unwrap() {
                let path_text = String::from_utf8_lossy(&path);
                let xattrs = found.remove(&path).unwrap().xattrs;
                if file.xattrs.iter().any(|(_, value)| value.is_empty()) {
                    continue; // fsck.erofs gives up at an attribute without a value.
                }
                assert_eq!(file.xattrs, xattrs, "{name}, {}: {path_text}", image.mode);
                attributes += xattrs.len();
            }
            assert!(attributes > 0 && found.is_empty(), "{name}: {attributes}, {found:?}");
        }
    }
}

#[test]
fn attributes_come_back() {
    for vector in VECTORS.iter().filter(|vector| vector.name.contains("xattr")) {
        let archive = vector.archive();
        let mut expected = BTreeMap::new();
        let mut members = TarReader::new(&archive[..]);
        while let Some(entry) = members.next_entry().unwrap() {
            let mut xattrs: Vec<_> =
                entry.xattrs.into_iter().map(|xattr| (xattr.name, xattr.value)).collect();
            xattrs.sort();
            expected.insert([b"/", &entry.path[..]].concat(), xattrs);
        }
        let (image, _) = full_image(&archive[..]).unwrap();
        let tree = of_image(&Reader::open(&image).unwrap()).unwrap();
        for (path, xattrs) in &expected {
            assert_eq!(&tree[path].xattrs, xattrs, "{}", vector.name);
        }
    }
}

#[test]
fn our_images_are_whole() {
    let golden = VECTORS.iter().map(|vector| (vector.name.to_owned(), vector.archive()));
    let random = (0..300).map(|seed| (format!("archive {seed}"), generator::archive(seed)));
    for (name, archive) in golden.chain(random) {
        let Ok((image, finished)) = full_image(&archive[..]) else { continue };
        let reader = Reader::open(&image).unwrap();
        let checked = reader.check().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(checked.inodes, finished.inodes(), "{name}");
        assert_eq!(checked.names, reader.walk().count() as u64, "{name}");
    }
}

#[test]
fn images_that_point_into_an_archive_have_the_same_tree() {
    let golden = VECTORS.iter().map(|vector| (vector.name.to_owned(), vector.archive()));
    let random = (0..100).map(|seed| (format!("archive {seed}"), generator::archive(seed)));
    let mut compared = 0;
    for (name, archive) in golden.chain(random) {
        let Ok((full, _)) = full_image(&archive[..]) else { continue };
        let Ok((index, _)) = index_image(&archive[..]) else { continue };
        let device = [&index[..], &archive].concat();
        let error = Reader::open(&device).unwrap_err();
        assert!(matches!(error, ReadError::ExtraDevices { count: 1 }), "{error:?}");
        let reader = Reader::open_index(&device).unwrap();
        let checked = reader.check().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let full = Reader::open(&full).unwrap();
        assert_eq!(checked, full.check().unwrap());
        assert!(of_image(&reader).unwrap() == of_image(&full).unwrap(), "{name}");
        let error = Reader::open_index(full.source()).unwrap_err();
        assert!(matches!(error, ReadError::NoArchive), "{error:?}");
        let error = Reader::open_index(&device[..device.len() - archive.len()]).unwrap_err();
        assert!(matches!(error, ReadError::TooShort { .. }), "{error:?}");
        compared += 1;
    }
    assert!(compared > 70, "{compared} of 115 archives became images");
}

#[test]
fn images_that_old_and_new_tools_point_into_an_archive_are_read() {
    for version in ErofsUtils::ALL {
        let Some(mut mkfs) = or_skip(version.mkfs()) else { return };
        let directory = tempfile::tempdir().unwrap();
        let (tar, file) = (directory.path().join("tar"), directory.path().join("image"));
        let vector = VECTORS.iter().find(|vector| vector.name == "g15_acl_xattr_many").unwrap();
        let archive = vector.archive();
        fs::write(&tar, &archive).unwrap();
        run(mkfs.args(["--tar=i", "--quiet", "-T0", "--mkfs-time"]).arg(&file).arg(&tar));
        let device = [&fs::read(&file).unwrap()[..], &archive].concat();
        let reader = Reader::open_index(&device).unwrap();
        let (full, _) = full_image(&archive[..]).unwrap();
        assert!(of_image(&reader).unwrap() == of_image(&Reader::open(&full).unwrap()).unwrap());
        // 1.8 writes no checksum into these.
        assert_eq!(reader.check().is_ok(), version == ErofsUtils::V1_9);
    }
}

#[test]
fn blocks_belong_to_files() {
    let owners_in = |name: &str| {
        let vector = VECTORS.iter().find(|vector| vector.name == name).unwrap();
        let (image, _) = full_image(&vector.archive()[..]).unwrap();
        let reader = Reader::open(&image).unwrap();
        let found = reader.block_owners(&(0..1000).collect::<Vec<_>>());
        assert!(found.incomplete.is_none());
        found
            .owners
            .into_iter()
            .map(|(block, owner)| {
                let path = String::from_utf8_lossy(owner.path.as_bytes()).into_owned();
                (block, path, owner.part, owner.further_names)
            })
            .collect::<Vec<_>>()
    };
    let content = |block, path: &str, offset_bytes| {
        (block, path.to_owned(), BlockPart::Content { offset_bytes }, 0)
    };
    let superblock = |names| (0, "/".to_owned(), BlockPart::Superblock, names);
    // Five names and the root; the content of /f, in two blocks.
    assert_eq!(
        owners_in("g04_noparent"),
        [superblock(5), content(1, "/usr/share/doc/f", 0), content(2, "/usr/share/doc/f", 4096)]
    );
    // What first was /a, in blocks 1 and 2, and /x, in block 5, belongs to nothing.
    assert_eq!(
        owners_in("g08_override"),
        [superblock(5), content(3, "/b", 0), content(4, "/a", 0), content(6, "/x/y", 0)]
    );
    let of_directory = owners_in("g09_bigdir");
    assert!(of_directory.iter().any(|(_, path, part, _)| {
        path == "/d" && *part == BlockPart::Content { offset_bytes: 0 }
    }));
    assert!(of_directory.iter().any(|(_, path, part, further)| {
        path.starts_with("/d/file-") && *part == BlockPart::Inode && *further > 10
    }));
}

/// Fills `tree` with what makes images of directories other than those of archives: small files
/// whose content lies behind the inode, and attributes that several files have.
fn make_tree(tree: &Path) {
    let file = |name: &[u8], size: usize| {
        let path = tree.join(OsStr::from_bytes(name));
        let content: Vec<u8> = (0..size).map(|place| (place / 7) as u8).collect();
        fs::File::create(&path).unwrap().write_all(&content).unwrap();
        path
    };
    file(b"empty", 0);
    for size in [1, 4095, 4096, 4097, 5000, 100_000] {
        file(format!("{size}").as_bytes(), size);
    }
    file(b"\xff\xfe not UTF-8", 10);
    let setuid = file(b"setuid", 100);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(&setuid, tree.join("another name")).unwrap();
    symlink("setuid", tree.join("link")).unwrap();
    symlink("x".repeat(3000), tree.join("long link")).unwrap();
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    for number in 0..400 {
        let path = tree.join(format!("a/b/{number}"));
        fs::write(&path, format!("content {number}")).unwrap();
        let set = |name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
        };
        set("user.shared", b"the same for all");
        if number % 3 == 0 {
            set("user.own", number.to_string().as_bytes());
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const DUMPED_FILES: usize = 12;
