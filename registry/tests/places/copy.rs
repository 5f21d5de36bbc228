//! Copies between places, whole, interrupted and damaged.

use std::io::Read;
use std::path::Path;

use libverity::digest::Digest;
use osguard_registry::archive::Archive;
use osguard_registry::artifact::Format;
use osguard_registry::copy::{Copied, PARALLEL_BLOBS, copy};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::Error;
use osguard_registry::image::Image;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::place::{Listing, Place};
use osguard_registry::reference::{ArchiveFile, Selector};
use osguard_registry::signatures;
use osguard_registry::tag::Tag;

use crate::support::{Event, ImageMaker, Watched, blob_file, names_in, signature_of};

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Makes a layout with an index of two images; each of them and the index is signed, and one of
/// the signatures is signed again.
fn signed_index(directory: &Path) -> (Layout, Manifest, Vec<Manifest>) {
    let layout = Layout::create(directory).unwrap();
    let maker = ImageMaker::new(&layout);
    let images = [
        maker.image_for("linux/amd64", &[b"shared", b"amd64"], Listing::Child),
        maker.image_for("linux/arm64", &[b"shared", b"arm64"], Listing::Child),
    ];
    let listed: Vec<Descriptor> = images.iter().map(|image| image.descriptor().clone()).collect();
    let index = maker.index(&listed, Listing::Tag(&tag("v1")));
    for (number, image) in images.iter().chain([&index]).enumerate() {
        let artifact = signature_of(image, "aa", &[number as u8]);
        signatures::publish(&layout, &artifact, Format::Standard, &|_| true).unwrap();
        if number == 0 {
            let signature = artifact.encode(Format::Standard).unwrap().manifest;
            let on_top = maker.artifact(&signature, "application/x", b"on top");
            layout.push_manifest(&on_top, Listing::Referrer).unwrap();
        }
    }
    let other = maker.image(&[b"other"], Listing::Tag(&tag("other")));
    signatures::publish(&layout, &signature_of(&other, "aa", b"o"), Format::Standard, &|_| true)
        .unwrap();
    (layout, index, images.to_vec())
}

fn copy_all(from: &dyn Place, index: &Manifest, to: &dyn Place) -> Result<Copied, Error> {
    let watch = |_: &Descriptor, content: Box<dyn Read>| content;
    copy(from, index.descriptor(), to, Listing::Tag(&tag("copied")), &watch)
}

fn assert_complete(to: &dyn Place, index: &Manifest, images: &[Manifest]) {
    let descriptor = to.resolve(&Selector::Tag(tag("copied"))).unwrap();
    assert_eq!(descriptor.digest, index.digest());
    let found = Image::all(to, &descriptor, None).unwrap();
    assert_eq!(
        found.iter().map(|image| &image.manifest).collect::<Vec<_>>(),
        [&images[0], &images[1]]
    );
    for layer in found.iter().flat_map(|image| &image.layers) {
        to.blob(&layer.descriptor).unwrap().read_all(100).unwrap();
    }
    for manifest in images.iter().chain([index]) {
        let candidates = signatures::find(to, manifest).unwrap();
        assert_eq!(candidates.len(), 1);
        let artifact = candidates[0].outcome.as_ref().unwrap();
        if manifest == &images[0] {
            let encoded = artifact.encode(Format::Standard).unwrap().manifest;
            assert_eq!(to.referrers(encoded.descriptor(), &[]).unwrap().len(), 1);
        }
    }
}

#[test]
fn an_index_is_copied_with_all_that_is_attached() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, images) = signed_index(&directory.path().join("from"));
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let copied = copy_all(&from, &index, &to).unwrap();
    assert_complete(&to, &index, &images);
    assert_eq!(copied.referrers.len(), 4);
    assert!(copied.left_behind.is_empty());
    assert!(matches!(to.resolve(&Selector::Tag(tag("other"))), Err(Error::NoSuchTag { .. })));
    let stored = names_in(&directory.path().join("to/blobs/sha256")).len();
    assert_eq!(copied.stored, stored);

    let again = copy_all(&from, &index, &to).unwrap();
    assert_eq!((again.stored, again.stored_bytes), (0, 0));
    assert_eq!(again.present, stored);
}

#[test]
fn copies_go_through_an_archive_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, images) = signed_index(&directory.path().join("from"));
    let file = ArchiveFile::Path(directory.path().join("image.tar"));
    copy_all(&from, &index, &Archive::create(&file).unwrap()).unwrap();
    let archive = Archive::open(&file).unwrap();
    assert_complete(&archive, &index, &images);
    let to = Layout::create(&directory.path().join("to")).unwrap();
    copy_all(&archive, &index, &to).unwrap();
    assert_complete(&to, &index, &images);
}

#[test]
fn an_interrupted_copy_is_completed_by_another() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, images) = signed_index(&directory.path().join("from"));
    let whole = copy_all(&from, &index, &Layout::create(&directory.path().join("whole")).unwrap());
    let steps = whole.unwrap().stored;
    for last in 0..steps {
        let to = Layout::create(&directory.path().join(format!("to-{last}"))).unwrap();
        copy_all(&from, &index, &Watched::failing_after(&to, last)).unwrap_err();
        let error = to.resolve(&Selector::Tag(tag("copied"))).unwrap_err();
        assert!(matches!(error, Error::NoSuchTag { .. }), "not listed before it is complete");
        let copied = copy_all(&from, &index, &to).unwrap();
        // Those that were on their way with the one that failed may not have arrived.
        let limit = steps - last + PARALLEL_BLOBS;
        assert!(copied.stored <= limit, "{} of {steps} after {last}", copied.stored);
        assert_complete(&to, &index, &images);
    }
}

#[test]
fn damage_is_not_copied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("from");
    let (from, index, images) = signed_index(&path);
    std::fs::write(blob_file(&path, &Digest::of(b"amd64")), b"AMD64").unwrap();
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let error = copy_all(&from, &index, &to).unwrap_err();
    assert!(matches!(error, Error::DigestDiffers { .. }), "{error}");
    assert!(to.resolve(&Selector::Only).is_err());
    std::fs::write(blob_file(&path, &Digest::of(b"amd64")), b"amd64").unwrap();

    // A damaged artifact stays behind alone.
    let artifact = signature_of(&images[0], "bb", b"more").encode(Format::Standard).unwrap();
    for (descriptor, bytes) in &artifact.blobs {
        from.push_blob(descriptor, &bytes.as_slice()).unwrap();
    }
    from.push_manifest(&artifact.manifest, Listing::Referrer).unwrap();
    let file = blob_file(&path, &artifact.manifest.digest());
    let text = std::fs::read_to_string(&file).unwrap().replace("schemaVersion", "SchemaVersion");
    std::fs::write(&file, text).unwrap();
    let copied = copy_all(&from, &index, &to).unwrap();
    assert_complete(&to, &index, &images);
    assert_eq!(copied.left_behind.len(), 1);
    assert_eq!(copied.left_behind[0].0.digest, artifact.manifest.digest());
}

#[test]
fn what_hangs_on_damaged_content_stays_behind_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("from");
    let (from, index, images) = signed_index(&path);
    let artifact = signature_of(&images[0], "bb", b"more").encode(Format::Standard).unwrap();
    for (descriptor, bytes) in &artifact.blobs {
        from.push_blob(descriptor, &bytes.as_slice()).unwrap();
    }
    from.push_manifest(&artifact.manifest, Listing::Referrer).unwrap();
    let blob = blob_file(&path, &Digest::of(b"more"));
    for damage in [Some(&b"MORE"[..]), Some(b"mor"), None] {
        std::fs::remove_file(&blob).unwrap();
        if let Some(damage) = damage {
            std::fs::write(&blob, damage).unwrap();
        }
        let to = Layout::create(&directory.path().join("to")).unwrap();
        let copied = copy_all(&from, &index, &to).unwrap();
        assert_complete(&to, &index, &images);
        assert_eq!(copied.left_behind.len(), 1);
        assert_eq!(copied.left_behind[0].0.digest, artifact.manifest.digest());
        assert_eq!(copied.referrers.len(), 4);
        std::fs::remove_dir_all(directory.path().join("to")).unwrap();
        std::fs::write(&blob, b"").unwrap();
    }

    // What the image itself needs is no attachment, even if one has it as well.
    let maker = ImageMaker::new(&from);
    let shared = maker.artifact(&index, "application/x", b"amd64");
    from.push_manifest(&shared, Listing::Referrer).unwrap();
    std::fs::remove_file(blob_file(&path, &Digest::of(b"amd64"))).unwrap();
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let error = copy_all(&from, &index, &to).unwrap_err();
    assert!(matches!(error, Error::NoSuchBlob { .. }), "{error}");
}

#[test]
fn what_is_there_is_not_fetched_and_damage_there_is_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, images) = signed_index(&directory.path().join("from"));
    let path = directory.path().join("to");
    let to = Layout::create(&path).unwrap();
    copy_all(&from, &index, &to).unwrap();
    std::fs::write(blob_file(&path, &Digest::of(b"arm64")), b"ARM64").unwrap();
    let watched = Watched::new(&from);
    let copied = copy_all(&watched, &index, &to).unwrap();
    assert_eq!(copied.stored, 1);
    assert_complete(&to, &index, &images);
    let fetched = watched.events();
    assert_eq!(fetched, [Event::Opened(Digest::of(b"arm64"))]);
}

#[test]
fn archives_are_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, _) = signed_index(&directory.path().join("from"));
    let archives = [1, 2, 3].map(|number| {
        let path = directory.path().join(format!("{number}.tar"));
        copy_all(&from, &index, &Archive::create(&ArchiveFile::Path(path.clone())).unwrap())
            .unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(archives[0] == archives[1] && archives[1] == archives[2]);
}

#[test]
fn writers_of_the_same_image_at_once_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (from, index, images) = signed_index(&directory.path().join("from"));
    let path = directory.path().join("to");
    let archive = ArchiveFile::Path(directory.path().join("to.tar"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| copy_all(&from, &index, &Layout::create(&path).unwrap()).unwrap());
            scope.spawn(|| copy_all(&from, &index, &Archive::create(&archive).unwrap()).unwrap());
        }
    });
    assert_complete(&Layout::open(&path).unwrap(), &index, &images);
    assert_complete(&Archive::open(&archive).unwrap(), &index, &images);
}
