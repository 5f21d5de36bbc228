//! Layers as volumes of systemd.

use std::process::Command;

use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::run;
use osguard_testkit::or_skip;
use osguard_testkit::tools::systemd_dissect;

use crate::environment::Environment;
use crate::fixtures::tar;

/// `volume.raw`, and beside it the tree, the root hash and its signature.
#[test]
fn systemd_takes_a_layer_with_side_files_for_a_signed_volume() {
    let Some(dissect) = or_skip(systemd_dissect()) else { return };
    let environment = Environment::with_keys();
    environment.write("layer.tar", &tar("a program"));
    let built = ["layer", "build", "layer.tar", "layer", "--output", "json"];
    let facts = environment.run(built).json();
    let root_hash = facts["root_hash"].as_str().unwrap();
    let volume = environment.read("layer");
    let (image, tree) = volume.split_at(facts["image_size_bytes"].as_u64().unwrap() as usize);
    environment.write("volume.raw", image);
    environment.write("volume.verity", tree);
    let validate = |policy: &str| {
        let mut command = Command::new(dissect.get_program());
        command.args(dissect.get_args()).arg("--validate").arg("--image-policy").arg(policy);
        run(command.arg(environment.path("volume.raw")))
    };
    environment.write("volume.roothash", root_hash.as_bytes());
    validate("root=verity:=absent").unwrap();
    assert!(validate(SIGNED).is_err(), "nobody signed it yet");

    let (key, certificate) = (environment.path("alice.key"), environment.path("alice.crt"));
    let signer = FileSigner::open(&key, &certificate, &mut || unreachable!()).unwrap();
    let root_hash = root_hash.parse().unwrap();
    let signature = sign_root_hash(&root_hash, &signer, Embedding::Certificate).unwrap();
    environment.write("volume.roothash.p7s", &signature);
    validate(SIGNED).unwrap();
}

const SIGNED: &str = "root=signed:=absent";
