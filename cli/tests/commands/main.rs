//! What every command prints, changes and returns, in an environment that holds nothing else.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod admissions;
mod audits;
mod bad_input;
mod comparing;
mod comparing_rpm;
mod copying;
mod debians_registry;
mod directories;
mod environment;
mod fixtures;
mod help;
mod hooks;
mod interop;
mod keys;
mod kills;
mod layers;
mod layouts;
mod limits;
mod node_signatures;
mod nodes;
mod patching;
mod patching_in_registries;
mod patching_interrupted;
mod plugins;
mod policies;
mod policy_checks;
mod profiles;
mod pushing;
mod rebasing;
mod registries;
mod signing;
mod simulating;
mod superseding;
mod tokens;
mod trusting;
mod two_steps;
mod usage;
mod verifying;
mod verity;
mod volumes;
