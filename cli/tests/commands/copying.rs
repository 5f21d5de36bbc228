//! `osguard copy`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use insta::assert_snapshot;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place as _};
use osguard_testkit::image::LayoutMaker;
use osguard_testkit::{command, or_skip};
use serde_json::json;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index, layer, layout};

#[test]
fn an_image_is_copied_with_its_signatures() {
    let environment = signed();
    assert_snapshot!(copy(&environment, &["oci:image:v1", "oci:copy"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      with sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity)
    Stored 8 blobs and manifests of 10100 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci:copy:v1"), 0);
    assert_snapshot!(copy(&environment, &["oci:image:v1", "oci:copy", "--output", "json"]), @r#"
    {
      "schema": "osguard.copy.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "destination": "oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "digest": "sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "tag": "v1",
      "dry_run": false,
      "stored": 0,
      "stored_bytes": 0,
      "present": 8,
      "referrers": [
        {
          "digest": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
          "artifact_type": "application/vnd.cncf.notary.signature.dm-verity"
        }
      ],
      "left_behind": []
    }
    "#);
    assert_eq!(copy(&environment, &["oci:image:v1", "oci:copy:v2", "--quiet"]).done(), "");
    assert_eq!(verify(&environment, "oci:copy:v2"), 0);
}

/// Archives come from standard input and go to standard output as well.
#[test]
fn images_go_from_every_kind_of_place_to_every_other() {
    let environment = signed();
    copy(&environment, &["oci:image:v1", "oci-archive:image.tar"]).done();
    for source in ["oci:image:v1", "oci-archive:image.tar:v1", "oci-archive:-:v1"] {
        for destination in ["oci:copy:v2", "oci-archive:copy.tar:v2", "oci-archive:-:v2"] {
            let mut command = environment.osguard();
            command.args(["copy", "--output", "json", source, destination]);
            if source.starts_with("oci-archive:-") {
                command.stdin(File::open(environment.path("image.tar")).unwrap());
            }
            let is_piped = destination.starts_with("oci-archive:-");
            let (report, copy) = if is_piped {
                let ran = environment
                    .ran(command.stdout(File::create(environment.path("piped")).unwrap()));
                assert_eq!((ran.code, &*ran.stdout), (0, ""), "{ran}");
                (ran.stderr, "oci-archive:piped:v2")
            } else {
                (environment.ran(&mut command).done(), destination)
            };
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert_eq!((&report["stored"], &report["present"]), (&json!(8), &json!(0)), "{report}");
            assert_eq!(verify(&environment, copy), 0, "from {source} to {destination}");
            for name in ["copy", "copy.tar", "piped"] {
                let path = environment.path(name);
                let _ =
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        }
    }
}

#[test]
fn a_tag_is_taken_away_from_what_had_it() {
    let environment = signed();
    copy(&environment, &["oci:image:v1", "oci:copy:app"]).done();
    let mut other = LayoutMaker::new(environment.path("other")).unwrap();
    other.image("v1", &[layer("other")]).unwrap();
    assert_snapshot!(copy(&environment, &["oci:other:v1", "oci:copy:app"]), @"
    Image oci:other@sha256:e1f11e2caef6c552716482be2848953fef78fe61703c330080d0f5b6ad6c61b9
    Copied to oci:copy@sha256:e1f11e2caef6c552716482be2848953fef78fe61703c330080d0f5b6ad6c61b9 as app, which replaces sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Stored 3 blobs and manifests of 3120 bytes; 0 were there before
    ");
    let report = copy(&environment, &["oci:image:v1", "oci:copy:app", "--output", "json"]).json();
    assert!(report["replaced"].as_str().unwrap().starts_with("sha256:"), "{report}");
    assert_eq!(report["stored"], 0);
}

#[test]
fn an_image_is_copied_to_where_it_is() {
    let environment = signed();
    let before = environment.files();
    assert_snapshot!(copy(&environment, &["oci:image:v1", "oci:image"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      with sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity)
    Stored 0 blobs and manifests of 0 bytes; 8 were there before
    ");
    assert_eq!(environment.files(), before);
    copy(&environment, &["oci:image:v1", "oci:image:v2"]).done();
    assert_eq!(verify(&environment, "oci:image:v2"), 0);

    copy(&environment, &["oci:image:v1", "oci-archive:image.tar"]).done();
    let before = environment.read("image.tar");
    copy(&environment, &["oci-archive:image.tar:v1", "oci-archive:image.tar"]).done();
    assert!(environment.read("image.tar") == before);
    copy(&environment, &["oci-archive:image.tar:v1", "oci-archive:image.tar:v2"]).done();
    for tag in ["v1", "v2"] {
        assert_eq!(verify(&environment, &format!("oci-archive:image.tar:{tag}")), 0);
    }
}

#[test]
fn images_without_a_tag_are_copied_without_one() {
    let environment = signed();
    let report = copy(&environment, &["oci:image", "oci:copy", "--output", "json"]).json();
    assert!(report.get("tag").is_none(), "{report}");
    let digest = report["digest"].as_str().unwrap();
    assert_eq!(verify(&environment, "oci:copy"), 0);
    let same = format!("oci:copy@{digest}");
    copy(&environment, &["oci:image:v1", &same]).done();
    let other = format!("oci:copy@sha256:{}", "0".repeat(64));
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", &other]), @"
    --- standard error ---
    Error: oci:copy@sha256:0000000000000000000000000000000000000000000000000000000000000000 names another image than the one to be copied, sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Hint: Leave the digest out, or put a tag in its place.
    --- exit code 2 ---
    ");
}

#[test]
fn an_index_is_copied_whole_or_one_platform_of_it() {
    let environment = Environment::with_keys();
    index(&environment);
    environment.run(["sign", "oci:image:multi", "--key", "alice.key"]).done();
    copy(&environment, &["oci:image:multi", "oci:whole"]).done();
    assert_eq!(verify(&environment, "oci:whole:multi"), 0);

    let one = ["oci:image:multi", "oci:one", "--platform", "linux/arm64"];
    assert_snapshot!(copy(&environment, &one), @"
    Image oci:image@sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc
    Copied to oci:one@sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc as multi
      with sha256:19bc2c6c206dfbbd3eebc3acad1a641bf5c8019c3081552fbb79491f6a9e1c03 (application/vnd.cncf.notary.signature.dm-verity)
    Stored 8 blobs and manifests of 10100 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci:one:multi"), 0);
    let twice = [&one[..], &["--platform", "linux/arm64"]].concat();
    copy(&environment, &twice).done();

    let several = [&one[..], &["--platform", "linux/amd64"]].concat();
    assert_snapshot!(environment.refused([&["copy"], &several[..]].concat()), @"
    --- standard error ---
    Error: an index of some of its platforms would be another image, which nobody has signed
    Hint: Name one platform to copy its image alone, or none to copy the whole index.
    --- exit code 2 ---
    ");
    let unknown = ["copy", "oci:image:multi", "oci:none", "--platform", "linux/s390x"];
    assert_snapshot!(environment.refused(unknown), @"
    --- standard error ---
    Error: sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d in oci:image has no image for linux/s390x; it has: linux/amd64, linux/arm64
    --- exit code 3 ---
    ");
}

/// What is attached to the index itself does not fit the image of one platform.
#[test]
fn what_stays_with_the_index_is_told() {
    let environment = Environment::new();
    index(&environment);
    let report = copy(&environment, &["oci:image:multi", "oci:copy", "--output", "json"]).json();
    let layout = Layout::open(&environment.path("image")).unwrap();
    let empty = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    layout.push_blob(&empty, &&b"{}"[..]).unwrap();
    let size = fs::read(blob(&environment, report["digest"].as_str().unwrap())).unwrap().len();
    let attached = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": "application/example",
        "config": empty,
        "layers": [],
        "subject": { "mediaType": MediaType::OCI_INDEX, "digest": report["digest"], "size": size },
    });
    let attached = Manifest::parse(None, attached.to_string().into_bytes()).unwrap();
    layout.push_manifest(&attached, Listing::Referrer).unwrap();
    let ran = copy(&environment, &["oci:image:multi", "oci:one", "--platform", "linux/arm64"]);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran.stderr, @"Warning: sha256:06daf19421e7f2d93c2c2015f200ac2b306eb53d60f3713904ad43f6e2c00c47 (application/example) stays behind with the index sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d");
}

#[test]
fn attachments_that_are_damaged_are_told() {
    let environment = signed();
    let shown = environment.run(["inspect", "oci:image:v1", "--output", "json"]).json();
    let artifact = shown["manifests"][0]["artifacts"][0]["digest"].as_str().unwrap().to_owned();
    let file = blob(&environment, &artifact);
    let manifest = fs::read_to_string(&file).unwrap();
    fs::write(&file, manifest.replace("schemaVersion", "SchemaVersion")).unwrap();
    let ran = copy(&environment, &["oci:image:v1", "oci:copy"]);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      without sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity): manifest sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 in oci:image has the digest sha256:72f62960d4c6846a60f37f08d7972c32a7e50052b2e0f186cb36ce5cca394b9d and should have sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2: it was changed or damaged
    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    --- standard error ---
    Error: the image was copied without sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity): manifest sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 in oci:image has the digest sha256:72f62960d4c6846a60f37f08d7972c32a7e50052b2e0f186cb36ce5cca394b9d and should have sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2: it was changed or damaged
    Hint: It is damaged in the source as well: attach it there again, or remove it.
    --- exit code 1 ---
    ");
    assert_eq!(verify(&environment, "oci:copy:v1"), 10, "the image itself is there");

    // A signature that is missing is as bad as a list of signatures that is.
    fs::write(&file, &manifest).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let signature = manifest["layers"][0]["digest"].as_str().unwrap();
    fs::remove_file(blob(&environment, signature)).unwrap();
    let ran = copy(&environment, &["oci:image:v1", "oci:copy", "--quiet"]);
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: the image was copied without sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity): blob sha256:04d306ae294410d31822f34437d07755a06c3bf9ee182b1ef0af99ad21d028a1 is missing in oci:image
    Hint: It is damaged in the source as well: attach it there again, or remove it.
    --- exit code 1 ---
    ");
}

#[test]
fn a_damaged_image_is_not_copied() {
    let environment = signed();
    let base = layer("base");
    let file = blob(&environment, &base.digest);
    fs::write(&file, vec![b'?'; base.blob.len()]).unwrap();
    assert_snapshot!(copy(&environment, &["oci:image:v1", "oci:copy"]), @"
    --- standard error ---
    Error: blob sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7 for oci:copy has the digest sha256:5d49abbdb6df23d1f720fbf89282ce2f97099df71dafb6356cdeb584c72b2875 and should have sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: it was changed or damaged
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["inspect", "oci:copy:v1"]), @"
    --- standard error ---
    Error: oci:copy has no image with the tag v1
    --- exit code 3 ---
    ");
    fs::write(&file, &base.blob).unwrap();
    copy(&environment, &["oci:image:v1", "oci:copy"]).done();
    assert_eq!(verify(&environment, "oci:copy:v1"), 0);
}

#[test]
fn a_dry_run_writes_nothing() {
    let environment = signed();
    let before = environment.files();
    assert_snapshot!(copy(&environment, &["oci:image:v1", "oci:copy", "--dry-run"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Would be copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      with sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity)
    Would store 8 blobs and manifests of 10100 bytes; 0 were there before
    Nothing was written: this was a dry run.
    ");
    let ran = copy(&environment, &["oci:image:v1", "oci-archive:-", "--dry-run"]);
    assert_snapshot!(ran, @"
    --- standard error ---
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Would be copied to oci-archive:-@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
      with sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (application/vnd.cncf.notary.signature.dm-verity)
    Would store 8 blobs and manifests of 10100 bytes; 0 were there before
    Nothing was written: this was a dry run.
    ");
    assert_eq!(environment.files(), before);
    copy(&environment, &["oci:image:v1", "oci:copy"]).done();
    let before = environment.files();
    let report =
        copy(&environment, &["oci:image:v1", "oci:copy", "--dry-run", "--output", "json"]).json();
    assert_eq!((&report["dry_run"], &report["stored"]), (&json!(true), &json!(0)));
    assert_eq!(environment.files(), before);
}

#[test]
fn mistakes_are_explained() {
    let environment = Environment::new();
    image(&environment);
    environment.write("file", b"no layout");
    fs::create_dir(environment.path("full")).unwrap();
    environment.write("full/file", b"no layout");
    assert_snapshot!(environment.run(["copy", "oci:image:v1"]), @"
    --- standard error ---
    error: the following required arguments were not provided:
      <DST>

    Usage: osguard copy <SRC> <DST>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v2", "oci:copy"]), @"
    --- standard error ---
    Error: oci:image has no image with the tag v2; it has: v1
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:nothing", "oci:copy"]), @"
    --- standard error ---
    Error: oci:nothing does not exist
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "copy"]), @r#"
    --- standard error ---
    Error: image reference "copy" names no registry: the part before the first `/` must hold a `.` or a `:` or be `localhost`; an image of Docker Hub is `docker.io/NAME`, a layout directory `oci:DIR`
    Hint: Images are named HOST/REPOSITORY:TAG, oci:DIR, oci:DIR:TAG, oci-archive:FILE:TAG or with @sha256:… in the place of the tag.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci:file"]), @"
    --- standard error ---
    Error: cannot create oci:file: File exists (os error 17)
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci:full"]), @"
    --- standard error ---
    Error: oci:full is not an OCI layout: it has no oci-layout
    Hint: An image goes to an OCI layout or an archive of one, or to where there is nothing yet.
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci-archive:file"]), @r#"
    --- standard error ---
    Error: oci-archive:file is not an OCI layout: it is not a tar archive that can be read: at byte 0: this is no tar archive: it begins with "no layout"
    Hint: An image goes to an OCI layout or an archive of one, or to where there is nothing yet.
    --- exit code 1 ---
    "#);
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci-archive:full"]), @"
    --- standard error ---
    Error: cannot read oci-archive:full: is a directory
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci-archive:nowhere/copy"]), @"
    --- standard error ---
    Error: cannot write oci-archive:nowhere/copy: No such file or directory (os error 2)
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["copy", "oci:image:v1", "oci:/proc/copy"]), @"
    --- standard error ---
    Error: cannot create oci:/proc/copy: No such file or directory (os error 2)
    --- exit code 1 ---
    ");
}

#[test]
fn a_full_disk_is_told() {
    let environment = signed();
    fs::create_dir(environment.path("small")).unwrap();
    for destination in ["oci:small", "oci-archive:small/copy.tar"] {
        let before = "mount -t tmpfs -o size=8k tmpfs small";
        let Some(mut unshared) = environment.unshared(before, "ls -A small >&2") else { return };
        let copied = environment.in_namespace(unshared.args(["copy", "oci:image:v1", destination]));
        let Some(ran) = copied else { return };
        assert_eq!(ran.code, 1, "{ran}");
        assert!(ran.stderr.contains("No space left on device"), "{ran}");
        assert!(!ran.stderr.contains("partial"), "what was begun is gone: {ran}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let environment = signed();
    fs::create_dir(environment.path("readonly")).unwrap();
    for destination in ["oci:readonly", "oci:readonly/copy", "oci-archive:readonly/copy.tar"] {
        let before = "mount -t tmpfs -o ro tmpfs readonly";
        let Some(mut unshared) = environment.unshared(before, ":") else { return };
        let copied = environment.in_namespace(unshared.args(["copy", "oci:image:v1", destination]));
        let Some(ran) = copied else { return };
        assert_eq!(ran.code, 1, "{ran}");
        assert!(ran.stderr.contains("Read-only file system"), "{ran}");
    }
}

#[test]
fn copies_at_once_lose_nothing() {
    let environment = signed();
    let mut sources = vec!["oci:image:v1".to_owned()];
    for number in 0..3 {
        let name = format!("source-{number}");
        let mut source = LayoutMaker::new(environment.path(&name)).unwrap();
        source.image(&name, &[layer("base"), layer(&name)]).unwrap();
        sources.push(format!("oci:{name}:{name}"));
    }
    let copies = |destination: &str| {
        let children: Vec<_> = sources
            .iter()
            .map(|source| {
                let mut command = environment.osguard();
                command.args(["copy", "--quiet", source, destination]).spawn().unwrap()
            })
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    };
    for destination in ["oci:copies", "oci-archive:copies.tar"] {
        copies(destination);
        assert_eq!(verify(&environment, &format!("{destination}:v1")), 0);
        for number in 0..3 {
            let image = format!("{destination}:source-{number}");
            environment.run(["inspect", &image]).done();
        }
    }
}

#[test]
fn a_copy_that_was_killed_is_completed_by_another() {
    let environment = Environment::with_keys();
    // Large enough not to be there at once, and mostly not on the disk.
    let large = layer(&"\0".repeat(64 << 20));
    layout(&environment).image("v1", &[layer("base"), large]).unwrap();
    for (destination, directory) in [("oci:copy", "copy"), ("oci-archive:copy.tar", ".")] {
        let mut child = environment
            .osguard()
            .args(["copy", "--quiet", "oci:image:v1", destination])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let partial = || {
            let entries = environment.path(directory).read_dir().into_iter().flatten();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.contains("partial"))
                .count()
        };
        while partial() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = environment.run(["inspect", &format!("{destination}:v1")]);
        assert!(matches!(listed.code, 0 | 1 | 3), "{listed}");
        copy(&environment, &["oci:image:v1", destination]).done();
        environment.run(["inspect", &format!("{destination}:v1")]).done();
        assert_eq!(partial(), 0);
    }
}

/// Nobody reads what comes from standard output.
#[test]
fn readers_that_leave_are_noticed() {
    let environment = signed();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = environment.osguard();
    let ran =
        environment.ran(command.args(["copy", "oci:image:v1", "oci-archive:-"]).stdout(writer));
    assert_snapshot!(ran, @"");
}

#[test]
fn archives_are_not_for_terminals() {
    let environment = Environment::new();
    image(&environment);
    let Some(script) = or_skip(command::find("script")) else { return };
    let at_a_terminal = |arguments: &str| {
        let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_osguard"));
        let mut script = environment.program(&script);
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        environment.ran(&mut script).naming("\r\n", "\n")
    };
    assert_snapshot!(at_a_terminal("copy oci:image:v1 oci-archive:-"), @"
    Error: an archive is not for a terminal to show
    Hint: Redirect standard output to a file or to another program.
    --- exit code 2 ---
    ");
    assert_snapshot!(at_a_terminal("inspect oci-archive:-"), @"
    Error: an archive cannot be typed at a terminal
    Hint: Redirect standard input from a file or from another program.
    --- exit code 2 ---
    ");
}

fn signed() -> Environment {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    environment
}

fn copy(environment: &Environment, arguments: &[&str]) -> Ran {
    environment.run(["copy"].iter().chain(arguments))
}

fn verify(environment: &Environment, image: &str) -> i32 {
    environment.run(["verify", image, "--trust", "alice.crt"]).code
}

fn blob(environment: &Environment, digest: &str) -> PathBuf {
    environment.path("image/blobs").join(digest.replace(':', "/"))
}
