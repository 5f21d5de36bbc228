//! Layout directories, with other tools' layouts and with several writers at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::image::Image;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{BlobSource, Listing, Place, Pushed};
use osguard_registry::reference::Selector;
use osguard_registry::tag::Tag;

use crate::support::{ImageMaker, blob_file, is_installed, names_in};

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[test]
fn an_image_is_read_back_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let manifest = maker.image(&[b"one", b"two"], Listing::Tag(&tag("v1")));

    let layout = Layout::open(directory.path()).unwrap();
    for selector in [Selector::Only, Selector::Tag(tag("v1")), Selector::Digest(manifest.digest())]
    {
        assert_eq!(layout.resolve(&selector).unwrap(), manifest.descriptor().plain());
    }
    let image = Image::load(&layout, manifest.descriptor()).unwrap();
    assert_eq!(image.manifest, manifest);
    let contents: Vec<Vec<u8>> = image
        .layers
        .iter()
        .map(|layer| layout.blob(&layer.descriptor).unwrap().read_all(100).unwrap())
        .collect();
    assert_eq!(contents, [b"one", b"two"]);
    assert_eq!(names_in(directory.path()), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn what_is_there_is_not_read_or_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let manifest = ImageMaker::new(&layout).image(&[b"one"], Listing::Tag(&tag("v1")));
    let before = fs::read(directory.path().join("index.json")).unwrap();
    let pushed = layout.push_manifest(&manifest, Listing::Tag(&tag("v1"))).unwrap();
    assert_eq!(pushed, Pushed::Present);
    assert_eq!(fs::read(directory.path().join("index.json")).unwrap(), before);

    let blob = Descriptor::of(MediaType::OCI_LAYER, b"one");
    assert_eq!(layout.push_blob(&blob, &FailingSource).unwrap(), Pushed::Present);
}

#[test]
fn wrong_content_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"layer");
    let push = |content: &[u8]| layout.push_blob(&blob, &content).unwrap_err();
    assert!(matches!(push(b"Layer"), Error::DigestDiffers { .. }));
    assert!(matches!(push(b"laye"), Error::SizeDiffers { found_bytes: 4, .. }));
    assert!(matches!(push(b"layers"), Error::SizeDiffers { found_bytes: 6, .. }));
    let error = layout.push_blob(&blob, &FailingSource).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(!layout.has(&blob).unwrap());
    assert_eq!(names_in(directory.path()), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn damage_is_noticed_and_small_blobs_are_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let manifest = ImageMaker::new(&layout).image(&[b"one"], Listing::Tag(&tag("v1")));
    let file = blob_file(directory.path(), &manifest.digest());
    let mut damaged = fs::read(&file).unwrap();
    damaged[0] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let error = layout.manifest(manifest.descriptor()).unwrap_err();
    assert!(matches!(
        error,
        Error::DigestDiffers { expected, found, .. }
            if expected == manifest.digest() && found == Digest::of(&damaged)
    ));
    layout.push_manifest(&manifest, Listing::Tag(&tag("v1"))).unwrap();
    assert_eq!(layout.manifest(manifest.descriptor()).unwrap(), manifest);

    fs::write(&file, b"short").unwrap();
    let error = layout.manifest(manifest.descriptor()).unwrap_err();
    assert!(matches!(error, Error::SizeDiffers { found_bytes: 5, .. }));
    fs::remove_file(&file).unwrap();
    let error = layout.manifest(manifest.descriptor()).unwrap_err();
    assert!(matches!(error, Error::NoSuchBlob { .. }));
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Layout::open(&directory.path().join("none")).unwrap_err();
    assert!(matches!(&missing, Error::NoSuchPlace { place } if place.ends_with("/none")));
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    let layout = Layout::create(directory.path()).unwrap();
    let error = layout.resolve(&Selector::Only).unwrap_err();
    assert!(matches!(error, Error::NoImage { .. }));
    ImageMaker::new(&layout).image(&[b"one"], Listing::Tag(&tag("v1")));
    let error = layout.resolve(&Selector::Tag(tag("v2"))).unwrap_err();
    assert!(matches!(&error, Error::NoSuchTag { known, .. } if known == &["v1"]), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let digest = Selector::Digest(Digest::of(b"other"));
    assert!(matches!(layout.resolve(&digest), Err(Error::NoSuchBlob { .. })));
}

#[test]
fn the_only_image_is_found_beside_artifacts() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let image = maker.image(&[b"one"], Listing::Tag(&tag("v1")));
    let artifact = maker.artifact(&image, "application/x", b"1");
    layout.push_manifest(&artifact, Listing::Referrer).unwrap();
    assert_eq!(layout.resolve(&Selector::Only).unwrap().digest, image.digest());
    maker.image(&[b"two"], Listing::Tag(&tag("v2")));
    let error = layout.resolve(&Selector::Only).unwrap_err();
    assert!(
        matches!(&error, Error::Ambiguous { choices, .. } if choices == &[":v1", ":v2"]),
        "{error}"
    );
}

#[test]
fn foreign_directories_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "").unwrap();
    for result in [Layout::open(directory.path()), Layout::create(directory.path())] {
        assert!(matches!(result, Err(Error::NotALayout { .. })));
    }
    assert_eq!(names_in(directory.path()), ["thesis.tex"]);
    let file = Layout::open(&directory.path().join("thesis.tex")).unwrap_err();
    assert!(matches!(file, Error::NotALayout { .. }), "{file}");
}

#[test]
fn hostile_layouts_are_refused() {
    let digest = Digest::of(b"x");
    let entry = |digest: &str| {
        format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1}}"#, MediaType::OCI_MANIFEST)
    };
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let open = |marker: &str, index: &str| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("oci-layout"), marker).unwrap();
        fs::write(directory.path().join("index.json"), index).unwrap();
        Layout::open(directory.path()).map(|_| ()).unwrap_err()
    };
    let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
    for text in [
        String::new(),
        "[".repeat(1 << 20),
        format!(r#"{{"schemaVersion":2,"x":{}"#, r#"{"a":"#.repeat(100_000)),
        r#"{"schemaVersion":1,"manifests":[]}"#.to_owned(),
        index(&entry("sha256:../../../../etc/passwd")),
        index(&entry("sha512:00")),
        index(&entry(&digest.to_string().to_uppercase())),
        index("null"),
        format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, MediaType::OCI_MANIFEST),
    ] {
        let error = open(marker, &text);
        assert!(matches!(error, Error::Manifest { .. }), "{error}");
    }
    let huge = index(&vec![entry(&digest.to_string()); 30_000].join(","));
    assert!(matches!(open(marker, &huge), Error::TooLong { .. }));
    for marker in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        assert!(matches!(open(marker, &index("")), Error::NotALayout { .. }), "{marker}");
    }
    assert!(matches!(open(&" ".repeat(5000), &index("")), Error::TooLong { .. }));
}

#[test]
fn duplicate_tags_are_ambiguous() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    maker.image(&[b"one"], Listing::Tag(&tag("v1")));
    let second = maker.image(&[b"two"], Listing::Tag(&tag("v2")));
    let path = directory.path().join("index.json");
    let index = fs::read_to_string(&path).unwrap();
    fs::write(&path, index.replace("v2", "v1")).unwrap();
    let error = layout.resolve(&Selector::Tag(tag("v1"))).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    layout.push_manifest(&second, Listing::Tag(&tag("v1"))).unwrap();
    assert_eq!(layout.resolve(&Selector::Tag(tag("v1"))).unwrap().digest, second.digest());
}

#[test]
fn links_and_pipes_do_not_lead_out_of_a_layout() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    maker.blob(b"inside");
    let secret = Descriptor::of(MediaType::OCI_LAYER, b"secret");
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let file = blob_file(directory.path(), &secret.digest);

    symlink(outside.path().join("secret"), &file).unwrap();
    assert!(matches!(layout.blob(&secret), Err(Error::NotALayout { .. })));
    assert!(matches!(layout.has(&secret), Err(Error::NotALayout { .. })));
    fs::remove_file(&file).unwrap();

    let status = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(status.success());
    assert!(matches!(layout.blob(&secret), Err(Error::NotALayout { .. })));
    fs::remove_file(&file).unwrap();

    // A link that stays inside is how some build tools save space.
    symlink(Digest::of(b"inside").hex(), &file).unwrap();
    let error = layout.blob(&Descriptor { size: 6, ..secret.clone() }).unwrap();
    assert!(matches!(error.read_all(6), Err(Error::DigestDiffers { .. })));

    fs::remove_dir_all(directory.path().join("blobs")).unwrap();
    symlink(outside.path(), directory.path().join("blobs")).unwrap();
    assert!(layout.push_blob(&secret, &&b"secret"[..]).is_err());
    assert_eq!(names_in(outside.path()), ["secret"]);
}

#[test]
fn leftovers_of_killed_writers_are_removed_and_those_of_living_ones_kept() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let dead = directory.path().join(".osguard-partial-1-1");
    let alive = directory.path().join(".osguard-partial-1-2");
    fs::write(&dead, b"half").unwrap();
    let writer = fs::File::create(&alive).unwrap();
    rustix::fs::flock(&writer, rustix::fs::FlockOperation::LockExclusive).unwrap();
    ImageMaker::new(&layout).image(&[b"one"], Listing::Tag(&tag("v1")));
    assert!(!dead.exists() && alive.exists());
    drop(writer);
    ImageMaker::new(&layout).image(&[b"two"], Listing::Tag(&tag("v2")));
    assert!(!alive.exists());
}

#[test]
fn an_interrupted_creation_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".osguard-partial-1-1"), b"{").unwrap();
    Layout::create(directory.path()).unwrap();
    fs::remove_file(directory.path().join("index.json")).unwrap();
    assert!(matches!(Layout::open(directory.path()), Err(Error::NotALayout { .. })));
    Layout::create(directory.path()).unwrap();
    Layout::open(directory.path()).unwrap();
}

#[test]
fn writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // All create it, too.
    let path = directory.path().join("layout");
    std::thread::scope(|scope| {
        for writer in 0..16_u8 {
            let path = &path;
            scope.spawn(move || {
                let layout = Layout::create(path).unwrap();
                let maker = ImageMaker::new(&layout);
                for image in 0..4_u8 {
                    let name = tag(&format!("v{writer}-{image}"));
                    maker.image(&[&[writer, image], b"shared"], Listing::Tag(&name));
                    maker.image(&[&[writer, image, 1]], Listing::Tag(&tag("latest")));
                }
            });
        }
    });
    let layout = Layout::open(&path).unwrap();
    for writer in 0..16_u8 {
        for image in 0..4_u8 {
            let selector = Selector::Tag(tag(&format!("v{writer}-{image}")));
            let descriptor = layout.resolve(&selector).unwrap();
            assert_eq!(Image::load(&layout, &descriptor).unwrap().layers.len(), 2);
        }
    }
    layout.resolve(&Selector::Tag(tag("latest"))).unwrap();
    assert_eq!(names_in(&path), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn images_and_layouts_go_back_and_forth_with_skopeo() {
    if !is_installed("skopeo") {
        return osguard_testkit::skip("skopeo");
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join("ours");
    let theirs = directory.path().join("theirs");
    let layout = Layout::create(&ours).unwrap();
    let manifest = ImageMaker::new(&layout).image(&[b"one", b"two"], Listing::Tag(&tag("v1")));
    let skopeo = |from: &Path, from_tag: &str, to: &Path, to_tag: &str| {
        let output = Command::new("skopeo")
            .arg("--insecure-policy")
            .args(["copy", "--preserve-digests"])
            .arg(format!("oci:{}:{from_tag}", from.display()))
            .arg(format!("oci:{}:{to_tag}", to.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    skopeo(&ours, "v1", &theirs, "copied");
    let copied = Layout::open(&theirs).unwrap();
    let descriptor = copied.resolve(&Selector::Tag(tag("copied"))).unwrap();
    assert_eq!(descriptor.digest, manifest.digest());
    assert_eq!(Image::load(&copied, &descriptor).unwrap().manifest, manifest);

    // What each tool has listed survives what the other one adds.
    ImageMaker::new(&copied).image(&[b"three"], Listing::Tag(&tag("added")));
    skopeo(&ours, "v1", &theirs, "again");
    let copied = Layout::open(&theirs).unwrap();
    for name in ["copied", "added", "again"] {
        copied.resolve(&Selector::Tag(tag(name))).unwrap();
    }
    skopeo(&theirs, "added", &directory.path().join("third"), "x");
}

#[test]
fn the_image_of_one_platform_is_chosen_from_nested_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let amd64 = maker.image_for("linux/amd64", &[b"amd64"], Listing::Child);
    let arm64 = maker.image_for("linux/arm64/v8", &[b"arm64"], Listing::Child);
    let listed = |manifest: &Manifest, platform: &str| Descriptor {
        platform: Some(platform.parse().unwrap()),
        ..manifest.descriptor().clone()
    };
    let mut attestation = listed(&amd64, "unknown/unknown");
    attestation.digest = Digest::of(b"not there");
    attestation
        .annotations
        .insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
    let inner = maker.index(&[listed(&arm64, "linux/arm64"), attestation], Listing::Child);
    let outer = maker.index(
        &[listed(&amd64, "linux/amd64"), inner.descriptor().clone()],
        Listing::Tag(&tag("v1")),
    );

    let descriptor = layout.resolve(&Selector::Tag(tag("v1"))).unwrap();
    assert_eq!(descriptor.digest, outer.digest());
    let error = Image::load(&layout, &descriptor).unwrap_err();
    assert!(
        matches!(&error, Error::IndexNotManifest { platforms, .. } if platforms == &["linux/amd64"]),
        "{error}"
    );
    let platform = |text: &str| Some(text.parse().unwrap());
    let choose = |wanted: &str| Image::choose(&layout, &descriptor, platform(wanted).as_ref());
    assert_eq!(choose("linux/arm64").unwrap().manifest, arm64);
    assert_eq!(choose("linux/amd64").unwrap().manifest, amd64);
    let error = choose("linux/s390x").unwrap_err();
    assert!(
        matches!(&error, Error::NoSuchPlatform { platforms, .. }
            if platforms == &["linux/amd64", "linux/arm64"]),
        "{error}"
    );
    let all = Image::all(&layout, &descriptor, None).unwrap();
    assert_eq!(all.iter().map(|image| &image.manifest).collect::<Vec<_>>(), [&amd64, &arm64]);
    let error = Image::choose(&layout, amd64.descriptor(), platform("linux/arm64").as_ref());
    assert!(matches!(error, Err(Error::NoSuchPlatform { .. })));
}

/// Whoever pulls takes it for an image, whatever it calls itself.
#[test]
fn what_is_for_a_platform_is_not_passed_over_as_a_statement() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let images = ["one", "two"]
        .map(|text| maker.image_for("linux/amd64", &[text.as_bytes()], Listing::Child));
    let mut entries: Vec<Descriptor> = images
        .iter()
        .map(|image| Descriptor {
            platform: Some("linux/amd64".parse().unwrap()),
            ..image.descriptor().clone()
        })
        .collect();
    let all = |entries: &[Descriptor]| {
        let index = maker.index(entries, Listing::Child);
        let images = Image::all(&layout, index.descriptor(), None).unwrap();
        images.iter().map(|image| image.manifest.digest()).collect::<Vec<_>>()
    };
    let both: Vec<Digest> = images.iter().map(Manifest::digest).collect();
    entries[1]
        .annotations
        .insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
    assert_eq!(all(&entries), both);
    entries[1].platform = Some("unknown/unknown".parse().unwrap());
    assert_eq!(all(&entries), both[..1]);
    let text = String::from_utf8(images[1].bytes().to_vec()).unwrap();
    let text = text.replacen('{', r#"{"artifactType":"application/x","#, 1);
    let artifact = Manifest::parse(None, text.into_bytes()).unwrap();
    layout.push_manifest(&artifact, Listing::Child).unwrap();
    assert_eq!(artifact.descriptor().artifact_type.as_deref(), Some("application/x"));
    entries[1] = artifact.descriptor().plain();
    assert_eq!(all(&entries), [both[0], artifact.digest()]);
}

#[test]
fn indexes_nested_too_deeply_or_too_wide_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let mut manifest = maker.image(&[b"one"], Listing::Child);
    for _ in 0..10 {
        manifest = maker.index(&[manifest.descriptor().clone()], Listing::Child);
    }
    let error = Image::all(&layout, manifest.descriptor(), None).unwrap_err();
    assert!(matches!(error, Error::Nesting { .. }), "{error}");

    let images: Vec<Descriptor> = (0..65_u8)
        .map(|number| maker.image(&[&[number]], Listing::Child).descriptor().clone())
        .collect();
    let wide = maker.index(&images, Listing::Child);
    let error = Image::all(&layout, wide.descriptor(), None).unwrap_err();
    assert!(matches!(error, Error::TooManyImages { .. }), "{error}");
}

#[test]
fn manifests_that_are_no_images_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let image = maker.image(&[b"one"], Listing::Child);
    let artifact = maker.artifact(&image, "application/x", b"1");
    layout.push_manifest(&artifact, Listing::Child).unwrap();
    let error = Image::load(&layout, artifact.descriptor()).unwrap_err();
    assert!(matches!(error, Error::UnsupportedMediaType { .. }), "{error}");

    let one_layer = [Descriptor::of(MediaType::OCI_LAYER, b"one")];
    let uneven = maker.image_of("linux/amd64", &one_layer, &[], Listing::Child);
    let error = Image::load(&layout, uneven.descriptor()).unwrap_err();
    assert!(matches!(error, Error::DiffIdCount { layers: 1, diff_ids: 0, .. }), "{error}");
}

struct FailingSource;

impl BlobSource for FailingSource {
    fn open(&self) -> Result<Box<dyn std::io::Read + '_>, Error> {
        Ok(Box::new(FailingReader))
    }
}

struct FailingReader;

impl std::io::Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the source has failed"))
    }
}
