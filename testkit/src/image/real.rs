//! An image as users have it, made of Debian packages by Debian's own tools.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::apply::apply;
use crate::cache::{create_directories, made_once, write};
use crate::command::{command, run};
use crate::debian::{Packages, Suite, Tree};
use crate::error::{Error, Result};

/// Is an image of five layers in an `oci:` directory, and one beside it that stays unsigned.
///
/// | Layer | By | Holds |
/// | --- | --- | --- |
/// | 0, zstd | umoci, skopeo | a C library, coreutils, static busybox, `hello`, setuid programs |
/// | 1, gzip | umoci | perl and the time zones: 2,800 entries, hard links, symlinks |
/// | 2, gzip | umoci | whiteouts of a file and a directory, a changed mode, a file capability, a file of 68 MiB |
/// | 3, gzip | GNU tar | an opaque directory; the marker comes before the directory, its parents are missing |
/// | 4, gzip | GNU tar, as PAX | names that are not UTF-8, long ones, times with a fraction, extended attributes, a device, a fifo, hard links, one more whiteout; an entry for every directory that layers 2 and 3 left out |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RealImage {
    /// The layout directory.
    pub layout: PathBuf,
    /// The tag of the image.
    pub tag: &'static str,
    /// The tag of the image that nobody signs; its program is [`RealImage::UNSIGNED_PROGRAM`].
    pub unsigned_tag: &'static str,
    /// The layers of the image, lowest first.
    pub layers: Vec<RealLayer>,
    /// The tree that they make, by GNU tar and the rules for whiteouts.
    pub tree: PathBuf,
}

/// Is one layer of [`RealImage`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RealLayer {
    /// The compressed blob.
    pub blob: PathBuf,
    /// The tar.
    pub tar: PathBuf,
}

impl RealImage {
    /// Prints `Hello, world!`; needs the image's C library.
    pub const PROGRAM: &str = "/usr/bin/hello";
    /// Is a static program of layer 0, to be run from a mount of that layer alone.
    pub const STATIC_PROGRAM: &str = "/usr/bin/busybox";
    /// Is a static program, the only one in the unsigned image.
    pub const UNSIGNED_PROGRAM: &str = "/usr/bin/unsigned-busybox";

    /// Returns the image as commands name it: `oci:DIRECTORY:TAG`.
    pub fn reference(&self) -> String {
        format!("oci:{}:{}", self.layout.display(), self.tag)
    }

    /// Returns the unsigned image as commands name it.
    pub fn unsigned_reference(&self) -> String {
        format!("oci:{}:{}", self.layout.display(), self.unsigned_tag)
    }
}

/// Returns the real image, which is made once and kept in the target directory. A test that writes
/// to the layout copies it before.
///
/// # Errors
///
/// [`Error::Missing`] without root, without umoci or skopeo, or without a mirror of Debian.
pub fn real() -> Result<RealImage> {
    let directory = made_once("testimage", include_str!("real.rs"), make)?;
    let layout = directory.join("layout");
    let blobs = blobs(&layout, TAG)?;
    let layers = (0..)
        .zip(blobs)
        .map(|(number, blob)| RealLayer { blob, tar: tar(&directory, number) })
        .collect();
    Ok(RealImage {
        layout,
        tag: TAG,
        unsigned_tag: UNSIGNED_TAG,
        layers,
        tree: directory.join("tree"),
    })
}

fn make(directory: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing(
            "root, who alone may make an image of files with owners".to_owned(),
        ));
    }
    let layout = directory.join("layout");
    let workshop = Workshop::new()?;
    let tars = workshop.layers()?;

    // umoci knows no zstd, and skopeo compresses whole images: so the lowest layer comes first.
    let lowest = workshop.image("lowest");
    run(command("skopeo")?
        .args(["copy", "--quiet", "--insecure-policy", "--dest-compress-format", "zstd"])
        .arg(format!("oci:{lowest}"))
        .arg(format!("oci:{}:{TAG}", layout.display())))?;
    for (number, made) in tars.iter().enumerate() {
        let kept = tar(directory, number);
        fs::copy(made, &kept).map_err(Error::io(&kept))?;
        if number > 0 {
            umoci(&["raw", "add-layer", "--image", &format!("{}:{TAG}", layout.display())], made)?;
        }
        apply(&kept, &directory.join("tree"))?;
    }
    run(command("umoci")?
        .args(["config", "--image", &format!("{}:{TAG}", layout.display())])
        .args(["--config.cmd", RealImage::PROGRAM, "--os", "linux", "--architecture", "amd64"]))?;

    workshop.unsigned_image(&format!("{}:{UNSIGNED_TAG}", layout.display()))
}

/// Is where the layers are made.
struct Workshop {
    directory: tempfile::TempDir,
    packages: [Tree; 2],
}

impl Workshop {
    fn new() -> Result<Self> {
        let unpacked = |number: usize, names| {
            let name = format!("testimage-packages-{number}");
            Tree::unpacked(&name, Suite::Trixie, Packages::Alone(names))
        };
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        Ok(Self { directory, packages: [unpacked(0, &SYSTEM)?, unpacked(1, &MANY_FILES)?] })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.at("layout").display())
    }

    /// Returns the tars of all layers; an image of layer 0 alone is tagged `lowest`.
    fn layers(&self) -> Result<Vec<PathBuf>> {
        self.layers_by_umoci()?;
        let mut tars = Vec::new();
        for (number, blob) in blobs(&self.at("layout"), "all")?.iter().enumerate() {
            let path = tar(self.directory.path(), number);
            write(&path, &run(command("gzip")?.args(["--decompress", "--stdout"]).arg(blob))?)?;
            tars.push(path);
        }
        let opaque = tar(self.directory.path(), tars.len());
        self.opaque_layer(&opaque)?;
        tars.push(opaque);
        let highest = tar(self.directory.path(), tars.len());
        self.highest_layer(&highest)?;
        tars.push(highest);
        Ok(tars)
    }

    /// Makes the layers 0 to 2.
    fn layers_by_umoci(&self) -> Result<()> {
        let (image, bundle) = (self.image("all"), self.at("bundle"));
        run(command("umoci")?.arg("init").arg("--layout").arg(self.at("layout")))?;
        umoci(&["new", "--image", &image], "")?;
        umoci(&["unpack", "--image", &image], &bundle)?;
        let root = bundle.join("rootfs");
        let repack = || umoci(&["repack", "--refresh-bundle", "--image", &image], &bundle);

        copy(self.packages[0].root(), &root)?;
        repack()?;
        umoci(&["tag", "--image", &image, "lowest"], "")?;

        copy(self.packages[1].root(), &root)?;
        repack()?;

        let remove = fs::remove_dir_all(root.join("usr/share/doc/coreutils"))
            .and_then(|()| fs::remove_file(root.join("usr/share/zoneinfo/Europe/Paris")));
        remove.map_err(Error::io(&root))?;
        run(command("chmod")?.arg("0750").arg(root.join("usr/share/perl/5.40.1/strict.pm")))?;
        run(command("setcap")?.arg("cap_net_raw+ep").arg(root.join("usr/bin/ping")))?;
        create_directories(&root.join("opt/large"))?;
        large_file(&root.join("opt/large/blocks"))?;
        repack()
    }

    /// Makes layer 3.
    fn opaque_layer(&self, path: &Path) -> Result<()> {
        let root = self.at("opaque");
        let directory = "usr/share/zoneinfo/Antarctica";
        let names = [".wh..wh..opq", "", "Troll"].map(|name| format!("{directory}/{name}"));
        create_directories(&root.join(directory))?;
        write(&root.join(&names[0]), b"")?;
        write(&root.join(&names[2]), b"the only one left\n")?;
        run(command("tar")?
            .args(["--create", "--format=gnu", "--numeric-owner", "--no-recursion", "--file"])
            .arg(path)
            .arg("--directory")
            .arg(&root)
            .args(names))?;
        Ok(())
    }

    /// Makes the image that nobody signs.
    fn unsigned_image(&self, image: &str) -> Result<()> {
        let bundle = self.at("unsigned");
        let program = Path::new(RealImage::UNSIGNED_PROGRAM).strip_prefix("/").unwrap_or(&bundle);
        let program = bundle.join("rootfs").join(program);
        umoci(&["new", "--image", image], "")?;
        umoci(&["unpack", "--image", image], &bundle)?;
        create_directories(program.parent().unwrap_or(&bundle))?;
        fs::copy(self.packages[0].root().join("usr/bin/busybox"), &program)
            .map_err(Error::io(&program))?;
        umoci(&["repack", "--image", image], &bundle)
    }

    /// Makes layer 4.
    fn highest_layer(&self, path: &Path) -> Result<()> {
        let (root, lower) = (self.at("highest"), self.at("bundle").join("rootfs"));
        let below = |name: &[u8]| root.join(OsStr::from_bytes(name));
        create_directories(&root)?;
        for directory in REPEATED {
            create_directories(&below(directory.as_bytes()))?;
        }
        for directory in REPEATED {
            for program in ["chmod", "chown", "touch"] {
                run(command(program)?
                    .arg("--reference")
                    .arg(lower.join(directory))
                    .arg(below(directory.as_bytes())))?;
            }
        }
        let odd = "srv/odd";
        create_directories(&below(odd.as_bytes()))?;
        let long = format!("{odd}/{}", "a long name ".repeat(20));
        let deep = format!("{odd}/{}", "deep/".repeat(60));
        create_directories(&below(deep.as_bytes()))?;
        let names: [&[u8]; 6] = [
            b"srv/odd/latin-1-\xe9t\xe9",
            b"srv/odd/\xff\xfe\x80",
            b"srv/odd/new\nline and \\ backslash",
            b"srv/odd/.wh",
            &[deep.as_bytes(), b"file"].concat(),
            long.as_bytes(),
        ];
        for name in names {
            let path = below(name);
            fs::write(&path, name).map_err(Error::io(&path))?;
        }
        let first = below(names[0]);
        let link = fs::hard_link(&first, below(b"srv/odd/hard-\xe9"))
            .and_then(|()| fs::hard_link(&first, below(b"srv/odd/third")))
            .and_then(|()| symlink(OsStr::from_bytes(names[1]), below(b"srv/odd/link")))
            .and_then(|()| fs::write(below(b"etc/.wh.debian_version"), b""));
        link.map_err(Error::io(&root))?;
        let attributes = [("user.note", "any value"), ("trusted.note", "0x00ff00")];
        for (attribute, value) in attributes {
            run(command("setfattr")?.args(["-n", attribute, "-v", value]).arg(&first))?;
        }
        run(command("setfattr")?.args(["-n", "user.directory", "-v", "1"]).arg(below(b"srv/odd")))?;
        run(command("mknod")?
            .args(["-m", "0666"])
            .arg(below(b"srv/odd/null"))
            .args(["c", "1", "3"]))?;
        run(command("mknod")?.arg(below(b"srv/odd/fifo")).arg("p"))?;
        run(command("chown")?
            .args(["--no-dereference", "70000:4000000000"])
            .args([below(names[1]), below(b"srv/odd/link")]))?;
        for (time, name) in [("@1000000000.123456789", names[0]), ("@5000000000.5", names[1])] {
            run(command("touch")?.args(["--no-dereference", "--date", time]).arg(below(name)))?;
        }
        run(command("tar")?
            .args(["--create", "--format=posix", "--xattrs", "--xattrs-include=*"])
            .args(["--numeric-owner", "--sort=name", "--file"])
            .arg(path)
            .arg("--directory")
            .arg(&root)
            .arg("."))?;
        Ok(())
    }
}

/// Runs umoci with one more argument, unless that is empty.
fn umoci(arguments: &[&str], last: impl AsRef<OsStr>) -> Result<()> {
    let mut umoci = command("umoci")?;
    umoci.args(arguments);
    if !last.as_ref().is_empty() {
        umoci.arg(last);
    }
    run(&mut umoci).map(drop)
}

/// Copies a tree over another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = command("cp")?;
    copy.args(["--archive", "--no-target-directory"]);
    // The dot follows a link that the target directory may be reached by.
    run(copy.arg(from.join(".")).arg(to)).map(drop)
}

/// Writes 68 MiB of blocks that are all different, and compress well.
fn large_file(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
    for block in 0..68 * 256_u32 {
        file.write_all(&block.to_le_bytes().repeat(1024)).map_err(Error::io(path))?;
    }
    file.flush().map_err(Error::io(path))
}

/// Returns the blobs of an image's layers, lowest first.
fn blobs(layout: &Path, tag: &str) -> Result<Vec<PathBuf>> {
    let read = |path: &Path| -> Result<Value> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::unexpected(path.display(), error))
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default().replace(':', "/");
        layout.join("blobs").join(digest)
    };
    let index = read(&layout.join("index.json"))?;
    let manifests = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
    let manifest = manifests
        .iter()
        .find(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .ok_or_else(|| Error::unexpected(layout.display(), format!("has no tag {tag}")))?;
    let manifest = read(&blob(manifest))?;
    Ok(manifest["layers"].as_array().map_or(&[][..], Vec::as_slice).iter().map(blob).collect())
}

fn tar(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("layer-{number}.tar"))
}

const TAG: &str = "real";
const UNSIGNED_TAG: &str = "unsigned";

/// Are the packages of layer 0.
const SYSTEM: [&str; 21] = [
    "base-files",
    "busybox-static",
    "coreutils",
    "dash",
    "hello",
    "iputils-ping",
    "libacl1",
    "libattr1",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libgmp10",
    "libpam0g",
    "libpcre2-8-0",
    "libselinux1",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "passwd",
    "zlib1g",
    "mawk",
];

/// Are the packages of layer 1.
const MANY_FILES: [&str; 3] = ["perl-base", "perl-modules-5.40", "tzdata"];

/// Are the directories that layers 2 and 3 change something in, and have no entry for. How such a
/// directory looks differs between runtimes, so layer 4 names them again.
const REPEATED: [&str; 8] = [
    ".",
    "etc",
    "usr",
    "usr/bin",
    "usr/share",
    "usr/share/perl",
    "usr/share/perl/5.40.1",
    "usr/share/zoneinfo",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image;
    use crate::or_skip;

    #[test]
    fn has_everything_that_is_hard() {
        let Some(real) = or_skip(real()) else { return };
        let tree = image::Tree::of(&real.tree).unwrap();
        let printed = tree.print();
        let has = |text: &str| assert!(printed.contains(text), "no {text}");
        assert!(tree.paths().count() > 4_000, "{}", tree.paths().count());
        assert_eq!(real.layers.len(), 5);
        has("usr/bin/hello file ");
        has(" links=2 first=usr/bin/perl ");
        has("usr/bin/ping file size=156136");
        has(" security.capability=\\x01\\x00\\x00\\x02\\x00\\x20");
        has(" 4755 0:0 ");
        has("opt/large/blocks file size=71303168 ");
        has("srv/odd/latin-1-\\xe9t\\xe9 file size=19 ");
        has(" 1000000000.123456789 trusted.note=\\x00\\xff\\x00 user.note=any\\x20value");
        has("srv/odd/link symlink target=srv/odd/\\xff\\xfe\\x80 0777 70000:4000000000 ");
        has("srv/odd/null character 1:3 0666 ");
        has("usr/share/zoneinfo/Antarctica/Troll file size=18 ");
        for gone in [
            "etc/debian_version",
            "usr/share/doc/coreutils",
            "usr/share/zoneinfo/Antarctica/Vostok",
            "usr/share/zoneinfo/Europe/Paris",
        ] {
            assert!(!printed.lines().any(|line| line.starts_with(gone)), "{gone} is still there");
        }
        let magic = |layer: &RealLayer| fs::read(&layer.blob).unwrap()[..4].to_vec();
        let magics: Vec<_> = real.layers.iter().map(magic).collect();
        assert_eq!(magics[0], *b"\x28\xb5\x2f\xfd", "zstd");
        assert!(magics[1..].iter().all(|magic| magic.starts_with(b"\x1f\x8b")), "gzip");
    }

    #[test]
    fn its_configuration_names_the_digests_of_its_tars() {
        let Some(real) = or_skip(real()) else { return };
        let mut inspect = command("skopeo").unwrap();
        let inspect = inspect.args(["inspect", "--config", "--raw", &real.reference()]);
        let configuration: Value = serde_json::from_slice(&run(inspect).unwrap()).unwrap();
        assert_eq!(configuration["config"]["Cmd"][0], RealImage::PROGRAM);
        let diff_id = |layer: &RealLayer| {
            let sum = run(command("sha256sum").unwrap().arg(&layer.tar)).unwrap();
            format!("sha256:{}", String::from_utf8_lossy(&sum[..64]))
        };
        let diff_ids: Vec<_> = real.layers.iter().map(diff_id).collect();
        assert_eq!(configuration["rootfs"]["diff_ids"], serde_json::json!(diff_ids));
    }

    #[test]
    fn every_directory_is_named_where_it_was_last_changed() {
        let Some(real) = or_skip(real()) else { return };
        let mut last_change_is_named = BTreeMap::new();
        for layer in &real.layers {
            let list = run(command("tar").unwrap().arg("--list").arg("--file").arg(&layer.tar));
            let list = String::from_utf8(list.unwrap()).unwrap();
            let mut directories = BTreeMap::new();
            for name in list.lines() {
                let name = name.trim_start_matches("./");
                if let Some(directory) = name.strip_suffix('/') {
                    directories.insert(directory, true);
                }
                for (slash, _) in name.trim_end_matches('/').match_indices('/') {
                    directories.entry(&name[..slash]).or_insert(false);
                }
            }
            for (directory, named) in directories {
                last_change_is_named.insert(directory.to_owned(), named);
            }
        }
        last_change_is_named.retain(|_, named| !*named);
        assert!(last_change_is_named.is_empty(), "{last_change_is_named:?}");
    }
}
