//! Many writers at once.

use std::collections::BTreeSet;
use std::sync::Barrier;

use libverity::digest::Digest;
use osguard_registry::manifest::Manifest;
use osguard_registry::place::Listing;
use osguard_registry::tag::Tag;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};

use crate::support::*;

#[test]
fn of_32_signers_at_once_none_is_lost() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let registry = builder.start().unwrap();
        for round in 0..5_u8 {
            let image = push_image(&*open(&registry), &[round], Listing::Tag(&tag("v1")));
            let signed = sign_at_once(&registry, &image, 32);
            assert_eq!(attached(&*open(&registry), &image).unwrap(), signed);
            if !with_api {
                // Other tools look only at the index.
                assert_eq!(listed(&registry, &image), signed);
            }
        }
    }
}

#[test]
fn writers_that_have_read_the_same_list_do_not_undo_each_other() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let image = push_image(&*open(&registry), b"layer", Listing::Tag(&tag("v1")));
    // Their own tags are there, and at first nobody is shown those of the others: all of them have
    // read an empty list when the first one writes.
    sign_at_once(&registry, &image, 4);
    let tag = Tag::of_referrers(&image.digest());
    assert!(registry.delete_manifest(REPOSITORY, tag.as_str()));
    let nothing = Answer::status(200).json(&serde_json::json!({ "tags": [] }));
    registry.fault(Fault::new().path_contains("/tags/list").times(4).answer(nothing));
    let gate = Gate::opening_at(4);
    let index = format!("/manifests/{tag}");
    let race =
        registry.fault(Fault::new().method("PUT").path_contains(&index).times(4).hold(&gate));
    let signed = sign_at_once(&registry, &image, 4);
    assert_eq!(race.count(), 4);
    assert_eq!(listed(&registry, &image), signed);
}

#[test]
fn a_slow_writer_that_undoes_a_finished_one_repairs_it() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let image = push_image(&*open(&registry), b"layer", Listing::Tag(&tag("v1")));
    let index = format!("/manifests/{}", Tag::of_referrers(&image.digest()));
    let gate = Gate::new();
    registry.fault(Fault::new().method("PUT").path_contains(&index).after(1).times(1).hold(&gate));
    std::thread::scope(|scope| {
        // Its first write goes to its own tag, its second one to the index; that one is held.
        let slow = scope.spawn(|| attach(&*open(&registry), &image, "01").unwrap());
        gate.wait_for(1);
        let fast = attach(&*open(&registry), &image, "02").unwrap();
        assert!(listed(&registry, &image).contains(&fast));
        gate.release();
        let mut both = vec![slow.join().unwrap(), fast];
        both.sort();
        assert_eq!(listed(&registry, &image), both);
    });
}

#[test]
fn two_that_push_the_same_image_at_once_both_succeed() {
    let registry = Registry::start().unwrap();
    let layer = content(3_000_000);
    let barrier = Barrier::new(4);
    let digests: BTreeSet<Digest> = std::thread::scope(|scope| {
        let pushing: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    push_image(&*open(&registry), &layer, Listing::Tag(&tag("v1"))).digest()
                })
            })
            .collect();
        pushing.into_iter().map(|pushing| pushing.join().unwrap()).collect()
    });
    assert_eq!(digests.len(), 1);
    assert_eq!(registry.tags(REPOSITORY), ["v1"]);
    assert_eq!(registry.open_uploads(), 0);
}

/// Has so many signers sign, all at once, and returns what they have attached, sorted.
fn sign_at_once(registry: &Registry, image: &Manifest, signers: usize) -> Vec<Digest> {
    let barrier = Barrier::new(signers);
    let mut signed: Vec<Digest> = std::thread::scope(|scope| {
        let signing: Vec<_> = (0..signers)
            .map(|signer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let place = open(registry);
                    barrier.wait();
                    attach(&*place, image, &format!("{signer:04x}")).unwrap()
                })
            })
            .collect();
        signing.into_iter().map(|signing| signing.join().unwrap()).collect()
    });
    signed.sort();
    signed
}

/// Returns what the index under the tag lists, sorted.
fn listed(registry: &Registry, image: &Manifest) -> Vec<Digest> {
    let tag = Tag::of_referrers(&image.digest());
    let index = registry.manifest(REPOSITORY, tag.as_str()).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index.contents).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let mut digests: Vec<Digest> =
        entries.iter().map(|entry| entry["digest"].as_str().unwrap().parse().unwrap()).collect();
    digests.sort();
    digests
}
