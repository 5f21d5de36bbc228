//! A daemon of its own for each case, and what containerd would ask of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use osguard_containerd_api::services::snapshots::v1::snapshots_client::SnapshotsClient;
use osguard_containerd_api::services::snapshots::v1::{
    CommitSnapshotRequest, Info, ListSnapshotsRequest, PrepareSnapshotRequest,
    RemoveSnapshotRequest, StatSnapshotRequest, UpdateSnapshotRequest, ViewSnapshotRequest,
};
use osguard_containerd_api::types::Mount;
use prost_types::{FieldMask, Timestamp};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::mounting::{mount_all, unmount_all};
use crate::tree::{Change, assert_same};

/// Is a daemon that asks for no signatures.
pub(crate) struct Snapshotter {
    channel: Channel,
    process: Child,
    /// Where a case may work.
    pub(crate) work: PathBuf,
    mounts: PathBuf,
}

impl Snapshotter {
    pub(crate) async fn start(program: &str, case: &str) -> Self {
        let root = PathBuf::from("/tmp/suite").join(case);
        let work = root.join("work");
        let mounts = PathBuf::from("/run/l");
        std::fs::create_dir_all(&work).unwrap();
        let config = format!(
            "socket = {:?}\nroot = {:?}\nmounts = {mounts:?}\n[signatures]\nmode = \"off\"\n",
            root.join("socket"),
            root.join("root"),
        );
        std::fs::write(root.join("node.toml"), config).unwrap();
        let process = Command::new(program)
            .args(["node", "run", "--config"])
            .arg(root.join("node.toml"))
            .spawn()
            .unwrap();
        let socket = format!("unix://{}", root.join("socket").display());
        let endpoint = Endpoint::from_shared(socket).unwrap();
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Self { channel, process, work, mounts }
    }

    /// Asks the daemon to end, and unmounts what it has left mounted, as a restart of the machine would.
    pub(crate) async fn stop(self) {
        let Self { channel, mut process, mounts, .. } = self;
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        // The daemon waits for its clients to leave, and this thread is the one that closes the connection.
        drop(channel);
        let ended = tokio::task::spawn_blocking(move || process.wait()).await.unwrap();
        assert!(ended.unwrap().success());
        for entry in std::fs::read_dir(&mounts).unwrap() {
            let path = entry.unwrap().path();
            // What the daemon was about to remove may be unmounted already.
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::empty());
            std::fs::remove_dir(path).unwrap();
        }
    }

    pub(crate) async fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        self.prepare_labeled(key, parent, &[]).await
    }

    pub(crate) async fn prepare_labeled(
        &self,
        key: &str,
        parent: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Mount>, Status> {
        let request = PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: map(labels),
            ..Default::default()
        };
        Ok(self.client().prepare(request).await?.into_inner().mounts)
    }

    pub(crate) async fn view(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        self.view_labeled(key, parent, &[]).await
    }

    pub(crate) async fn view_labeled(
        &self,
        key: &str,
        parent: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Mount>, Status> {
        let request = ViewSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: map(labels),
            ..Default::default()
        };
        Ok(self.client().view(request).await?.into_inner().mounts)
    }

    pub(crate) async fn commit(&self, name: &str, key: &str) -> Result<(), Status> {
        self.commit_labeled(name, key, &[]).await
    }

    pub(crate) async fn commit_labeled(
        &self,
        name: &str,
        key: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), Status> {
        let request = CommitSnapshotRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            labels: map(labels),
            ..Default::default()
        };
        self.client().commit(request).await.map(|_| ())
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Status> {
        let request = RemoveSnapshotRequest { key: key.to_owned(), ..Default::default() };
        self.client().remove(request).await.map(|_| ())
    }

    pub(crate) async fn stat(&self, key: &str) -> Result<Info, Status> {
        let request = StatSnapshotRequest { key: key.to_owned(), ..Default::default() };
        Ok(self.client().stat(request).await?.into_inner().info.unwrap())
    }

    pub(crate) async fn update(&self, info: Info, paths: &[&str]) -> Result<Info, Status> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = (!paths.is_empty()).then_some(FieldMask { paths });
        let request = UpdateSnapshotRequest { info: Some(info), update_mask, ..Default::default() };
        Ok(self.client().update(request).await?.into_inner().info.unwrap())
    }

    pub(crate) async fn list(&self, filters: &[&str]) -> Vec<Info> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let request = ListSnapshotsRequest { filters, ..Default::default() };
        let mut stream = self.client().list(request).await.unwrap().into_inner();
        let mut listed = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            listed.extend(response.info);
        }
        listed
    }

    /// Prepares a snapshot and mounts it at its key, a path.
    pub(crate) async fn prepare_mounted(&self, name: &str, parent: &str) -> String {
        let key = self.path(name);
        mount_all(&self.prepare(&key, parent).await.unwrap(), Path::new(&key));
        key
    }

    /// Makes changes in one snapshot after the other and in a plain directory, and compares the two each time; returns the
    /// name of the last one.
    pub(crate) async fn stack(&self, prefix: &str, changes: &[Change<'_>]) -> String {
        let flat = self.work.join(format!("{prefix}-flat"));
        std::fs::create_dir(&flat).unwrap();
        let mut parent = String::new();
        for (index, change) in changes.iter().enumerate() {
            let key = self.prepare_mounted(&format!("{prefix}-prepare-{index}"), &parent).await;
            assert_same(&flat, Path::new(&key));
            change(&flat);
            change(Path::new(&key));
            assert_same(&flat, Path::new(&key));
            unmount_all(Path::new(&key));
            parent = self.path(&format!("{prefix}-committed-{index}"));
            self.commit(&parent, &key).await.unwrap();
        }
        let view = self.path(&format!("{prefix}-view"));
        mount_all(&self.view(&view, &parent).await.unwrap(), Path::new(&view));
        assert_same(&flat, Path::new(&view));
        unmount_all(Path::new(&view));
        self.remove(&view).await.unwrap();
        parent
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.work.join(name).to_str().unwrap().to_owned()
    }

    fn client(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }
}

/// Returns a time as the daemon tells it.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Compares times, as messages have no order.
pub(crate) fn is_between(first: Timestamp, time: Timestamp, last: Timestamp) -> bool {
    let order = |time: Timestamp| (time.seconds, time.nanos);
    (order(first)..=order(last)).contains(&order(time))
}

pub(crate) fn map(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
