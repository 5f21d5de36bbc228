//! What Debian's own tools make of a tree: packages of one suite, and then newer ones.

use std::fs;
use std::path::Path;

use osguard_testkit::command::{command, run};
use osguard_testkit::debian::{Package, Packages, Suite};
use osguard_testkit::image::{Compression, LayerSource};
use osguard_testkit::{Error, Result};

use crate::host::Host;

/// Makes the tree `debian` with a package of Debian 13, and `debian-fix` with a newer one in its place; returns the first as
/// a layer.
pub(crate) fn unpacked(host: &Host) -> Result<LayerSource> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing("root, for whom alone dpkg unpacks packages".to_owned()));
    }
    let packages = [Packages::Alone(&["erofs-utils", "hello"])];
    let old = Package::fetched("packages/patch-trixie", Suite::Trixie, &packages)?;
    let new = Package::fetched("packages/patch-sid", Suite::Sid, &packages)?;
    let [before, after] = ["debian", "debian-fix"].map(|name| host.path(name));
    for directory in ["info", "updates"] {
        fs::create_dir_all(before.join("var/lib/dpkg").join(directory)).expect("a directory");
    }
    fs::write(before.join("var/lib/dpkg/status"), "").expect("a file");
    unpack(&old.iter().collect::<Vec<_>>(), &before)?;
    run(command("cp")?.arg("-a").arg(&before).arg(&after))?;
    let newer: Vec<_> = new.iter().filter(|package| package.name() == "erofs-utils").collect();
    unpack(&newer, &after)?;
    let archive = host.path("debian.tar");
    run(command("tar")?.arg("-C").arg(&before).arg("-cf").arg(&archive).arg("."))?;
    LayerSource::new(fs::read(archive).expect("the archive"), Compression::Gzip)
}

/// Returns what `dpkg -l` says of the packages in a tree.
pub(crate) fn listed(root: &Path) -> Result<String> {
    let mut list = command("dpkg-query")?;
    list.arg("--admindir").arg(root.join("var/lib/dpkg")).arg("-l").env("COLUMNS", "200");
    Ok(String::from_utf8(run(list.env("LC_ALL", "C"))?).expect("text"))
}

fn unpack(packages: &[&Package], root: &Path) -> Result<()> {
    let mut unpack = command("dpkg")?;
    unpack.arg("--root").arg(root).args(["--force-depends", "--unpack"]);
    unpack.args(packages.iter().map(|package| package.file()));
    run(unpack.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")).map(drop)
}
