//! Layers that are unpacked as they should be.

use std::collections::HashMap;

use osguard_containerd_api::services::snapshots::v1::PrepareSnapshotRequest;
use tonic::Code;

use crate::daemon::{Daemon, until};
use crate::layers::{Layer, chain};

#[tokio::test]
async fn a_layer_becomes_a_committed_snapshot() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("a");
    let unpack = daemon.begin("default", &layer, None).await;
    assert_eq!(unpack.mounts.len(), 1);
    assert_eq!(unpack.mounts[0].r#type, "x-verity-layer");
    assert_eq!(daemon.mounts(&unpack.key).await.unwrap(), unpack.mounts);
    let applied = daemon.apply(layer.descriptor(), unpack.mounts).await.unwrap();
    assert_eq!(applied.digest, layer.diff_id.to_string());
    assert_eq!(applied.media_type, "application/vnd.oci.image.layer.v1.tar");
    assert_eq!(applied.size % 512, 0);
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();

    let info = daemon.stat(&unpack.name).await.unwrap();
    assert_eq!((info.kind, &*info.parent), (3, ""));
    assert_eq!(info.labels["label"], "value");
    assert_eq!(daemon.stat(&unpack.key).await.unwrap_err().code(), Code::NotFound);
    let image = format!("{}-containerd-full-v1.erofs", layer.digest.hex());
    assert_eq!(daemon.files("root/layers"), [image]);
}

#[tokio::test]
async fn layers_are_stacked_and_listed_and_removed() {
    let daemon = Daemon::start("prefer").await;
    let (bottom, top) = (Layer::new("bottom"), Layer::new("top"));
    let below = daemon.unpack("default", &bottom, None).await.unwrap();
    let above = daemon.unpack("default", &top, Some(&below)).await.unwrap();
    assert_eq!(above.chain, chain(Some(bottom.diff_id), top.diff_id));
    let all = daemon.list(&[]).await.unwrap();
    assert_eq!(all.len(), 2);
    let filter = format!("parent=={},kind==committed", below.name);
    let found = daemon.list(&[&filter]).await.unwrap();
    assert_eq!(found.iter().map(|info| &info.name).collect::<Vec<_>>(), [&above.name]);
    assert_eq!(daemon.list(&["kind=active"]).await.unwrap_err().code(), Code::InvalidArgument);

    let refused = daemon.remove(&below.name).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("remove"), "{refused}");
    assert_eq!(daemon.files("root/layers").len(), 2);
    daemon.remove(&above.name).await.unwrap();
    daemon.remove(&below.name).await.unwrap();
    assert_eq!(daemon.remove(&below.name).await.unwrap_err().code(), Code::NotFound);
    until(|| daemon.files("root/layers").is_empty()).await;
}

#[tokio::test]
async fn a_second_namespace_costs_no_second_conversion() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("shared");
    let first = daemon.unpack("default", &layer, None).await.unwrap();
    let second = daemon.unpack("k8s.io", &layer, None).await.unwrap();
    assert_eq!(daemon.content.reads(), 1);
    daemon.remove(&first.name).await.unwrap();
    daemon.stat(&second.name).await.unwrap();
    assert_eq!(daemon.files("root/layers").len(), 1);
}

#[tokio::test]
async fn a_namespace_needs_the_blob_itself() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("not yours");
    daemon.unpack("default", &layer, None).await.unwrap();
    // As containerd asks: `ALREADY_EXISTS` would let it take the layer of the other namespace without fetching the blob.
    let chain = layer.diff_id.to_string();
    let request = PrepareSnapshotRequest {
        key: format!("other/1/extract-1 {chain}"),
        labels: HashMap::from([("containerd.io/snapshot.ref".to_owned(), chain)]),
        ..PrepareSnapshotRequest::default()
    };
    let mounts = daemon.snapshots().prepare(request).await.unwrap().into_inner().mounts;
    let refused = daemon.apply(layer.descriptor(), mounts).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn two_at_once_are_converted_once() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("wanted by two");
    let one = daemon.begin("one", &layer, None).await;
    let two = daemon.begin("two", &layer, None).await;
    let (first, second) = tokio::join!(
        daemon.apply(layer.descriptor(), one.mounts),
        daemon.apply(layer.descriptor(), two.mounts),
    );
    assert_eq!(first.unwrap().digest, second.unwrap().digest);
    assert_eq!(daemon.content.reads(), 1);
    daemon.commit(&one.name, &one.key).await.unwrap();
    daemon.commit(&two.name, &two.key).await.unwrap();
}

#[tokio::test]
async fn a_parent_may_come_with_the_commit() {
    use osguard_containerd_api::services::snapshots::v1::CommitSnapshotRequest;
    let daemon = Daemon::start("prefer").await;
    let (bottom, top) = (Layer::new("bottom"), Layer::new("top"));
    // As containerd 2.2 does it when it unpacks in parallel.
    let chain = chain(Some(bottom.diff_id), top.diff_id);
    daemon.content.put("default", &top.digest.to_string(), &top.blob, &[]);
    let key = format!("default/3/extract-1 {chain}");
    let mounts = daemon.prepare(&key, "").await.unwrap();
    daemon.apply(top.descriptor(), mounts).await.unwrap();
    let below = daemon.unpack("default", &bottom, None).await.unwrap();
    let request = |parent: &str| CommitSnapshotRequest {
        name: format!("default/4/{chain}"),
        key: key.clone(),
        parent: parent.to_owned(),
        ..CommitSnapshotRequest::default()
    };
    let refused = daemon.snapshots().commit(request("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    daemon.snapshots().commit(request(&below.name)).await.unwrap();
    assert_eq!(daemon.stat(&format!("default/4/{chain}")).await.unwrap().parent, below.name);
}
