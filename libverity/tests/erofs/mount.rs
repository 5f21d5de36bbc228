//! Images as kernels mount them: that of this machine, and those of the virtual machines.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use libverity::erofs::Reader;
use osguard_testkit::image::Tree;
use osguard_testkit::mount::MountedImage;
use osguard_testkit::or_skip;
use osguard_testkit::vm::{Kernel, Vm};

use crate::convert::{full_image, index_image};
use crate::golden::VECTORS;
use crate::tree::{of_directory, of_image};

/// What fsck.erofs unpacks is compared elsewhere; the kernel reads with code of its own.
#[test]
fn trees_are_those_that_the_kernel_mounts() {
    let directory = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for vector in VECTORS {
        let name = vector.name;
        for (mode, image) in images(&vector.archive()) {
            let reader = match mode {
                "full" => Reader::open(&image),
                _ => Reader::open_index(&image),
            };
            let mut read = of_image(&reader.unwrap()).unwrap();
            let file = directory.path().join("image");
            fs::write(&file, &image).unwrap();
            let mounted = MountedImage::new(&file, directory.path());
            let Some(mounted) = or_skip(mounted) else { return };
            let mut found = of_directory(directory.path());
            drop(mounted);
            for (path, file) in &mut read {
                let found = found.get_mut(path).unwrap();
                file.forget_xattrs_that_linux_refuses(found);
            }
            assert!(read.keys().eq(found.keys()), "{name}, {mode}");
            for (path, file) in &read {
                let path_text = String::from_utf8_lossy(path);
                assert_eq!(file, &found[path], "{name}, {mode}: {path_text}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * VECTORS.len());
}

#[test]
fn vm_6_12_mounts_the_trees_of_this_machine() {
    mounts_the_trees_of_this_machine(Kernel::V6_12);
}

#[test]
fn vm_7_2_mounts_the_trees_of_this_machine() {
    mounts_the_trees_of_this_machine(Kernel::V7_2);
}

fn mounts_the_trees_of_this_machine(kernel: Kernel) {
    let directory = tempfile::tempdir().unwrap();
    let (disk, mounted) = (directory.path().join("disk"), directory.path().join("mounted"));
    fs::create_dir(&disk).unwrap();
    fs::create_dir(&mounted).unwrap();
    let mut expected = BTreeMap::new();
    for vector in VECTORS {
        for (mode, image) in images(&vector.archive()) {
            let name = format!("{}.{mode}", vector.name);
            fs::write(disk.join(&name), &image).unwrap();
            let Some(_image) = or_skip(MountedImage::new(&disk.join(&name), &mounted)) else {
                return;
            };
            expected.insert(name, Tree::of(&mounted).unwrap());
        }
    }

    let Some(tree) = or_skip(Tree::program()) else { return };
    let machine = Vm::new(kernel)
        .directory_disk(&disk)
        .program(tree)
        .time_limit(Duration::from_secs(180))
        .script(SCRIPT);
    let Some(outcome) = machine.run_or_skip() else { return };
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    assert_eq!(expected.len(), 2 * VECTORS.len());
    for (name, expected) in &expected {
        let step = outcome.step(name);
        assert_eq!(step.exit_code, 0, "{name}: {}", step.stderr_text());
        let found = Tree::parse(&step.stdout).unwrap();
        assert_eq!(expected.differences(&found), Vec::<String>::new(), "{name}");
    }
}

/// Makes both images of an archive, that which points into it with the archive.
fn images(archive: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let (full, _) = full_image(archive).unwrap();
    let (mut index, _) = index_image(archive).unwrap();
    index.extend_from_slice(archive);
    [("full", full), ("index", index)]
}

/// Mounts each file of the disk, and prints what is in it.
const SCRIPT: &str = r#"
mkdir -p /disk /mnt
mount -t ext4 -o ro /dev/vda /disk
for image in /disk/g*; do
    mount -t erofs -o loop,ro "$image" /mnt
    step "${image##*/}" osguard-tree /mnt
    umount /mnt
done
exit 0
"#;
