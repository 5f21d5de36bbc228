//! Which gRPC code stands for which refusal. containerd goes by the code, and users see the text.
//!
//! `UNIMPLEMENTED` is never among them: it lets containerd try another differ.

use std::io;

use libverity::layer::LayerError as ConversionError;
use tonic::{Code, Status};

use super::{FilterError, SnapshotError};
use crate::containerd::chain;
use crate::containerd::layers::ActivationError;
use crate::containerd::store::StoreError;
use crate::containerd::unpack::UnpackError;
use crate::layer_device::LayerError;

impl From<SnapshotError> for Status {
    fn from(error: SnapshotError) -> Self {
        Self::new(of_snapshot(&error), chain(&error))
    }
}

impl From<UnpackError> for Status {
    fn from(error: UnpackError) -> Self {
        Self::new(of_unpack(&error), chain(&error))
    }
}

impl From<ActivationError> for Status {
    fn from(error: ActivationError) -> Self {
        Self::new(of_activation(&error), chain(&error))
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        Self::new(of_store(&error), chain(&error))
    }
}

impl From<FilterError> for Status {
    fn from(error: FilterError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn of_snapshot(error: &SnapshotError) -> Code {
    match error {
        SnapshotError::Activation(error) => of_activation(error),
        SnapshotError::Directory { source, .. } => of_disk(source),
        SnapshotError::IdMap(_)
        | SnapshotError::Immutable { .. }
        | SnapshotError::Label { .. }
        | SnapshotError::Name { .. } => Code::InvalidArgument,
        SnapshotError::Unpack(error) => of_unpack(error),
        SnapshotError::Unverified { .. } => Code::FailedPrecondition,
        SnapshotError::Store(error) => of_store(error),
        SnapshotError::Thread { .. } => Code::Internal,
    }
}

fn of_unpack(error: &UnpackError) -> Code {
    match error {
        UnpackError::Content { source, .. } => match source.code() {
            Code::Unimplemented | Code::Ok => Code::FailedPrecondition,
            code => code,
        },
        UnpackError::Conversion(
            ConversionError::BlobTooLong { .. }
            | ConversionError::BlobTooShort { .. }
            | ConversionError::LayerDigest { .. },
        ) => Code::DataLoss,
        UnpackError::Conversion(_) | UnpackError::Directory { .. } => Code::FailedPrecondition,
        UnpackError::OtherImage { .. } => Code::DataLoss,
        UnpackError::Digest(_) | UnpackError::Size { .. } => Code::InvalidArgument,
        UnpackError::Image(error) => of_disk(&error.source),
        UnpackError::Store(error) => of_store(error),
        UnpackError::Foreign { .. } | UnpackError::NotWhole { .. } | UnpackError::Thread { .. } => {
            Code::Internal
        }
    }
}

fn of_activation(error: &ActivationError) -> Code {
    match error {
        ActivationError::Layer(LayerError::Corrupt { .. } | LayerError::NotErofs { .. }) => {
            Code::DataLoss
        }
        ActivationError::DeviceMapper(_)
        | ActivationError::Layer(_)
        | ActivationError::Refused { .. } => Code::FailedPrecondition,
        ActivationError::Store(error) => of_store(error),
        ActivationError::Geometry(_) | ActivationError::Thread { .. } => Code::Internal,
    }
}

fn of_store(error: &StoreError) -> Code {
    match error {
        StoreError::Exists { .. } => Code::AlreadyExists,
        StoreError::NotFound { .. } => Code::NotFound,
        StoreError::OtherParent { .. } | StoreError::ParentNotCommitted { .. } => {
            Code::InvalidArgument
        }
        StoreError::Chain { .. }
        | StoreError::HasChildren { .. }
        | StoreError::NotActive { .. }
        | StoreError::NotForLayers { .. }
        | StoreError::NotUnpacked { .. }
        | StoreError::TooDeep { .. } => Code::FailedPrecondition,
        StoreError::LayerGone { .. } | StoreError::Unusable => Code::Unavailable,
        StoreError::Database(error) => match &**error {
            redb::Error::Io(error) => of_disk(error),
            _ => Code::Internal,
        },
        StoreError::Record { .. } | StoreError::Version { .. } => Code::Internal,
    }
}

fn of_disk(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        io::ErrorKind::ReadOnlyFilesystem => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_differ_is_never_asked_for() {
        let unimplemented = UnpackError::Content {
            layer: libverity::digest::Digest::of(b"layer"),
            source: Status::unimplemented("unknown service"),
        };
        assert_eq!(Status::from(unimplemented).code(), Code::FailedPrecondition);
    }

    #[test]
    fn causes_are_told() {
        let full = StoreError::from(redb::Error::Io(io::ErrorKind::StorageFull.into()));
        let status = Status::from(SnapshotError::from(full));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let name = "ns/1/a".to_owned();
        let status = Status::from(StoreError::HasChildren { name });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("remove"));
    }
}
