//! Signatures by every profile: `osguard sign --profile`, `osguard verify`.

use insta::assert_snapshot;
use libverity::layer::{Mode, Profile};
use osguard_registry::artifact::Claim;
use serde_json::Value;

use crate::environment::Environment;
use crate::fixtures::image;
use crate::verifying::attach_by;

#[test]
fn one_run_signs_by_all_profiles() {
    let environment = Environment::with_keys();
    image(&environment);
    let mut sign = vec!["sign", "oci:image:v1", "--key", "alice.key"];
    for profile in Profile::ALL {
        sign.extend(["--profile", profile.name()]);
    }
    assert_snapshot!(environment.run(&sign), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  diffid-full-v1
      layer fc04dd24052b  root hash df1421a0f8e572288697d8034472d3d96ae4f099956e5d5f6a1179c06af1c4c1  containerd-index-v1
      layer fc04dd24052b  root hash 537949c4ec466d04baa16605f85cd9694e4654bf0cc4c18cb922c674c3edecdf  osguard-ci-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  diffid-full-v1
      layer 204d62bcca13  root hash b29b911b0f00ef8fde13965c033fca247ce7214fc8b36d0f61075e2ca25cd373  containerd-index-v1
      layer 204d62bcca13  root hash ddbe2a469ae09424b7eeff7e712ab9231855946a5ef7a1156c676c8703cfac49  osguard-ci-v1
    Signed, the signatures are in sha256:30814c59586e45f26966cc698ad0f92696610d104b8eb7d2df98ae05c1b97b26
    --- standard error ---
    Warning: nodes that convert layers with erofs-utils 1.8 will compute another root hash for every layer by containerd-index-v1 and osguard-ci-v1: they leave out the image's checksum
    ");
    let standings = verified(&environment);
    assert_eq!(standings.len(), 2 * Profile::ALL.len());
    assert!(standings.iter().all(|(verdict, _)| verdict == "signed"), "{standings:?}");
    let index = standings.iter().filter(|(_, profile)| profile.contains("-index-")).count();
    assert_eq!(index, 2);

    // Signing again changes nothing.
    let files = environment.files();
    assert_snapshot!(environment.run(&sign).stdout.lines().last().unwrap(), @"Signed before, the signatures are in sha256:30814c59586e45f26966cc698ad0f92696610d104b8eb7d2df98ae05c1b97b26");
    assert_eq!(environment.files(), files);
}

#[test]
fn each_profile_verifies_alone() {
    for profile in Profile::ALL {
        let environment = Environment::with_keys();
        image(&environment);
        let sign = ["sign", "oci:image:v1", "--key", "alice.key", "--profile", profile.name()];
        assert_eq!(environment.run(sign).code, 0);
        for (verdict, found) in verified(&environment) {
            assert_eq!(verdict, "signed");
            let found: Profile = found.parse().unwrap();
            assert_eq!(found.mode(), profile.mode());
        }
    }
}

/// Annotations may save work; who is believed is the layer.
#[test]
fn what_a_signature_says_of_its_profile_decides_nothing() {
    let other = |mode| match mode {
        Mode::Full => Profile::OsguardCiV1,
        Mode::Index => Profile::ContainerdFullV1,
    };
    for profile in [Profile::ContainerdFullV1, Profile::ContainerdIndexV1] {
        let names = [None, Some(other(profile.mode()).name()), Some("of-the-future-v9")];
        for name in names {
            let environment = Environment::with_keys();
            image(&environment);
            let rename = |claim: &mut Claim| claim.profile = name.map(str::to_owned);
            attach_by(&environment, profile, |claims| claims.iter_mut().for_each(rename));
            for (verdict, found) in verified(&environment) {
                assert_eq!(
                    (verdict.as_str(), found.as_str()),
                    ("signed", profile.name()),
                    "{name:?}"
                );
            }
        }
    }
}

/// Returns verdict and profile of every signature of every layer.
fn verified(environment: &Environment) -> Vec<(String, String)> {
    let verify = ["verify", "oci:image:v1", "--trust", "alice.crt", "--output", "json"];
    let report: Value = environment.run(verify).json();
    let layers = report["manifests"][0]["layers"].as_array().unwrap();
    let signatures = layers.iter().flat_map(|layer| layer["signatures"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    signatures.map(|signature| (text(&signature["verdict"]), text(&signature["profile"]))).collect()
}
