//! What osguard does on a node, as root: verified layers on directories, and the policy that the kernel enforces.
//!
//! One file speaks to each interface of the kernel and has a safe face: [`loop_device`], [`dm`], [`keyring`], [`mount`],
//! [`mount_table`], [`securityfs`]. Above them, [`layer_device`] turns an image file and its root hash into a device that
//! the kernel verifies, [`image_mount`] stacks such layers on a directory and takes them apart again, even after a
//! `kill -9`, [`deploy`] brings a signed policy into force, and [`host_uses`] tells beforehand what a policy would be
//! asked about, and [`generations`] which of the images that follow each other are here. [`audit_source`] and [`audit_join`] tell what the kernel denied and what that was, [`doctor`] what
//! undermines all of this, [`canary`] whether
//! the kernel enforces at this moment, and [`preflight`] what stands in the way of that.
//!
//! ```no_run
//! use osguard_node::image_mount::{self, MountOptions};
//! use osguard_node::layer_device::LayerImage;
//! use osguard_node::state_directory::StateDirectory;
//!
//! # fn layers() -> Vec<LayerImage> { Vec::new() }
//! let state = StateDirectory::default();
//! image_mount::mount(&state, &layers(), "/mnt/app".as_ref(), &MountOptions::default())?;
//! image_mount::unmount(&state, "/mnt/app".as_ref())?;
//! # Ok::<(), image_mount::ImageMountError>(())
//! ```

pub mod active_devices;
pub mod affected;
pub mod audit_join;
pub mod audit_source;
pub mod audit_watch;
pub mod boot_policy;
pub mod canary;
pub mod containerd;
pub mod deploy;
pub mod description;
pub mod device_number;
pub mod dm;
pub mod doctor;
pub mod file_facts;
pub mod fs_verity;
pub mod generations;
pub mod host_uses;
pub mod image_mount;
pub mod image_store;
pub mod kernel_log;
mod kernel_modules;
pub mod keyring;
pub mod layer_device;
pub mod loop_device;
pub mod mount;
pub mod mount_namespace;
pub mod mount_table;
mod overlay_layer;
pub mod policy_history;
pub mod preflight;
pub mod probe;
pub mod processes;
pub mod provision;
pub mod record;
pub mod running_verity;
pub mod securityfs;
pub mod state_directory;
pub mod status;
pub mod table_check;
pub mod trial;
pub mod trial_guard;
mod unit_programs;
pub mod verity_device;
pub mod verity_status;
pub mod verity_volume;
