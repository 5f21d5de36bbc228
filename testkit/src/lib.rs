//! What the tests of osguard share.

mod skip;

pub use skip::skip;
