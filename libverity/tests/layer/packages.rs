//! Layers as the world has them: the files of Debian's packages, and the layers of a real image.
//!
//! Each becomes the images of erofs-utils, has the root hash of veritysetup, and is mounted as the
//! tree that GNU tar unpacks. `OSGUARD_PACKAGES=all` takes 48 packages instead of five; it fetches
//! about 170 MB.

use std::fs;
use std::path::Path;

use libverity::erofs::IndexWriter;
use libverity::layer::{ConvertedLayer, ExpectedLayer, ImageFile, Profile, convert};
use libverity::tar::TarReader;
use osguard_testkit::command::{command, run};
use osguard_testkit::debian::{Package, Packages, Suite};
use osguard_testkit::image::{Tree, real, unpack};
use osguard_testkit::mount::MountedImage;
use osguard_testkit::or_skip;
use osguard_testkit::tools::ErofsUtils;

use crate::mkfs_erofs::mkfs;

#[test]
fn the_files_of_packages_become_the_images_of_mkfs_erofs() {
    let is_long = std::env::var("OSGUARD_PACKAGES").is_ok_and(|packages| packages == "all");
    let (name, wanted) = if is_long {
        ("packages/all", &[Packages::Alone(SOME), Packages::Alone(MORE), KERNEL][..])
    } else {
        ("packages/some", &[Packages::Alone(SOME)][..])
    };
    let Some(packages) = or_skip(Package::fetched(name, Suite::Trixie, wanted)) else { return };
    assert!(packages.len() >= SOME.len() + if is_long { MORE.len() + 1 } else { 0 });
    let mut total = Outcome::default();
    for package in &packages {
        let archive = package.data_archive().unwrap();
        let Some(outcome) = compare(&package.name(), &archive, &archive, IS_WHOLE) else { return };
        println!("{}: {outcome:?}", package.name());
        total.add(outcome);
    }
    println!("{} packages: {total:?}", packages.len());
    assert!(total.alike_in_1_8 > 0 && total.names > 1000, "{total:?}");
}

#[test]
fn the_layers_of_a_real_image_become_the_images_of_mkfs_erofs() {
    let Some(real) = or_skip(real()) else { return };
    for (number, layer) in real.layers.iter().enumerate() {
        let (blob, archive) = (fs::read(&layer.blob).unwrap(), fs::read(&layer.tar).unwrap());
        // Those above have whiteouts and leave directories out.
        let is_whole = number < 2;
        let Some(outcome) = compare(&format!("layer {number}"), &blob, &archive, is_whole) else {
            return;
        };
        println!("layer {number}: {outcome:?}");
    }
}

/// Counts what was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    names: usize,
    content_bytes: u64,
    alike_in_1_8: u32,
    divergent: u32,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.names += other.names;
        self.content_bytes += other.content_bytes;
        self.alike_in_1_8 += other.alike_in_1_8;
        self.divergent += other.divergent;
    }
}

/// Compares what is made of one layer in every way; `None` where a program is missing.
fn compare(name: &str, blob: &[u8], archive: &[u8], is_whole: bool) -> Option<Outcome> {
    for version in ErofsUtils::ALL {
        or_skip(version.mkfs())?;
    }
    or_skip(command("veritysetup"))?;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);

    let file = fs::File::options().create_new(true).read(true).write(true).open(at("full"));
    let file = file.unwrap();
    let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
    let profiles = [Profile::ContainerdFullV1];
    let layer = convert(blob, &ExpectedLayer::default(), &profiles, &mut sink).unwrap();
    let uuid = layer.images[0].uuid;
    let mut full = fs::read(at("full")).unwrap();
    full.truncate(layer.images[0].image_size_bytes as usize);
    let mut index = index_image(archive, uuid.into_bytes());

    let theirs = |version, options: &[&str]| {
        mkfs(version, directory.path(), archive, options, uuid).unwrap()
    };
    assert!(full == theirs(ErofsUtils::V1_9, FULL), "{name}: 1.9 makes another full image");
    assert!(index == theirs(ErofsUtils::V1_9, INDEX), "{name}: 1.9 makes another index image");
    let mut outcome = Outcome { content_bytes: archive.len() as u64, ..Outcome::default() };
    if layer.divergences.is_empty() {
        assert!(full == theirs(ErofsUtils::V1_8, FULL), "{name}: 1.8 makes another full image");
        outcome.alike_in_1_8 = 1;
    } else {
        outcome.divergent = 1;
    }
    same_root_hash(name, directory.path(), &full, &layer);

    index.extend_from_slice(archive);
    // The kernel takes whole sectors of a loop device.
    index.resize(index.len().next_multiple_of(512), 0);
    fs::write(at("index"), &index).unwrap();
    fs::write(at("tar"), archive).unwrap();
    let mounted = |image: &str| {
        let directory = at(&format!("{image}.mounted"));
        fs::create_dir(&directory).unwrap();
        let _mounted = or_skip(MountedImage::new(&at(image), &directory))?;
        Some(Tree::of(&directory).unwrap())
    };
    let from_full = mounted("full")?;
    assert_eq!(from_full.differences(&mounted("index")?), Vec::<String>::new(), "{name}");
    outcome.names = from_full.paths().count();
    if is_whole {
        or_skip(unpack(&at("tar"), &at("unpacked")))?;
        let unpacked = Tree::of(&at("unpacked")).unwrap();
        assert_eq!(unpacked.differences(&from_full), Vec::<String>::new(), "{name}");
    }
    Some(outcome)
}

fn same_root_hash(name: &str, directory: &Path, image: &[u8], layer: &ConvertedLayer) {
    let file = directory.join("verity");
    fs::write(&file, image).unwrap();
    let mut veritysetup = command("veritysetup").unwrap();
    veritysetup
        .arg("format")
        .args([&file, &file])
        .arg(format!("--hash-offset={}", image.len()))
        .arg(format!("--uuid={}", layer.images[0].uuid))
        .arg(format!("--salt={}", "00".repeat(32)));
    let printed = String::from_utf8(run(&mut veritysetup).unwrap()).unwrap();
    let root_hash = printed.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap();
    assert_eq!(root_hash.trim(), layer.images[0].root_hash.to_string(), "{name}");
    assert!(fs::read(&file).unwrap() == fs::read(directory.join("full")).unwrap(), "{name}");
}

fn index_image(archive: &[u8], uuid: [u8; 16]) -> Vec<u8> {
    let mut members = TarReader::new(archive);
    let mut writer = IndexWriter::new();
    while let Some(entry) = members.next_entry().unwrap() {
        writer.add(&entry, members.position_bytes()).unwrap();
    }
    let mut image = Vec::new();
    let mut sink = |first_block: u64, blocks: &[u8]| {
        image.resize(first_block as usize * 512, 0);
        image.extend_from_slice(blocks);
        Ok(())
    };
    let finished = writer.finish(members.position_bytes(), &mut sink).unwrap();
    image.resize(finished.size_bytes() as usize, 0);
    let start = finished.superblock_block_number() as usize * 512;
    image[start..start + 512].copy_from_slice(&finished.superblock_block(uuid));
    image
}

const FULL: &[&str] = &["--tar=f", "-Enoinline_data"];
const INDEX: &[&str] = &["--tar=i"];
/// Packages name all their directories and hide nothing.
const IS_WHOLE: bool = true;

/// Are small ones of five kinds: a program, a locale, Perl, Python and documentation.
const SOME: &[&str] = &["hello", "libpython3.13-minimal", "locales", "manpages", "perl-base"];

/// Are the modules of a kernel.
const KERNEL: Packages<'_> =
    Packages::Behind("linux-image-cloud-amd64", &["linux-image", "linux-modules", "linux-binary"]);

/// Are many files, large ones, odd names, links, setuid programs, configuration.
const MORE: &[&str] = &[
    "apt",
    "base-files",
    "bash",
    "busybox-static",
    "ca-certificates",
    "coreutils",
    "cracklib-runtime",
    "debianutils",
    "dpkg",
    "e2fsprogs",
    "fonts-dejavu-core",
    "gcc-14",
    "git",
    "git-doc",
    "gnupg",
    "iputils-ping",
    "iso-codes",
    "libc-bin",
    "libc6",
    "libc6-dev",
    "libicu76",
    "libpython3.13-stdlib",
    "libssl-dev",
    "linux-libc-dev",
    "locales-all",
    "login",
    "mount",
    "nodejs",
    "openssh-server",
    "passwd",
    "perl-modules-5.40",
    "postgresql-17",
    "python3-django",
    "python3.13-doc",
    "ruby-rubygems",
    "sudo",
    "systemd",
    "tzdata",
    "udev",
    "util-linux",
    "vim-runtime",
    "wordpress",
];
