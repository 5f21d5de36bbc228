//! Pushes: copies whose layers are signed on the way.

use std::io::{Read, copy, sink};
use std::path::Path;

use libverity::certificate::Certificate;
use libverity::digest::Digest;
use libverity::layer::{LayerError, Profile};
use libverity::pkcs7::verify_root_hash;
use libverity::signer::{FileSigner, SignError, SignatureAlgorithm, Signer};
use osguard_registry::archive::Archive;
use osguard_registry::artifact::Format;
use osguard_registry::conversion::ConversionError;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::Error;
use osguard_registry::image::Image;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{BlobSource, Listing, Place, Pushed, Referrer};
use osguard_registry::push::{PushError, PushedImage, Signing, push};
use osguard_registry::reference::{ArchiveFile, Selector};
use osguard_registry::signatures::{self, Published};
use osguard_registry::signing::{self, SigningError};
use osguard_registry::tag::Tag;
use osguard_registry::verification::{Content, ExaminedSignature, RootHashes, examine};
use osguard_testkit::image::TarMaker;

use crate::support::{Event, ImageMaker, Watched, blob_file, signer};

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn tar(text: &str) -> Vec<u8> {
    TarMaker::new().file("file", text.as_bytes()).finish()
}

/// Makes a layout with an index of two images, which share a layer.
fn index(directory: &Path) -> (Layout, Manifest) {
    let layout = Layout::create(directory).unwrap();
    let maker = ImageMaker::new(&layout);
    let layers = ["shared", "amd64", "arm64"].map(tar);
    let [shared, amd64, arm64] = &layers;
    let images = [
        maker.image_for("linux/amd64", &[shared, amd64], Listing::Child),
        maker.image_for("linux/arm64", &[shared, arm64, shared], Listing::Child),
    ];
    let images = images.map(|image| image.descriptor().clone());
    let index = maker.index(&images, Listing::Tag(&tag("v1")));
    (layout, index)
}

fn push_signed(
    from: &dyn Place,
    image: &Manifest,
    to: &dyn Place,
    signer: &FileSigner,
) -> Result<PushedImage, PushError> {
    let signing = Signing {
        profiles: &[Profile::ContainerdFullV1],
        signer,
        format: Format::Standard,
        embeds: false,
    };
    let watch = |_: &Descriptor, content: Box<dyn Read>| content;
    push(from, image.descriptor(), to, Listing::Tag(&tag("pushed")), &signing, &watch)
}

#[track_caller]
fn assert_signed(place: &dyn Place, signer: &FileSigner) {
    let anchors: &[Certificate] = std::slice::from_ref(signer.certificate());
    let index = place.resolve(&Selector::Tag(tag("pushed"))).unwrap();
    for image in Image::all(place, &index, None).unwrap() {
        let watch = &|_: &_, blob| blob;
        let examined = examine(place, &image, RootHashes::Recompute, &|_| true, watch).unwrap();
        assert!(!examined.layers.is_empty());
        for layer in examined.layers {
            let is_good = |found: &ExaminedSignature| {
                matches!(found.content, Content::Has(_))
                    && verify_root_hash(&found.claim.root_hash, &found.signature, anchors).is_ok()
            };
            assert!(layer.signatures.iter().any(is_good), "{layer:?}");
        }
    }
}

#[test]
fn a_push_does_what_copying_and_signing_do() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let (from, index) = index(&directory.path().join("from"));
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let pushed = push_signed(&from, &index, &to, &alice).unwrap();
    assert_signed(&to, &alice);
    assert_eq!(pushed.images.len(), 2);

    for (pushed, image) in
        pushed.images.iter().zip(Image::all(&from, index.descriptor(), None).unwrap())
    {
        let profiles = [Profile::ContainerdFullV1];
        let signed = signing::sign(&from, &image, &profiles, &alice, &|_, blob| blob).unwrap();
        assert_eq!(pushed.image, image);
        assert_eq!(pushed.signed.artifact, signed.artifact);
        assert_eq!(pushed.signed.layers, signed.layers);
        let digest = signed.artifact.encode(Format::Standard).unwrap().manifest.digest();
        assert_eq!(pushed.published, Published::Written(digest));
    }

    let again = push_signed(&from, &index, &to, &alice).unwrap();
    assert_eq!(again.copied.stored, 0);
    for image in again.images {
        assert!(matches!(image.published, Published::AlreadySigned(_)));
    }
}

#[test]
fn each_layer_is_read_once_and_the_tag_comes_last() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let (from, index) = index(&directory.path().join("from"));
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let (from, to) = (Watched::new(&from), Watched::new(&to));
    push_signed(&from, &index, &to, &alice).unwrap();

    let layers = ["shared", "amd64", "arm64"].map(|text| Digest::of(&tar(text)));
    let count =
        |events: &[Event], event: Event| events.iter().filter(|found| **found == event).count();
    for layer in layers {
        assert_eq!(count(&from.events(), Event::Opened(layer)), 1);
        assert_eq!(count(&to.events(), Event::StoredBlob(layer)), 1);
        assert_eq!(count(&to.events(), Event::Opened(layer)), 0);
    }
    let events = to.events();
    assert_eq!(events.last(), Some(&Event::Tagged(index.digest())));
    let is_manifest = |event: &Event| matches!(event, Event::PushedManifest(_));
    let manifests: Vec<_> = events.iter().filter(|event| is_manifest(event)).collect();
    assert_eq!(manifests.len(), 5, "two images, their index, and a signature each");
    assert_eq!(manifests[2], &Event::PushedManifest(index.digest()));
}

#[test]
fn layers_that_are_there_are_converted_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let (from, index) = index(&directory.path().join("from"));
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let layer = tar("shared");
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &layer);
    to.push_blob(&descriptor, &layer.as_slice()).unwrap();
    let watched = Watched::new(&to);
    let pushed = push_signed(&from, &index, &watched, &alice).unwrap();
    assert_eq!(pushed.copied.present, 1);
    assert!(!watched.events().contains(&Event::StoredBlob(descriptor.digest)));
    assert_signed(&to, &alice);
}

#[test]
fn pushes_go_into_archives_and_within_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let (from, index) = index(&directory.path().join("from"));
    let file = ArchiveFile::Path(directory.path().join("image.tar"));
    push_signed(&from, &index, &Archive::create(&file).unwrap(), &alice).unwrap();
    assert_signed(&Archive::open(&file).unwrap(), &alice);
    push_signed(&from, &index, &from, &alice).unwrap();
    assert_signed(&from, &alice);
}

#[test]
fn signatures_that_came_along_are_not_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let (alice, mallory) = (signer("alice"), signer("mallory"));
    let (from, index) = index(&directory.path().join("from"));
    push_signed(&from, &index, &from, &alice).unwrap();
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let pushed = push_signed(&from, &index, &to, &alice).unwrap();
    assert_eq!(pushed.copied.referrers.len(), 2);
    for image in pushed.images {
        assert!(matches!(image.published, Published::AlreadySigned(_)));
    }
    push_signed(&from, &index, &to, &mallory).unwrap();
    let image = &Image::all(&to, index.descriptor(), None).unwrap()[0];
    assert_eq!(signatures::find(&to, &image.manifest).unwrap().len(), 2);
    assert_signed(&to, &alice);
    assert_signed(&to, &mallory);
}

#[test]
fn an_interrupted_push_is_completed_by_another() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let (from, index) = index(&directory.path().join("from"));
    let whole = Layout::create(&directory.path().join("whole")).unwrap();
    let watched = Watched::new(&whole);
    push_signed(&from, &index, &watched, &alice).unwrap();
    for last in 0..watched.events().len() {
        let to = Layout::create(&directory.path().join(format!("to-{last}"))).unwrap();
        push_signed(&from, &index, &Watched::failing_after(&to, last), &alice).unwrap_err();
        let error = to.resolve(&Selector::Tag(tag("pushed"))).unwrap_err();
        assert!(matches!(error, Error::NoSuchTag { .. }), "not listed before it is complete");
        push_signed(&from, &index, &to, &alice).unwrap();
        assert_signed(&to, &alice);
    }
}

#[test]
fn layers_that_are_wrong_are_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let path = directory.path().join("from");
    let (from, index) = index(&path);
    let failure = || {
        let to = Layout::create(&directory.path().join("to")).unwrap();
        let error = push_signed(&from, &index, &to, &alice).unwrap_err();
        assert!(to.resolve(&Selector::Only).is_err());
        std::fs::remove_dir_all(directory.path().join("to")).unwrap();
        error
    };
    // As long as before, and no archive any more: that it was changed explains the rest.
    let file = blob_file(&path, &Digest::of(&tar("arm64")));
    std::fs::write(&file, vec![b'?'; tar("arm64").len()]).unwrap();
    let error = failure();
    assert!(matches!(error, PushError::Place(Error::DigestDiffers { .. })), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = failure();
    assert!(matches!(error, PushError::Place(Error::NoSuchBlob { .. })), "{error}");
    std::fs::write(&file, tar("arm64")).unwrap();

    let maker = ImageMaker::new(&from);
    let fails = |image: &Manifest| {
        let to = Layout::create(&directory.path().join("to")).unwrap();
        let error = push_signed(&from, image, &to, &alice).unwrap_err();
        assert!(to.resolve(&Selector::Only).is_err());
        error
    };
    let error = fails(&maker.image(&[b"no archive".repeat(100).as_slice()], Listing::Untagged));
    let PushError::Signing(SigningError::Conversion(ConversionError::Layer { source, .. })) = error
    else {
        panic!("{error}")
    };
    assert!(matches!(source, LayerError::Tar { .. }), "{source}");
    let error = fails(&maker.image(&[], Listing::Untagged));
    assert!(matches!(error, PushError::Signing(SigningError::NoLayers { .. })), "{error}");
}

/// A layer is converted once, and yet every image that has it is held to its own diffID.
#[test]
fn each_image_is_held_to_its_own_diff_ids() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let from = Layout::create(&directory.path().join("from")).unwrap();
    let maker = ImageMaker::new(&from);
    let layer = maker.blob(&tar("layer"));
    let image = |platform, diff_id| {
        let layers = std::slice::from_ref(&layer);
        let image = maker.image_of(platform, layers, &[diff_id], Listing::Child);
        image.descriptor().clone()
    };
    let right = image("linux/amd64", layer.digest);
    let wrong = image("linux/arm64", Digest::of(b"other"));
    for images in [[right.clone(), wrong.clone()], [wrong, right]] {
        let index = maker.index(&images, Listing::Untagged);
        let to = Layout::create(&directory.path().join("to")).unwrap();
        let error = push_signed(&from, &index, &to, &alice).unwrap_err();
        let PushError::Signing(SigningError::Conversion(ConversionError::Layer { source, .. })) =
            error
        else {
            panic!("{error}")
        };
        assert!(matches!(source, LayerError::DiffId { .. }), "{source}");
        assert!(to.resolve(&Selector::Only).is_err());
    }
}

/// Large enough for several pieces, of which an upload reads only some before it begins anew.
#[test]
fn an_upload_that_begins_anew_is_converted_once() {
    let directory = tempfile::tempdir().unwrap();
    let alice = signer("alice");
    let from = Layout::create(&directory.path().join("from")).unwrap();
    let maker = ImageMaker::new(&from);
    let layer = tar(&"large".repeat(1_000_000));
    let image = maker.image(&[&layer], Listing::Untagged);
    let to = Layout::create(&directory.path().join("to")).unwrap();
    let pushed = push_signed(&from, &image, &Restarting(&to), &alice).unwrap();
    assert_eq!(pushed.images[0].signed.layers[0].layer_digest, Digest::of(&layer));
    assert_signed(&to, &alice);
}

/// Whoever signs, and in whatever form: what the kernel would refuse is not published.
#[test]
fn nothing_is_published_of_a_signer_that_errs() {
    let directory = tempfile::tempdir().unwrap();
    let erring = Erring(signer("alice"));
    let (from, index) = index(&directory.path().join("from"));
    let image = &Image::all(&from, index.descriptor(), None).unwrap()[0];
    let profiles = [Profile::ContainerdFullV1];
    let error = signing::sign(&from, image, &profiles, &erring, &|_, blob| blob).unwrap_err();
    assert!(matches!(error, SigningError::Signer(SignError::NotAcceptable(_))), "{error}");
    for (format, embeds) in
        [(Format::Standard, false), (Format::Prototype, false), (Format::Standard, true)]
    {
        let signing = Signing { profiles: &profiles, signer: &erring, format, embeds };
        let to = Layout::create(&directory.path().join(format!("{format:?}-{embeds}"))).unwrap();
        let watched = Watched::new(&to);
        let watch = |_: &Descriptor, content: Box<dyn Read>| content;
        let tag = tag("pushed");
        let listing = Listing::Tag(&tag);
        let error = push(&from, index.descriptor(), &watched, listing, &signing, &watch);
        let error = error.unwrap_err();
        assert!(
            matches!(error, PushError::Signing(SigningError::Signer(SignError::NotAcceptable(_)))),
            "{error}"
        );
        assert!(to.resolve(&Selector::Only).is_err());
        let is_tag = |event: &Event| matches!(event, Event::Tagged(_));
        assert!(!watched.events().iter().any(is_tag));
    }
}

/// Is a signer whose signatures are over something else.
struct Erring(FileSigner);

impl Signer for Erring {
    fn certificate(&self) -> &Certificate {
        self.0.certificate()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign(&[message, b"more"].concat())
    }
}

/// Is a place to which each blob is sent in several attempts.
struct Restarting<'a>(&'a Layout);

impl Place for Restarting<'_> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.0.resolve(selector)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        self.0.manifest(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<osguard_registry::blob::BlobReader, Error> {
        self.0.blob(descriptor)
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        self.0.has(descriptor)
    }

    fn referrers(&self, subject: &Descriptor, types: &[&str]) -> Result<Vec<Referrer>, Error> {
        self.0.referrers(subject, types)
    }

    fn push_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Pushed, Error> {
        for part in [descriptor.size / 2, descriptor.size / 3, descriptor.size] {
            let read = copy(&mut source.open()?.take(part), &mut sink()).unwrap();
            assert_eq!(read, part);
        }
        self.0.push_blob(descriptor, source)
    }

    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error> {
        self.0.push_manifest(manifest, listing)
    }
}
