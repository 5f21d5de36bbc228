//! What osguard does on a node, as root.
//!
//! One file speaks to each interface of the kernel and has a safe face: [`loop_device`], [`dm`], [`keyring`], [`mount`],
//! [`mount_table`].

pub mod device_number;
pub mod dm;
mod fault;
pub mod kernel_log;
pub mod keyring;
pub mod loop_device;
pub mod mount;
pub mod mount_table;
pub mod probe;
pub mod table_check;
