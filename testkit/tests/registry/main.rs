//! The registry of the tests is itself tested: byte by byte, and by the clients that people use.

mod against_distribution;
mod authentication;
mod client;
mod faults;
mod specification;
mod tls;
mod with_clients;
mod with_skopeo;
