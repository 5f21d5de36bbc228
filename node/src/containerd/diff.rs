//! The differ: unpacks layers into snapshots of ours (`containerd.services.diff.v1.Diff`).

use std::sync::Arc;

use libverity::digest::Digest;
use osguard_containerd_api::services::diff::v1 as api;
use osguard_containerd_api::services::diff::v1::diff_server::Diff as Service;
use osguard_containerd_api::types::Descriptor;
use tonic::{Code, Request, Response, Status};

use super::config::SignatureMode;
use super::content::NAMESPACE_HEADER;
use super::keys::SnapshotKey;
use super::layers::ActivationError;
use super::referrers::Referrers;
use super::signatures::in_annotations;
use super::snapshots::{Snapshots, unpack_id};
use super::store::{LayerUse, StoreError};
use super::unpack::Unpacked;

/// Unpacks layers.
#[derive(Clone, Debug)]
pub(crate) struct Differ {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) referrers: Option<Referrers>,
    pub(crate) check_at_unpack: bool,
}

#[tonic::async_trait]
impl Service for Differ {
    async fn apply(
        &self,
        request: Request<api::ApplyRequest>,
    ) -> Result<Response<api::ApplyResponse>, Status> {
        let header = request.metadata().get(NAMESPACE_HEADER);
        let header = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let api::ApplyRequest { diff, mounts, .. } = request.into_inner();
        let descriptor = diff.unwrap_or_default();
        let result = match unpack_id(&mounts, &self.snapshots.directory) {
            Some(id) => self.apply_to(id, header, &descriptor).await,
            // The node may have other snapshotters, whose layers another differ unpacks.
            None => Err(Status::unimplemented("osguard unpacks layers for its own snapshots only")),
        };
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.snapshots.metrics.answered("Apply", code);
        match &result {
            Ok(applied) => {
                tracing::info!(layer = descriptor.digest, diff_id = applied.digest, "unpacked");
            }
            Err(status) if code == Code::Unimplemented => {
                tracing::debug!(layer = descriptor.digest, error = status.message(), "not ours");
            }
            Err(status) => {
                tracing::warn!(
                    layer = descriptor.digest,
                    ?code,
                    error = status.message(),
                    "refused"
                );
            }
        }
        result.map(|applied| Response::new(api::ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(
        &self,
        _: Request<api::DiffRequest>,
    ) -> Result<Response<api::DiffResponse>, Status> {
        self.snapshots.metrics.answered("Diff", Code::Unimplemented);
        Err(Status::unimplemented("osguard makes no diffs; the differ `walking` does"))
    }
}

impl Differ {
    /// Unpacks a layer into the snapshot `id`, and describes the archive in it.
    async fn apply_to(
        &self,
        id: u64,
        header: Option<String>,
        descriptor: &Descriptor,
    ) -> Result<Descriptor, Status> {
        let snapshots = &self.snapshots;
        let name = self.name_of(id).await?;
        // containerd does not name the namespace in every request, but in every key.
        let namespace = match SnapshotKey::parse(&name).namespace {
            Some(namespace) => namespace.to_owned(),
            None => header.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        };
        let _lock = snapshots.names.lock(&name).await;
        for _ in 0..ATTEMPTS {
            let unpacked = snapshots.unpacker.unpack(&namespace, descriptor).await?;
            // Whatever comes of it: nobody converts the layer again for the next attempt.
            snapshots.collector.collect_layer_later(unpacked.layer);
            let used = LayerUse {
                layer: unpacked.layer,
                chain_id: None,
                repositories: unpacked.repositories.clone(),
                image: descriptor.annotations.get(IMAGE_ANNOTATION).map(|image| {
                    // A hint in messages, by whoever has made the image.
                    image.chars().filter(|char| !char.is_control()).take(MAX_IMAGE_CHARS).collect()
                }),
            };
            let found = self.check(&namespace, descriptor, &unpacked, &used).await;
            match found {
                Err(ActivationError::Store(StoreError::LayerGone { .. })) => continue,
                result => result?,
            }
            let (store, attached) = (Arc::clone(&snapshots.store), used.clone());
            let attaching = tokio::task::spawn_blocking(move || store.attach(id, &attached));
            match attaching.await.map_err(|error| Status::internal(error.to_string()))? {
                // It was removed since, as its last snapshot was; it is unpacked anew.
                Err(StoreError::LayerGone { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(unused) => {
                    if let Some(layer) = unused {
                        snapshots.collector.collect_layer(layer);
                    }
                    return Ok(applied(&unpacked));
                }
            }
        }
        Err(StoreError::LayerGone { layer: 0 }.into())
    }

    /// Finds signatures of a layer and keeps them with it; refuses the layer where none is accepted and one is required.
    async fn check(
        &self,
        namespace: &str,
        descriptor: &Descriptor,
        unpacked: &Unpacked,
        used: &LayerUse,
    ) -> Result<(), ActivationError> {
        let snapshots = &self.snapshots;
        let mode = snapshots.modes.of(&used.repositories);
        if mode == SignatureMode::Off {
            return Ok(());
        }
        let Unpacked { layer, record, .. } = unpacked;
        let digest = record.layer_digest;
        let mut found = in_annotations(descriptor, digest, &record.root_hash);
        let mut refusal = self.judge(*layer, found.signatures.clone()).await?;
        if refusal.is_some()
            && let Some(referrers) = &self.referrers
        {
            let image = used.image.as_deref();
            let further = referrers.find(namespace, digest, &record.root_hash, image).await;
            found.remarks.extend(further.remarks);
            if !further.signatures.is_empty() {
                refusal = self.judge(*layer, further.signatures).await?;
            }
        }
        let Some(reason) = refusal else { return Ok(()) };
        let (origin, remarks) = (used.origin(), found.remarks());
        if mode == SignatureMode::Require {
            let reason = format!("{reason}{remarks}");
            return Err(ActivationError::Refused { origin, layer: digest, reason });
        }
        tracing::warn!(layer = %digest, origin, reason, remarks, "the layer is not signed");
        Ok(())
    }

    /// Keeps signatures, and asks whether one of all that are known is good; returns why not.
    async fn judge(
        &self,
        layer: u32,
        signatures: Vec<Vec<u8>>,
    ) -> Result<Option<String>, ActivationError> {
        let layers = Arc::clone(&self.snapshots.layers);
        let keeping = tokio::task::spawn_blocking(move || {
            layers.store.add_signatures(layer, &signatures)?;
            let record = layers.store.layer(layer)?;
            let record = record.ok_or(StoreError::LayerGone { layer })?;
            let count = layers.signatures(layer, &record)?.len();
            Ok::<_, ActivationError>((count, record.root_hash))
        });
        let (count, root_hash) =
            keeping.await.map_err(|source| ActivationError::Thread { source })??;
        if count == 0 {
            return Ok(Some(format!("there is no signature of its root hash {root_hash}")));
        }
        if !self.check_at_unpack {
            return Ok(None);
        }
        let proved = self.snapshots.layers.prove(layer).await?;
        Ok(proved.err().map(|reason| reason.to_string()))
    }

    async fn name_of(&self, id: u64) -> Result<String, Status> {
        let store = Arc::clone(&self.snapshots.store);
        let looking = tokio::task::spawn_blocking(move || store.snapshot_of_id(id));
        let found = looking.await.map_err(|error| Status::internal(error.to_string()))??;
        match found {
            Some((name, _)) => Ok(name),
            None => Err(StoreError::NotFound { name: format!("of id {id}") }.into()),
        }
    }
}

/// Describes the archive of a layer; containerd compares the digest with the diffID in the image's configuration.
fn applied(unpacked: &Unpacked) -> Descriptor {
    let diff_id: Digest = unpacked.record.diff_id;
    Descriptor {
        media_type: ARCHIVE_MEDIA_TYPE.to_owned(),
        digest: diff_id.to_string(),
        size: i64::try_from(unpacked.record.archive_size_bytes).unwrap_or(i64::MAX),
        annotations: Default::default(),
    }
}

const ARCHIVE_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where containerd is configured to tell a snapshotter the name of the image.
const IMAGE_ANNOTATION: &str = "containerd.io/snapshot/cri.image-ref";
const MAX_IMAGE_CHARS: usize = 512;

/// Where nobody names one.
const DEFAULT_NAMESPACE: &str = "default";

/// How often a layer may vanish while it is unpacked.
const ATTEMPTS: usize = 3;
