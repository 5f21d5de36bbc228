//! The messages and services of containerd that osguard's node component speaks, made from the files in `proto`.
//!
//! Those files hold the fields and methods that are used, under containerd's names and numbers; unknown fields are
//! skipped, so they serve containerd 1.7 and every 2.x.

/// Types that several services share.
pub mod types {
    tonic::include_proto!("containerd.types");
}
