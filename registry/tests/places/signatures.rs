//! Signature artifacts in a layout: attached, found, counted.

use std::fs;
use std::process::Command;

use libverity::digest::Digest;
use osguard_registry::artifact::{Format, SignatureArtifact};
use osguard_registry::error::Error;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::place::{Listing, Place};
use osguard_registry::reference::Selector;
use osguard_registry::signatures::{self, Published};
use osguard_registry::tag::Tag;

use crate::support::{ImageMaker, blob_file, is_installed, names_in, signature_of};

fn image(layout: &Layout) -> Manifest {
    let tag: Tag = "v1".parse().unwrap();
    ImageMaker::new(layout).image(&[b"one"], Listing::Tag(&tag))
}

fn found(layout: &Layout, image: &Manifest) -> Vec<SignatureArtifact> {
    let candidates = signatures::find(layout, image).unwrap();
    candidates.into_iter().map(|candidate| candidate.outcome.unwrap()).collect()
}

#[test]
fn what_is_published_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let image = image(&layout);
    assert!(found(&layout, &image).is_empty());
    let artifact = signature_of(&image, "aa", b"signature");
    let published = signatures::publish(&layout, &artifact, Format::Standard, &|_| true).unwrap();
    assert_eq!(
        published,
        Published::Written(artifact.encode(Format::Standard).unwrap().manifest.digest())
    );
    assert_eq!(found(&layout, &image), [artifact]);

    let index = fs::read(directory.path().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"][1]["artifactType"], Format::Standard.artifact_type());
    assert_eq!(
        index["manifests"][1]["annotations"],
        serde_json::json!({"io.cncf.notary.dm-verity.signature": "true"})
    );
}

#[test]
fn signing_again_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let image = image(&layout);
    let first = signature_of(&image, "aa", b"first");
    signatures::publish(&layout, &first, Format::Standard, &|_| true).unwrap();
    let before = fs::read(directory.path().join("index.json")).unwrap();

    // ECDSA signatures differ each time.
    let again = signature_of(&image, "aa", b"again");
    let published = signatures::publish(&layout, &again, Format::Standard, &|found| {
        found.signature == b"first"
    });
    let holder = first.encode(Format::Standard).unwrap().manifest.digest();
    assert!(matches!(&published, Ok(Published::AlreadySigned(holders)) if holders == &[holder]));
    assert_eq!(fs::read(directory.path().join("index.json")).unwrap(), before);

    // A forged claim to be the same signature stands in nobody's way.
    let published = signatures::publish(&layout, &again, Format::Standard, &|_| false).unwrap();
    assert!(matches!(published, Published::Written(_)));
    let other_key = signature_of(&image, "bb", b"other");
    let published = signatures::publish(&layout, &other_key, Format::Standard, &|_| true).unwrap();
    assert!(matches!(published, Published::Written(_)));
    assert_eq!(found(&layout, &image).len(), 3);
}

#[test]
fn thirty_two_signers_at_once_leave_thirty_two_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let image = image(&layout);
    std::thread::scope(|scope| {
        for signer in 0..32_u8 {
            let (image, path) = (&image, directory.path());
            scope.spawn(move || {
                let layout = Layout::open(path).unwrap();
                let artifact = signature_of(image, &format!("{signer:02x}"), &[signer]);
                signatures::publish(&layout, &artifact, Format::Standard, &|_| true).unwrap();
            });
        }
    });
    let mut signers: Vec<String> = found(&layout, &image)
        .into_iter()
        .map(|artifact| artifact.signatures[0].claim.signer.clone().unwrap())
        .collect();
    signers.sort();
    let expected: Vec<String> = (0..32_u8).map(|signer| format!("{signer:02x}")).collect();
    assert_eq!(signers, expected);
}

/// Is not a test of its own: [`signers_in_processes_of_their_own_lose_nothing`] runs this file's
/// program again with the variables set, and kills it at any time.
#[test]
fn signer_in_a_process_of_its_own() {
    let (Ok(path), Ok(signer)) = (std::env::var("LAYOUT"), std::env::var("SIGNER")) else { return };
    let layout = Layout::open(path.as_ref()).unwrap();
    let image = layout.resolve(&Selector::Only).unwrap();
    let image = layout.manifest(&image).unwrap();
    for round in 0..100_u32 {
        let artifact = signature_of(&image, &format!("{signer}{round:02x}"), &round.to_le_bytes());
        signatures::publish(&layout, &artifact, Format::Standard, &|_| true).unwrap();
        println!("SIGNED {round}");
    }
}

#[test]
fn signers_in_processes_of_their_own_lose_nothing() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Stdio};

    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let image = image(&layout);
    let start = |signer: u32| -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "signatures::signer_in_a_process_of_its_own"])
            .env("LAYOUT", directory.path())
            .env("SIGNER", format!("{signer:02x}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<Child> = (0..6).map(start).collect();
    let mut signed = Vec::new();
    // Each is killed at another moment; what it had reported by then must be there.
    for (number, mut child) in children.into_iter().enumerate() {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut rounds = 0;
        for line in lines.map_while(Result::ok) {
            rounds += usize::from(line.contains("SIGNED"));
            if rounds == 3 + number {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        signed.push(rounds);
    }
    let found = found(&layout, &image);
    for (number, rounds) in signed.into_iter().enumerate() {
        assert!(rounds >= 3 + number, "signer {number} has signed {rounds} times");
        let prefix = format!("{number:02x}");
        let there = found
            .iter()
            .filter(|artifact| {
                artifact.signatures[0].claim.signer.as_ref().unwrap().starts_with(&prefix)
            })
            .count();
        assert!(there >= rounds, "of {rounds} signatures of {number}, {there} are there");
    }
    signatures::publish(&layout, &signature_of(&image, "ff", b"last"), Format::Standard, &|_| true)
        .unwrap();
    assert_eq!(names_in(directory.path()), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn damaged_artifacts_are_returned_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let image = image(&layout);
    let damaged = signature_of(&image, "aa", b"damaged");
    let intact = signature_of(&image, "bb", b"intact");
    for artifact in [&damaged, &intact] {
        signatures::publish(&layout, artifact, Format::Standard, &|_| true).unwrap();
    }
    let signature = blob_file(directory.path(), &Digest::of(b"damaged"));
    fs::write(&signature, b"demaged").unwrap();
    let malformed =
        ImageMaker::new(&layout).artifact(&image, Format::Standard.artifact_type(), b"x");
    layout.push_manifest(&malformed, Listing::Referrer).unwrap();

    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(candidates.len(), 3);
    assert!(matches!(candidates[0].outcome, Err(Error::DigestDiffers { .. })));
    assert_eq!(candidates[1].outcome.as_ref().unwrap(), &intact);
    assert!(matches!(candidates[2].outcome, Err(Error::Artifact { .. })));

    // Signing once more repairs what can be repaired.
    signatures::publish(&layout, &damaged, Format::Standard, &|_| true).unwrap();
    let candidates = signatures::find(&layout, &image).unwrap();
    assert_eq!(candidates[0].outcome.as_ref().unwrap(), &damaged);
}

#[test]
fn other_images_and_other_artifacts_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let image = image(&layout);
    let other = maker.image(&[b"two"], Listing::Untagged);
    signatures::publish(&layout, &signature_of(&other, "aa", b"x"), Format::Standard, &|_| true)
        .unwrap();
    let sbom = maker.artifact(&image, "application/sbom", b"x");
    layout.push_manifest(&sbom, Listing::Referrer).unwrap();
    assert!(found(&layout, &image).is_empty());
    let all = layout.referrers(image.descriptor(), &[]).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].descriptor.artifact_type.as_deref(), Some("application/sbom"));
}

#[test]
fn artifacts_are_found_where_other_tools_list_them() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let maker = ImageMaker::new(&layout);
    let image = image(&layout);
    let listed = |name: &str| {
        let artifact = signature_of(&image, name, name.as_bytes());
        let encoded = artifact.encode(Format::Standard).unwrap();
        for (descriptor, bytes) in &encoded.blobs {
            layout.push_blob(descriptor, &bytes.as_slice()).unwrap();
        }
        (artifact, encoded.manifest)
    };
    // By an index under the tag of the referrers of this image, as from a registry without the API.
    let (first, manifest) = listed("aa");
    layout.push_manifest(&manifest, Listing::Child).unwrap();
    let tag = Tag::of_referrers(&image.digest());
    maker.index(&[manifest.descriptor().clone()], Listing::Tag(&tag));
    // By a tag of its own, and without its type.
    let (second, manifest) = listed("bb");
    layout.push_manifest(&manifest, Listing::Tag(&"signature".parse().unwrap())).unwrap();
    let path = directory.path().join("index.json");
    let index = fs::read_to_string(&path).unwrap();
    fs::write(&path, index.replace("artifactType", "artefactType")).unwrap();

    let found = found(&layout, &image);
    assert_eq!(found.len(), 2);
    assert!(found.contains(&first) && found.contains(&second));
    assert_eq!(layout.resolve(&Selector::Only).unwrap().digest, image.digest());
}

#[test]
fn an_image_with_signatures_still_goes_through_skopeo() {
    if !is_installed("skopeo") {
        return osguard_testkit::skip("skopeo");
    }
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    let layout = Layout::create(&from).unwrap();
    let image = image(&layout);
    let encoded = signature_of(&image, "aa", b"signature").encode(Format::Standard).unwrap();
    signatures::publish(
        &layout,
        &signature_of(&image, "aa", b"signature"),
        Format::Standard,
        &|_| true,
    )
    .unwrap();
    layout.push_manifest(&encoded.manifest, Listing::Tag(&"signature".parse().unwrap())).unwrap();
    let to = directory.path().join("to");
    for name in ["v1", "signature"] {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests"])
            .arg(format!("oci:{}:{name}", from.display()))
            .arg(format!("oci:{}:{name}", to.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let copied = Layout::open(&to).unwrap();
    assert_eq!(found(&copied, &image), [signature_of(&image, "aa", b"signature")]);
}
