//! Writing to registries that fail, refuse or send us elsewhere.

use std::time::Duration;

use osguard_registry::descriptor::Descriptor;
use osguard_registry::distribution::RegistryError;
use osguard_registry::error::Error;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Pushed, Repository};
use osguard_registry::reference::Selector;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};

use crate::support::*;

#[test]
fn what_is_there_is_not_sent_again() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    registry.forget_requests();
    let again = push_image(&*open(&registry), b"layer", Listing::Tag(&tag("v1")));
    assert_eq!(again.digest(), image.digest());
    assert!(registry.requests().iter().all(|request| request.method == "HEAD"));

    assert_eq!(place.push_manifest(&image, Listing::Tag(&tag("v1"))).unwrap(), Pushed::Present);
    assert_eq!(place.push_manifest(&image, Listing::Tag(&tag("v2"))).unwrap(), Pushed::Stored);
    assert_eq!(registry.tags(REPOSITORY), ["v1", "v2"]);
}

#[test]
fn an_upload_that_is_cut_off_starts_again() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    for tenth in 0..10 {
        let mut bytes = content(2_000_000);
        bytes[0] = tenth;
        let fault =
            registry.fault(Fault::new().method("PUT").cut_upload_after(200_000 * u64::from(tenth)));
        let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
        assert_eq!(fault.count(), 1);
        assert_eq!(registry.blob(&blob.digest.to_string()).unwrap(), bytes);
        assert_eq!(registry.open_uploads(), 0);
    }
    for fault in [
        Fault::new().times(2).answer(Answer::status(500)),
        Fault::new().answer(Answer::status(503)).before_body(),
        Fault::new().answer(Answer::status(429).retry_after_seconds(1)),
        Fault::new().answer(Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "which one?")),
        Fault::new().no_answer(),
    ] {
        let fault = registry.fault(fault.method("PUT"));
        let bytes = content(300_000 + registry.blobs().len());
        let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
        assert!(fault.count() > 0);
        assert_eq!(registry.blob(&blob.digest.to_string()).unwrap(), bytes);
        assert_eq!(registry.open_uploads(), 0);
    }
}

#[test]
fn what_the_registry_refuses_is_told_and_leaves_nothing_behind() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let bytes = content(3_000_000);
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    let fails = |fault: Fault| {
        registry.fault(fault.method("PUT"));
        let error = refusal(place.push_blob(&blob, &bytes.as_slice()));
        registry.clear_faults();
        assert_eq!(registry.blobs().len() + registry.open_uploads(), 0);
        error
    };
    let denied = Answer::error(403, "DENIED", "quota exceeded");
    for fault in [Fault::new().answer(denied.clone()), Fault::new().answer(denied).before_body()] {
        let error = fails(fault).to_string();
        assert!(error.contains("denies writing to team/app (DENIED: quota exceeded)"), "{error}");
    }
    let error = fails(Fault::new().always().answer(Answer::status(413)).before_body());
    assert!(matches!(error, RegistryError::Status { status: 413, .. }), "{error}");
    let error = fails(Fault::new().always().answer(Answer::status(502)));
    assert!(matches!(error, RegistryError::Status { status: 502, .. }), "{error}");
    let error = fails(Fault::new().answer(Answer::error(400, "DIGEST_INVALID", "not it")));
    assert!(error.to_string().ends_with("status 400 (DIGEST_INVALID: not it)"), "{error}");
}

#[test]
fn what_is_too_long_for_one_piece_goes_in_chunks() {
    let bytes = content(10_000_000);
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    let chunks = |registry: &Registry| -> Vec<(String, u64)> {
        let requests = registry.requests();
        let chunks = requests.iter().filter(|request| request.method == "PATCH");
        chunks
            .map(|chunk| (chunk.header("Content-Range").unwrap().to_owned(), chunk.received_bytes))
            .collect()
    };
    let of_4_mib = [
        ("0-4194303".to_owned(), 4_194_304),
        ("4194304-8388607".to_owned(), 4_194_304),
        ("8388608-9999999".to_owned(), 1_611_392),
    ];
    let too_long =
        || Fault::new().method("PUT").path_contains("/uploads/").body_longer_than(5 << 20);
    for fault in [
        too_long().answer(Answer::status(413)),
        too_long().answer(Answer::status(413)).before_body(),
        too_long().answer(Answer::status(416)),
    ] {
        let registry = Registry::start().unwrap();
        let fault = registry.fault(fault.always());
        let place = open(&registry);
        place.push_blob(&blob, &bytes.as_slice()).unwrap();
        assert_eq!(chunks(&registry), of_4_mib);
        assert_eq!(registry.blob(&blob.digest.to_string()).unwrap(), bytes);
        // What follows does not try first.
        let second = content(5 << 20);
        push_blob(&*place, MediaType::OCI_LAYER, &second);
        assert_eq!((fault.count(), chunks(&registry).len(), registry.open_uploads()), (1, 5, 0));
    }

    // Whoever wants longer chunks gets them, but for the last one.
    let registry = Registry::start().unwrap();
    registry.fault(too_long().answer(Answer::status(413)));
    registry.fault(Fault::new().method("POST").always().header("OCI-Chunk-Min-Length", "6000000"));
    open(&registry).push_blob(&blob, &bytes.as_slice()).unwrap();
    let of_6_mb = [("0-5999999".to_owned(), 6_000_000), ("6000000-9999999".to_owned(), 4_000_000)];
    assert_eq!(chunks(&registry), of_6_mb);
    assert_eq!(registry.blob(&blob.digest.to_string()).unwrap(), bytes);
}

#[test]
fn an_upload_in_chunks_that_is_cut_off_starts_again() {
    let bytes = content(9_000_000);
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    let in_chunks = || {
        let registry = Registry::start().unwrap();
        registry.fault(Fault::new().method("PUT").body_longer_than(0).answer(Answer::status(413)));
        registry
    };
    for fault in [
        Fault::new().answer(Answer::status(503)),
        Fault::new().after(1).answer(Answer::status(503)),
        Fault::new().after(2).cut_upload_after(300_000),
        Fault::new().after(1).answer(Answer::status(416)),
        Fault::new().after(1).answer(Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "which one?")),
        // It keeps the last chunk alone.
        Fault::new().after(1).header("Range", "0-4194303"),
    ] {
        let registry = in_chunks();
        let fault = registry.fault(fault.method("PATCH"));
        open(&registry).push_blob(&blob, &bytes.as_slice()).unwrap();
        assert_eq!((fault.count(), registry.open_uploads()), (1, 0));
        assert_eq!(registry.blob(&blob.digest.to_string()).unwrap(), bytes);
    }

    // What does not pass is told in the end, and a wrong blob is not stored this way either.
    let refused = Answer::error(413, "SIZE_INVALID", "not even that");
    for (fault, expected) in [
        (Fault::new().answer(refused), "status 413 (SIZE_INVALID: not even that)"),
        (Fault::new().answer(Answer::status(416)), "status 416"),
        (Fault::new().header("Range", "0-99"), "it has 100 bytes of 4194304"),
        (Fault::new().without_header("Location"), "an upload is open, and it is not said where"),
    ] {
        let registry = in_chunks();
        registry.fault(fault.method("PATCH").always());
        let error = refusal(open(&registry).push_blob(&blob, &bytes.as_slice())).to_string();
        assert!(error.ends_with(expected), "{error}");
        assert_eq!(registry.blobs().len() + registry.open_uploads(), 0);
    }
    let registry = in_chunks();
    let mut wrong = bytes;
    wrong[8_999_999] ^= 1;
    let error = open(&registry).push_blob(&blob, &wrong.as_slice()).unwrap_err();
    assert!(matches!(error, Error::DigestDiffers { .. }), "{error}");
    assert_eq!(registry.blobs().len() + registry.open_uploads(), 0);
}

/// While somebody else stores the same blobs, Debian's registry shows them and does not find them.
#[test]
fn a_manifest_whose_blobs_are_not_found_yet_is_sent_again() {
    for (code, words) in [
        ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
        ("DIGEST_INVALID", "provided digest did not match uploaded content"),
    ] {
        let registry = Registry::start().unwrap();
        let fault = Fault::new().method("PUT").path_contains("/manifests/");
        let refused = Answer::error(400, code, words);
        let twice = registry.fault(fault.clone().times(2).answer(refused.clone()));
        let image = push_image(&*open(&registry), b"layer", Listing::Tag(&tag("v1")));
        assert_eq!((twice.count(), registry.tags(REPOSITORY).len()), (2, 1));

        let always = registry.fault(fault.always().answer(refused));
        let pushed = open(&registry).push_manifest(&image, Listing::Tag(&tag("v2")));
        let error = refusal(pushed).to_string();
        assert!(error.ends_with(&format!("status 400 ({code}: {words})")), "{error}");
        assert_eq!(always.count(), 3);
    }
}

#[test]
fn a_wrong_source_is_never_stored() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let bytes = content(1_000_000);
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    let mut wrong = bytes.clone();
    wrong[999_999] ^= 1;
    let error = place.push_blob(&blob, &wrong.as_slice()).unwrap_err();
    assert!(matches!(error, Error::DigestDiffers { .. }), "{error}");
    let error = place.push_blob(&blob, &&bytes[1..]).unwrap_err();
    assert!(matches!(error, Error::SizeDiffers { .. }), "{error}");
    assert_eq!(registry.blobs().len() + registry.open_uploads(), 0);

    let empty = Descriptor::of(MediaType::OCI_LAYER, b"");
    assert!(place.push_blob(&empty, &&b"x"[..]).is_err());
    assert_eq!(place.push_blob(&empty, &&b""[..]).unwrap(), Pushed::Stored);
    assert_eq!(place.blob(&empty).unwrap().read_all(1).unwrap(), b"");
}

#[test]
fn writes_are_not_redirected() {
    let registry = Registry::start().unwrap();
    let other = Registry::start().unwrap();
    let place = open(&registry);
    let bytes = content(1000);
    let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    for method in ["POST", "PUT"] {
        for status in [301, 302, 307, 308] {
            registry.fault(Fault::new().method(method).answer(Answer::redirect_to(status, &other)));
            let error = refusal(place.push_blob(&blob, &bytes.as_slice()));
            assert!(matches!(error, RegistryError::Redirected { .. }), "{error}");
        }
    }
    let image = push_image(&*place, &bytes, Listing::Untagged);
    registry.fault(
        Fault::new()
            .method("PUT")
            .path_contains("/manifests/")
            .answer(Answer::redirect_to(307, &other)),
    );
    let error = refusal(place.push_manifest(&image, Listing::Tag(&tag("v1"))));
    assert!(matches!(error, RegistryError::Redirected { .. }), "{error}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn blobs_are_taken_from_other_repositories() {
    let registry = Registry::start().unwrap();
    let bytes = content(100_000);
    let blob = push_blob(&*open_with(&registry, "base", &network()), MediaType::OCI_LAYER, &bytes);
    let source = |host: &str, name: &str| Elsewhere {
        repository: Repository { registry: host.to_owned(), name: name.to_owned() },
        bytes: &bytes,
    };
    let sent = || -> u64 {
        let requests = registry.requests();
        requests.iter().map(|request| request.received_bytes).sum()
    };
    registry.forget_requests();
    let pushed = open(&registry).push_blob(&blob, &source(&registry.host(), "base")).unwrap();
    assert_eq!((pushed, sent()), (Pushed::Stored, 0));

    // One that is not there, and a registry that does not mount, get the bytes.
    let place = open_with(&registry, "team/second", &network());
    place.push_blob(&blob, &source(&registry.host(), "nothing")).unwrap();
    assert_eq!(sent(), bytes.len() as u64);
    registry.fault(Fault::new().query_contains("mount=").without_parameter("mount"));
    let place = open_with(&registry, "team/third", &network());
    place.push_blob(&blob, &source(&registry.host(), "base")).unwrap();
    assert_eq!(sent(), 2 * bytes.len() as u64);
    registry.fault(Fault::new().query_contains("mount=").answer(Answer::error(
        403,
        "DENIED",
        "not yours",
    )));
    let place = open_with(&registry, "team/fourth", &network());
    place.push_blob(&blob, &source(&registry.host(), "base")).unwrap();
    assert_eq!(sent(), 3 * bytes.len() as u64);

    // Another registry's repository of that name is not this one's.
    registry.forget_requests();
    let place = open_with(&registry, "team/fifth", &network());
    place.push_blob(&blob, &source("other.example", "base")).unwrap();
    assert!(registry.requests().iter().all(|request| request.parameter("mount").is_none()));
}

#[test]
fn registries_need_not_say_where_things_are() {
    let registry = Registry::start().unwrap();
    registry.fault(Fault::new().method("PUT").always().without_header("Location"));
    registry.fault(Fault::new().method("PUT").always().without_header("Docker-Content-Digest"));
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    assert_eq!(place.resolve(&Selector::Tag(tag("v1"))).unwrap().digest, image.digest());
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"other");
    registry.fault(Fault::new().method("POST").without_header("Location"));
    let error = refusal(place.push_blob(&blob, &&b"other"[..]));
    assert!(matches!(error, RegistryError::Nonsense { .. }), "{error}");
}

#[test]
fn a_registry_that_takes_nothing_more_is_not_waited_for_forever() {
    let registry = Registry::start().unwrap();
    let mut network = network();
    network.patience.store = Duration::from_millis(300);
    network.patience.standstill = Duration::from_millis(300);
    network.patience.attempts = 2;
    let place = open_with(&registry, REPOSITORY, &network);
    let gate = Gate::new();
    let fault = registry.fault(Fault::new().method("PUT").times(2).hold(&gate));
    // More than the buffers of both sides hold, so that it is the sending that stands still.
    for length in [1000, 30_000_000] {
        let bytes = content(length);
        let blob = Descriptor::of(MediaType::OCI_LAYER, &bytes);
        let error = refusal(place.push_blob(&blob, &bytes.as_slice()));
        assert!(matches!(error, RegistryError::Standstill { .. }), "{error}");
        if length == 1000 {
            assert_eq!(fault.count(), 2);
            registry.fault(Fault::new().method("PUT").times(2).hold(&gate));
        }
    }
    gate.release();
}
