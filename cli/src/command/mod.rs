//! The commands, one file each.

pub(crate) mod admission;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod hook;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod patch;
pub(crate) mod policy;
pub(crate) mod push;
pub(crate) mod rebase;
pub(crate) mod sign;
pub(crate) mod verify;
pub(crate) mod verity;
pub(crate) mod version;
