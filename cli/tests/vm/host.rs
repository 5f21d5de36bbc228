//! What the host prepares: signed images, policies, and a machine that has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::Result;
use osguard_testkit::command::{command, find, run};
use osguard_testkit::image::{RealImage, TarMaker, Tree, real};
use osguard_testkit::vm::{Kernel, Vm};
use tempfile::TempDir;

/// Is a directory with a key, signed policies and images.
pub(crate) struct Host {
    directory: TempDir,
    image: Option<RealImage>,
}

impl Host {
    /// Prepares a key that the machine will trust, and policies.
    pub(crate) fn new() -> Result<Self> {
        let host = Self { directory: tempfile::tempdir().expect("a directory"), image: None };
        host.osguard(&["key", "generate", "trusted"]);
        host.osguard(&["key", "generate", "foreign"]);
        host.osguard(&["key", "generate", "authority", "--ca", "--kind", "ec-p384"]);
        std::fs::create_dir(host.path("policies")).expect("a directory");
        for (name, version, key) in [
            ("1", "1.0.1", "trusted.key"),
            ("2", "1.0.2", "trusted.key"),
            ("foreign", "1.0.3", "foreign.key"),
        ] {
            let text = format!("policies/{name}.pol");
            let new = ["policy", "new", "--name", "spine", "--policy-version", version];
            host.osguard(&[&new[..], &["--boot-verified", &text]].concat());
            host.osguard(&["policy", "sign", &text, "--key", key]);
        }
        Ok(host)
    }

    /// Adds the real image, signed, and its unsigned sibling, as the layout `images`.
    pub(crate) fn with_real_image() -> Result<Self> {
        let image = real()?;
        let host = Self { image: Some(image.clone()), ..Self::new()? };
        run(command("cp")?.arg("-a").arg(&image.layout).arg(host.path("images")))?;
        assert_eq!((image.tag, image.unsigned_tag), ("real", "unsigned"), "as the script has it");
        host.osguard(&["sign", "oci:images:real", "--key", "trusted.key"]);
        host.osguard(&["verify", "oci:images:real", "--trust", "trusted.crt"]);
        host.make_volume();
        Ok(host)
    }

    /// Writes a layer beside the images as veritysetup and systemd take volumes: `volume.raw`,
    /// `volume.verity`, `volume.roothash` and `volume.roothash.p7s`. Its leaf certificate is in the
    /// signature, and the key that signed that one is trusted; `foreign.p7s` is by one that nobody trusts.
    fn make_volume(&self) {
        let tar =
            TarMaker::new().directory("./", 0o755).file("content", b"of the volume\n").finish();
        std::fs::write(self.path("volume.tar"), tar).expect("a layer");
        let build = ["layer", "build", "volume.tar", "volume", "--output", "json"];
        let output = self.command(&build).output().expect("osguard starts");
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let root_hash = facts["root_hash"].as_str().expect("a root hash");
        let image_bytes = facts["image_size_bytes"].as_u64().expect("a size") as usize;
        let volume = std::fs::read(self.path("volume")).expect("the volume");
        let write = |name: &str, contents: &[u8]| {
            std::fs::write(self.path("images").join(name), contents).expect("a file");
        };
        write("volume.raw", &volume[..image_bytes]);
        write("volume.verity", &volume[image_bytes..]);
        write("volume.roothash", root_hash.as_bytes());
        self.osguard(&[
            "key",
            "generate",
            "leaf",
            "--kind",
            "ec-p521",
            "--issuer",
            "authority.key",
        ]);
        for (key, name) in [("leaf", "volume.roothash.p7s"), ("foreign", "foreign.p7s")] {
            let at = |ending: &str| self.path(&format!("{key}.{ending}"));
            let no_passphrase = &mut || unreachable!("the key is not encrypted");
            let signer = FileSigner::open(&at("key"), &at("crt"), no_passphrase).expect("a key");
            let root_hash = root_hash.parse().expect("a root hash");
            let signature = sign_root_hash(&root_hash, &signer, Embedding::Certificate);
            write(name, &signature.expect("a signature"));
        }
    }

    /// Writes an image that points into the archive behind it, which is a further device to EROFS, beside the images:
    /// `index.raw`, `index.verity` and `index.roothash`.
    pub(crate) fn make_index_volume(&self) {
        let tar =
            TarMaker::new().directory("./", 0o755).file("content", b"of the archive\n").finish();
        std::fs::write(self.path("index.tar"), tar).expect("a layer");
        let build = ["layer", "build", "index.tar", "index", "--profile", "containerd-index-v1"];
        let output = self.command(&[&build[..], &["--output", "json"]].concat()).output();
        let facts = output.expect("osguard starts").stdout;
        let facts: serde_json::Value = serde_json::from_slice(&facts).expect("JSON");
        let root_hash = facts["root_hash"].as_str().expect("a root hash");
        let volume = std::fs::read(self.path("index")).expect("the volume");
        let hash_offset = facts["image_size_bytes"].as_u64().expect("an offset") as usize;
        for (name, contents) in [
            ("index.raw", &volume[..hash_offset]),
            ("index.verity", &volume[hash_offset..]),
            ("index.roothash", root_hash.as_bytes()),
        ] {
            std::fs::write(self.path("images").join(name), contents).expect("a file");
        }
    }

    /// Returns the tree that the real image stands for.
    pub(crate) fn tree(&self) -> &Path {
        &self.image.as_ref().expect("a host with the real image").tree
    }

    /// Returns a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs osguard in the directory; it must succeed.
    pub(crate) fn osguard(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().expect("osguard starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "osguard {arguments:?}: {error}");
    }

    /// Returns the root hashes that the signatures of an image in the layout are over.
    pub(crate) fn root_hashes(&self, tag: &str) -> Vec<String> {
        let image = format!("oci:images:{tag}");
        let output = self.command(&["inspect", &image, "--output", "json"]).output();
        let json = output.expect("osguard starts").stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let layers = json["manifests"][0]["layers"].as_array().expect("layers");
        let signatures = layers.iter().flat_map(|layer| layer["signatures"].as_array().cloned());
        let root_hash =
            |signature: serde_json::Value| signature["root_hash"].as_str().map(str::to_owned);
        signatures.flatten().filter_map(root_hash).collect()
    }

    /// Returns osguard in the directory, ready to run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osguard"));
        command.current_dir(self.directory.path()).args(arguments);
        command
    }

    /// Returns a machine that trusts these keys and has osguard, and nothing else.
    pub(crate) fn machine_with(&self, kernel: Kernel, keys: &[&str]) -> Result<Vm> {
        let mut machine = Vm::new(kernel).program(env!("CARGO_BIN_EXE_osguard"));
        for key in keys {
            let certificate = std::fs::read(self.path(&format!("{key}.crt")));
            machine = machine.certificate(certificate.expect("the certificate"));
        }
        Ok(machine)
    }

    /// Returns a machine that trusts the key and has the images, an empty disk and the policies.
    pub(crate) fn machine(&self, kernel: Kernel) -> Result<Vm> {
        let certificate = std::fs::read(self.path("trusted.crt")).expect("the certificate");
        let authority = std::fs::read(self.path("authority.crt")).expect("the certificate");
        let mut machine = Vm::new(kernel)
            .certificate(certificate)
            .certificate(authority)
            .directory_disk(self.path("images"))
            .empty_disk(1024)
            .program(env!("CARGO_BIN_EXE_osguard"))
            .program(Tree::program()?)
            .program(find("veritysetup")?)
            .time_limit(std::time::Duration::from_secs(240));
        for name in ["1", "2", "foreign"] {
            let file = format!("policies/{name}.p7b");
            machine = machine.file(&format!("/{file}"), self.path(&file));
        }
        Ok(machine)
    }
}
