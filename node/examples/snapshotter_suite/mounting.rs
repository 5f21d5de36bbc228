//! Mounts as containerd makes them: by mount(2), with the options in one text (`core/mount/mount_linux.go`).

use std::ffi::CString;
use std::path::Path;

use osguard_containerd_api::types::Mount;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// Makes the mounts at a directory, which is made.
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    assert!(!mounts.is_empty());
    for wanted in mounts {
        let mut flags = MountFlags::empty();
        let mut data = Vec::new();
        for option in &wanted.options {
            match option.as_str() {
                "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
                "ro" => flags |= MountFlags::RDONLY,
                "rw" => {}
                other => data.push(other),
            }
        }
        let data = CString::new(data.join(",")).unwrap();
        let page_bytes = rustix::param::page_size();
        assert!(data.as_bytes_with_nul().len() <= page_bytes, "the options fit into a page");
        let kind = wanted.r#type.as_str();
        mount(&wanted.source, target, kind, flags, Some(data.as_c_str())).unwrap();
        if flags.contains(MountFlags::BIND | MountFlags::RDONLY) {
            // A bind mount takes no other flags when it is made.
            mount_remount(target, flags, c"").unwrap();
        }
    }
}

pub(crate) fn unmount_all(target: &Path) {
    unmount(target, UnmountFlags::empty()).unwrap();
}
