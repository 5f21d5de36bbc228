//! The `osguard` command.
fn main() {}
