//! Signatures in all of their forms.

use std::fs;

use libverity::digest::Digest;
use osguard_registry::artifact::annotations::{self, Keys};
use osguard_registry::artifact::{Format, LayerSignature, SignatureArtifact};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::Error;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::{Manifest, ManifestKind};
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place};
use osguard_registry::signatures::{self, Candidate, Origin, Published};
use osguard_registry::tag::Tag;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ImageMaker, blob_file, signature_of};

#[test]
fn each_form_is_published_and_found_on_its_own() {
    let (directory, layout, image) = signed_by_nobody();
    let mut written = Vec::new();
    for format in Format::ALL {
        let artifact = signature_of(&image, "aa", b"\x30first");
        let publish = |artifact: &SignatureArtifact| {
            signatures::publish(&layout, artifact, format, &|found| found.signature == b"\x30first")
        };
        let digest = artifact.encode(format).unwrap().manifest.digest();
        assert_eq!(publish(&artifact).unwrap(), Published::Written(digest));
        written.push(digest);

        // Whoever signs again with ECDSA has other bytes for the same statement.
        let before = fs::read(directory.path().join("index.json")).unwrap();
        let again = signature_of(&image, "aa", b"\x30again");
        assert_eq!(publish(&again).unwrap(), Published::AlreadySigned(vec![digest]));
        assert_eq!(fs::read(directory.path().join("index.json")).unwrap(), before);
    }
    let candidates = signatures::find(&layout, &image).unwrap();
    let found: Vec<_> = candidates.iter().map(|candidate| candidate.origin.artifact()).collect();
    assert_eq!(found, written.into_iter().map(Some).collect::<Vec<_>>());
    for (candidate, format) in candidates.iter().zip(Format::ALL) {
        assert_eq!(candidate.origin.form(), Some(format.name()));
        let artifact = candidate.outcome.as_ref().unwrap();
        assert_eq!(artifact, &signature_of(&image, "aa", b"\x30first"));
    }
}

/// Other tools leave the annotation out, and put different things into the blob.
#[test]
fn the_blob_counts_where_the_annotation_is_missing() {
    let (directory, layout, image) = signed_by_nobody();
    let base64 = "MHRoZSBzaWduYXR1cmU=";
    let json = json!({ "layer_digest": "", "root_hash": "", "signature": base64 }).to_string();
    let contents = [
        b"0the signature".to_vec(),
        format!("{base64}\n").into_bytes(),
        json.into_bytes(),
        b"no signature".to_vec(),
        b"0to be damaged".to_vec(),
    ];
    for content in &contents {
        push_prototype(&layout, &image, content, |_| {});
    }
    let damaged = blob_file(directory.path(), &Digest::of(&contents[4]));
    fs::write(damaged, b"0to be danaged").unwrap();

    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(candidates.len(), contents.len());
    for candidate in &candidates[..3] {
        assert_eq!(only_signature(candidate).signature, b"0the signature");
    }
    let error = candidates[3].outcome.as_ref().unwrap_err();
    assert!(error.to_string().contains("a blob is neither a signature in DER"), "{error}");
    assert!(matches!(candidates[4].outcome, Err(Error::DigestDiffers { .. })));
    assert!(candidates.iter().all(|candidate| candidate.origin.form() == Some("prototype")));
}

#[test]
fn the_annotation_counts_before_the_blob() {
    let (_directory, layout, image) = signed_by_nobody();
    push_prototype(&layout, &image, b"no signature", |annotations| {
        annotations["image.layer.signature"] = json!("MHRoZSBzaWduYXR1cmU=");
    });
    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(only_signature(&candidates[0]).signature, b"0the signature");
}

#[test]
fn a_bogus_prototype_hides_no_standard_artifact() {
    let (_directory, layout, image) = signed_by_nobody();
    push_prototype(&layout, &image, b"0", |annotations| {
        annotations["image.layer.root_hash"] = json!("00");
    });
    let good = signature_of(&image, "aa", b"\x30good");
    signatures::publish(&layout, &good, Format::Standard, &|_| true).unwrap();
    push_prototype(&layout, &image, b"0", |annotations| {
        annotations["image.layer.signature"] = json!("?");
    });
    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(candidates.len(), 3);
    assert!(matches!(candidates[0].outcome, Err(Error::Artifact { .. })));
    assert_eq!(candidates[1].outcome.as_ref().unwrap(), &good);
    assert!(matches!(candidates[2].outcome, Err(Error::Artifact { .. })));
}

/// A manifest that lies about its type is read as what its place lists it as: not at all.
#[test]
fn the_form_of_what_cannot_be_read_is_that_of_the_list() {
    let (directory, layout, image) = signed_by_nobody();
    let artifact = push_prototype(&layout, &image, b"0", |_| {});
    fs::write(blob_file(directory.path(), &artifact.digest()), b"{}").unwrap();
    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].origin.form(), Some("prototype"));
    assert!(candidates[0].outcome.is_err());
}

#[test]
fn annotations_of_the_manifest_are_found_after_artifacts() {
    let (_directory, layout, plain) = signed_by_nobody();
    let signature = signature_of(&plain, "aa", b"\x30ours").signatures.remove(0);
    let image = annotated(&layout, &plain, |layer, map| {
        for keys in Keys::ALL {
            let signature = LayerSignature {
                claim: osguard_registry::artifact::Claim {
                    layer_digest: layer.digest,
                    ..signature.claim.clone()
                },
                ..signature.clone()
            };
            for (key, value) in annotations::write(&signature, keys).unwrap() {
                map[key] = json!(value);
            }
        }
        // One of ours and one of Kata's are wrong, in different layers.
        if layer.digest == Digest::of(b"two") {
            map["org.osguard.signature"] = json!("?");
        } else {
            map["io.katacontainers.dm-verity.root-hash"] = json!("?");
        }
    });
    let attached = signature_of(&image, "bb", b"\x30attached");
    signatures::publish(&layout, &attached, Format::Standard, &|_| true).unwrap();

    let candidates = signatures::find(&layout, &image).unwrap();
    let origins: Vec<_> = candidates
        .iter()
        .map(|candidate| (candidate.origin.form().unwrap(), candidate.outcome.is_ok()))
        .collect();
    assert_eq!(
        origins,
        [
            ("standard", true),
            ("osguard", true),
            ("osguard", false),
            ("kata", true),
            // The layer occurs twice, and each descriptor stands for itself.
            ("kata", false),
            ("kata", false),
        ]
    );
    // The two equal annotations of the layer that occurs twice are one signature.
    let ours = only_signature(&candidates[1]);
    assert_eq!(
        (ours.claim.layer_digest, &ours.signature),
        (Digest::of(b"one"), &signature.signature)
    );
    assert_eq!(ours.claim, signature.claim);
    let kata = only_signature(&candidates[3]);
    assert_eq!(kata.claim.layer_digest, Digest::of(b"two"));
    assert_eq!((&kata.claim.profile, &kata.claim.signer), (&None, &None));
    for candidate in &candidates {
        if let Err(error) = &candidate.outcome {
            assert!(matches!(error, Error::Annotations { .. }), "{error}");
        }
    }
    assert!(matches!(candidates[1].origin, Origin::Manifest { keys: Keys::Osguard }));
}

/// What an index says about its children is no statement of theirs.
#[test]
fn an_index_has_no_annotations_of_layers() {
    let (_directory, layout, image) = signed_by_nobody();
    let signature = signature_of(&image, "aa", b"\x30").signatures.remove(0);
    let mut entry = image.descriptor().clone();
    for (key, value) in annotations::write(&signature, Keys::Osguard).unwrap() {
        entry.annotations.insert(key.to_owned(), value);
    }
    let index = ImageMaker::new(&layout).index(&[entry], Listing::Untagged);
    assert!(signatures::find(&layout, &index).unwrap().is_empty());
}

fn signed_by_nobody() -> (TempDir, Layout, Manifest) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let tag: Tag = "v1".parse().unwrap();
    let image = ImageMaker::new(&layout).image(&[b"one", b"two", b"one"], Listing::Tag(&tag));
    (directory, layout, image)
}

/// Attaches an artifact in the prototypes' form with `content` for its blob.
fn push_prototype(
    layout: &Layout,
    image: &Manifest,
    content: &[u8],
    change: impl FnOnce(&mut Value),
) -> Manifest {
    let mut annotations = json!({
        "image.layer.digest": Digest::of(b"one"),
        "image.layer.root_hash": "07".repeat(32),
    });
    change(&mut annotations);
    let config = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    let blob = Descriptor::of(MediaType::EROFS_SIGNATURE, content);
    layout.push_blob(&config, &b"{}".as_slice()).unwrap();
    layout.push_blob(&blob, &content).unwrap();
    let mut layer = json!(blob);
    layer["annotations"] = annotations;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": Format::Prototype.artifact_type(),
        "config": config,
        "layers": [layer],
        "subject": image.descriptor().plain(),
    });
    let manifest = Manifest::parse(None, manifest.to_string().into_bytes()).unwrap();
    layout.push_manifest(&manifest, Listing::Referrer).unwrap();
    manifest
}

/// Makes an image of another one, whose layers have the annotations that `annotate` puts in.
fn annotated(
    layout: &Layout,
    image: &Manifest,
    annotate: impl Fn(&Descriptor, &mut Value),
) -> Manifest {
    let ManifestKind::Image(parsed) = image.kind() else { panic!("it is an index") };
    let mut document: Value = serde_json::from_slice(image.bytes()).unwrap();
    for (layer, document) in parsed.layers.iter().zip(document["layers"].as_array_mut().unwrap()) {
        annotate(layer, &mut document["annotations"]);
    }
    let image = Manifest::parse(None, document.to_string().into_bytes()).unwrap();
    layout.push_manifest(&image, Listing::Untagged).unwrap();
    image
}

fn only_signature(candidate: &Candidate) -> &LayerSignature {
    match candidate.outcome.as_ref().unwrap().signatures.as_slice() {
        [signature] => signature,
        several => panic!("{several:?}"),
    }
}
