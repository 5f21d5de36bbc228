//! The cases that look at what is said of snapshots.

use std::path::Path;

use osguard_containerd_api::services::snapshots::v1::Kind;
use tonic::Code;

use crate::mounting::unmount_all;
use crate::snapshotter::{Snapshotter, is_between, map, now};
use crate::tree::file;

pub(crate) async fn stat_active(snapshotter: &Snapshotter) {
    let key = snapshotter.prepare_mounted("preparing", "").await;
    file(Path::new(&key), "foo", "foo\n", 0o777);
    let info = snapshotter.stat(&key).await.unwrap();
    assert_eq!((&info.name, info.kind(), &*info.parent), (&key, Kind::Active, ""));
    unmount_all(Path::new(&key));
}

pub(crate) async fn stat_committed(snapshotter: &Snapshotter) {
    let key = snapshotter.prepare_mounted("preparing", "").await;
    file(Path::new(&key), "foo", "foo\n", 0o777);
    let name = snapshotter.path("committed");
    // While it is mounted.
    snapshotter.commit(&name, &key).await.unwrap();
    let info = snapshotter.stat(&name).await.unwrap();
    assert_eq!((&info.name, info.kind(), &*info.parent), (&name, Kind::Committed, ""));
    unmount_all(Path::new(&key));
}

pub(crate) async fn transitivity(snapshotter: &Snapshotter) {
    let (a, b) = (snapshotter.path("a"), snapshotter.path("b"));
    for (name, parent, content) in [(&a, "", "foo\n"), (&b, &*a, "foo bar\n")] {
        let key = snapshotter.prepare_mounted("preparing", parent).await;
        file(Path::new(&key), "foo", content, 0o777);
        unmount_all(Path::new(&key));
        snapshotter.commit(name, &key).await.unwrap();
    }
    assert_eq!(snapshotter.stat(&a).await.unwrap().parent, "");
    let parent = snapshotter.stat(&b).await.unwrap().parent;
    assert_eq!(parent, a);
    assert_eq!(snapshotter.stat(&parent).await.unwrap().parent, "");
}

pub(crate) async fn prepare_view_failing(snapshotter: &Snapshotter) {
    let key = snapshotter.prepare_mounted("preparing", "").await;
    unmount_all(Path::new(&key));
    let a = snapshotter.path("a");
    snapshotter.commit(&a, &key).await.unwrap();
    snapshotter.prepare("new", &a).await.unwrap();
    snapshotter.view("new", &a).await.unwrap_err();
    snapshotter.prepare("prepared", &a).await.unwrap();
    snapshotter.prepare("prepared", &a).await.unwrap_err();
    snapshotter.view("viewed", &a).await.unwrap();
    snapshotter.view("viewed", &a).await.unwrap_err();
}

/// Makes two committed snapshots, two active ones and two views; each second one has a parent.
async fn base(snapshotter: &Snapshotter, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    snapshotter.prepare(&name("c1-a"), "").await.unwrap();
    snapshotter.commit(&name("c1"), &name("c1-a")).await.unwrap();
    snapshotter.prepare(&name("c2-a"), &name("c1")).await.unwrap();
    snapshotter.commit(&name("c2"), &name("c2-a")).await.unwrap();
    snapshotter.prepare(&name("a1"), &name("c2")).await.unwrap();
    snapshotter.prepare(&name("a2"), "").await.unwrap();
    snapshotter.view(&name("v1"), &name("c2")).await.unwrap();
    snapshotter.view(&name("v2"), "").await.unwrap();
}

pub(crate) async fn update(snapshotter: &Snapshotter) {
    let begun = now();
    base(snapshotter, "").await;
    let done = now();
    for (name, kind, parent) in [
        ("c1", Kind::Committed, ""),
        ("c2", Kind::Committed, "c1"),
        ("a1", Kind::Active, "c2"),
        ("a2", Kind::Active, ""),
        ("v1", Kind::View, "c2"),
        ("v2", Kind::View, ""),
    ] {
        let info = snapshotter.stat(name).await.unwrap();
        let created = info.created_at.unwrap();
        assert!(is_between(begun, created, done));
        assert_eq!(info.updated_at, Some(created));
        assert_eq!((info.kind(), &*info.parent, &*info.name), (kind, parent, name));

        let mut wanted = info;
        wanted.parent = "nowhere".to_owned();
        wanted.labels = map(&[("l1", "v1"), ("l2", "v2"), ("l3", "v3")]);
        let before = now();
        let changed = snapshotter.update(wanted.clone(), &[]).await.unwrap();
        let after = now();
        assert_eq!(changed.created_at, Some(created));
        assert!(is_between(before, changed.updated_at.unwrap(), after));
        assert_eq!((changed.kind(), &*changed.parent, &*changed.name), (kind, parent, name));
        assert_eq!(changed.labels, wanted.labels);
        assert_eq!(changed, snapshotter.stat(name).await.unwrap());

        wanted.labels = map(&[("l1", "new"), ("l4", "v4")]);
        let changed =
            snapshotter.update(wanted.clone(), &["labels.l1", "labels.l2"]).await.unwrap();
        assert_eq!(changed.labels, map(&[("l1", "new"), ("l3", "v3")]));
        wanted.labels = map(&[("l4", "v4")]);
        let changed = snapshotter.update(wanted.clone(), &["labels"]).await.unwrap();
        assert_eq!(changed.labels, wanted.labels);
        let refused = snapshotter.update(wanted, &["parent"]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

pub(crate) async fn remove(snapshotter: &Snapshotter) {
    snapshotter.prepare("committed-a", "").await.unwrap();
    snapshotter.commit("committed-1", "committed-a").await.unwrap();
    snapshotter.prepare("reuse-1", "committed-1").await.unwrap();
    snapshotter.remove("reuse-1").await.unwrap();
    snapshotter.view("reuse-1", "committed-1").await.unwrap();
    snapshotter.remove("reuse-1").await.unwrap();
    snapshotter.prepare("reuse-1", "").await.unwrap();
    snapshotter.remove("committed-1").await.unwrap();
    snapshotter.commit("committed-1", "reuse-1").await.unwrap();
}

pub(crate) async fn walk(snapshotter: &Snapshotter) {
    let root = ("containerd.io/gc.root", "walk");
    let labeled = |value| [root, ("l", value)];
    snapshotter.prepare_labeled("a-np", "", &[root]).await.unwrap();
    snapshotter.prepare_labeled("p-tmp", "", &[root]).await.unwrap();
    snapshotter.commit_labeled("p", "p-tmp", &[root]).await.unwrap();
    snapshotter.prepare_labeled("a", "p", &[root]).await.unwrap();
    snapshotter.view_labeled("v", "p", &[root]).await.unwrap();
    snapshotter.prepare_labeled("p-wl-tmp", "", &[root]).await.unwrap();
    snapshotter.commit_labeled("p-wl", "p-wl-tmp", &labeled("1")).await.unwrap();
    snapshotter.prepare_labeled("a-wl", "p-wl", &labeled("2")).await.unwrap();
    snapshotter.view_labeled("v-wl", "p-wl", &labeled("3")).await.unwrap();
    snapshotter.prepare_labeled("a-np-wl", "", &labeled("2")).await.unwrap();

    let rooted = "labels.\"containerd.io/gc.root\"==walk";
    let and_rooted = |filter: &str| format!("{filter},{rooted}");
    let cases: [(&[&str], &[&str]); 9] = [
        (&[rooted], &["a", "a-np", "a-np-wl", "a-wl", "p", "p-wl", "v", "v-wl"]),
        (&[&and_rooted("kind==active")], &["a", "a-np", "a-np-wl", "a-wl"]),
        (&[&and_rooted("kind==view")], &["v", "v-wl"]),
        (&[&and_rooted("kind==committed")], &["p", "p-wl"]),
        (&["name==p", "name==a-np-wl"], &["a-np-wl", "p"]),
        (&["name==a-wl,labels.l"], &["a-wl"]),
        (&["parent==p"], &["a", "v"]),
        (&[&and_rooted("parent!=\"\"")], &["a", "a-wl", "v", "v-wl"]),
        (&["labels.l"], &["a-np-wl", "a-wl", "p-wl", "v-wl"]),
    ];
    for (filters, expected) in cases {
        let listed = snapshotter.list(filters).await;
        let mut names: Vec<&str> = listed.iter().map(|info| &*info.name).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{filters:?}");
    }
}

pub(crate) async fn remove_intermediate(snapshotter: &Snapshotter) {
    let key = snapshotter.prepare_mounted("base", "").await;
    unmount_all(Path::new(&key));
    snapshotter.commit("committed-base", &key).await.unwrap();
    snapshotter.prepare("intermediate", "committed-base").await.unwrap();
    snapshotter.commit("committed-intermediate", "intermediate").await.unwrap();
    snapshotter.prepare("top", "committed-intermediate").await.unwrap();
    let refused = snapshotter.remove("committed-intermediate").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for name in ["top", "committed-intermediate", "committed-base"] {
        snapshotter.remove(name).await.unwrap();
    }
}

pub(crate) async fn stat_in_walk(snapshotter: &Snapshotter) {
    base(snapshotter, "walked-").await;
    let listed = snapshotter.list(&[]).await;
    assert_eq!(listed.len(), 6);
    for info in listed {
        assert_eq!(snapshotter.stat(&info.name).await.unwrap(), info);
    }
}

/// A client of a socket has nothing to close; that the daemon ends in peace is checked after each case.
pub(crate) async fn close_twice(snapshotter: &Snapshotter) {
    snapshotter.prepare("prepare", "").await.unwrap();
    snapshotter.commit("committed", "prepare").await.unwrap();
    snapshotter.remove("committed").await.unwrap();
}
