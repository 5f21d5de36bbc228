//! What is attached to a manifest: by the API, by the tag, and by registries that get it wrong.

use osguard_registry::artifact::Format;
use osguard_registry::distribution::RegistryError;
use osguard_registry::error::{Error, ErrorKind};
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::ReferrersMode;
use osguard_registry::place::{Listing, ReferrersWay};
use osguard_registry::tag::Tag;
use osguard_testkit::registry::{Answer, Fault, Registry};
use serde_json::json;

use crate::support::*;

#[test]
fn the_api_is_used_where_there_is_one() {
    let registry = Registry::builder().page_size(2).start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    assert_eq!(attached(&*place, &image).unwrap(), []);
    let mut expected: Vec<_> =
        (0..5).map(|signer| attach(&*place, &image, &format!("{signer:02}")).unwrap()).collect();
    expected.sort();
    assert_eq!(attached(&*place, &image).unwrap(), expected);
    assert_eq!(place.referrers_way(), Some(ReferrersWay::Api));
    assert_eq!(registry.tags(REPOSITORY), ["v1"]);

    // Of one kind: whether the registry filters or not.
    assert_eq!(place.referrers(image.descriptor(), &["application/x"]).unwrap().len(), 0);
    assert_eq!(
        place.referrers(image.descriptor(), &[Format::Standard.artifact_type()]).unwrap().len(),
        5
    );
    registry.fault(Fault::new().always().without_parameter("artifactType"));
    assert_eq!(place.referrers(image.descriptor(), &["application/x"]).unwrap().len(), 0);
}

#[test]
fn the_tag_is_used_where_there_is_no_api() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    assert_eq!(attached(&*place, &image).unwrap(), []);
    let first = attach(&*place, &image, "01").unwrap();
    let index = referrers_index(&registry, &image);
    assert_eq!(index["manifests"][0]["artifactType"], json!(Format::Standard.artifact_type()));
    assert_eq!(index["manifests"][0]["digest"], json!(first));

    // Doing it again writes nothing.
    registry.forget_requests();
    attach(&*open(&registry), &image, "01").unwrap();
    let writes = |method: &str| method == "PUT" || method == "POST";
    assert!(registry.requests().iter().all(|request| !writes(&request.method)));

    let second = attach(&*place, &image, "02").unwrap();
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(attached(&*place, &image).unwrap(), expected);
    assert_eq!(place.referrers_way(), Some(ReferrersWay::Tag));
}

#[test]
fn only_what_was_asked_for_is_used() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let mut network = network();
    network.referrers = ReferrersMode::Api;
    let place = open_with(&registry, REPOSITORY, &network);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let error = refusal(attach(&*place, &image, "01"));
    assert!(matches!(error, RegistryError::NoReferrersApi { .. }), "{error}");
    let error = refusal(attached(&*place, &image));
    assert!(matches!(error, RegistryError::NoReferrersApi { .. }), "{error}");

    let registry = Registry::start().unwrap();
    network.referrers = ReferrersMode::Tag;
    let place = open_with(&registry, REPOSITORY, &network);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    attach(&*place, &image, "01").unwrap();
    assert_eq!(attached(&*place, &image).unwrap().len(), 1);
    assert_eq!(registry.tags(REPOSITORY).len(), 3);
}

#[test]
fn a_registry_with_an_api_that_does_not_say_so_is_believed_by_what_it_shows() {
    let registry = Registry::start().unwrap();
    registry.fault(Fault::new().method("PUT").always().without_header("OCI-Subject"));
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    attach(&*place, &image, "01").unwrap();
    assert_eq!(place.referrers_way(), Some(ReferrersWay::Api));
    assert_eq!(registry.tags(REPOSITORY), ["v1"]);
}

#[test]
fn a_look_up_that_fails_is_never_an_unsigned_image() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let registry = builder.start().unwrap();
        let place = open(&registry);
        let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
        attach(&*place, &image, "01").unwrap();
        let path = if with_api { "/referrers/" } else { "/manifests/sha256-" };
        for answer in [
            Answer::error(403, "DENIED", "no"),
            Answer::error(429, "TOOMANYREQUESTS", "later").retry_after_seconds(600),
            Answer::error(500, "UNKNOWN", "oops"),
            Answer::error(400, "UNSUPPORTED", "what?"),
            Answer::error(401, "UNAUTHORIZED", "who?"),
            Answer::status(200).body("<html>"),
            Answer::status(200).json(&json!({})),
            Answer::status(204),
        ] {
            registry.fault(Fault::new().path_contains(path).always().answer(answer));
            let error = attached(&*open(&registry), &image).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Registry | ErrorKind::Content), "{error}");
            registry.clear_faults();
        }
        assert_eq!(attached(&*open(&registry), &image).unwrap().len(), 1);
    }
}

#[test]
fn pages_end_and_stay_with_the_registry() {
    let registry = Registry::builder().page_size(1).start().unwrap();
    let other = Registry::start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    attach(&*place, &image, "01").unwrap();
    let fails = |link: &str| {
        registry.fault(Fault::new().path_contains("/referrers/").always().header("Link", link));
        let error = refusal(attached(&*open(&registry), &image));
        registry.clear_faults();
        error
    };
    let path = format!("/v2/{REPOSITORY}/referrers/{}", image.digest());
    let error = fails(&format!("<{path}?page={{count}}>; rel=\"next\""));
    assert!(matches!(error, RegistryError::Endless { .. }), "{error}");
    let error = fails(&format!("<{path}?page=2>; rel=\"next\""));
    assert!(matches!(error, RegistryError::Endless { .. }), "{error}");
    let error = fails(&format!("<{}{path}>; rel=\"next\"", other.url()));
    assert!(error.to_string().contains("its next page is elsewhere"), "{error}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_tag_that_leads_elsewhere_is_refused() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    // Some registries take the tag for the digest.
    registry.fault(Fault::new().always().rewrite_path("/manifests/sha256-", "/manifests/sha256:"));
    let error = refusal(attached(&*place, &image));
    assert!(error.to_string().ends_with("leads to the manifest itself"), "{error}");
    let error = refusal(attach(&*place, &image, "01"));
    assert!(matches!(error, RegistryError::NotReferrers { .. }), "{error}");
    registry.clear_faults();

    let other = push_image(&*place, b"other", Listing::Tag(&Tag::of_referrers(&image.digest())));
    let error = refusal(attached(&*place, &image));
    assert!(error.to_string().contains(&other.digest().to_string()), "{error}");
}

#[test]
fn a_tag_that_cannot_be_written_is_told() {
    let refused = Answer::error(409, "TAG_IMMUTABLE", "tags stay");
    let registry =
        Registry::builder().without_referrers_api().immutable_tags(refused).start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    attach(&*place, &image, "01").unwrap();
    let error = refusal(attach(&*place, &image, "02"));
    assert!(matches!(error, RegistryError::ReferrersTag { status: 409, .. }), "{error}");
    assert!(error.to_string().ends_with("(TAG_IMMUTABLE: tags stay)"), "{error}");
}

#[test]
fn what_others_have_listed_stays_as_they_wrote_it() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let unsigned = push_image(&*place, b"no referrer", Listing::Untagged);
    let foreign = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "x-other": {"a": [1.50, null]},
        "annotations": {"by": "someone"},
        "manifests": [{"mediaType": MediaType::OCI_MANIFEST, "x-more": true,
            "size": unsigned.bytes().len(), "digest": unsigned.digest()}],
    });
    let referrers = Tag::of_referrers(&image.digest());
    registry.put_manifest(
        REPOSITORY,
        Some(referrers.as_str()),
        MediaType::OCI_INDEX.as_str(),
        foreign.to_string().as_bytes(),
    );
    let own = attach(&*place, &image, "01").unwrap();
    let index = referrers_index(&registry, &image);
    assert_eq!(index["manifests"][0], foreign["manifests"][0]);
    assert_eq!(index["manifests"][1]["digest"], json!(own));
    assert_eq!(
        (&index["x-other"], &index["annotations"]),
        (&foreign["x-other"], &foreign["annotations"])
    );

    // An entry that leads to nothing is shown with the reason, and hides no other.
    registry.delete_manifest(REPOSITORY, &unsigned.digest().to_string());
    let place = open(&registry);
    let found = place.referrers(image.descriptor(), &[]).unwrap();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[0].manifest, Err(Error::NoSuchBlob { .. })));
    assert_eq!(found[1].manifest.as_ref().unwrap().digest(), own);

    // Nor does it keep anyone from signing: the registry does not take an index with it any more.
    let second = attach(&*place, &image, "02").unwrap();
    let index = referrers_index(&registry, &image);
    let digests = [&index["manifests"][0]["digest"], &index["manifests"][1]["digest"]];
    assert_eq!(digests, [&json!(own), &json!(second)]);
    assert_eq!(index["x-other"], foreign["x-other"]);
}

#[test]
fn only_what_names_the_subject_refers_to_it() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let other = push_image(&*place, b"other", Listing::Tag(&tag("v2")));
    attach(&*place, &other, "01").unwrap();
    let index = registry.manifest(REPOSITORY, Tag::of_referrers(&other.digest()).as_str()).unwrap();
    registry.put_manifest(
        REPOSITORY,
        Some(Tag::of_referrers(&image.digest()).as_str()),
        MediaType::OCI_INDEX.as_str(),
        &index.contents,
    );
    assert_eq!(attached(&*place, &image).unwrap(), []);
    assert_eq!(attached(&*place, &other).unwrap().len(), 1);
}

#[test]
fn a_signature_whose_entry_was_undone_is_found_by_its_own_tag_and_listed_again() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let lost = attach(&*place, &image, "01").unwrap();
    let referrers = Tag::of_referrers(&image.digest());
    let empty = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": []});
    registry.put_manifest(
        REPOSITORY,
        Some(referrers.as_str()),
        MediaType::OCI_INDEX.as_str(),
        empty.to_string().as_bytes(),
    );
    assert_eq!(attached(&*place, &image).unwrap(), [lost]);
    attach(&*place, &image, "02").unwrap();
    assert_eq!(referrers_index(&registry, &image)["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn someone_who_keeps_undoing_it_is_told_of() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let place = open(&registry);
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let referrers = Tag::of_referrers(&image.digest());
    registry.fault(
        Fault::new()
            .method("PUT")
            .path_contains(&format!("/manifests/{referrers}"))
            .after(1)
            .always()
            .answer(Answer::status(201)),
    );
    let error = refusal(attach(&*place, &image, "01"));
    assert!(matches!(error, RegistryError::Contended { .. }), "{error}");
    assert!(error.is_passing());
}

fn referrers_index(registry: &Registry, image: &Manifest) -> serde_json::Value {
    let tag = Tag::of_referrers(&image.digest());
    let index = registry.manifest(REPOSITORY, tag.as_str()).unwrap();
    serde_json::from_slice(&index.contents).unwrap()
}
