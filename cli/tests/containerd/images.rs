//! The images of the tests, in a registry as Debian's docker-registry keeps it.

use std::path::{Path, PathBuf};
use std::process::Command;

use osguard_testkit::command::{command, run};
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker};
use osguard_testkit::node_guest::{busybox_layer, file_layer};
use osguard_testkit::pki::Signer;
use osguard_testkit::{Result, digest};
use serde_json::json;
use tempfile::TempDir;

/// Is a registry with the images, and what else of them goes into the machine.
pub(crate) struct Images {
    pub(crate) registry: DockerRegistry,
    /// What the kernel will trust.
    pub(crate) signer: Signer,
    directory: TempDir,
}

impl Images {
    /// Makes and pushes the images; all have the layer with busybox below.
    ///
    /// | image | layers above | signed |
    /// | --- | --- | --- |
    /// | `app` | `hello` | by referrers |
    /// | `twin` | the same | not at all |
    /// | `embedded` | `embedded` | in its manifest |
    /// | `app:v2` | those of `app`, and a patch with another `hello` | by referrers |
    /// | `local` | `local` | by a file of [`Images::local_signature`] |
    /// | `wrong` | the same, under another diffID | by the same file |
    /// | `many` | 39 small ones, some plain, some zstd | in its manifest |
    /// | `large` | 256 KiB of data | by referrers |
    /// | `unsigned` | `unsigned` | but for the one with busybox, not at all |
    /// | `port` | `port` | by referrers |
    /// | `foreign` | `foreign` | by somebody whom the kernel does not know |
    /// | `pause` | none | by referrers |
    pub(crate) fn new() -> Result<Self> {
        let images = Self::none()?;
        let foreign = Signer::generate("nobody knows")?;
        images.make()?;
        for name in ["app", "large", "pause", "port"] {
            images.push(name, Some(&images.signer), &[])?;
        }
        images.patch()?;
        for name in ["embedded", "many"] {
            images.push(name, Some(&images.signer), &["--embed"])?;
        }
        images.push("foreign", Some(&foreign), &[])?;
        for name in ["twin", "local", "unsigned"] {
            images.push(name, None, &[])?;
        }
        // osguard does not send what is not what it says.
        run(command("skopeo")?
            .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:wrong", images.path("layout").display()))
            .arg(format!("docker://{}/wrong:v1", images.registry.host())))?;
        images.archive_of("embedded")?;
        Ok(images)
    }

    /// Makes and pushes images `load-1` and so on, signed in their manifests, each with layers of its own above busybox.
    pub(crate) fn many(count: usize, layers: usize) -> Result<Self> {
        let images = Self::none()?;
        let mut layout = LayoutMaker::new(images.path("layout"))?;
        let base = LayerSource::new(busybox_layer()?, Compression::Gzip)?;
        for image in 1..=count {
            let name = format!("load-{image}");
            let own = (1..=layers).map(|layer| {
                let text = format!("{layer} of {name}");
                LayerSource::new(
                    file_layer(&format!("layer-{layer}"), text.as_bytes()),
                    Compression::Gzip,
                )
            });
            let layers = [vec![base.clone()], own.collect::<Result<_>>()?].concat();
            let config = json!({ "Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"] });
            layout.image_with(("linux", "amd64"), &name, &layers, &config)?;
            images.push(&name, Some(&images.signer), &["--embed"])?;
        }
        images.archive_of("load-1")?;
        Ok(images)
    }

    fn none() -> Result<Self> {
        Ok(Self {
            registry: DockerRegistry::start()?,
            signer: Signer::generate("node")?,
            directory: tempfile::tempdir().expect("a directory"),
        })
    }

    fn archive_of(&self, name: &str) -> Result<()> {
        let image = format!("{}/{name}:v1", self.registry.host());
        self.osguard(&["copy", &image, "oci-archive:archive.tar:imported"]).map(drop)
    }

    fn make(&self) -> Result<()> {
        let mut layout = LayoutMaker::new(self.path("layout"))?;
        let base = LayerSource::new(busybox_layer()?, Compression::Gzip)?;
        let layer = |name: &str, kind| {
            LayerSource::new(file_layer(name, format!("of {name}\n").as_bytes()), kind)
        };
        let local = layer("local", Compression::Gzip)?;
        let wrong = LayerSource { diff_id: digest::sha256(b"another"), ..local.clone() };
        std::fs::write(self.path("local.tar"), file_layer("local", b"of local\n")).expect("a file");
        let data: Vec<u8> = (0..1_u32 << 16).flat_map(|number| number.to_le_bytes()).collect();
        let large = LayerSource::new(file_layer("data", &data), Compression::Plain)?;
        let many = (1..40).map(|number| {
            let kinds = [Compression::Gzip, Compression::Plain, Compression::Zstd];
            layer(&format!("layer-{number}"), kinds[number % 3])
        });
        let hello = layer("hello", Compression::Zstd)?;
        for (name, above) in [
            ("app", vec![hello.clone()]),
            ("twin", vec![hello]),
            ("embedded", vec![layer("embedded", Compression::Gzip)?]),
            ("local", vec![local]),
            ("wrong", vec![wrong]),
            ("many", many.collect::<Result<Vec<_>>>()?),
            ("large", vec![large]),
            ("unsigned", vec![layer("unsigned", Compression::Gzip)?]),
            ("foreign", vec![layer("foreign", Compression::Gzip)?]),
            ("port", vec![layer("port", Compression::Gzip)?]),
            ("pause", vec![]),
        ] {
            let layers = [vec![base.clone()], above].concat();
            let entrypoint = match name {
                "pause" => json!(["/bin/sleep", "1000000"]),
                "app" | "twin" => json!(["/bin/cat", "/hello"]),
                _ => json!(["/bin/cat", format!("/{name}")]),
            };
            // The label keeps images of the same layers apart.
            let config =
                json!({ "Cmd": entrypoint, "Env": ["PATH=/bin"], "Labels": { "name": name } });
            layout.image_with(("linux", "amd64"), name, &layers, &config)?;
        }
        Ok(())
    }

    fn push(&self, name: &str, signer: Option<&Signer>, options: &[&str]) -> Result<()> {
        let (from, to) =
            (format!("oci:layout:{name}"), format!("{}/{name}:v1", self.registry.host()));
        let files = signer.map(|signer| [signer.key_path(), signer.certificate_path()]);
        let files = files.map(|files| files.map(|file| file.display().to_string()));
        let mut arguments = vec!["push", &from, &to];
        if let Some([key, certificate]) = &files {
            arguments.extend(["--sign", "--key", key, "--cert", certificate]);
        }
        arguments.extend(options);
        self.osguard(&arguments).map(drop)
    }

    fn patch(&self) -> Result<()> {
        std::fs::create_dir(self.path("patch")).expect("a directory");
        std::fs::write(self.path("patch/hello"), "of the patch\n").expect("a file");
        let image = format!("{}/app:v1", self.registry.host());
        let [key, certificate] = [self.signer.key_path(), self.signer.certificate_path()]
            .map(|file| file.display().to_string());
        let patch = ["patch", &image, "--tag", "v2", "--add", "patch", "--owner", "0:0"];
        let signing = ["--trust", &certificate, "--sign", "--key", &key, "--cert", &certificate];
        self.osguard(&[&patch[..], &signing].concat()).map(drop)
    }

    /// Returns the root hash and the signature of the layer of `local`.
    pub(crate) fn local_signature(&self) -> Result<(String, Vec<u8>)> {
        // As a stock containerd computes it, the root hash is of the blob: that is what was pushed.
        let layout = LayerSource::new(file_layer("local", b"of local\n"), Compression::Gzip)?;
        std::fs::write(self.path("local.tar.gz"), &layout.blob).expect("a file");
        let built =
            self.osguard(&["layer", "build", "local.tar.gz", "local.erofs", "--output", "json"])?;
        let facts: serde_json::Value = serde_json::from_slice(&built).expect("JSON");
        let root_hash = facts["root_hash"].as_str().expect("a root hash").to_owned();
        let signature = self.signer.sign_root_hash(&root_hash)?;
        Ok((root_hash, signature))
    }

    /// Returns one of the images as an archive for `ctr images import`.
    pub(crate) fn archive(&self) -> Vec<u8> {
        std::fs::read(self.path("archive.tar")).expect("the archive")
    }

    fn osguard(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let directory = self.directory.path();
        run(Command::new(osguard()).current_dir(directory).env("HOME", directory).args(arguments))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Returns the program that is tested.
pub(crate) fn osguard() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_osguard"))
}
