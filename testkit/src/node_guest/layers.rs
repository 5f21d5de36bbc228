//! Layers of images that run in the guest.

use crate::command::find;
use crate::error::{Error, Result};
use crate::image::{TarHeader, TarMaker};

/// Makes a layer that a container can be started from: this machine's busybox, which is static, and some of its
/// programs.
pub fn busybox_layer() -> Result<Vec<u8>> {
    let path = find("busybox")?;
    let busybox = std::fs::read(&path).map_err(Error::io(&path))?;
    let mut tar = TarMaker::new();
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        tar = tar.directory(format!("{directory}/"), 0o755);
    }
    let program = TarHeader { mode: 0o755, ..TarHeader::file("bin/busybox") };
    tar = tar.entry(program, &busybox).file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    for applet in
        ["cat", "chmod", "cp", "echo", "false", "id", "ls", "sh", "sleep", "true", "touch"]
    {
        tar = tar.symlink(format!("bin/{applet}"), "busybox");
    }
    Ok(tar.finish())
}

/// Makes a layer with one file.
pub fn file_layer(name: &str, contents: &[u8]) -> Vec<u8> {
    TarMaker::new().file(name, contents).finish()
}
