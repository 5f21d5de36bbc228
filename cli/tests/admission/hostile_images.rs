//! Images that explode, names that mislead, tags that move.

use osguard_testkit::command::{command, run_with_input};
use osguard_testkit::image::{LayerSource, LayoutMaker, TarMaker};
use osguard_testkit::or_skip;
use osguard_testkit::registry::{Fault, Gate, Registry};
use serde_json::{Value, json};

use crate::scene::{Scene, create, layer, pod, refusal};
use crate::webhook::until;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE: &str = "application/vnd.cncf.notary.signature.dm-verity";

/// Adds an artifact for an image that has the signature of another image's layer for each of its own: only who reads the layer
/// finds out.
fn replay_signature(registry: &Registry, from: &str, repository: &str, tag: &str) {
    let manifests = registry.manifests(from);
    let mut artifact = manifests
        .iter()
        .map(|manifest| manifest.json())
        .find(|json| json["artifactType"] == SIGNATURE)
        .unwrap();
    let subject = registry.manifest(repository, tag).unwrap();
    artifact["subject"] = json!({
        "mediaType": MANIFEST, "digest": subject.digest, "size": subject.contents.len(),
    });
    let signature = artifact["layers"][0].clone();
    let blob = registry.blob(signature["digest"].as_str().unwrap()).unwrap();
    registry.put_blob(repository, &blob).unwrap();
    registry.put_blob(repository, b"{}").unwrap();
    let layers = subject.json()["layers"].as_array().unwrap().clone();
    artifact["layers"] = layers
        .iter()
        .map(|layer| {
            let mut replayed = signature.clone();
            replayed["annotations"]["io.cncf.notary.layer.digest"] = layer["digest"].clone();
            replayed
        })
        .collect();
    registry.put_manifest(repository, None, MANIFEST, artifact.to_string().as_bytes());
}

/// 128 MiB that are some dozens of KiB as it comes, with a signature that somebody trusted made for something else.
#[test]
fn layers_that_explode_are_read_and_refused_within_bounds() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    scene.configure("recompute = true", "");
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook();
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&image)))), None);

    let zeros = vec![0; 128 << 20];
    let tar = TarMaker::new().file("zeros", &zeros).finish();
    drop(zeros);
    let compressors = [
        ("gzip", &["-n", "-9"][..], "gzip"),
        ("zstd", &["-3"][..], "zstd"),
        // What has to be kept of what came before would be 2 GiB.
        ("zstd", &["--ultra", "-3", "--long=31"][..], "zstd"),
    ];
    let honest = LayerSource::new(tar, osguard_testkit::image::Compression::Plain).unwrap();
    for (number, (program, flags, suffix)) in compressors.into_iter().enumerate() {
        let Some(mut program) = or_skip(command(program)) else { return };
        let blob = run_with_input(program.args(flags), &honest.blob).unwrap();
        assert!(blob.len() < 256 << 10, "{}", blob.len());
        let digest = format!("sha256:{}", libverity::digest::Digest::of(&blob).hex());
        let bomb = LayerSource {
            size_bytes: blob.len(),
            digest,
            media_type: format!("application/vnd.oci.image.layer.v1.tar+{suffix}"),
            diff_id: honest.diff_id.clone(),
            blob,
        };
        let name = format!("bomb{number}");
        let mut layout = LayoutMaker::new(scene.directory.path().join(&name)).unwrap();
        layout.image("v1", &[bomb]).unwrap();
        let image = scene.image(&format!("team/{name}:v1"));
        scene.osguard(&["copy", &format!("oci:{name}:v1"), &image]);
        replay_signature(&registry, "team/app", &format!("team/{name}"), "v1");
        // It takes as long as it takes; each answer comes in time.
        let ask = || refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
        until("it is read to its end", || !ask().contains("did not come in time"));
        let message = ask();
        assert!(
            message.contains("the content is not what was signed")
                || message.contains("the image cannot be read"),
            "{number}: {message}"
        );
        assert!(webhook.peak_memory_bytes() < 200 << 20, "{number}");
    }
}

/// A layer whose content is not that of which its configuration tells.
#[test]
fn layers_are_read_where_that_is_asked_for() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    scene.configure("recompute = true", "");
    let webhook = scene.webhook();
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&image)))), None);

    let mut layout = LayoutMaker::new(scene.directory.path().join("lie")).unwrap();
    let lie = LayerSource { diff_id: layer("else").diff_id, ..layer("base") };
    layout.image("v1", &[lie]).unwrap();
    let image = scene.image("team/lie:v1");
    scene.osguard(&["copy", "oci:lie:v1", &image]);
    replay_signature(&registry, "team/app", "team/lie", "v1");
    let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("the image cannot be read"), "{message}");
    // The signature of one layer says nothing of another one, also where all is well formed.
    let other = scene.image("team/other:v1");
    scene.push(&other, None);
    replay_signature(&registry, "team/app", "team/other", "v1");
    let message = refusal(&webhook.validate(&create("shop", &pod(&other)))).unwrap();
    assert!(message.contains("the content is not what was signed"), "{message}");
}

#[test]
fn a_signature_of_a_million_entries_is_no_signature() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let webhook = scene.webhook();
    let descriptor =
        json!({ "mediaType": "a", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
    for (number, entry) in [descriptor.to_string(), "{}".to_owned()].into_iter().enumerate() {
        let image = scene.image(&format!("team/many{number}:v1"));
        let digest = scene.push(&image, None);
        let size = registry.manifest(&format!("team/many{number}"), "v1").unwrap().contents.len();
        let entries = vec![entry; 1_000_000].join(",");
        let artifact = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{SIGNATURE}",
            "config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,
            "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},
            "subject":{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size}}},"layers":[{entries}]}}"#
        );
        registry.put_manifest(&format!("team/many{number}"), None, MANIFEST, artifact.as_bytes());
        let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
        assert!(message.contains("spec.containers[0].image"), "{message}");
        assert!(webhook.peak_memory_bytes() < 200 << 20, "{number}");
    }
    assert_eq!(webhook.get("/healthz").status, 200);
}

#[test]
fn names_that_mislead_are_no_names() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let good = scene.image("team/app:v1");
    scene.push(&good, Some("alice.key"));
    let host = registry.host();
    // Whoever is trusted for everything is so for what is no name as well.
    scene.trust("[[scopes]]\nrepositories = [\"**\"]\nstores = [\"release\"]\n");
    let webhook = scene.webhook();
    let digest = "a".repeat(64);
    for name in [
        format!("{host}/team/\u{430}pp:v1"),
        format!("{host}/team/\u{ff41}pp:v1"),
        format!("{host}/team/ap\u{301}p:v1"),
        format!("{host}/team/app\u{200b}:v1"),
        format!("{host}/team/\u{202e}ppa:v1"),
        format!("\u{feff}{good}"),
        format!("{good}\u{a0}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{host}/team/app\u{2215}evil:v1"),
        format!("{host}\u{ff0f}team/app:v1"),
        "ex\u{e4}mple.org/team/app:v1".to_owned(),
        format!("{host}/team/../other/app:v1"),
        format!("{host}/team//app:v1"),
        format!("{host}/team/app@sha256:{}", digest.to_uppercase()),
        format!("{host}/team/app@sha256:{digest}{digest}"),
        format!("{host}/team/app@sha256:\u{ff41}{}", &digest[1..]),
        format!("{host}/team/app?x=:v1"),
        format!("{host}/team/app%2f..:v1"),
        format!("user@{host}/team/app:v1"),
        format!("https://{good}"),
        format!("{host}/{}:v1", "a/".repeat(5_000)),
        format!("{host}/team/app:{}", "v".repeat(10_000)),
        format!("{host}/team/app@sha256:{}", "a".repeat(10_000)),
        format!("{}/team/app:v1", "h".repeat(10_000)),
        "\u{1f433}".repeat(2_500),
    ] {
        registry.forget_requests();
        let message = refusal(&webhook.validate(&create("shop", &pod(&name))))
            .unwrap_or_else(|| panic!("{name:?} passes"));
        assert!(message.contains("this is no name of an image"), "{name:.100?}: {message}");
        assert!(message.len() <= 4096 && !message.contains(['\n', '\0', '\u{202e}', '\u{200b}']));
        assert!(registry.requests().is_empty(), "{name:.100?}");
    }
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&good)))), None);
}

#[test]
fn a_tag_that_moves_takes_nothing_along() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    let digest = scene.push(&image, Some("alice.key"));
    let signed = registry.manifest("team/app", "v1").unwrap();
    let other = scene.image("team/app:other");
    scene.push(&other, None);
    let unsigned = registry.manifest("team/app", "other").unwrap();
    let move_to =
        |contents: &[u8]| registry.put_manifest("team/app", Some("v1"), MANIFEST, contents);
    let webhook = scene.webhook();
    let review = create("shop", &pod(&image));
    let ask = || refusal(&webhook.validate(&review));

    // It moves after the tag was looked up, and before the signatures are: the image that was found is judged.
    let gate = Gate::new();
    let _ = registry.fault(Fault::new().path_contains("/referrers/").hold(&gate));
    std::thread::scope(|scope| {
        let asked = scope.spawn(ask);
        gate.wait_for(1);
        move_to(&unsigned.contents);
        gate.release();
        assert_eq!(asked.join().unwrap(), None);
    });
    assert!(ask().unwrap().contains("not signed"));
    move_to(&signed.contents);
    assert_eq!(ask(), None);

    // What was pinned stays what it was, wherever the tag goes.
    let answer = webhook.post("/mutate", review.to_string().as_bytes()).response();
    assert!(answer["patch"].is_string());
    move_to(&unsigned.contents);
    let pinned = create("shop", &pod(&format!("{image}@{digest}")));
    assert_eq!(refusal(&webhook.validate(&pinned)), None);
    assert!(ask().unwrap().contains("not signed"));
}

/// No index can hold itself by its digest; a registry may say that it does.
#[test]
fn an_index_that_holds_itself_ends() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let webhook = scene.webhook();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let inner = format!("sha256:{}", "1".repeat(64));
    let index = |size: usize| -> Value {
        json!({
            "schemaVersion": 2, "mediaType": media_type,
            "manifests": [{ "mediaType": media_type, "digest": inner, "size": size }],
        })
    };
    let size = index(100).to_string().len();
    let contents = index(size).to_string();
    registry.put_manifest("team/app", Some("self"), media_type, contents.as_bytes());
    let _ = registry.fault(
        Fault::new()
            .always()
            .path_contains(&format!("/manifests/{inner}"))
            .rewrite_path(&inner, "self"),
    );
    let image = scene.image("team/app:self");
    let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("the image cannot be read"), "{message}");
    assert!(registry.requests().len() < 20, "{}", registry.requests().len());
}
