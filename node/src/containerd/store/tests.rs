//! Records that are written, read again, and refused.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use libverity::layer::Profile;

use super::samples::layer;
use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn used(layer: u32) -> LayerUse {
    LayerUse { layer, chain_id: None, repositories: Vec::new(), image: None }
}

/// Prepares a snapshot for a layer, and attaches it; returns the number of the layer.
fn unpacked(store: &Store, key: &str, parent: Option<&str>, name: &str) -> u32 {
    let active = SnapshotKind::Active;
    let record = store.prepare(key, parent, active, &Content::Unpacking, &BTreeMap::new()).unwrap();
    let number = store.record_layer(&layer(name)).unwrap();
    store.attach(record.id, &used(number)).unwrap();
    number
}

#[test]
fn snapshots_are_there_after_a_restart() {
    let (directory, store) = store();
    let labels = labels(&[("a", "b")]);
    let record =
        store.prepare("key", None, SnapshotKind::Active, &Content::Directory, &labels).unwrap();
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.snapshot("key").unwrap(), record);
    assert_eq!(store.snapshots().unwrap(), [("key".to_owned(), record.clone())]);
    assert_eq!(store.snapshot_of_id(record.id).unwrap().unwrap().0, "key");
    assert!(store.snapshot_of_id(99).unwrap().is_none());
    store.probe().unwrap();
}

#[test]
fn second_process_is_refused() {
    let (directory, _store) = store();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::Database(_))));
}

#[test]
fn names_and_parents_are_checked() {
    let (_directory, store) = store();
    let prepare = |key: &str, parent| {
        store.prepare(key, parent, SnapshotKind::Active, &Content::Directory, &BTreeMap::new())
    };
    prepare("a", None).unwrap();
    assert!(matches!(prepare("a", None), Err(StoreError::Exists { .. })));
    assert!(matches!(prepare("b", Some("none")), Err(StoreError::NotFound { .. })));
    assert!(matches!(prepare("b", Some("a")), Err(StoreError::ParentNotCommitted { .. })));
    assert!(matches!(store.snapshot("b"), Err(StoreError::NotFound { .. })), "nothing was kept");
}

#[test]
fn a_layer_that_was_unpacked_is_committed_under_its_chain() {
    let (_directory, store) = store();
    let (bottom, top) = (layer("bottom").diff_id, layer("top").diff_id);
    let chain = Digest::of(format!("{bottom} {top}").as_bytes());
    let key = format!("ns/1/extract-1 {bottom}");
    let number = unpacked(&store, &key, None, "bottom");
    let name = format!("ns/2/{bottom}");
    let record = store.commit(&name, &key, None, &labels(&[("l", "1")]), None).unwrap();
    assert_eq!(record.kind, SnapshotKind::Committed);
    assert_eq!(record.labels, labels(&[("l", "1")]));
    assert!(matches!(store.snapshot(&key), Err(StoreError::NotFound { .. })));

    let key = format!("ns/3/extract-2 {chain}");
    unpacked(&store, &key, Some(&name), "top");
    let upper = format!("ns/4/{chain}");
    store.commit(&upper, &key, None, &BTreeMap::new(), None).unwrap();
    assert_eq!(store.child_count(&name).unwrap(), 1);
    let lowers = store.lowers(Some(&upper)).unwrap();
    assert_eq!(lowers.len(), 2);
    assert_eq!(lowers[0].used.chain_id, Some(chain));
    assert_eq!((lowers[1].used.layer, &lowers[1].record), (number, &layer("bottom")));
    assert_eq!(store.lowers(None).unwrap(), []);
}

#[test]
fn a_layer_of_another_chain_is_not_committed() {
    let (_directory, store) = store();
    let (bottom, other) = (layer("bottom").diff_id, Digest::of(b"other"));
    let key = format!("ns/1/extract-1 {bottom}");
    unpacked(&store, &key, None, "bottom");
    let commit = |name: &str| store.commit(name, &key, None, &BTreeMap::new(), None);
    assert!(matches!(
        commit(&format!("ns/2/{other}")),
        Err(StoreError::Chain { expected, found, .. }) if expected == other && found == bottom
    ));
    let wrong = format!("ns/3/extract-2 {other}");
    unpacked(&store, &wrong, None, "bottom");
    let result = store.commit(&format!("ns/4/{bottom}"), &wrong, None, &BTreeMap::new(), None);
    assert!(matches!(result, Err(StoreError::Chain { .. })));
    // A name that is no chainID promises nothing.
    commit("ns/2/by-hand").unwrap();
}

#[test]
fn nothing_is_committed_without_a_layer() {
    let (_directory, store) = store();
    let none = BTreeMap::new();
    let prepare = |key: &str, kind, content: &Content| {
        store.prepare(key, None, kind, content, &none).unwrap();
        store.commit("name", key, None, &none, None)
    };
    for (key, content) in [("extract-1", Content::Unpacking), ("b", Content::Directory)] {
        let result = prepare(key, SnapshotKind::Active, &content);
        assert!(matches!(result, Err(StoreError::NotUnpacked { .. })));
    }
    let result = prepare("c", SnapshotKind::View, &Content::Nothing);
    assert!(matches!(result, Err(StoreError::NotActive { kind: SnapshotKind::View, .. })));
    let result = store.commit("name", "none", None, &none, None);
    assert!(matches!(result, Err(StoreError::NotFound { .. })));
}

#[test]
fn what_was_written_is_committed_with_its_layer() {
    let (_directory, store) = store();
    let none = BTreeMap::new();
    let record =
        store.prepare("a", None, SnapshotKind::Active, &Content::Directory, &none).unwrap();
    let number = store.record_layer(&layer("written")).unwrap();
    store.commit("name", "a", None, &none, Some(used(number))).unwrap();
    assert_eq!(store.lowers(Some("name")).unwrap()[0].used.layer, number);
    assert_eq!(store.removed_directories().unwrap(), [record.id]);
    store.forget_directory(record.id).unwrap();
    assert_eq!(store.removed_directories().unwrap(), [] as [u64; 0]);
    assert!(matches!(
        store.commit("name", "a", None, &none, None),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn a_parent_can_come_with_the_commit() {
    let (_directory, store) = store();
    let none = BTreeMap::new();
    unpacked(&store, "ns/1/extract-1", None, "bottom");
    unpacked(&store, "ns/2/extract-2", None, "top");
    let commit = |name, key, parent| store.commit(name, key, parent, &none, None);
    assert!(matches!(
        commit("top", "ns/2/extract-2", Some("bottom")),
        Err(StoreError::NotFound { .. })
    ));
    commit("bottom", "ns/1/extract-1", None).unwrap();
    let record = commit("top", "ns/2/extract-2", Some("bottom")).unwrap();
    assert_eq!(record.parent.as_deref(), Some("bottom"));
    assert_eq!(store.lowers(Some("top")).unwrap().len(), 2);
    unpacked(&store, "ns/3/extract-3", Some("top"), "third");
    assert!(matches!(
        commit("third", "ns/3/extract-3", Some("bottom")),
        Err(StoreError::OtherParent { .. })
    ));
    assert!(matches!(store.remove("bottom"), Err(StoreError::HasChildren { .. })));
}

#[test]
fn the_last_user_of_a_layer_leaves_it_unused() {
    let (_directory, store) = store();
    let first = unpacked(&store, "a/1/extract-1", None, "layer");
    let second = unpacked(&store, "b/1/extract-1", None, "layer");
    assert_eq!(first, second, "one layer for both namespaces");
    store.add_signatures(first, &[vec![1], vec![2], vec![1]]).unwrap();
    assert_eq!(store.signatures(first).unwrap().len(), 2);
    assert_eq!(store.remove("a/1/extract-1").unwrap().unused_layer, None);
    assert!(store.is_used(first).unwrap() && !store.forget_layer(first).unwrap());
    assert_eq!(store.remove("b/1/extract-1").unwrap().unused_layer, Some(first));
    assert!(store.layer(first).unwrap().is_some(), "that takes its time, and comes later");
    assert!(store.forget_layer(first).unwrap());
    assert_eq!(store.layers().unwrap(), []);
    assert_eq!(store.signatures(first).unwrap(), [] as [Vec<u8>; 0]);
    let digest = layer("layer").layer_digest;
    assert_eq!(store.layer_of_digest(&digest, Profile::default()).unwrap(), None);
}

#[test]
fn another_layer_takes_the_place_of_the_first() {
    let (_directory, store) = store();
    let first = unpacked(&store, "a/1/extract-1", None, "first");
    let id = store.snapshot("a/1/extract-1").unwrap().id;
    let second = store.record_layer(&layer("second")).unwrap();
    assert_eq!(store.attach(id, &used(second)).unwrap(), Some(first));
    assert_eq!(store.attach(id, &used(second)).unwrap(), None);
    assert!(matches!(store.attach(id, &used(9)), Err(StoreError::LayerGone { layer: 9 })));
    assert!(store.is_used(second).unwrap());
}

#[test]
fn numbers_of_layers_stay_low() {
    let (_directory, store) = store();
    let numbers: Vec<u32> =
        ["a", "b", "c"].map(|name| store.record_layer(&layer(name)).unwrap()).into();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(store.record_layer(&layer("b")).unwrap(), 2);
    assert!(store.forget_layer(2).unwrap());
    assert_eq!(store.record_layer(&layer("d")).unwrap(), 2);
    assert_eq!(store.layer_count().unwrap(), 3);
    assert_eq!(store.layer(2).unwrap(), Some(layer("d")));
}

#[test]
fn labels_change_and_the_time_with_them() {
    let (_directory, store) = store();
    let active = SnapshotKind::Active;
    let before =
        store.prepare("a", None, active, &Content::Directory, &labels(&[("x", "1")])).unwrap();
    let after = store
        .update_labels("a", |labels| {
            labels.insert("y".to_owned(), "2".to_owned());
        })
        .unwrap();
    assert_eq!(after.labels, labels(&[("x", "1"), ("y", "2")]));
    assert_eq!(after.created, before.created);
    assert!(after.updated >= before.updated);
    assert_eq!(store.snapshot("a").unwrap(), after);
    assert!(matches!(store.update_labels("b", |_| {}), Err(StoreError::NotFound { .. })));
}
