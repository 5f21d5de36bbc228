//! The node: stock containerd on a machine that runs nothing but signed code, with osguard as its snapshotter and differ.
//!
//! The machine, its containerds, runtimes and registry are [`osguard_testkit::node_guest`]'s; containerd's configuration is
//! what `deploy/` holds.

mod chaos;
mod images;
mod load;
mod node;
mod scenes;
