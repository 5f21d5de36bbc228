//! Requests that are given up, and daemons that are killed.

use tonic::Code;

use crate::daemon::{Daemon, until};
use crate::layers::Layer;

#[tokio::test]
async fn a_request_that_is_given_up_leaves_nothing() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new(&"long ".repeat(10_000));
    let unpack = daemon.begin("default", &layer, None).await;
    daemon.content.stop_after(Some(100));
    {
        let applying = daemon.apply(layer.descriptor(), unpack.mounts.clone());
        tokio::pin!(applying);
        let begun = until(|| daemon.files("root/layers").len() == 1);
        tokio::select! {
            applied = &mut applying => panic!("{applied:?}"),
            () = begun => {}
        }
    }
    until(|| daemon.files("root/layers").is_empty()).await;
    daemon.content.stop_after(None);
    daemon.apply(layer.descriptor(), unpack.mounts).await.unwrap();
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();
}

#[tokio::test]
async fn who_waits_goes_on_when_another_gives_up() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("wanted by two");
    let one = daemon.begin("one", &layer, None).await;
    let two = daemon.begin("two", &layer, None).await;
    daemon.content.stop_after(Some(20));
    let waiting = {
        let applying = daemon.apply(layer.descriptor(), one.mounts);
        tokio::pin!(applying);
        tokio::select! {
            applied = &mut applying => panic!("{applied:?}"),
            () = until(|| daemon.content.reads() == 1) => {}
        }
        daemon.content.stop_after(None);
        let waiting = daemon.apply(layer.descriptor(), two.mounts);
        let mut waiting = Box::pin(waiting);
        tokio::select! {
            biased;
            applied = &mut waiting => panic!("{applied:?}"),
            applied = &mut applying => panic!("{applied:?}"),
            () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
        }
        waiting
    };
    waiting.await.unwrap();
    assert_eq!(daemon.content.reads(), 2);
    daemon.commit(&two.name, &two.key).await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_it_unpacks_leaves_nothing() {
    let mut daemon = Daemon::start("prefer").await;
    let layer = Layer::new(&"long ".repeat(10_000));
    let unpack = daemon.begin("default", &layer, None).await;
    daemon.content.stop_after(Some(100));
    {
        let applying = daemon.apply(layer.descriptor(), unpack.mounts.clone());
        tokio::pin!(applying);
        tokio::select! {
            applied = &mut applying => panic!("{applied:?}"),
            () = until(|| daemon.files("root/layers").len() == 1) => {}
        }
        // The connection must outlive the daemon, or the request would be given up and not cut off.
        daemon.kill();
        let refused = applying.await.unwrap_err();
        assert_ne!(refused.code(), Code::Unimplemented);
    }
    assert_eq!(daemon.files("root/layers").len(), 1);
    daemon.kill_and_restart().await;
    assert_eq!(daemon.files("root/layers"), [] as [&str; 0]);
    daemon.content.stop_after(None);
    let refused = daemon.commit(&unpack.name, &unpack.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    daemon.apply(layer.descriptor(), unpack.mounts).await.unwrap();
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_killed_between_apply_and_commit_has_lost_nothing() {
    let mut daemon = Daemon::start("prefer").await;
    let (bottom, top) = (Layer::new("bottom"), Layer::new("top"));
    let below = daemon.unpack("default", &bottom, None).await.unwrap();
    let unpack = daemon.begin("default", &top, Some(&below)).await;
    daemon.apply(top.descriptor(), unpack.mounts).await.unwrap();
    daemon.kill_and_restart().await;
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();
    daemon.kill_and_restart().await;
    let listed = daemon.list(&[]).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(daemon.files("root/layers").len(), 2);
    assert_eq!(daemon.stat(&unpack.name).await.unwrap().parent, below.name);
}

#[tokio::test]
async fn what_was_to_be_removed_goes_after_the_next_start() {
    let mut daemon = Daemon::start("prefer").await;
    for round in 0..5 {
        let layer = Layer::new(&format!("layer {round}"));
        let committed = daemon.unpack("default", &layer, None).await.unwrap();
        let key = format!("default/9/c{round}");
        daemon.prepare(&key, "").await.unwrap();
        daemon.remove(&key).await.unwrap();
        daemon.remove(&committed.name).await.unwrap();
        daemon.kill_and_restart().await;
    }
    until(|| daemon.files("root/layers").is_empty()).await;
    until(|| daemon.files("root/snapshots").is_empty()).await;
    assert_eq!(daemon.list(&[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_daemon_ends_when_it_is_asked_to() {
    let mut daemon = Daemon::start("prefer").await;
    daemon.unpack("default", &Layer::new("a"), None).await.unwrap();
    assert!(daemon.terminate().await);
    daemon.kill_and_restart().await;
    assert_eq!(daemon.list(&[]).await.unwrap().len(), 1);
}
