//! Snapshots that containers write into, as far as no devices are needed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use osguard_containerd_api::services::snapshots::v1::{
    CleanupRequest, Info, PrepareSnapshotRequest, UpdateSnapshotRequest, UsageRequest,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::daemon::{Daemon, until};
use crate::layers::Layer;

#[tokio::test]
async fn a_container_without_an_image_writes_into_a_directory() {
    let daemon = Daemon::start("require").await;
    let mounts = daemon.prepare("default/1/c", "").await.unwrap();
    let [mount] = &mounts[..] else { panic!("{mounts:?}") };
    assert_eq!((&*mount.r#type, &*mount.options.join(",")), ("bind", "rw,rbind"));
    assert_eq!(fs::metadata(&mount.source).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(daemon.mounts("default/1/c").await.unwrap(), mounts);
    fs::write(Path::new(&mount.source).join("file"), vec![1; 100_000]).unwrap();
    let request = UsageRequest { key: "default/1/c".to_owned(), ..Default::default() };
    let usage = daemon.snapshots().usage(request).await.unwrap().into_inner();
    assert!(usage.size >= 100_000 && usage.inodes == 2, "{usage:?}");

    let refused = daemon.commit("default/2/image", "default/1/c").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("is not signed"), "{refused}");
    daemon.remove("default/1/c").await.unwrap();
    daemon.prepare("default/1/c", "").await.unwrap();
    daemon.snapshots().cleanup(CleanupRequest::default()).await.unwrap();
    until(|| daemon.files("root/snapshots").len() == 1).await;
}

#[tokio::test]
async fn what_a_container_has_written_becomes_a_layer_where_none_need_be_signed() {
    let daemon = Daemon::start("prefer").await;
    for (key, name) in [("default/1/a", "default/2/one"), ("default/3/b", "default/4/two")] {
        let mounts = daemon.prepare(key, "").await.unwrap();
        fs::write(Path::new(&mounts[0].source).join("file"), "the same").unwrap();
        filetime(&Path::new(&mounts[0].source).join("file"));
        filetime(Path::new(&mounts[0].source));
        daemon.commit(name, key).await.unwrap();
        assert_eq!(daemon.stat(name).await.unwrap().kind, 3);
    }
    assert_eq!(daemon.files("root/layers").len(), 1, "the same layer");
    until(|| daemon.files("root/snapshots").is_empty()).await;
    daemon.remove("default/2/one").await.unwrap();
    daemon.remove("default/4/two").await.unwrap();
    until(|| daemon.files("root/layers").is_empty()).await;
}

/// Gives a file the time 0, so that two are the same.
fn filetime(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
}

#[tokio::test]
async fn a_view_of_nothing_shows_nothing() {
    let daemon = Daemon::start("require").await;
    let mounts = daemon.view("v", "").await.unwrap();
    assert_eq!((&*mounts[0].r#type, &*mounts[0].options.join(",")), ("bind", "ro,rbind"));
    assert_eq!(fs::read_dir(&mounts[0].source).unwrap().count(), 0);
    assert_eq!(daemon.stat("v").await.unwrap().kind, 1);
    let refused = daemon.commit("name", "v").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn names_parents_and_labels_are_checked() {
    let daemon = Daemon::start("prefer").await;
    daemon.prepare("a", "").await.unwrap();
    let code = |result: Result<_, tonic::Status>| result.map(|_: Vec<_>| ()).unwrap_err().code();
    assert_eq!(code(daemon.prepare("a", "").await), Code::AlreadyExists);
    assert_eq!(code(daemon.view("a", "").await), Code::AlreadyExists);
    assert_eq!(code(daemon.prepare("b", "none").await), Code::NotFound);
    assert_eq!(code(daemon.prepare("b", "a").await), Code::InvalidArgument);
    assert_eq!(code(daemon.prepare("", "").await), Code::InvalidArgument);
    assert_eq!(code(daemon.prepare(&"n".repeat(5000), "").await), Code::InvalidArgument);
    assert_eq!(code(daemon.mounts("none").await), Code::NotFound);
    let labeled = |key: &str, label: &str, value: usize| PrepareSnapshotRequest {
        key: key.to_owned(),
        labels: HashMap::from([(label.to_owned(), "v".repeat(value))]),
        ..Default::default()
    };
    daemon.snapshots().prepare(labeled("fits", "l", 4095)).await.unwrap();
    let refused = daemon.snapshots().prepare(labeled("long", "l", 4096)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let map = labeled("map", "containerd.io/snapshot/uidmapping", 1);
    assert_eq!(daemon.snapshots().prepare(map).await.unwrap_err().code(), Code::InvalidArgument);
    let committed = daemon.unpack("default", &Layer::new("a"), None).await.unwrap();
    assert_eq!(code(daemon.mounts(&committed.name).await), Code::FailedPrecondition);
    let refused = daemon.commit(&committed.name, "a").await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(daemon.commit("x", "none").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn labels_are_replaced_as_containerd_does_it() {
    let daemon = Daemon::start("prefer").await;
    daemon.prepare("a", "").await.unwrap();
    let update = async |labels: &[(&str, &str)], paths: Option<&[&str]>| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let info = Info {
            name: "a".to_owned(),
            parent: "ignored".to_owned(),
            labels: labels.collect(),
            ..Info::default()
        };
        let update_mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let request = UpdateSnapshotRequest { info: Some(info), update_mask, ..Default::default() };
        let response = daemon.snapshots().update(request).await?;
        let info = response.into_inner().info.unwrap();
        assert_eq!(info, daemon.stat("a").await.unwrap());
        assert_eq!(info.parent, "");
        let mut labels: Vec<_> =
            info.labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        Ok::<_, tonic::Status>(labels.join(" "))
    };
    let all = [("l1", "v1"), ("l2", "v2"), ("l3", "v3"), ("empty", "")];
    assert_eq!(update(&all, None).await.unwrap(), "l1=v1 l2=v2 l3=v3");
    let some = [("l1", "new"), ("l4", "v4")];
    let paths = ["labels.l1", "labels.l2"];
    assert_eq!(update(&some, Some(&paths)).await.unwrap(), "l1=new l3=v3");
    assert_eq!(update(&[("l4", "v4")], Some(&["labels"])).await.unwrap(), "l4=v4");
    let refused = update(&[], Some(&["parent"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
