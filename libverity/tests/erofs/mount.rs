//! Images as kernels mount them: that of this machine, and those of the virtual machines.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use libverity::erofs::Reader;
use osguard_testkit::image::Tree;
use osguard_testkit::mount::MountedImage;
use osguard_testkit::or_skip;
use osguard_testkit::tools::ErofsUtils;
use osguard_testkit::vm::{Kernel, Vm};

use crate::convert::{full_image, index_image};
use crate::golden::VECTORS;
use crate::oracle::{FULL, Oracle};
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
    assert_eq!(compared, 2 * VECTORS.len() - 1);
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
    let Some(oracle) = Oracle::or_skip(ErofsUtils::V1_9) else { return };
    let wrapped = VECTORS.iter().find(|vector| vector.name == WRAPPED).unwrap().archive();
    fs::write(disk.join("wrapped"), oracle.image(FULL, &wrapped).unwrap()).unwrap();

    let Some(tree) = or_skip(Tree::program()) else { return };
    let machine = Vm::new(kernel)
        .directory_disk(&disk)
        .program(tree)
        .time_limit(Duration::from_secs(180))
        .script(SCRIPT);
    let Some(outcome) = machine.run_or_skip() else { return };
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    assert_eq!(expected.len(), 2 * VECTORS.len() - 1);
    for (name, expected) in &expected {
        let step = outcome.step(name);
        assert_eq!(step.exit_code, 0, "{name}: {}", step.stderr_text());
        let found = Tree::parse(&step.stdout).unwrap();
        assert_eq!(expected.differences(&found), Vec::<String>::new(), "{name}");
    }
    // Kernels add numbers up as mkfs.erofs does, modulo 2⁶⁴; here such an image is refused.
    let step = outcome.step("wrapped");
    assert_eq!(step.exit_code, 0, "{}", step.stderr_text());
    let found = Tree::parse(&step.stdout).unwrap();
    let expected = &expected[&format!("{WRAPPED}.index")];
    assert_eq!(expected.differences(&found), Vec::<String>::new());
}

/// Makes the images that there are of an archive, that which points into it with the archive.
fn images(archive: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut images = Vec::new();
    if let Ok((image, _)) = full_image(archive) {
        images.push(("full", image));
    }
    if let Ok((mut image, _)) = index_image(archive) {
        image.extend_from_slice(archive);
        images.push(("index", image));
    }
    images
}

/// Mounts each file of the disk, and prints what is in it.
const SCRIPT: &str = r#"
mkdir -p /disk /mnt
mount -t ext4 -o ro /dev/vda /disk
for image in /disk/g* /disk/wrapped; do
    mount -t erofs -o loop,ro "$image" /mnt
    step "${image##*/}" osguard-tree /mnt
    umount /mnt
done
exit 0
"#;

/// Of this archive mkfs.erofs makes an image with wrapped numbers of inodes.
const WRAPPED: &str = "g12_bigroot";
