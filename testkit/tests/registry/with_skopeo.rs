//! skopeo takes it for a registry.

use std::fs;

use osguard_testkit::command::{command, run};
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarMaker};
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;

#[test]
fn skopeo_copies_to_it_and_back() {
    if or_skip(command("skopeo")).is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path().join("there");
    let mut layout = LayoutMaker::new(&there).expect("a layout");
    let tar = |name: &str| TarMaker::new().file(name, b"world").finish();
    let layers = [("a", Compression::Gzip), ("b", Compression::Zstd)]
        .map(|(name, compression)| LayerSource::new(tar(name), compression).expect("a layer"));
    let amd64 = layout.image("one", &layers[..1]).expect("an image");
    let arm64 = layout.image_for(("linux", "arm64"), "two", &layers).expect("an image");
    let index = layout
        .index("all", &[(("linux", "amd64"), &amd64), (("linux", "arm64"), &arm64)])
        .expect("an index");

    let registry = Registry::start().expect("a registry");
    let remote = format!("docker://{}/some/app:v1", registry.host());
    let copy = |from: &str, to: &str| {
        run(command("skopeo")
            .expect("skopeo")
            .args(["copy", "--all", "--preserve-digests", "--quiet"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]))
        .expect("skopeo copies")
    };
    copy(&format!("oci:{}:all", there.display()), &remote);
    assert_eq!(registry.tags("some/app"), ["v1"]);
    assert_eq!(registry.manifest("some/app", "v1").expect("an index").digest, index);
    assert_eq!(registry.manifests("some/app").len(), 3);
    assert_eq!(registry.blobs().len(), 4);
    assert_eq!(registry.open_uploads(), 0);

    let back = directory.path().join("back");
    copy(&remote, &format!("oci:{}:all", back.display()));
    for digest in registry.blobs() {
        let blob = fs::read(back.join("blobs").join(digest.replace(':', "/"))).expect("a blob");
        assert_eq!(registry.blob(&digest), Some(blob));
    }
    assert!(back.join("blobs").join(index.replace(':', "/")).exists());
}
