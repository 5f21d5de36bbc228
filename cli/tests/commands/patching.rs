//! `osguard patch`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarHeader, TarMaker};
use serde_json::{Value, json};

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index, layer, layout, tar};
use crate::layouts::{described, described_in, document, manifest};

/// Makes the directory `name` with the program of a patch in it.
pub(crate) fn patch_directory(environment: &Environment, name: &str, program: &str) {
    fs::create_dir_all(environment.path(name).join("bin")).unwrap();
    environment.write(format!("{name}/bin/program"), program.as_bytes());
    fs::set_permissions(
        environment.path(name).join("bin/program"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
}

/// Makes the signed image `v1` and the directory `fix`.
fn scene() -> Environment {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    environment
}

fn patch(environment: &Environment, arguments: &[&str]) -> Ran {
    environment.run(with_defaults(arguments))
}

fn with_defaults<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let patch = ["patch", "--owner", "0:0", "--mtime", "0", "--trust", "alice.crt"];
    [&patch[..], arguments].concat()
}

/// Signs the new layer as well.
const SIGN: [&str; 3] = ["--sign", "--key", "alice.key"];

fn verify(environment: &Environment, image: &str) -> i32 {
    environment.run(["verify", image, "--trust", "alice.crt"]).code
}

#[test]
fn one_layer_is_added_and_signed_and_the_signatures_of_the_others_stay() {
    let environment = scene();
    let before = manifest(&environment, "v1");
    let arguments = [&["oci:image:v1", "--add", "fix", "--tag", "v2"], &SIGN[..]].concat();
    assert_snapshot!(patch(&environment, &arguments), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Patched to oci:image@sha256:4a609d7b0d0873ba0431fa0a5d25f939e4800fea213b43956f596b3ad08282f2 as v2
    Signer CN=alice

    Manifest sha256:4a609d7b0d0873ba0431fa0a5d25f939e4800fea213b43956f596b3ad08282f2 (linux/amd64)
      of sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
      layer fc04dd24052b  signatures carried over
      layer 204d62bcca13  signatures carried over
      layer 8d0eeefa0fdb  root hash 080ee71818909f9c1338f47e757d2337fcc0b803774a62adfe0ed6f4dc92345a  containerd-full-v1
    The signatures are in sha256:30d5c4233a1175e5465406cd2cd74fdae8e5ce457a69532ba7d2a3482821c517

    Stored 2 blobs of 3383 bytes
    ");
    assert_eq!(verify(&environment, "oci:image:v2"), 0);
    assert_eq!(verify(&environment, "oci:image:v1"), 0);

    let after = manifest(&environment, "v2");
    let layers = |manifest: &Value| manifest["layers"].as_array().unwrap().clone();
    assert_eq!(layers(&after)[..2], layers(&before)[..]);
    assert_eq!(layers(&after).len(), 3);
    let annotations = &after["annotations"];
    assert_eq!(annotations["org.osguard.patch.origin-digest"], described(&environment, "v1"));
    assert_eq!(annotations["org.osguard.patch.origin-name"], "v1");
    let config = document(&environment, &after["config"]);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(annotations["org.osguard.patch.diff-id"], diff_ids[2]);
    // The very signatures, and not new ones by the same key.
    let signatures = |tag: &str| -> BTreeSet<String> {
        let report = environment.run(["inspect", "--output", "json", &format!("oci:image:{tag}")]);
        let report = report.json();
        let artifact = document(&environment, &report["manifests"][0]["artifacts"][0]);
        let blobs = artifact["layers"].as_array().unwrap().iter();
        blobs.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect()
    };
    let (old, new) = (signatures("v1"), signatures("v2"));
    assert_eq!((old.len(), new.len()), (2, 3));
    assert!(old.is_subset(&new));
}

#[test]
fn the_same_patch_is_the_same_image() {
    let digest = |archive: bool| {
        let environment = scene();
        let arguments = match archive {
            false => vec!["oci:image:v1", "--add", "fix", "--tag", "v2"],
            true => {
                environment.run(["copy", "oci:image:v1", "oci-archive:image.tar"]).done();
                vec!["oci-archive:image.tar:v1", "--add", "fix", "--tag", "v2"]
            }
        };
        let report = patch(&environment, &[&arguments[..], &SIGN, &["--output", "json"]].concat());
        let report = report.json();
        // Again, it changes nothing.
        let before = environment.files();
        let again = patch(&environment, &[&arguments[..], &SIGN, &["--output", "json"]].concat());
        assert_eq!(again.json()["digest"], report["digest"]);
        if !archive {
            assert_eq!(environment.files(), before);
        }
        let image = if archive { "oci-archive:image.tar:v2" } else { "oci:image:v2" };
        assert_eq!(verify(&environment, image), 0);
        report["digest"].clone()
    };
    let first = digest(false);
    assert_eq!(digest(false), first);
    assert_eq!(digest(true), first);
}

#[test]
fn configuration_history_and_annotations_are_kept() {
    let environment = Environment::with_keys();
    let mut layout = layout(&environment);
    let base = layer("base");
    layout.image("plain", std::slice::from_ref(&base)).unwrap();
    let config = json!({
        "architecture": "arm", "os": "linux", "variant": "v7", "created": "2026-01-02T03:04:05Z",
        "author": "somebody", "odd": { "number": 12345678901234567890_u64 },
        "config": { "Env": ["A=b"], "Entrypoint": ["/bin/program"], "Labels": { "x": "y" } },
        "rootfs": { "type": "layers", "diff_ids": [base.diff_id] },
        "history": [{ "created_by": "COPY", "odd": 1 }, { "created_by": "ENV", "empty_layer": true }],
    });
    let config =
        write_blob(&layout, &config.to_string(), "application/vnd.oci.image.config.v1+json");
    layout
        .manifest(
            "v1",
            &json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config, "odd": [1],
                "layers": [{ "mediaType": base.media_type, "digest": base.digest, "size": base.size_bytes,
                             "annotations": { "a": "b" } }],
                "annotations": { "org.opencontainers.image.title": "kept" },
            }),
        )
        .unwrap();
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let arguments = [&["oci:image:v1", "--add", "fix", "--tag", "v2"], &SIGN[..]].concat();
    let mut command = environment.osguard();
    command.args(with_defaults(&arguments)).env("SOURCE_DATE_EPOCH", "1790000000");
    let _ = environment.ran(&mut command).done();

    let (old, new) = (manifest(&environment, "v1"), manifest(&environment, "v2"));
    assert_eq!(new["odd"], old["odd"]);
    assert_eq!(new["layers"][0], old["layers"][0]);
    assert_eq!(new["annotations"]["org.opencontainers.image.title"], "kept");
    let (old, new) =
        (document(&environment, &old["config"]), document(&environment, &new["config"]));
    for kept in ["architecture", "os", "variant", "author", "odd", "config"] {
        assert_eq!(new[kept], old[kept], "{kept}");
    }
    assert_eq!(new["created"], "2026-09-21T14:13:20Z");
    let (old, new) = (old["history"].as_array().unwrap(), new["history"].as_array().unwrap());
    assert_eq!(new[..2], old[..]);
    assert_eq!(new[2]["created_by"], "osguard patch");
    assert_eq!(new.len(), 3);

    // Another patch takes the place of the first, in the history as well.
    patch_directory(&environment, "better", "patched better");
    let arguments = [&["oci:image:v2", "--add", "better", "--tag", "v3"], &SIGN[..]].concat();
    let _ = patch(&environment, &arguments).done();
    let third = manifest(&environment, "v3");
    assert_eq!(third["layers"].as_array().unwrap().len(), 2);
    let config = document(&environment, &third["config"]);
    assert_eq!(config["history"].as_array().unwrap().len(), 3);
    assert_eq!(
        third["annotations"]["org.osguard.patch.origin-digest"],
        described(&environment, "v1")
    );
    assert_eq!(third["annotations"]["org.osguard.patch.origin-name"], "v1");
}

#[test]
fn a_former_patch_is_replaced_unless_it_is_to_stay() {
    let environment = scene();
    patch_directory(&environment, "better", "patched better");
    let run = |image: &str, directory: &str, tag: &str, more: &[&str]| {
        let arguments = [image, "--add", directory, "--tag", tag, "--output", "json"];
        patch(&environment, &[&arguments[..], &SIGN, more].concat()).json()
    };
    let second = run("oci:image:v1", "fix", "v2", &[]);
    let third = run("oci:image:v2", "better", "v3", &[]);
    assert_eq!(third["manifests"][0]["former_patch"], second["manifests"][0]["layer"]["digest"]);
    assert_eq!(third["manifests"][0]["carried"].as_array().unwrap().len(), 2);
    // It is what the better patch makes of the first image.
    assert_eq!(run("oci:image:v1", "better", "direct", &[])["digest"], third["digest"]);
    let stacked = run("oci:image:v2", "better", "stacked", &["--stack"]);
    assert_eq!(stacked["manifests"][0]["former_patch"], Value::Null);
    assert_eq!(stacked["manifests"][0]["carried"].as_array().unwrap().len(), 3);
    let stacked = manifest(&environment, "stacked");
    assert_eq!(stacked["layers"].as_array().unwrap().len(), 4);
    assert_eq!(
        stacked["annotations"]["org.osguard.patch.origin-digest"],
        described(&environment, "v2")
    );
    for tag in ["v2", "v3", "stacked"] {
        assert_eq!(verify(&environment, &format!("oci:image:{tag}")), 0);
    }
    // Of two patches on top of each other the upper one is replaced.
    let again = run("oci:image:stacked", "fix", "again", &[]);
    assert_eq!(again["manifests"][0]["carried"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_removed_gets_whiteouts_in_directories_as_they_were() {
    let environment = Environment::with_keys();
    let base = TarMaker::new()
        .directory("usr", 0o711)
        .entry(TarHeader { uid: 7, gid: 8, mode: 0o2750, ..TarHeader::directory("usr/lib") }, b"")
        .file("usr/lib/vulnerable", b"old")
        .file("usr/lib/other", b"other")
        .directory("opt", 0o755)
        .file("opt/x", b"x")
        .finish();
    let mut made = layout(&environment);
    let base = LayerSource::new(base, Compression::Gzip).unwrap();
    made.image("v1", &[base, layer("application")]).unwrap();
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    environment.write("fix.tar", &TarMaker::new().file("usr/lib/new", b"new").finish());
    let arguments = ["oci:image:v1", "--add", "fix.tar", "--tag", "v2"];
    let removed = ["--remove", "/usr/lib/vulnerable", "--remove", "opt"];
    let _ = patch(&environment, &[&arguments[..], &removed, &SIGN].concat()).done();
    assert_eq!(verify(&environment, "oci:image:v2"), 0);
    let layers = manifest(&environment, "v2")["layers"].clone();
    let members = members(&environment, &layers[2]);
    assert_eq!(
        members,
        [
            "./ 755 0:0",
            "usr/ 711 0:0",
            "usr/lib/ 2750 7:8",
            ".wh.opt 644 0:0",
            "usr/lib/.wh.vulnerable 644 0:0",
            "usr/lib/new 644 0:0",
        ]
    );
    let diff = environment.run(["diff", "oci:image:v1", "oci:image:v2", "--output", "json"]).json();
    let files: Vec<_> = diff["images"][0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            format!("{} {}", file["path"].as_str().unwrap(), file["change"].as_str().unwrap())
        })
        .collect();
    let expected =
        ["/opt removed", "/opt/x removed", "/usr/lib/new added", "/usr/lib/vulnerable removed"];
    assert_eq!(files, expected);

    // A removal alone is a patch as well.
    let removal = ["oci:image:v1", "--remove", "opt/x", "--tag", "v3"];
    let _ = patch(&environment, &[&removal[..], &SIGN].concat()).done();
    assert_eq!(verify(&environment, "oci:image:v3"), 0);
}

#[test]
fn an_index_is_patched_for_all_platforms() {
    let environment = Environment::with_keys();
    index(&environment);
    environment.run(["sign", "oci:image:multi", "--key", "alice.key"]).done();
    for architecture in ["amd64", "arm64"] {
        patch_directory(&environment, architecture, architecture);
    }
    let each = ["--add", "linux/amd64=amd64", "--add", "linux/arm64=arm64"];
    let arguments = ["oci:image:multi", "--tag", "fixed", "--output", "json"];
    let ran = patch(&environment, &[&arguments[..], &each, &SIGN].concat());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(verify(&environment, "oci:image:fixed"), 0);
    let index = manifest(&environment, "fixed");
    let entries = index["manifests"].as_array().unwrap();
    let platforms: Vec<_> =
        entries.iter().map(|entry| &entry["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["amd64", "arm64", "unknown"]);
    assert_eq!(
        index["annotations"]["org.osguard.patch.origin-digest"],
        described(&environment, "multi")
    );
    // One platform alone gives its image alone.
    let one = ["oci:image:multi", "--platform", "linux/arm64", "--add", "arm64", "--tag", "arm"];
    let _ = patch(&environment, &[&one[..], &SIGN].concat()).done();
    assert_eq!(verify(&environment, "oci:image:arm"), 0);
    assert_eq!(manifest(&environment, "arm")["layers"].as_array().unwrap().len(), 3);

    let missing = ["oci:image:multi", "--tag", "x", "--add", "linux/amd64=amd64"];
    let unknown = [&missing[..], &["--add", "linux/riscv64=arm64"]].concat();
    let for_all = ["oci:image:multi", "--tag", "x", "--add", "amd64"];
    let twice = [&missing[..], &each].concat();
    assert_snapshot!(environment.refused(with_defaults(&missing)), @"
    --- standard error ---
    Error: nothing is to be added for linux/arm64
    Hint: An index is patched as a whole, with --add PLATFORM=DIR for each image; --platform chooses one.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(with_defaults(&unknown)), @"
    --- standard error ---
    Error: something is to be added for linux/riscv64, and the image is for linux/amd64, linux/arm64
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(with_defaults(&for_all)), @"
    --- standard error ---
    Error: amd64 is for one image, and there are several: linux/amd64, linux/arm64
    Hint: --add PLATFORM=DIR says for which each is; --platform chooses one image.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(with_defaults(&twice)), @"
    --- standard error ---
    Error: amd64 and amd64 are both for linux/amd64
    Hint: Put everything into one directory.
    --- exit code 2 ---
    ");
}

/// Nothing is left out of an index because nobody here knows what it is for.
#[test]
fn an_index_with_an_unknown_platform_is_patched_as_a_whole_or_not_at_all() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let known = made.image("known", &[layer("known")]).unwrap();
    let odd = made.image_for(("plan9", "mips"), "odd", &[layer("odd")]).unwrap();
    made.index("multi", &[(("linux", "amd64"), &known), (("plan9", "mips"), &odd)]).unwrap();
    environment.run(["sign", "oci:image:multi", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let one = ["oci:image:multi", "--tag", "v2", "--add", "linux/amd64=fix"];
    assert_snapshot!(environment.refused(with_defaults(&one)), @"
    --- standard error ---
    Error: nothing is to be added for plan9/mips
    Hint: An index is patched as a whole, with --add PLATFORM=DIR for each image; --platform chooses one.
    --- exit code 2 ---
    ");
    let missing = ["oci:image:multi", "--tag", "v2", "--add", "fix", "--platform", "linux/s390x"];
    let ran = environment.refused(with_defaults(&missing));
    assert_eq!(ran.code, 3, "{ran}");
    assert!(
        ["linux/s390x", "linux/amd64, plan9/mips"].iter().all(|text| ran.stderr.contains(text)),
        "{ran}"
    );
    let both = [&one[..], &["--add", "plan9/mips=fix"], &SIGN].concat();
    let _ = patch(&environment, &both).done();
    assert_eq!(verify(&environment, "oci:image:v2"), 0);
}

/// The statement of a builder names an image that the new index does not have.
#[test]
fn statements_about_the_images_before_stay_behind() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let image = made.image("one", &[layer("base")]).unwrap();
    let statement = made.image("statement", &[layer("statement")]).unwrap();
    let entry = |digest: &str| {
        let size = fs::metadata(made.blob_path(digest)).unwrap().len();
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                "platform": { "os": "linux", "architecture": "amd64" } })
    };
    let (image_entry, mut statement_entry) = (entry(&image), entry(&statement));
    statement_entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    statement_entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image,
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [image_entry, statement_entry],
    });
    let index = write_blob(&made, &index.to_string(), "application/vnd.oci.image.index.v1+json");
    let reference = format!("oci:image@{}", index["digest"].as_str().unwrap());
    environment.run(["sign", &reference, "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let ran = patch(
        &environment,
        &[&[reference.as_str(), "--add", "fix", "--tag", "v2"], &SIGN[..]].concat(),
    );
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        ran.stderr.contains(&format!("{statement} is a statement about an image before")),
        "{ran}"
    );
    assert_eq!(manifest(&environment, "v2")["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(verify(&environment, "oci:image:v2"), 0);
}

#[test]
fn signatures_in_the_manifest_stay_if_they_are_good() {
    let environment = Environment::with_keys();
    image(&environment);
    let embed = |key: &str, tag: &str| {
        let to = format!("oci:embedded:{tag}");
        let push = ["push", "--embed", "--sign", "--key", key, "oci:image:v1", &to];
        environment.run(push).done();
    };
    embed("alice.key", "good");
    embed("mallory.key", "bad");
    // Whom nobody trusts signed in the manifest, and alice beside it.
    environment.run(["sign", "oci:embedded:bad", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let embedded = |tag: &str| {
        let digest = described_in(&environment, "embedded", tag);
        let bytes = environment.read(format!("embedded/blobs/sha256/{}", &digest[7..]));
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest["layers"].as_array().unwrap().clone();
        layers
            .iter()
            .filter(|layer| layer["annotations"]["org.osguard.signature"].is_string())
            .count()
    };
    for (tag, new, kept) in [("good", "good2", 3), ("bad", "bad2", 0)] {
        let image = format!("oci:embedded:{tag}");
        assert_eq!(embedded(tag), 2);
        let arguments = [image.as_str(), "--add", "fix", "--tag", new];
        let _ = patch(&environment, &[&arguments[..], &SIGN].concat()).done();
        assert_eq!(embedded(new), kept, "{tag}");
        let verify = |trust: &str| {
            environment.run(["verify", &format!("oci:embedded:{new}"), "--trust", trust]).code
        };
        assert_eq!((verify("alice.crt"), verify("mallory.crt")), (0, 11));
    }
}

#[test]
fn layers_that_were_compressed_again_are_signed_again_where_that_is_asked_for() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let plain = || layer("base");
    let gzip = || LayerSource::new(tar("base"), Compression::Gzip).unwrap();
    made.image("v1", &[plain(), layer("application")]).unwrap();
    made.image("again", &[gzip(), layer("application")]).unwrap();
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let base = ["oci:image:again", "--add", "fix", "--tag", "v2"];
    let origin = ["--origin", "oci:image:v1"];
    let without = [&base[..], &origin, &SIGN].concat();
    assert_snapshot!(environment.refused(with_defaults(&without)), @"
    --- standard error ---
    Error: the layer sha256:592a9b4858f5bcd5915d8b190f3dda0e5446ab5faaa5b32b8b092bab6b75d5a5 is the layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7, compressed in another way, and its signatures do not fit any more
    Hint: --sign --resign signs it again; profiles by diffID outlive another compression.
    --- exit code 10 ---
    ");
    let resigned = [&without[..], &["--resign", "--output", "json"]].concat();
    let report = patch(&environment, &resigned).json();
    assert_eq!(report["manifests"][0]["carried"], json!([layer("application").digest]));
    assert_eq!(report["manifests"][0]["resigned"], json!([gzip().digest]));
    assert_eq!(verify(&environment, "oci:image:v2"), 0);

    // By a profile that names layers by their diffIDs the signature outlives it.
    let sign = ["sign", "oci:image:v1", "--key", "alice.key", "--profile", "diffid-full-v1"];
    environment.run(sign).done();
    let other = ["oci:image:again", "--add", "fix", "--tag", "v3", "--profile", "diffid-full-v1"];
    let report = patch(&environment, &[&other[..], &origin, &SIGN, &["--output", "json"]].concat());
    let report = report.json();
    assert_eq!(report["manifests"][0]["carried"].as_array().unwrap().len(), 2);
    assert_eq!(verify(&environment, "oci:image:v3"), 0);
}

#[test]
fn without_signatures_nothing_is_patched_unless_that_is_wanted() {
    let environment = Environment::with_keys();
    image(&environment);
    patch_directory(&environment, "fix", "patched");
    let arguments = ["oci:image:v1", "--add", "fix", "--tag", "v2"];
    let signing = [&arguments[..], &SIGN].concat();
    assert_snapshot!(environment.refused(with_defaults(&signing)), @"
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has layers without a signature
    Hint: `osguard sign` signs every layer of an image.
    Hint: --unsigned makes the new image all the same, and leaves all signatures behind.
    --- exit code 10 ---
    ");
    environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]).done();
    assert_snapshot!(environment.refused(with_defaults(&signing)), @"
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has signatures, but none that is valid and trusted for every layer
    Hint: --trust names the certificates of the signers that you trust.
    Hint: --unsigned makes the new image all the same, and leaves all signatures behind.
    --- exit code 11 ---
    ");
    let skip = [&signing[..], &["--root-hash", "skip"]].concat();
    assert_snapshot!(environment.refused(with_defaults(&skip)), @"
    --- standard error ---
    Error: a signature is carried over only if the layer was found to have its root hash
    Hint: --root-hash cached takes those that were computed here before.
    --- exit code 2 ---
    ");
    let unsigned = ["patch", "oci:image:v1", "--add", "fix", "--tag", "v2", "--unsigned"];
    let _ = environment.run(unsigned).done();
    assert_eq!(environment.run(["verify", "oci:image:v2", "--trust", "mallory.crt"]).code, 10);

    // Without a key the other layers keep their signatures, and that is told.
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    let ran = patch(&environment, &["oci:image:v1", "--add", "fix", "--tag", "v3"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("the new layer is not signed"), "{ran}");
    assert_eq!(verify(&environment, "oci:image:v3"), 10);
    environment.run(["sign", "oci:image:v3", "--key", "alice.key"]).done();
    assert_eq!(verify(&environment, "oci:image:v3"), 0);
}

#[test]
fn content_that_is_not_what_was_signed_is_not_patched() {
    let environment = scene();
    let digest = manifest(&environment, "v1")["layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = format!("image/blobs/sha256/{}", &digest[7..]);
    let mut bytes = environment.read(&blob);
    bytes[600] ^= 1;
    environment.write(&blob, &bytes);
    let arguments = [&["oci:image:v1", "--add", "fix", "--tag", "v2"], &SIGN[..]].concat();
    let refused = environment.refused(with_defaults(&arguments));
    assert_eq!(refused.code, 1, "{refused}");
}

#[test]
fn bad_input_is_refused_and_nothing_is_published() {
    let environment = scene();
    let mut made = LayoutMaker::new(environment.path("merged")).unwrap();
    let base = TarMaker::new().directory("usr", 0o755).symlink("bin", "usr/bin").finish();
    made.image("v1", &[LayerSource::new(base, Compression::Plain).unwrap()]).unwrap();
    environment.run(["sign", "oci:merged:v1", "--key", "alice.key"]).done();
    fs::create_dir(environment.path("sockets")).unwrap();
    let _socket = UnixListener::bind(environment.path("sockets/listening")).unwrap();
    fs::create_dir(environment.path("links")).unwrap();
    symlink("/etc/passwd", environment.path("links/passwd")).unwrap();
    environment.write("noise", &[0x5e; 4096]);
    let mut refusals = String::new();
    for arguments in [
        &["oci:image:v1", "--tag", "v2", "--remove", "/bin/nothing"][..],
        &["oci:image:v1", "--tag", "v2", "--remove", "bin/program/x"],
        &["oci:image:v1", "--tag", "v2", "--remove", "../x"],
        &["oci:image:v1", "--tag", "v2", "--add", "sockets"],
        &["oci:image:v1", "--tag", "v2", "--add", "noise"],
        &["oci:image:v1", "--tag", "v2", "--add", "missing"],
        &["oci:image:v1", "--tag", "v2", "--add", "fix", "--add", "links"],
        &["oci:image:v1", "--tag", "v2", "--add", "fix", "--remove", "bin"],
        &["oci:merged:v1", "--tag", "v2", "--add", "fix"],
        &["oci:image:v1", "--tag", "v2"],
        &["oci:image:v1", "--tag", "v 2", "--add", "fix"],
        &["oci:image:nothing", "--tag", "v2", "--add", "fix"],
        &["oci:image:v1", "--tag", "v2", "--add", "linux/arm64=fix"],
    ] {
        let before = environment.files();
        let ran = environment.run(with_defaults(arguments));
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert_eq!(environment.files(), before, "{arguments:?}");
        refusals.push_str(&format!("{}\n{ran}\n\n", arguments[1..].join(" ")));
    }
    assert_snapshot!("refusals", refusals);
}

#[test]
fn an_image_that_copa_has_patched_does_not_say_which_layer_is_the_patch() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let config = json!({ "Labels": { "BaseImage": "registry.example/app:v1" } });
    made.image_with(("linux", "amd64"), "copa", &[layer("base"), layer("patch")], &config).unwrap();
    environment.run(["sign", "oci:image:copa", "--key", "alice.key"]).done();
    patch_directory(&environment, "fix", "patched");
    let arguments = [&["oci:image:copa", "--add", "fix", "--tag", "v2"], &SIGN[..]].concat();
    assert_snapshot!(environment.refused(with_defaults(&arguments)), @r#"
    --- standard error ---
    Error: the image sha256:bfca795f6d56d5c9aa9dfa57130bbdefa4a94ebe49c6720314c559e1805ab5c5 has the label BaseImage="registry.example/app:v1", by which Copa marks what it has patched; which of its layers is the patch is not said
    Hint: --stack puts the new layer on top of whatever is there; patching the image that the label names leaves the former patch out.
    --- exit code 2 ---
    "#);
    let _ = patch(&environment, &[&arguments[..], &["--stack"]].concat()).done();
    let config = document(&environment, &manifest(&environment, "v2")["config"]);
    assert_eq!(config["config"]["Labels"]["BaseImage"], "registry.example/app:v1");
    // From then on it is known which layer is the patch, and the label stays.
    patch_directory(&environment, "better", "patched better");
    let arguments = [&["oci:image:v2", "--add", "better", "--tag", "v3"], &SIGN[..]].concat();
    let _ = patch(&environment, &arguments).done();
    let third = manifest(&environment, "v3");
    assert_eq!(third["layers"].as_array().unwrap().len(), 3);
    assert_eq!(
        document(&environment, &third["config"])["config"]["Labels"]["BaseImage"],
        "registry.example/app:v1"
    );
}

#[test]
fn an_archive_is_patched_in_a_pipeline() {
    let environment = scene();
    environment.run(["copy", "oci:image:v1", "oci-archive:image.tar"]).done();
    let mut command = environment.osguard();
    let arguments = [&["oci-archive:-:v1", "--add", "fix", "--tag", "v2"], &SIGN[..]].concat();
    command
        .args(with_defaults(&arguments))
        .stdin(fs::File::open(environment.path("image.tar")).unwrap())
        .stdout(fs::File::create(environment.path("patched.tar")).unwrap());
    let ran = environment.ran(&mut command);
    assert_eq!(ran.code, 0, "{ran}");
    for tag in ["v1", "v2"] {
        assert_eq!(verify(&environment, &format!("oci-archive:patched.tar:{tag}")), 0);
    }
}

/// Lists the members of a layer that is not compressed, with permissions and owners.
fn members(environment: &Environment, layer: &Value) -> Vec<String> {
    let digest = layer["digest"].as_str().unwrap();
    let archive = environment.read(format!("image/blobs/sha256/{}", &digest[7..]));
    let mut reader = libverity::tar::TarReader::new(&*archive);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let slash = if entry.kind == libverity::tar::EntryKind::Directory { "/" } else { "" };
        let path = String::from_utf8(entry.path).unwrap();
        members.push(format!("{path}{slash} {:o} {}:{}", entry.mode, entry.uid, entry.gid));
    }
    members
}

/// Writes a document into a layout and returns its descriptor.
fn write_blob(layout: &LayoutMaker, text: &str, media_type: &str) -> Value {
    let digest = osguard_testkit::digest::sha256(text.as_bytes());
    fs::write(layout.blob_path(&digest), text).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": text.len() })
}
