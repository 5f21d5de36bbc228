//! The cases that look at what is in snapshots.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use osguard_containerd_api::services::snapshots::v1::Kind;

use crate::mounting::{mount_all, unmount_all};
use crate::snapshotter::Snapshotter;
use crate::tree::{Change, directory, file, owner, remove};

pub(crate) async fn basic(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        file(root, "foo", "foo\n", 0o777);
        for path in ["a", "a/b", "a/b/c"] {
            directory(root, path, 0o755);
        }
    };
    let second: Change<'_> = &|root| {
        file(root, "bar", "bar\n", 0o777);
        file(root, "foo", "bar\n", 0o777);
        remove(root, "a/b");
    };
    let top = snapshotter.stack("basic", &[first, second]).await;
    let info = snapshotter.stat(&top).await.unwrap();
    assert_eq!(info.kind(), Kind::Committed);
    let bottom = snapshotter.stat(&info.parent).await.unwrap();
    assert_eq!((bottom.kind(), &*bottom.parent), (Kind::Committed, ""));
    snapshotter.stat(&snapshotter.path("basic-prepare-0")).await.unwrap_err();
    let mut listed = snapshotter.list(&[]).await;
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(listed, [bottom.clone(), info.clone()]);
    let refused = snapshotter.remove(&bottom.name).await.unwrap_err();
    assert!(refused.message().contains("remove"));
    snapshotter.remove(&info.name).await.unwrap();
    snapshotter.remove(&bottom.name).await.unwrap();
}

pub(crate) async fn layer_file_update(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        directory(root, "etc", 0o700);
        file(root, "etc/hosts", "mydomain 10.0.0.1", 0o644);
        file(root, "etc/profile", "PATH=/usr/bin", 0o644);
    };
    let second: Change<'_> = &|root| {
        file(root, "etc/hosts", "mydomain 10.0.0.2", 0o644);
        file(root, "etc/profile", "PATH=/usr/bin", 0o666);
        directory(root, "root", 0o700);
        file(root, "root/.bashrc", "PATH=/usr/sbin:/usr/bin", 0o644);
    };
    for round in 0..5 {
        snapshotter.stack(&format!("update-{round}"), &[first, second]).await;
    }
}

pub(crate) async fn remove_directory(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        directory(root, "lib", 0o700);
        file(root, "lib/hidden", "", 0o644);
    };
    let second: Change<'_> = &|root| {
        remove(root, "lib");
        directory(root, "lib", 0o700);
        file(root, "lib/not-hidden", "", 0o644);
    };
    let third: Change<'_> = &|root| file(root, "lib/newfile", "", 0o644);
    snapshotter.stack("directory", &[first, second, third]).await;
}

pub(crate) async fn chown(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        for path in ["opt", "opt/a", "opt/a/b"] {
            directory(root, path, 0o700);
        }
        file(root, "opt/a/b/file.txt", "hello", 0o644);
    };
    let second: Change<'_> = &|root| {
        for path in ["opt", "opt/a", "opt/a/b", "opt/a/b/file.txt"] {
            owner(root, path, 1);
        }
    };
    snapshotter.stack("chown", &[first, second]).await;
}

pub(crate) async fn directory_permission(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        for path in ["dir1", "dir2", "dir3", "dir4", "dir5"] {
            directory(root, path, 0o700);
        }
        file(root, "dir4/f1", "...", 0o644);
        file(root, "dir5/f1", "...", 0o644);
        for path in ["dir1", "dir2", "dir3", "dir5", "dir5/f1"] {
            owner(root, path, 1);
        }
    };
    let second: Change<'_> = &|root| {
        owner(root, "dir2", 0);
        remove(root, "dir3");
        owner(root, "dir4", 1);
        owner(root, "dir4/f1", 1);
    };
    let third: Change<'_> = &|root| {
        directory(root, "dir3", 0o700);
        owner(root, "dir3", 1);
        remove(root, "dir5");
        directory(root, "dir5", 0o700);
        owner(root, "dir5", 1);
    };
    snapshotter.stack("permission", &[first, second, third]).await;
}

pub(crate) async fn deleted_files(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        file(root, "foo", "foo\n", 0o777);
        file(root, "foobar", "foobar\n", 0o777);
    };
    let second: Change<'_> = &|root| remove(root, "foobar");
    snapshotter.stack("deleted", &[first, second, &|_| {}]).await;
}

pub(crate) async fn move_file(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        for path in ["dir1", "dir2"] {
            directory(root, path, 0o700);
        }
        file(root, "dir1/f1", "Hello", 0o644);
        file(root, "dir2/f2", "...", 0o644);
    };
    let second: Change<'_> = &|root| {
        directory(root, "dir3", 0o700);
        file(root, "dir3/f1", "Hello", 0o644);
        remove(root, "dir1");
        fs::hard_link(root.join("dir2/f2"), root.join("dir3/f2")).unwrap();
        remove(root, "dir2/f2");
    };
    snapshotter.stack("move", &[first, second]).await;
}

pub(crate) async fn view_read_only(snapshotter: &Snapshotter) {
    snapshotter.prepare("preparing", "").await.unwrap();
    snapshotter.commit("committed", "preparing").await.unwrap();
    let mounts = snapshotter.view("view", "committed").await.unwrap();
    let target = snapshotter.work.join("view");
    mount_all(&mounts, &target);
    let refused = fs::write(target.join("file"), "content").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    unmount_all(&target);
    snapshotter.remove("view").await.unwrap();
    snapshotter.remove("committed").await.unwrap();
}

pub(crate) async fn root_permission(snapshotter: &Snapshotter) {
    let key = snapshotter.prepare_mounted("preparing", "").await;
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o755);
    unmount_all(Path::new(&key));
}

/// Directories of lower layers are not renamed, as with containerd's own overlayfs snapshotter.
pub(crate) async fn rename(snapshotter: &Snapshotter) {
    let first: Change<'_> = &|root| {
        directory(root, "dir1", 0o700);
        directory(root, "somefiles", 0o700);
        file(root, "somefiles/f1", "was here first!", 0o644);
        file(root, "somefiles/f2", "nothing interesting", 0o644);
    };
    let second: Change<'_> = &|root| {
        let rename = |from: &str, to: &str| fs::rename(root.join(from), root.join(to)).unwrap();
        file(root, "somefiles/f1-overwrite", "new content 1", 0o644);
        rename("somefiles/f1-overwrite", "somefiles/f1");
        rename("somefiles/f2", "somefiles/f3");
    };
    snapshotter.stack("rename", &[first, second]).await;
}

pub(crate) async fn many_layers(snapshotter: &Snapshotter) {
    let bottom = |root: &Path| {
        file(root, "bottom", "way at the bottom\n", 0o777);
        file(root, "overwriteme", "FIRST!\n", 0o777);
        directory(root, "addhere", 0o755);
        directory(root, "onlyme", 0o755);
        file(root, "onlyme/bottom", "bye!\n", 0o777);
    };
    let layers: Vec<_> = (1..128)
        .map(|index| {
            move |root: &Path| {
                file(root, "overwriteme", &format!("{index} WAS HERE!\n"), 0o777);
                file(root, &format!("addhere/file-{index}"), "same\n", 0o755);
                remove(root, "onlyme");
                directory(root, "onlyme", 0o755);
                file(root, &format!("onlyme/file-{index}"), "only me!\n", 0o777);
            }
        })
        .collect();
    let mut changes: Vec<Change<'_>> = vec![&bottom];
    changes.extend(layers.iter().map(|layer| layer as Change<'_>));
    snapshotter.stack("many", &changes).await;
}
