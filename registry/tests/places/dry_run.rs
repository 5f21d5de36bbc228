//! What would happen, without its happening.

use std::io::Read;
use std::path::Path;

use libverity::layer::Profile;
use osguard_registry::artifact::Format;
use osguard_registry::copy::copy;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::dry_run::DryRun;
use osguard_registry::error::Error;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::network::Network;
use osguard_registry::place::{Listing, Place};
use osguard_registry::push::{PushedImage, Signing, push};
use osguard_registry::reference::Reference;
use osguard_registry::signatures::Published;
use osguard_testkit::image::TarMaker;

use crate::support::{ImageMaker, names_in, signer};

fn image(directory: &Path) -> (Layout, Manifest) {
    let layout = Layout::create(directory).unwrap();
    let layer = TarMaker::new().file("file", b"content").finish();
    let image = ImageMaker::new(&layout).image(&[&layer], Listing::Untagged);
    (layout, image)
}

fn dry_run<'a>(directory: &Path, from: &'a dyn Place) -> Result<DryRun<'a>, Error> {
    let reference: Reference = format!("oci:{}", directory.display()).parse().unwrap();
    DryRun::open(&reference, &Network::default(), from)
}

fn push_signed(from: &dyn Place, image: &Manifest, to: &dyn Place) -> PushedImage {
    let signing = Signing {
        profiles: &[Profile::ContainerdFullV1],
        signer: &signer("alice"),
        format: Format::Standard,
        embeds: false,
    };
    let watch = |_: &Descriptor, content: Box<dyn Read>| content;
    push(from, image.descriptor(), to, Listing::Untagged, &signing, &watch).unwrap()
}

#[test]
fn a_dry_run_tells_what_a_push_does() {
    let directory = tempfile::tempdir().unwrap();
    let (from, image) = image(&directory.path().join("from"));
    let path = directory.path().join("to");
    let dry = push_signed(&from, &image, &dry_run(&path, &from).unwrap());
    assert!(!path.exists());
    std::fs::create_dir(&path).unwrap();
    push_signed(&from, &image, &dry_run(&path, &from).unwrap());
    assert!(names_in(&path).is_empty());

    let to = Layout::create(&path).unwrap();
    let wet = push_signed(&from, &image, &to);
    let facts = |pushed: &PushedImage| {
        let copied = &pushed.copied;
        let published = pushed.images[0].published.clone();
        (copied.stored, copied.stored_bytes, copied.present, published)
    };
    assert_eq!(facts(&dry), facts(&wet));

    let blobs = names_in(&path.join("blobs/sha256"));
    let again = push_signed(&from, &image, &dry_run(&path, &from).unwrap());
    assert_eq!((again.copied.stored, again.copied.present), (0, 3));
    assert!(matches!(again.images[0].published, Published::AlreadySigned(_)));
    assert_eq!(names_in(&path.join("blobs/sha256")), blobs);
}

#[test]
fn signatures_that_would_come_along_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let (from, image) = image(&directory.path().join("from"));
    push_signed(&from, &image, &from);
    let to = dry_run(&directory.path().join("to"), &from).unwrap();
    let pushed = push_signed(&from, &image, &to);
    assert!(matches!(pushed.images[0].published, Published::AlreadySigned(_)));
    assert_eq!(to.referrers(image.descriptor(), &[]).unwrap().len(), 1);
    assert_eq!(to.referrers(image.descriptor(), &["other"]).unwrap().len(), 0);
    assert_eq!(to.manifest(image.descriptor()).unwrap(), image);
}

#[test]
fn copies_can_be_tried() {
    let directory = tempfile::tempdir().unwrap();
    let (from, image) = image(&directory.path().join("from"));
    let to = dry_run(&directory.path().join("to"), &from).unwrap();
    let watch = |_: &Descriptor, _: Box<dyn Read>| -> Box<dyn Read> { panic!("nothing is read") };
    let copied = copy(&from, image.descriptor(), &to, Listing::Untagged, &watch).unwrap();
    assert_eq!((copied.stored, copied.present), (3, 0));
}

#[test]
fn what_could_not_be_written_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (from, _) = image(&directory.path().join("from"));
    let path = directory.path().join("to");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), b"").unwrap();
    assert!(matches!(dry_run(&path, &from), Err(Error::NotALayout { .. })));
}
