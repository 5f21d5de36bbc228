//! Archives, with other tools' archives and with several writers at once.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libverity::digest::Digest;
use osguard_registry::archive::Archive;
use osguard_registry::artifact::Format;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::image::Image;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place};
use osguard_registry::reference::{ArchiveFile, Selector};
use osguard_registry::signatures;
use osguard_registry::tag::Tag;

use crate::support::{ImageMaker, is_installed, names_in, signature_of};

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn create(path: &Path) -> Archive {
    Archive::create(&ArchiveFile::Path(path.to_owned())).unwrap()
}

fn open(path: &Path) -> Result<Archive, Error> {
    Archive::open(&ArchiveFile::Path(path.to_owned()))
}

/// Makes an archive with an image of two layers.
fn archive_in(directory: &Path) -> (PathBuf, Manifest) {
    let path = directory.join("image.tar");
    let archive = create(&path);
    let manifest = ImageMaker::new(&archive).image(&[b"one", b"two"], Listing::Tag(&tag("v1")));
    archive.finish().unwrap();
    (path, manifest)
}

fn contents(place: &dyn Place, manifest: &Manifest) -> Vec<Vec<u8>> {
    let image = Image::load(place, manifest.descriptor()).unwrap();
    let layers = image.layers.iter();
    layers.map(|layer| place.blob(&layer.descriptor).unwrap().read_all(100).unwrap()).collect()
}

#[test]
fn an_image_is_read_back_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let archive = create(&path);
    let manifest = ImageMaker::new(&archive).image(&[b"one", b"two"], Listing::Tag(&tag("v1")));
    assert_eq!(contents(&archive, &manifest), [b"one", b"two"], "read before it is finished");
    assert!(!path.exists(), "not visible before it is finished");
    archive.finish().unwrap();
    assert_eq!(contents(&archive, &manifest), [b"one", b"two"], "read after it was finished");

    let archive = open(&path).unwrap();
    for selector in [Selector::Only, Selector::Tag(tag("v1")), Selector::Digest(manifest.digest())]
    {
        assert_eq!(archive.resolve(&selector).unwrap(), manifest.descriptor().plain());
    }
    assert_eq!(contents(&archive, &manifest), [b"one", b"two"]);
    assert_eq!(names_in(directory.path()), ["image.tar"]);
}

#[test]
fn the_same_pushes_make_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = archive_in(directory.path());
    let first = fs::read(first).unwrap();
    let (second, _) = archive_in(tempfile::tempdir().unwrap().keep().as_path());
    assert_eq!(fs::read(&second).unwrap(), first);
    fs::remove_dir_all(second.parent().unwrap()).unwrap();
}

#[test]
fn an_archive_that_is_added_to_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let (path, first) = archive_in(directory.path());
    let archive = create(&path);
    let maker = ImageMaker::new(&archive);
    let second = maker.image(&[b"three"], Listing::Tag(&tag("v2")));
    let before = fs::read(&path).unwrap();
    drop(archive);
    assert_eq!(fs::read(&path).unwrap(), before, "what is not finished leaves no trace");
    assert_eq!(names_in(directory.path()), ["image.tar"]);

    let archive = create(&path);
    ImageMaker::new(&archive).image(&[b"three"], Listing::Tag(&tag("v2")));
    archive.finish().unwrap();
    archive.finish().unwrap();
    let archive = open(&path).unwrap();
    assert_eq!(contents(&archive, &first), [&b"one"[..], b"two"]);
    assert_eq!(contents(&archive, &second), [b"three"]);
    assert_eq!(archive.resolve(&Selector::Tag(tag("v2"))).unwrap().digest, second.digest());
}

#[test]
fn signatures_are_attached_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let (path, manifest) = archive_in(directory.path());
    let artifact = signature_of(&manifest, "aa", b"signature");
    let archive = open(&path).unwrap();
    signatures::publish(&archive, &artifact, Format::Standard, &|_| true).unwrap();
    assert!(signatures::find(&open(&path).unwrap(), &manifest).unwrap().is_empty());
    archive.finish().unwrap();
    let found = signatures::find(&open(&path).unwrap(), &manifest).unwrap();
    assert_eq!(found[0].outcome.as_ref().unwrap(), &artifact);
    assert_eq!(open(&path).unwrap().resolve(&Selector::Only).unwrap().digest, manifest.digest());
}

#[test]
fn wrong_content_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let archive = create(&directory.path().join("image.tar"));
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"layer");
    let error = archive.push_blob(&blob, &&b"Layer"[..]).unwrap_err();
    assert!(matches!(error, Error::DigestDiffers { .. }));
    assert!(!archive.has(&blob).unwrap());
    let manifest = ImageMaker::new(&archive).image(&[b"one"], Listing::Tag(&tag("v1")));
    archive.finish().unwrap();
    let archive = open(&directory.path().join("image.tar")).unwrap();
    assert_eq!(contents(&archive, &manifest), [b"one"]);
    assert!(!archive.has(&blob).unwrap());
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&directory.path().join("none.tar")).unwrap_err();
    assert!(matches!(&error, Error::NoSuchPlace { place } if place.ends_with("/none.tar")));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(open(directory.path()).is_err());
    let error = Archive::create(&ArchiveFile::Path("/nonexistent/x.tar".into())).unwrap();
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"layer");
    assert!(matches!(error.push_blob(&blob, &&b"layer"[..]), Err(Error::Io { .. })));
}

#[test]
fn an_archive_in_a_pipe_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, manifest) = archive_in(directory.path());
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let bytes = fs::read(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| fs::OpenOptions::new().write(true).open(&pipe).unwrap().write_all(&bytes));
        let archive = open(&pipe).unwrap();
        assert_eq!(contents(&archive, &manifest), [b"one", b"two"]);
    });
}

#[test]
fn a_truncated_archive_is_never_mistaken_for_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let (path, manifest) = archive_in(directory.path());
    let whole = fs::read(&path).unwrap();
    let cut = directory.path().join("cut.tar");
    // The two zero blocks at the end carry nothing.
    for length in (0..whole.len() - 1024).step_by(100) {
        fs::write(&cut, &whole[..length]).unwrap();
        let error = open(&cut).unwrap_err();
        assert!(matches!(error, Error::NotALayout { .. }), "{length}: {error}");
    }
    fs::write(&cut, &whole[..whole.len() - 1024]).unwrap();
    assert_eq!(contents(&open(&cut).unwrap(), &manifest), [b"one", b"two"]);
}

#[test]
fn a_flipped_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, manifest) = archive_in(directory.path());
    let whole = fs::read(&path).unwrap();
    let read_all = || -> Result<(), Error> {
        let archive = open(&path)?;
        let image = Image::load(&archive, &archive.resolve(&Selector::Tag(tag("v1")))?)?;
        for layer in &image.layers {
            archive.blob(&layer.descriptor)?.read_all(100)?;
        }
        assert_eq!(image.manifest, manifest);
        Ok(())
    };
    let position = |content: &[u8]| whole.windows(content.len()).position(|at| at == content);
    for content in [&b"one"[..], b"two", b"schemaVersion", b"imageLayoutVersion"] {
        let mut damaged = whole.clone();
        damaged[position(content).unwrap()] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(read_all().is_err(), "{}", String::from_utf8_lossy(content));
    }
}

#[test]
fn hostile_archives_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = archive_in(directory.path());
    let whole = fs::read(&path).unwrap();
    let members = &whole[..whole.len() - 1024];
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match open(&path).unwrap_err() {
            Error::NotALayout { reason, .. } => reason,
            other => panic!("{other}"),
        }
    };
    assert!(refused(b"").contains("oci-layout") || refused(b"").contains("index.json"));
    refused(&[b'x'; 5000]);
    refused(&[0; 10_000]);
    assert!(refused(&[members, &whole].concat()).contains("two files called"));
    // A member that says it is longer than the archive.
    let mut long = whole.clone();
    long[124..135].copy_from_slice(b"77777777777");
    let sum: u32 = long[..148].iter().chain(&long[156..512]).map(|&byte| u32::from(byte)).sum();
    long[148..155].copy_from_slice(format!("{:06o}\0", sum + 8 * 32).as_bytes());
    assert!(refused(&long).contains("ends within"), "{}", refused(&long));
    // A symbolic link for a blob.
    let mut link = members.to_vec();
    link[156] = b'2';
    link[157..168].copy_from_slice(b"/etc/passwd");
    link[124..135].copy_from_slice(b"00000000000");
    let sum: u32 = link[..148].iter().chain(&link[156..512]).map(|&byte| u32::from(byte)).sum();
    link[148..155].copy_from_slice(format!("{:06o}\0", sum + 8 * 32).as_bytes());
    assert!(refused(&link).contains("neither a file"), "{}", refused(&link));
}

#[test]
fn archives_of_gnu_tar_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let manifest = ImageMaker::new(&Layout::create(&layout).unwrap())
        .image(&[b"one", b"two"], Listing::Tag(&tag("v1")));
    // Two names of one file become a hard link in the tar.
    let link = |from: &Path| fs::hard_link(from, directory.path().join("link"));
    link(&layout.join("blobs/sha256").join(Digest::of(b"one").hex())).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        for what in [".", "oci-layout index.json blobs"] {
            let path = directory.path().join(format!("{format}.tar"));
            let status = Command::new("tar")
                .args(["--create", "--format", format, "--file"])
                .arg(&path)
                .arg("--directory")
                .arg(&layout)
                .args(what.split(' '))
                .status()
                .unwrap();
            assert!(status.success());
            let archive = open(&path).unwrap();
            assert_eq!(contents(&archive, &manifest), [b"one", b"two"], "{format} {what}");
        }
    }
}

#[test]
fn archives_go_back_and_forth_with_skopeo() {
    if !is_installed("skopeo") {
        return osguard_testkit::skip("skopeo");
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, manifest) = archive_in(directory.path());
    let skopeo = |from: String, to: String| {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests", &from, &to])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let copy = directory.path().join("copy.tar");
    skopeo(
        format!("oci-archive:{}:v1", path.display()),
        format!("oci-archive:{}:copied", copy.display()),
    );
    let archive = open(&copy).unwrap();
    let descriptor = archive.resolve(&Selector::Tag(tag("copied"))).unwrap();
    assert_eq!(descriptor.digest, manifest.digest());
    assert_eq!(contents(&archive, &manifest), [b"one", b"two"]);
    // What we add to skopeo's archive, skopeo reads.
    ImageMaker::new(&archive).image(&[b"three"], Listing::Tag(&tag("added")));
    archive.finish().unwrap();
    let layout = directory.path().join("layout");
    skopeo(format!("oci-archive:{}:added", copy.display()), format!("oci:{}:x", layout.display()));
    skopeo(format!("oci-archive:{}:copied", copy.display()), format!("oci:{}:y", layout.display()));
}

#[test]
fn writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    std::thread::scope(|scope| {
        for writer in 0..16_u8 {
            let path = &path;
            scope.spawn(move || {
                // The first ones create it.
                let archive = create(path);
                let name = tag(&format!("v{writer}"));
                ImageMaker::new(&archive).image(&[&[writer], b"shared"], Listing::Tag(&name));
                archive.finish().unwrap();
            });
        }
    });
    let archive = open(&path).unwrap();
    for writer in 0..16_u8 {
        let selector = Selector::Tag(tag(&format!("v{writer}")));
        let descriptor = archive.resolve(&selector).unwrap();
        assert_eq!(Image::load(&archive, &descriptor).unwrap().layers.len(), 2);
    }
    assert_eq!(names_in(directory.path()), ["image.tar"]);
}

/// Is not a test of its own: [`a_killed_writer_leaves_the_archive_whole`] runs it and kills it.
#[test]
fn writer_in_a_process_of_its_own() {
    let Some(path) = std::env::var_os("ARCHIVE") else { return };
    for round in 0..1000_u32 {
        let archive = create(path.as_ref());
        let name = tag(&format!("v{round}"));
        ImageMaker::new(&archive).image(&[&round.to_le_bytes()], Listing::Tag(&name));
        archive.finish().unwrap();
        println!("FINISHED {round}");
    }
}

#[test]
fn a_killed_writer_leaves_the_archive_whole() {
    use std::io::{BufRead as _, BufReader};

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "archive::writer_in_a_process_of_its_own"])
        .env("ARCHIVE", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut finished = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        finished += usize::from(line.contains("FINISHED"));
        if finished == 5 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let archive = create(&path);
    for round in 0..finished {
        archive.resolve(&Selector::Tag(tag(&format!("v{round}")))).unwrap();
    }
    ImageMaker::new(&archive).image(&[b"last"], Listing::Tag(&tag("last")));
    archive.finish().unwrap();
    assert_eq!(names_in(directory.path()), ["image.tar"]);
}
