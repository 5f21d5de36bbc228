//! The messages and services of containerd that osguard's node component speaks, made from the files in `proto`.
//!
//! Those files hold the fields and methods that are used, under containerd's names and numbers; unknown fields are
//! skipped, so they serve containerd 1.7 and every 2.x.

/// Types that several services share.
pub mod types {
    tonic::include_proto!("containerd.types");
}

/// Kubernetes' Container Runtime Interface, for the tests.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// The services.
pub mod services {
    /// Where containerd keeps blobs; only what reads them.
    pub mod content {
        /// The only version.
        pub mod v1 {
            tonic::include_proto!("containerd.services.content.v1");
        }
    }

    /// Unpacking layers.
    pub mod diff {
        /// The only version.
        pub mod v1 {
            tonic::include_proto!("containerd.services.diff.v1");
        }
    }

    /// Which images there are; only what lists them.
    pub mod images {
        /// The only version.
        pub mod v1 {
            tonic::include_proto!("containerd.services.images.v1");
        }
    }

    /// What keeps clients apart; only what lists them.
    pub mod namespaces {
        /// The only version.
        pub mod v1 {
            tonic::include_proto!("containerd.services.namespaces.v1");
        }
    }

    /// The file systems of containers and the layers below them.
    pub mod snapshots {
        /// The only version.
        pub mod v1 {
            tonic::include_proto!("containerd.services.snapshots.v1");
        }
    }
}
