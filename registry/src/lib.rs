//! OCI images wherever they lie, and their signature artifacts.

pub mod reference;
