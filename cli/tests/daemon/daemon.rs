//! The daemon as a process, and what containerd asks of it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osguard_containerd_api::services::diff::v1::ApplyRequest;
use osguard_containerd_api::services::diff::v1::diff_client::DiffClient;
use osguard_containerd_api::services::snapshots::v1::snapshots_client::SnapshotsClient;
use osguard_containerd_api::services::snapshots::v1::{
    CommitSnapshotRequest, Info, ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest,
    RemoveSnapshotRequest, StatSnapshotRequest, ViewSnapshotRequest,
};
use osguard_containerd_api::types::{Descriptor, Mount};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::content::Content;
use super::layers::{Layer, chain};
use super::program;

/// Is a daemon with a directory of its own, and a content store that it reads from.
pub(crate) struct Daemon {
    pub(crate) directory: TempDir,
    pub(crate) content: Content,
    process: Child,
    channel: Channel,
}

impl Daemon {
    /// Starts a daemon in that mode, which does not ask the kernel while it unpacks: here it may have no devices.
    pub(crate) async fn start(mode: &str) -> Self {
        Self::start_with(&configuration(mode)).await
    }

    /// Starts a daemon with this at the end of its configuration.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// Starts a daemon in that mode, whose files are in memory where that is possible.
    pub(crate) async fn start_in_memory(mode: &str) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::start_in(directory.unwrap(), &configuration(mode)).await
    }

    async fn start_in(directory: TempDir, config: &str) -> Self {
        let path = |name: &str| directory.path().join(name);
        let config = format!(
            "socket = {:?}\nroot = {:?}\nmounts = {:?}\ncontainerd = {:?}\nstatus = \"unix:{}\"\n{}",
            path("daemon.sock"),
            path("root"),
            path("l"),
            path("content.sock"),
            path("status.sock").display(),
            config.replace("SIGNATURES", path("signatures").to_str().unwrap()),
        );
        fs::write(path("node.toml"), config).unwrap();
        let content = Content::default();
        content.serve(&path("content.sock"));
        let process = spawn(directory.path());
        let channel = connect(&path("daemon.sock")).await;
        Self { directory, content, process, channel }
    }

    /// Kills the daemon as it stands; the next start finds what it has left.
    pub(crate) fn kill(&self) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    }

    /// Kills the daemon as it stands, and starts another one.
    pub(crate) async fn kill_and_restart(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
        self.process = spawn(self.directory.path());
        self.channel = connect(&self.path("daemon.sock")).await;
    }

    /// Asks the daemon to end, and returns whether it did so in peace.
    pub(crate) async fn terminate(&mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        // The client must not be blocked meanwhile: the daemon waits until it has closed its connection.
        until(|| self.process.try_wait().unwrap().is_some()).await;
        self.process.wait().unwrap().success()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells whether all threads of the daemon are traced, or none is.
    pub(crate) fn is_traced(&self, traced: bool) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status"))).all(
            // A thread may have ended since.
            |status| status.is_ok_and(|status| status.contains("TracerPid:\t0\n") != traced),
        )
    }

    /// Returns the memory of the daemon that is its own, and all that is resident, in KiB.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().strip_suffix(" kB").unwrap().parse().unwrap()
        };
        (field("RssAnon:"), field("VmRSS:"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lists the files in a directory of the daemon's.
    pub(crate) fn files(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub(crate) fn differ(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
    }

    pub(crate) async fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        let request = PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..PrepareSnapshotRequest::default()
        };
        Ok(self.snapshots().prepare(request).await?.into_inner().mounts)
    }

    pub(crate) async fn view(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        let request = ViewSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..ViewSnapshotRequest::default()
        };
        Ok(self.snapshots().view(request).await?.into_inner().mounts)
    }

    pub(crate) async fn mounts(&self, key: &str) -> Result<Vec<Mount>, Status> {
        let request = MountsRequest { key: key.to_owned(), ..MountsRequest::default() };
        Ok(self.snapshots().mounts(request).await?.into_inner().mounts)
    }

    pub(crate) async fn apply(
        &self,
        descriptor: Descriptor,
        mounts: Vec<Mount>,
    ) -> Result<Descriptor, Status> {
        let request = ApplyRequest { diff: Some(descriptor), mounts, ..ApplyRequest::default() };
        Ok(self.differ().apply(request).await?.into_inner().applied.unwrap())
    }

    pub(crate) async fn commit(&self, name: &str, key: &str) -> Result<(), Status> {
        let labels = HashMap::from([("label".to_owned(), "value".to_owned())]);
        let request = CommitSnapshotRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            labels,
            ..CommitSnapshotRequest::default()
        };
        self.snapshots().commit(request).await.map(|_| ())
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Status> {
        let request = RemoveSnapshotRequest { key: key.to_owned(), ..Default::default() };
        self.snapshots().remove(request).await.map(|_| ())
    }

    pub(crate) async fn stat(&self, key: &str) -> Result<Info, Status> {
        let request = StatSnapshotRequest { key: key.to_owned(), ..Default::default() };
        Ok(self.snapshots().stat(request).await?.into_inner().info.unwrap())
    }

    pub(crate) async fn list(&self, filters: &[&str]) -> Result<Vec<Info>, Status> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let request = ListSnapshotsRequest { filters, ..Default::default() };
        let mut stream = self.snapshots().list(request).await?.into_inner();
        let mut listed = Vec::new();
        while let Some(response) = stream.message().await? {
            listed.extend(response.info);
        }
        Ok(listed)
    }

    /// Puts the layer into the content store of a namespace, and prepares a snapshot for it.
    pub(crate) async fn begin(
        &self,
        namespace: &str,
        layer: &Layer,
        parent: Option<&Committed>,
    ) -> Unpack {
        let digest = layer.digest.to_string();
        self.content.put(namespace, &digest, &layer.blob, &["registry.example/team/app"]);
        let chain = chain(parent.map(|parent| parent.chain), layer.diff_id);
        let key = format!("{namespace}/1/extract-{} {chain}", &chain.hex()[..9]);
        let name = format!("{namespace}/2/{chain}");
        let parent = parent.map_or("", |parent| &parent.name);
        let mounts = self.prepare(&key, parent).await.unwrap();
        Unpack { key, name, chain, mounts }
    }

    /// Does all that containerd does with a layer.
    pub(crate) async fn unpack(
        &self,
        namespace: &str,
        layer: &Layer,
        parent: Option<&Committed>,
    ) -> Result<Committed, Status> {
        let Unpack { key, name, chain, mounts } = self.begin(namespace, layer, parent).await;
        let applied = self.apply(layer.descriptor(), mounts).await?;
        assert_eq!(applied.digest, layer.diff_id.to_string());
        self.commit(&name, &key).await?;
        Ok(Committed { name, chain })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is a snapshot that was prepared for a layer.
pub(crate) struct Unpack {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) chain: libverity::digest::Digest,
    pub(crate) mounts: Vec<Mount>,
}

/// Is a layer that was unpacked and committed.
pub(crate) struct Committed {
    pub(crate) name: String,
    pub(crate) chain: libverity::digest::Digest,
}

/// Waits until something is so; the test's own time limit is that of the test runner.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn configuration(mode: &str) -> String {
    format!("[signatures]\nmode = \"{mode}\"\ncheck-at-unpack = false\n{REST}")
}

fn spawn(directory: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    Command::new(program())
        .args(["node", "run", "-v", "--config"])
        .arg(directory.join("node.toml"))
        // As the unit does it.
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// What the tests do not vary: no directories of this machine, and no registries.
pub(crate) const REST: &str =
    "directories = [\"SIGNATURES\"]\n[signatures.registry]\nenabled = false\n";
