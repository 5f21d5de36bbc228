//! Reading from registries that fail, lie or never end.

use std::time::{Duration, SystemTime};

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::distribution::RegistryError;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place};
use osguard_registry::reference::Selector;
use osguard_testkit::registry::{Answer, Fault, Registry};

use crate::support::*;

#[test]
fn what_may_pass_is_tried_again() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let soon = SystemTime::now() + Duration::from_secs(1);
    for fault in [
        Fault::new().times(2).answer(Answer::status(500)),
        Fault::new().times(3).answer(Answer::status(503)),
        Fault::new().answer(Answer::status(429).retry_after_seconds(0)),
        Fault::new().answer(Answer::status(429).retry_after_date(soon)),
        Fault::new().answer(Answer::status(408)),
        Fault::new().times(2).no_answer(),
    ] {
        let fault = registry.fault(fault.method("GET").path_contains("/manifests/"));
        // A new place remembers no manifest.
        let found = open(&registry).resolve(&Selector::Tag(tag("v1"))).unwrap();
        assert_eq!(found.digest, image.digest());
        assert!(fault.count() > 0);
        registry.clear_faults();
    }
}

#[test]
fn what_lasts_is_told_in_the_words_of_the_registry() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let resolve = || open(&registry).resolve(&Selector::Tag(tag("v1")));
    let always = |answer| Fault::new().path_contains("/manifests/").always().answer(answer);

    let fault = registry.fault(always(Answer::error(503, "UNAVAILABLE", "at\nlunch")));
    let error = resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert_eq!(
        error.to_string(),
        format!(
            "GET http://{}/v2/team/app/manifests/v1: status 503 (UNAVAILABLE: at lunch)",
            registry.host()
        )
    );
    assert_eq!(fault.count(), 4);
    registry.clear_faults();

    // Nobody waits an hour; but whoever asks learns that it would take one.
    let fault = registry.fault(always(Answer::status(429).retry_after_seconds(3600)));
    let error = refusal(resolve());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(error.is_passing());
    assert_eq!(fault.count(), 1);
    registry.clear_faults();

    registry.fault(always(Answer::error(403, "DENIED", "not for you")));
    let error = resolve().unwrap_err().to_string();
    assert!(error.contains("denies reading from team/app (DENIED: not for you)"), "{error}");
    registry.clear_faults();

    registry.fault(always(Answer::error(404, "NAME_UNKNOWN", "never heard of it")));
    assert!(matches!(refusal(resolve()), RegistryError::NoSuchRepository { .. }));
    registry.clear_faults();
    registry.fault(always(Answer::error(404, "MANIFEST_UNKNOWN", "gone")));
    assert!(matches!(resolve(), Err(Error::NoSuchTag { .. })));
    registry.clear_faults();

    registry.fault(always(Answer::status(200).body("no manifest")));
    assert!(matches!(resolve(), Err(Error::Manifest { .. })));
    registry.clear_faults();
    registry.fault(always(Answer::status(418)));
    assert!(matches!(refusal(resolve()), RegistryError::Status { status: 418, .. }));
}

#[test]
fn hosts_that_are_not_there_are_told_apart() {
    let registry = Registry::start().unwrap();
    let host = registry.host();
    drop(registry);
    let resolve = |host: &str| {
        let reference = format!("{host}/a:v1").parse().unwrap();
        let place = osguard_registry::place::open(&reference, &network()).unwrap();
        refusal(place.resolve(reference.selector())).to_string()
    };
    assert_eq!(resolve(&host), format!("cannot reach {host}: Connection refused (os error 111)"));
    assert!(resolve("registry.invalid").starts_with("cannot reach registry.invalid: "));
}

#[test]
fn a_blob_that_is_cut_off_goes_on_where_it_was() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let bytes = content(1_000_000);
    let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
    for tenth in 0..10 {
        registry.forget_requests();
        registry.fault(get_blob().cut_after(bytes.len() as u64 * tenth / 10));
        assert_eq!(read(&*place, &blob).unwrap(), bytes, "{tenth}");
        let ranges: Vec<String> = registry
            .requests()
            .iter()
            .filter_map(|request| request.header("Range").map(str::to_owned))
            .collect();
        assert_eq!(ranges.len(), usize::from(tenth > 0), "{ranges:?}");
    }
    // Cut again and again, as long as something comes each time.
    registry.fault(get_blob().times(10).cut_after(50_000));
    assert_eq!(read(&*place, &blob).unwrap(), bytes);

    // A registry that knows no ranges sends all of it again.
    registry.fault(get_blob().cut_after(300_000));
    registry.fault(get_blob().answer(Answer::status(200).body(bytes.clone())));
    assert_eq!(read(&*place, &blob).unwrap(), bytes);

    registry.fault(get_blob().always().cut_after(0));
    let error = read(&*place, &blob).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry, "{error}");
}

#[test]
fn what_was_not_asked_for_is_not_taken() {
    let registry = Registry::start().unwrap();
    let place = open(&registry);
    let bytes = content(100_000);
    let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
    let fails = |fault: Fault| {
        registry.fault(fault);
        let error = read(&*place, &blob).unwrap_err();
        registry.clear_faults();
        error
    };
    let flipped = fails(get_blob().flip_bit_at(99_999));
    assert!(matches!(flipped, Error::DigestDiffers { .. }), "{flipped}");
    let announced = fails(get_blob().answer(Answer::status(200).body(content(99_999))));
    assert!(matches!(announced, Error::SizeDiffers { found_bytes: 99_999, .. }), "{announced}");
    let too_long = fails(get_blob().append(1).until_closed());
    assert!(matches!(too_long, Error::SizeDiffers { found_bytes: 100_001, .. }), "{too_long}");
    let endless = fails(get_blob().answer(Answer::status(200).repeat(0, 1 << 40)).chunked());
    assert!(matches!(endless, Error::SizeDiffers { .. }), "{endless}");
    let short =
        fails(get_blob().always().answer(Answer::status(200).body(content(5))).until_closed());
    assert!(matches!(short, Error::SizeDiffers { .. }), "{short}");

    let unknown = Descriptor::of(MediaType::OCI_LAYER, b"unknown");
    assert!(matches!(place.blob(&unknown), Err(Error::NoSuchBlob { .. })));
    assert!(!place.has(&unknown).unwrap());
    assert!(place.has(&blob).unwrap());
}

#[test]
fn manifests_are_bounded_and_are_what_their_digest_says() {
    let registry = Registry::start().unwrap();
    let image = push_image(&*open(&registry), b"layer", Listing::Tag(&tag("v1")));
    let manifests = || Fault::new().method("GET").path_contains("/manifests/");
    let fails = |fault: Fault, selector: Selector| {
        registry.fault(fault);
        let error = open(&registry).resolve(&selector).unwrap_err();
        registry.clear_faults();
        error
    };
    let by_tag = || Selector::Tag(tag("v1"));
    let by_digest = || Selector::Digest(image.digest());

    let gibibyte = || Answer::status(200).repeat(b' ', 1 << 30);
    for fault in [manifests().answer(gibibyte()), manifests().answer(gibibyte()).chunked()] {
        let error = fails(fault, by_tag());
        assert!(matches!(error, Error::TooLong { limit_bytes: 4_194_304, .. }), "{error}");
    }
    let other = Digest::of(b"other").to_string();
    let error = fails(manifests().header("Docker-Content-Digest", &other), by_tag());
    assert!(matches!(error, Error::DigestDiffers { .. }), "{error}");
    let foreign = Answer::status(200).body(
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, MediaType::OCI_INDEX)
            .into_bytes(),
    );
    let error = fails(manifests().answer(foreign), by_digest());
    assert!(matches!(error, Error::DigestDiffers { .. }), "{error}");
    let error = fails(manifests().always().declare_length(100_000), by_tag());
    assert_eq!(error.kind(), ErrorKind::Registry, "{error}");
}

#[test]
fn a_body_that_stands_still_is_not_waited_for_forever() {
    let registry = Registry::start().unwrap();
    let mut network = network();
    network.patience.standstill = Duration::from_millis(200);
    network.patience.attempts = 2;
    let place = open_with(&registry, REPOSITORY, &network);
    let bytes = content(100_000);
    let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
    registry.fault(get_blob().stall_after(1000));
    assert_eq!(read(&*place, &blob).unwrap(), bytes);
    registry.fault(get_blob().always().stall_after(0));
    let error = refusal(read(&*place, &blob));
    assert!(matches!(error, RegistryError::Standstill { .. }), "{error}");
}

fn get_blob() -> Fault {
    Fault::new().method("GET").path_contains("/blobs/")
}

fn read(place: &dyn Place, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    place.blob(blob)?.read_all(1 << 30)
}
