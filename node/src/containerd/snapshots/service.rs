//! The face to containerd: `containerd.services.snapshots.v1.Snapshots`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use osguard_containerd_api::services::snapshots::v1 as api;
use osguard_containerd_api::services::snapshots::v1::snapshots_server::Snapshots as Service;
use prost_types::Timestamp;
use tokio_stream::Iter;
use tonic::{Code, Request, Response, Status};

use super::{Filters, Snapshots};
use crate::containerd::store::{SnapshotKind, SnapshotRecord, Time};

/// Answers containerd's requests for snapshots.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotService(pub(crate) Arc<Snapshots>);

impl SnapshotService {
    /// Counts an answer, and logs one that says no.
    fn answer<T, E: Into<Status>>(
        &self,
        method: &'static str,
        name: &str,
        result: Result<T, E>,
    ) -> Result<Response<T>, Status> {
        let result = result.map_err(Into::into);
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.0.metrics.answered(method, code);
        match &result {
            Ok(_) => tracing::debug!(method, name, "done"),
            // containerd asks for these all the time.
            Err(status) if matches!(code, Code::NotFound | Code::AlreadyExists) => {
                tracing::debug!(method, name, error = status.message(), "refused");
            }
            Err(status) => {
                tracing::warn!(method, name, ?code, error = status.message(), "refused");
            }
        }
        result.map(Response::new)
    }
}

#[tonic::async_trait]
impl Service for SnapshotService {
    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>, Status> {
        let api::PrepareSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let kind = SnapshotKind::Active;
        let result = self.0.prepare(&key, some(&parent), kind, sorted(labels)).await;
        let result = result.map(|mounts| api::PrepareSnapshotResponse { mounts });
        self.answer("Prepare", &key, result)
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>, Status> {
        let api::ViewSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let kind = SnapshotKind::View;
        let result = self.0.prepare(&key, some(&parent), kind, sorted(labels)).await;
        let result = result.map(|mounts| api::ViewSnapshotResponse { mounts });
        self.answer("View", &key, result)
    }

    async fn mounts(
        &self,
        request: Request<api::MountsRequest>,
    ) -> Result<Response<api::MountsResponse>, Status> {
        let key = request.into_inner().key;
        let result = self.0.mounts(&key).await;
        self.answer("Mounts", &key, result.map(|mounts| api::MountsResponse { mounts }))
    }

    async fn commit(
        &self,
        request: Request<api::CommitSnapshotRequest>,
    ) -> Result<Response<()>, Status> {
        let api::CommitSnapshotRequest { name, key, labels, parent, .. } = request.into_inner();
        let result = self.0.commit(&name, &key, some(&parent), sorted(labels)).await;
        self.answer("Commit", &key, result)
    }

    async fn remove(
        &self,
        request: Request<api::RemoveSnapshotRequest>,
    ) -> Result<Response<()>, Status> {
        let key = request.into_inner().key;
        let result = self.0.remove(&key).await;
        self.answer("Remove", &key, result)
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>, Status> {
        let key = request.into_inner().key;
        let result = self.0.stat(&key).await;
        let result =
            result.map(|record| api::StatSnapshotResponse { info: Some(info(&key, record)) });
        self.answer("Stat", &key, result)
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>, Status> {
        let api::UpdateSnapshotRequest { info: wanted, update_mask, .. } = request.into_inner();
        let wanted = wanted.unwrap_or_default();
        let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        let result = self.0.update(&wanted.name, sorted(wanted.labels), paths).await;
        let result = result
            .map(|record| api::UpdateSnapshotResponse { info: Some(info(&wanted.name, record)) });
        self.answer("Update", &wanted.name, result)
    }

    type ListStream = Iter<std::vec::IntoIter<Result<api::ListSnapshotsResponse, Status>>>;

    async fn list(
        &self,
        request: Request<api::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let listing = async {
            let filters = Filters::parse(&request.into_inner().filters)?;
            let snapshots = self.0.list(filters).await?;
            let infos: Vec<api::Info> =
                snapshots.into_iter().map(|(name, record)| info(&name, record)).collect();
            // No lock is held while they are sent: whoever receives them may ask for something.
            let batches: Vec<Result<_, Status>> = infos
                .chunks(BATCH)
                .map(|batch| Ok(api::ListSnapshotsResponse { info: batch.to_vec() }))
                .collect();
            Ok::<_, Status>(tokio_stream::iter(batches))
        };
        let result = listing.await;
        self.answer("List", "", result)
    }

    async fn usage(
        &self,
        request: Request<api::UsageRequest>,
    ) -> Result<Response<api::UsageResponse>, Status> {
        let key = request.into_inner().key;
        let result = self.0.usage(&key).await;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let result = result.map(|usage| api::UsageResponse {
            size: number(usage.size_bytes),
            inodes: number(usage.inodes),
        });
        self.answer("Usage", &key, result)
    }

    /// Answers at once: whatever was removed is being taken away already.
    async fn cleanup(&self, _: Request<api::CleanupRequest>) -> Result<Response<()>, Status> {
        self.answer("Cleanup", "", Ok::<_, Status>(()))
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn sorted(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

fn info(name: &str, record: SnapshotRecord) -> api::Info {
    api::Info {
        name: name.to_owned(),
        parent: record.parent.unwrap_or_default(),
        kind: match record.kind {
            SnapshotKind::Active => api::Kind::Active,
            SnapshotKind::Committed => api::Kind::Committed,
            SnapshotKind::View => api::Kind::View,
        }
        .into(),
        created_at: Some(timestamp(record.created)),
        updated_at: Some(timestamp(record.updated)),
        labels: record.labels.into_iter().collect(),
    }
}

fn timestamp(time: Time) -> Timestamp {
    Timestamp { seconds: time.seconds, nanos: time.nanoseconds }
}

/// How many snapshots are in one message, as containerd has it: with 4096 bytes for each it is far below its limit.
const BATCH: usize = 100;
