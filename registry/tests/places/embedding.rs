//! Signatures that are written into the manifests of images.

use libverity::digest::{Digest, RootHash};
use osguard_registry::artifact::annotations::Keys;
use osguard_registry::artifact::{Claim, Format, LayerSignature, SignatureArtifact};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::embedding::{Embedded, EmbeddingError, embed, embed_into};
use osguard_registry::error::Error;
use osguard_registry::image::Image;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestKind};
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place};
use osguard_registry::reference::Selector;
use osguard_registry::signatures::{self, Origin};
use osguard_registry::tag::Tag;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::ImageMaker;

#[test]
fn a_manifest_gets_annotations_and_keeps_all_else() {
    let (_directory, layout) = layout();
    let old = ImageMaker::new(&layout).image(&[b"one", b"two"], Listing::Untagged);
    let embedded = embed_ours(&layout, &old, &[signed(&old, "aa", b"one")]).unwrap();
    assert!(embedded.is_changed());
    assert_eq!((embedded.old_root, embedded.manifests.len()), (old.digest(), 0));
    let one = Digest::of(b"one");
    let annotations = format!(
        concat!(
            r#","annotations":{{"org.osguard.root-hash":"{}","org.osguard.signature":"MG9uZQ==","#,
            r#""org.osguard.diff-id":"{}","org.osguard.image-size":"4096","#,
            r#""org.osguard.profile":"containerd-full-v1","org.osguard.signer":"aa"}}"#
        ),
        "07".repeat(32),
        one,
    );
    let text = String::from_utf8(old.bytes().to_vec()).unwrap();
    let end = text.find(&one.to_string()).unwrap();
    let end = end + text[end..].find('}').unwrap();
    let expected = format!("{}{annotations}{}", &text[..end], &text[end..]);
    assert_eq!(String::from_utf8_lossy(embedded.root.bytes()), expected);
    assert_eq!(embedded.successor(&old.digest()), Some(&embedded.root));
    assert_eq!(embedded.successor(&one), None);
}

#[test]
fn what_is_embedded_is_found_and_attached_to_the_new_manifest() {
    let (_directory, layout) = layout();
    let old = ImageMaker::new(&layout).image(&[b"one", b"two"], Listing::Untagged);
    let mut artifact = signed(&old, "aa", b"one");
    artifact.signatures.extend(signed(&old, "aa", b"two").signatures);
    for (keys, other) in [(Keys::Osguard, Keys::Kata), (Keys::Kata, Keys::Osguard)] {
        let embedded =
            embed(&layout, old.descriptor(), std::slice::from_ref(&artifact), keys, &|_| true)
                .unwrap();
        push(&layout, &embedded);
        let candidates = signatures::find(&layout, &embedded.root).unwrap();
        assert_eq!(candidates.len(), 1);
        assert!(matches!(candidates[0].origin, Origin::Manifest { keys: found } if found == keys));
        let found = candidates[0].outcome.as_ref().unwrap();
        assert_eq!(found.subject, embedded.root.descriptor().plain());
        assert_eq!(found.signatures.len(), 2);
        for (found, wanted) in found.signatures.iter().zip(&artifact.signatures) {
            assert_eq!(found.signature, wanted.signature);
            assert_eq!(found.claim.root_hash, wanted.claim.root_hash);
            assert_eq!(found.claim == wanted.claim, keys == Keys::Osguard);
        }
        // Both sets have room beside each other.
        let both = embed(
            &layout,
            embedded.root.descriptor(),
            &[embedded.retarget(&artifact)],
            other,
            &|_| true,
        );
        assert_eq!(signatures::find(&layout, &both.unwrap().root).unwrap().len(), 2);

        let retargeted = embedded.retarget(&artifact);
        assert_eq!(retargeted.subject, embedded.root.descriptor().plain());
        assert_eq!(retargeted.signatures, artifact.signatures);
        signatures::publish(&layout, &retargeted, Format::Standard, &|_| true).unwrap();
        assert_eq!(signatures::find(&layout, &embedded.root).unwrap().len(), 2);
        assert!(signatures::find(&layout, &old).unwrap().is_empty());
    }
    let image = Image::load(&layout, &layout.resolve(&Selector::Tag(tag())).unwrap()).unwrap();
    assert_eq!(image.layers.len(), 2, "it is an image like any other");
}

#[test]
fn embedding_again_changes_nothing() {
    let (_directory, layout) = layout();
    let old = ImageMaker::new(&layout).image(&[b"one", b"one"], Listing::Untagged);
    let first = embed_ours(&layout, &old, &[signed(&old, "aa", b"one")]).unwrap().root;
    layout.push_manifest(&first, Listing::Untagged).unwrap();

    let again = embed_ours(&layout, &first, &[signed(&first, "aa", b"one")]).unwrap();
    assert_eq!((again.is_changed(), &again.root), (false, &first));
    assert_eq!(again.successor(&first.digest()), None);
    assert_eq!(again.retarget(&signed(&first, "aa", b"one")), signed(&first, "aa", b"one"));
    let nothing = embed_ours(&layout, &first, &[]).unwrap();
    assert_eq!((nothing.is_changed(), &nothing.root), (false, &first));

    // Another signature by the same key over the same root hash, as ECDSA makes them.
    let mut other = signed(&first, "aa", b"one");
    other.signatures[0].signature = b"0other".to_vec();
    let with = |is_valid: &dyn Fn(&LayerSignature) -> bool| {
        embed_into(&first, &other.signatures, Keys::Osguard, is_valid).unwrap()
    };
    assert_eq!(with(&|found| found.signature == b"0one"), first);
    // One that is not valid is replaced, and so is one over another root hash.
    let replaced = with(&|_| false);
    assert_eq!(values(&replaced, "org.osguard.signature"), ["MG90aGVy", "MG90aGVy"]);
    other.signatures[0].claim.root_hash = RootHash::from_bytes([8; 32]);
    let replaced = embed_into(&first, &other.signatures, Keys::Osguard, &|_| true).unwrap();
    assert_eq!(values(&replaced, "org.osguard.signature"), ["MG90aGVy", "MG90aGVy"]);
    // What was said of a signature that stays is put right.
    let mut claims = signed(&first, "bb", b"one");
    claims.signatures[0].signature = b"0other".to_vec();
    claims.signatures[0].claim.diff_id = None;
    let right = embed_into(&first, &claims.signatures, Keys::Osguard, &|_| true).unwrap();
    assert_eq!(values(&right, "org.osguard.signature"), ["MG9uZQ==", "MG9uZQ=="]);
    assert_eq!(values(&right, "org.osguard.signer"), ["bb", "bb"]);
    assert!(values(&right, "org.osguard.diff-id").is_empty());
}

#[test]
fn malformed_annotations_are_replaced() {
    let (_directory, layout) = layout();
    let old = ImageMaker::new(&layout).image(&[b"one"], Listing::Untagged);
    let good =
        embed_into(&old, &signed(&old, "aa", b"one").signatures, Keys::Osguard, &|_| true).unwrap();
    let text = String::from_utf8(good.bytes().to_vec()).unwrap();
    let bad = Manifest::parse(None, text.replace("MG9uZQ==", "?").into_bytes()).unwrap();
    let repaired =
        embed_into(&bad, &signed(&old, "aa", b"one").signatures, Keys::Osguard, &|_| true);
    assert_eq!(repaired.unwrap(), good);
}

#[test]
fn of_several_signatures_the_first_is_taken() {
    let (_directory, layout) = layout();
    let old = ImageMaker::new(&layout).image(&[b"one", b"two"], Listing::Untagged);
    let artifacts =
        [signed(&old, "aa", b"one"), signed(&old, "bb", b"one"), signed(&old, "bb", b"two")];
    let new = embed_ours(&layout, &old, &artifacts).unwrap().root;
    assert_eq!(values(&new, "org.osguard.signer"), ["aa", "bb"]);
    // The layer that has none this time keeps its own.
    let next = embed_into(&new, &signed(&new, "cc", b"one").signatures, Keys::Osguard, &|_| false);
    assert_eq!(values(&next.unwrap(), "org.osguard.signer"), ["cc", "bb"]);
}

/// A nested index, an image that is listed twice, one that is not signed, and a statement by the
/// builder whose manifest is not even there.
#[test]
fn indexes_follow_their_children() {
    let (_directory, layout) = layout();
    let maker = ImageMaker::new(&layout);
    let amd64 = maker.image_for("linux/amd64", &[b"one", b"two"], Listing::Child);
    let arm64 = maker.image_for("linux/arm64", &[b"one", b"three"], Listing::Child);
    let s390x = maker.image_for("linux/s390x", &[b"one"], Listing::Child);
    let entry = |manifest: &Manifest| manifest.descriptor().clone();
    let mut statement = Descriptor::of(MediaType::OCI_MANIFEST, b"not there");
    for (key, value) in [
        ("vnd.docker.reference.type", "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest", arm64.digest().to_string()),
    ] {
        statement.annotations.insert(key.to_owned(), value);
    }
    let inner = maker.index(&[entry(&arm64), statement, entry(&amd64)], Listing::Child);
    let quiet = maker.index(&[entry(&s390x)], Listing::Child);
    let outer = maker.index(
        &[entry(&amd64), entry(&inner), entry(&quiet), entry(&inner), entry(&s390x)],
        Listing::Tag(&tag()),
    );
    let artifacts = [signed(&amd64, "aa", b"two"), signed(&arm64, "aa", b"one")];
    let embedded = embed_ours(&layout, &outer, &artifacts).unwrap();
    let old: Vec<_> = embedded.manifests.iter().map(|rewritten| rewritten.old).collect();
    assert_eq!(old, [amd64.digest(), arm64.digest(), inner.digest()]);
    let new: Vec<_> = embedded.manifests.iter().map(|rewritten| &rewritten.new).collect();
    let expected = |old: &Manifest| {
        let mut text = String::from_utf8(old.bytes().to_vec()).unwrap();
        for rewritten in &embedded.manifests {
            let old = layout.resolve(&Selector::Digest(rewritten.old)).unwrap();
            let (old_text, new_text) =
                (rewritten.old.to_string(), rewritten.new.digest().to_string());
            let entry = |digest: &str, size: u64| {
                format!(r#""{digest}","mediaType":"{}","size":{size}"#, old.media_type)
            };
            let new_size = rewritten.new.bytes().len() as u64;
            text = text
                .replace(&entry(&old_text, old.size), &entry(&new_text, new_size))
                .replace(&old_text, &new_text);
        }
        text
    };
    assert_eq!(String::from_utf8_lossy(new[2].bytes()), expected(&inner));
    assert_eq!(String::from_utf8_lossy(embedded.root.bytes()), expected(&outer));
    assert!(!expected(&outer).contains(&inner.digest().to_string()));
    assert!(expected(&inner).contains(&format!(
        r#""vnd.docker.reference.digest":"{}""#,
        embedded.successor(&arm64.digest()).unwrap().digest()
    )));

    push(&layout, &embedded);
    let images =
        Image::all(&layout, &layout.resolve(&Selector::Tag(tag())).unwrap(), None).unwrap();
    let manifests: Vec<_> = images.iter().map(|image| &image.manifest).collect();
    assert_eq!(manifests, [new[0], new[1], &s390x]);

    let artifacts = artifacts.map(|artifact| embedded.retarget(&artifact));
    let again = embed_ours(&layout, &embedded.root, &artifacts).unwrap();
    assert_eq!((again.is_changed(), again.manifests.len()), (false, 0));
}

#[test]
fn signatures_that_fit_nowhere_are_refused() {
    let (_directory, layout) = layout();
    let maker = ImageMaker::new(&layout);
    let image = maker.image(&[b"one"], Listing::Child);
    let other = maker.image(&[b"two"], Listing::Child);
    let index = maker.index(&[image.descriptor().clone()], Listing::Untagged);
    assert!(matches!(
        embed_ours(&layout, &index, &[signed(&other, "aa", b"two")]),
        Err(EmbeddingError::NotBelow { manifest, root })
            if manifest == other.digest() && root == index.digest()
    ));
    assert!(matches!(
        embed_ours(&layout, &index, &[signed(&image, "aa", b"two")]),
        Err(EmbeddingError::NoSuchLayer { layer, manifest })
            if layer == Digest::of(b"two") && manifest == image.digest()
    ));
    assert!(matches!(
        embed_ours(&layout, &index, &[signed(&index, "aa", b"one")]),
        Err(EmbeddingError::NoSuchLayer { manifest, .. }) if manifest == index.digest()
    ));
    let mut long = signed(&image, "aa", b"one");
    long.signatures[0].signature = vec![0x30; 32_768];
    assert!(matches!(
        embed_ours(&layout, &image, &[long]),
        Err(EmbeddingError::Artifact { manifest, .. }) if manifest == image.digest()
    ));
    let mut nested = index;
    for _ in 0..4 {
        nested = maker.index(&[nested.descriptor().clone()], Listing::Untagged);
    }
    assert!(matches!(
        embed_ours(&layout, &nested, &[signed(&image, "aa", b"one")]),
        Err(EmbeddingError::Place(Error::Nesting { limit: 4, .. }))
    ));
}

#[test]
fn manifests_that_would_be_too_long_are_refused() {
    let (_directory, layout) = layout();
    let image = ImageMaker::new(&layout).image(&[b"one"], Listing::Untagged);
    let mut document: Value = serde_json::from_slice(image.bytes()).unwrap();
    let padding = MAX_MANIFEST_BYTES as usize - image.bytes().len() - 100;
    document["annotations"] = json!({ "padding": "x".repeat(padding) });
    let image = Manifest::parse(None, document.to_string().into_bytes()).unwrap();
    assert!(matches!(
        embed_into(&image, &signed(&image, "aa", b"one").signatures, Keys::Osguard, &|_| true),
        Err(EmbeddingError::Manifest { source: ManifestError::TooLong { .. }, .. })
    ));
}

/// The parser passes over what it does not know, even if it is no text.
#[test]
fn manifests_that_are_no_text_are_refused() {
    let (_directory, layout) = layout();
    let image = ImageMaker::new(&layout).image(&[b"one"], Listing::Untagged);
    let mut bytes = image.bytes().to_vec();
    bytes.pop();
    bytes.extend(b",\"odd\":\"\xff\"}");
    let odd = Manifest::parse(None, bytes).unwrap();
    assert!(matches!(
        embed_into(&odd, &signed(&odd, "aa", b"one").signatures, Keys::Osguard, &|_| true),
        Err(EmbeddingError::Edit { manifest, .. }) if manifest == odd.digest()
    ));
}

fn layout() -> (TempDir, Layout) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    (directory, layout)
}

fn tag() -> Tag {
    "v1".parse().unwrap()
}

fn embed_ours(
    place: &dyn Place,
    root: &Manifest,
    artifacts: &[SignatureArtifact],
) -> Result<Embedded, EmbeddingError> {
    embed(place, root.descriptor(), artifacts, Keys::Osguard, &|_| true)
}

/// Pushes what is new to the place where the rest lies.
fn push(place: &dyn Place, embedded: &Embedded) {
    for rewritten in &embedded.manifests {
        place.push_manifest(&rewritten.new, Listing::Child).unwrap();
    }
    place.push_manifest(&embedded.root, Listing::Tag(&tag())).unwrap();
}

/// Makes a signature of one layer that no key has made.
fn signed(image: &Manifest, signer: &str, layer: &[u8]) -> SignatureArtifact {
    let claim = Claim {
        layer_digest: Digest::of(layer),
        root_hash: RootHash::from_bytes([7; 32]),
        diff_id: Some(Digest::of(layer)),
        image_size_bytes: Some(4096),
        profile: Some("containerd-full-v1".to_owned()),
        signer: Some(signer.to_owned()),
    };
    let signature = [b"0", layer].concat();
    SignatureArtifact {
        subject: image.descriptor().plain(),
        signatures: vec![LayerSignature { claim, signature }],
    }
}

/// Returns the values of an annotation of those layers that have it.
fn values(manifest: &Manifest, key: &str) -> Vec<String> {
    let ManifestKind::Image(image) = manifest.kind() else { panic!("it is an index") };
    image.layers.iter().filter_map(|layer| layer.annotation(key)).map(str::to_owned).collect()
}
