//! What snapshots and layers go through, again and again.

use osguard_containerd_api::services::snapshots::v1::CleanupRequest;

use super::daemon::Daemon;
use super::layers::Layer;

/// Has a layer unpacked, and a container's snapshot made, asked for and removed; then all is gone that was made. No cycle
/// has a layer or a name of another.
pub(crate) async fn cycle(daemon: &Daemon, number: usize) {
    let layer = Layer::new(&format!("of cycle {number}"));
    let committed = daemon.unpack("default", &layer, None).await.unwrap();
    daemon.stat(&committed.name).await.unwrap();
    let container = format!("default/9/container-{number}");
    daemon.prepare(&container, "").await.unwrap();
    daemon.mounts(&container).await.unwrap();
    let filter = format!("name=={container}");
    assert_eq!(daemon.list(&[&filter]).await.unwrap().len(), 1);
    daemon.remove(&container).await.unwrap();
    daemon.remove(&committed.name).await.unwrap();
    daemon.snapshots().cleanup(CleanupRequest::default()).await.unwrap();
    daemon.content.clear();
}

/// Has so many layers unpacked, which are there afterwards, at most a hundred above each other.
pub(crate) async fn unpack_many(daemon: &Daemon, count: usize) {
    let mut parent = None;
    for number in 0..count {
        let layer = Layer::new(&format!("that stays {number}"));
        let below = parent.take().filter(|_| number % 100 != 0);
        parent = Some(daemon.unpack("default", &layer, below.as_ref()).await.unwrap());
    }
}
