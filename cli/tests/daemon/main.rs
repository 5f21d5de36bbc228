//! The node's daemon as containerd sees it: a process and a socket. What needs devices is tested in a virtual machine.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod content;
mod cycles;
mod daemon;
mod faults;
mod generations;
mod interrupted;
mod layers;
mod memory;
mod refused;
mod registries;
mod snapshots;
mod status;
mod unpacked;

/// Returns the program that is tested.
fn program() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_osguard"))
}
