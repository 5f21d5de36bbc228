//! The node's daemon as containerd sees it: a process and a socket. What needs devices is tested in a virtual machine.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod content;
mod daemon;
mod generations;
mod interrupted;
mod layers;
mod refused;
mod registries;
mod snapshots;
mod status;
mod unpacked;
