//! The guest in which the library is tried: layers on disk, the program, and a look at what is left.

use std::path::PathBuf;
use std::time::Duration;

use libverity::verity::{HashArea, Header, Parameters, TreeBuilder};
use osguard_testkit::Result;
use osguard_testkit::command::{find, run};
use osguard_testkit::pki::Signer;
use osguard_testkit::tools::ErofsUtils;
use osguard_testkit::vm::{Kernel, Outcome, Vm};
use uuid::Uuid;

/// Is an image with its tree.
pub(crate) struct Layer {
    bytes: Vec<u8>,
    data_blocks: u64,
    pub(crate) root_hash: String,
}

impl Layer {
    /// Makes a layer with a program, a file of a known text, and a file for the top layer to remove.
    pub(crate) fn bottom() -> Result<Self> {
        let busybox = std::fs::read(find("busybox")?).expect("busybox can be read");
        let payload = "payload ".repeat(4096);
        Self::of_files(&[
            ("bin/busybox", &busybox, 0o755),
            ("payload", payload.as_bytes(), 0o644),
            ("removed", b"", 0o644),
        ])
    }

    /// Makes a layer with another program.
    pub(crate) fn other() -> Result<Self> {
        let busybox = std::fs::read(find("busybox")?).expect("busybox can be read");
        Self::of_files(&[("bin/other", &busybox, 0o755)])
    }

    /// Makes a layer with the program of the bottom one and nothing else.
    pub(crate) fn program() -> Result<Self> {
        let busybox = std::fs::read(find("busybox")?).expect("busybox can be read");
        Self::of_files(&[("bin/busybox", &busybox, 0o755)])
    }

    /// Makes a layer that adds a file and removes one.
    pub(crate) fn top() -> Result<Self> {
        Self::of_files(&[("added", b"added", 0o644), (".wh.removed", b"", 0o644)])
    }

    /// Makes an image that asks for a second device, and a tree that is right for it.
    pub(crate) fn with_a_further_device() -> Result<Self> {
        let mut image = Self::top()?;
        image.bytes.truncate(image.data_blocks as usize * 4096);
        // `extra_devices` of the superblock, which lies at 1024.
        image.bytes[1024 + 86] = 1;
        Ok(Self::with_tree(image.bytes))
    }

    /// Makes what is no image at all, and a tree that is right for it.
    pub(crate) fn noise() -> Self {
        Self::with_tree(vec![0xa5; 64 * 4096])
    }

    /// Returns where the data end and the hash area starts.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_blocks * 4096
    }

    /// Returns the offset of `text` in the data.
    pub(crate) fn find(&self, text: &[u8]) -> usize {
        let mut windows = self.bytes.windows(text.len());
        windows.position(|window| window == text).expect("the text is in the image")
    }

    fn of_files(files: &[(&str, &[u8], u32)]) -> Result<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let archive = directory.path().join("layer.tar");
        let mut tar = Vec::new();
        for (path, contents, mode) in files {
            tar.extend_from_slice(&tar_header(path, contents.len(), *mode));
            tar.extend_from_slice(contents);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        std::fs::write(&archive, tar).expect("the archive is written");
        let image = directory.path().join("layer.erofs");
        run(ErofsUtils::V1_9
            .mkfs()?
            .args([
                "--tar=f",
                "--aufs",
                "--quiet",
                "-Enoinline_data",
                "-b4096",
                "-T0",
                "--mkfs-time",
            ])
            .args(["-U", "c1b9d5a2-f162-11cf-9ece-0020afc76f16"])
            .arg(&image)
            .arg(&archive))?;
        Ok(Self::with_tree(std::fs::read(&image).expect("the image can be read")))
    }

    fn with_tree(mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        let salt = "00".repeat(32).parse().expect("a salt");
        let mut builder = TreeBuilder::new(&Parameters::with_salt(salt));
        builder.update(&bytes);
        let tree = builder.finish().expect("a tree");
        let image_bytes = bytes.len() as u64;
        HashArea::append(image_bytes, &tree, Header::Superblock, Uuid::nil(), &mut bytes)
            .expect("memory takes everything");
        let data_blocks = tree.geometry().data_blocks();
        Self { bytes, data_blocks, root_hash: tree.root_hash().to_string() }
    }
}

/// Is a virtual machine with layers.
pub(crate) struct Guest {
    machine: Vm,
    prelude: String,
}

impl Guest {
    /// Prepares a machine that trusts `signer` and has the program `node`.
    pub(crate) fn new(kernel: Kernel, signer: &Signer) -> Result<Self> {
        let machine = Vm::new(kernel)
            .certificate(signer.certificate()?)
            .program(example("node"))
            .program(find("veritysetup")?)
            .time_limit(Duration::from_secs(540));
        Ok(Self { machine, prelude: PRELUDE.to_owned() })
    }

    /// Puts `layer` into the guest, signed by `signer` or not, under `/layers/NAME.json`.
    pub(crate) fn layer(
        &mut self,
        name: &str,
        layer: &Layer,
        signer: Option<&Signer>,
    ) -> Result<()> {
        let signature = signer.map(|signer| signer.sign_root_hash(&layer.root_hash)).transpose()?;
        self.signed_layer(name, layer, &signature.as_deref().into_iter().collect::<Vec<_>>());
        Ok(())
    }

    /// Puts `layer` with any signatures into the guest.
    pub(crate) fn signed_layer(&mut self, name: &str, layer: &Layer, signatures: &[&[u8]]) {
        let path = |index| format!("/layers/{name}.{index}.p7s");
        for (index, signature) in signatures.iter().enumerate() {
            self.contents(&path(index), signature);
        }
        let paths: Vec<_> = (0..signatures.len()).map(path).collect();
        let image = format!("/layers/{name}.erofs");
        self.contents(&image, &layer.bytes);
        self.description(name, &image, layer, &paths);
    }

    /// Describes `layer` under `/layers/NAME.json` as lying at `image`.
    pub(crate) fn description(
        &mut self,
        name: &str,
        image: &str,
        layer: &Layer,
        signatures: &[String],
    ) {
        let json = serde_json::json!({
            "image": image,
            "rootHash": layer.root_hash,
            "dataBlocks": layer.data_blocks,
            "signatures": signatures,
        });
        self.contents(&format!("/layers/{name}.json"), json.to_string().as_bytes());
    }

    /// Puts a file into the guest.
    pub(crate) fn contents(&mut self, path: &str, bytes: &[u8]) {
        self.machine = self.machine.clone().contents(path, bytes);
    }

    /// Sets a variable of the script.
    pub(crate) fn variable(&mut self, name: &str, value: impl std::fmt::Display) {
        self.prelude = format!("export {name}={value}\n{}", self.prelude);
    }

    /// Runs `script`.
    pub(crate) fn run(self, script: &str) -> Result<Outcome> {
        self.run_with(|machine| machine, script)
    }

    /// Runs `script` in a machine with some more.
    pub(crate) fn run_with(self, more: impl FnOnce(Vm) -> Vm, script: &str) -> Result<Outcome> {
        more(self.machine).script(self.prelude + script).run()
    }
}

/// `left` prints whatever a mount may leave behind. It starts no program, as it is called a hundred times.
const PRELUDE: &str = r#"
mkdir -p /mnt /store
mount -t tmpfs store /store
left() {
    while read -r _ place _; do
        case $place in /run/osguard/* | /mnt/*) echo "$place" ;; esac
    done < /proc/mounts
    for path in /sys/block/dm-* /sys/block/loop*/loop /run/osguard/layers/* /run/osguard/mounts/* /mnt/*; do
        [ ! -e "$path" ] || echo "$path"
    done
}
"#;

/// Finds an example beside this test: cargo builds it along.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    profile.join("examples").join(name)
}

fn tar_header(path: &str, length: usize, mode: u32) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |offset: usize, text: &str| {
        header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, path);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{length:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
