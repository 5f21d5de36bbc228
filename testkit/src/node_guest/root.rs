//! The root file system of a node, made of Debian's packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::cache::{create_directories, write};
use crate::command::{command, run};
use crate::debian::{Packages, Suite, Tree};
use crate::error::{Error, Result};
use crate::verity_image::VerityImage;

/// Returns the volume, made once and kept in the target directory.
///
/// containerd 2.1 of unstable lies in `/usr/bin`, 1.7 of Debian 13 in `/usr/lib/containerd-1.7`; runc 1.3 and crun in
/// `/usr/sbin` and `/usr/bin`, and runc 1.1, which cannot be used under a policy, in `/usr/lib/runc-1.1`.
pub(super) fn volume() -> Result<VerityImage> {
    let (sid, trixie) = (sid()?, trixie()?);
    let registry =
        Tree::unpacked("node/registry", Suite::Sid, Packages::Alone(&["docker-registry"]))?;
    let busybox = Tree::unpacked("node/busybox", Suite::Sid, Packages::Alone(&["busybox-static"]))?;
    let recipe = format!("{SID:?} {KEPT:?} {EMPTY:?} {FILES:?}");
    VerityImage::kept("node/root", &recipe, |tree| {
        for package in [&sid, &registry, &busybox] {
            run(command("cp")?.arg("-a").arg(package.root().join(".")).arg(tree))?;
        }
        for unneeded in ["usr/share", "usr/lib/containerd", "usr/lib/cni", "var", GCONV] {
            // Not every version of the packages has all of them.
            let _ = fs::remove_dir_all(tree.join(unneeded));
        }
        for (from, to) in KEPT {
            copy(&trixie.root().join(from), &tree.join(to))?;
        }
        for directory in EMPTY {
            create_directories(&tree.join(directory))?;
        }
        for (path, text) in FILES {
            write(&tree.join(path), text.as_bytes())?;
        }
        for (link, target) in
            [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")]
        {
            link_unless_there(&tree.join(link), target)?;
        }
        let busybox = tree.join("usr/bin/busybox");
        let applets = run(std::process::Command::new(busybox).arg("--list"))?;
        for applet in String::from_utf8_lossy(&applets).lines() {
            link_unless_there(&tree.join("usr/bin").join(applet), "busybox")?;
        }
        Ok(())
    })
}

/// Returns containerd 2.1, its runtimes and the C library.
pub(super) fn sid() -> Result<Tree> {
    Tree::unpacked("node/sid", Suite::Sid, Packages::WholeAll(&SID))
}

/// Returns containerd 1.7 and runc 1.1, without the C library.
pub(super) fn trixie() -> Result<Tree> {
    Tree::unpacked("node/trixie", Suite::Trixie, Packages::Alone(&["containerd", "runc"]))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    create_directories(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(Error::io(from))?;
    Ok(())
}

fn link_unless_there(link: &Path, target: &str) -> Result<()> {
    if fs::symlink_metadata(link).is_ok() {
        return Ok(());
    }
    symlink(target, link).map_err(Error::io(link))
}

/// Are taken from Debian unstable, with all that they depend on; `dmsetup` lets disks fail.
const SID: [&str; 5] = ["containerd", "crun", "dmsetup", "libgcc-s1", "runc"];

/// Are taken from Debian 13: where they lie there, and here.
const KEPT: [(&str, &str); 4] = [
    ("usr/bin/containerd", "usr/lib/containerd-1.7/containerd"),
    ("usr/bin/containerd-shim-runc-v2", "usr/lib/containerd-1.7/containerd-shim-runc-v2"),
    ("usr/bin/ctr", "usr/lib/containerd-1.7/ctr"),
    ("usr/sbin/runc", "usr/lib/runc-1.1/runc"),
];

/// Are tables of character sets, 8 MiB of them.
const GCONV: &str = "usr/lib/x86_64-linux-gnu/gconv";

/// Are directories to mount on.
const EMPTY: [&str; 17] = [
    "boot",
    "dev",
    "etc/cni",
    "etc/containerd",
    "etc/ipe",
    "etc/osguard",
    "mnt",
    "opt/osguard",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/lib/ipe",
    "usr/local/lib/ipe",
    "var",
];

const FILES: [(&str, &str); 5] = [
    ("etc/group", "root:x:0:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    // Pods get a copy.
    ("etc/resolv.conf", ""),
    (
        "etc/registry.yml",
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: '127.0.0.1:80', secret: lab}\n\
         storage: {filesystem: {rootdirectory: /srv}, maintenance: {readonly: {enabled: true}}}\n",
    ),
];
