//! The images that a node pulls in a benchmark, in a registry as Debian's docker-registry keeps it.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use osguard_testkit::command::{command, run};
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::image::{Compression, LayerSource, LayoutMaker};
use osguard_testkit::node_guest::{busybox_layer, file_layer};
use osguard_testkit::pki::Signer;
use serde_json::json;

use crate::Bench;

/// How large the files of `/usr` in the image `large` are together.
pub(crate) const LARGE_BYTES: u64 = 64 << 20;
/// In how many layers.
pub(crate) const LARGE_LAYERS: u64 = 4;
/// How many layers the image `many` has.
pub(crate) const MANY_LAYERS: usize = 40;

/// Is a registry with two images, whose signatures are in their manifests.
pub(crate) struct Images {
    pub(crate) registry: DockerRegistry,
    pub(crate) signer: Signer,
    /// How long the compressed layers of the image `large` are together.
    pub(crate) large_blob_bytes: usize,
}

impl Images {
    pub(crate) fn new(bench: &Bench) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let (registry, signer) = (DockerRegistry::start()?, Signer::generate("bench")?);
        let path = directory.path().join("layout");
        let mut layout = LayoutMaker::new(path.clone())?;
        let base = LayerSource::new(busybox_layer()?, Compression::Gzip)?;
        let mut large = vec![base.clone()];
        for files in system_files()? {
            large.push(LayerSource::new(archive(&files)?, Compression::Gzip)?);
        }
        let mut many = vec![base];
        for number in 1..MANY_LAYERS {
            let tar = file_layer(&format!("layer-{number}"), b"small");
            many.push(LayerSource::new(tar, Compression::Gzip)?);
        }
        let large_blob_bytes = large.iter().map(|layer| layer.blob.len()).sum();
        for (name, layers) in [("large", &large), ("many", &many)] {
            let config = json!({ "Cmd": ["/bin/true"], "Env": ["PATH=/bin"] });
            layout.image_with(("linux", "amd64"), name, layers, &config)?;
            let mut push = Command::new(&bench.osguard);
            push.args(["push", "--quiet", "--sign", "--embed", "--key"]).arg(signer.key_path());
            push.arg("--cert").arg(signer.certificate_path());
            push.arg(format!("oci:{}:{name}", path.display()));
            run(push.arg(format!("{}/{name}:v1", registry.host())))?;
        }
        Ok(Self { registry, signer, large_blob_bytes })
    }
}

/// Takes files of /usr, in the order of their names, for each of the layers.
fn system_files() -> Result<Vec<Vec<PathBuf>>, Box<dyn Error>> {
    let mut layers = vec![Vec::new(); LARGE_LAYERS as usize];
    let mut total_bytes = 0;
    let mut waiting = vec![PathBuf::from("/usr/share"), PathBuf::from("/usr/lib")];
    while let Some(path) = waiting.pop()
        && total_bytes < LARGE_BYTES
    {
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            let entries = fs::read_dir(&path)?.map(|entry| Ok(entry?.path()));
            let mut paths = entries.collect::<std::io::Result<Vec<_>>>()?;
            paths.sort_by(|one, other| other.cmp(one));
            waiting.extend(paths);
        } else if metadata.is_file() {
            layers[(total_bytes * LARGE_LAYERS / LARGE_BYTES) as usize].push(path);
            total_bytes += metadata.len();
        }
    }
    Ok(layers)
}

fn archive(files: &[PathBuf]) -> Result<Vec<u8>, Box<dyn Error>> {
    let list = tempfile::NamedTempFile::new()?;
    let names: Vec<OsString> = files.iter().map(|path| path.clone().into_os_string()).collect();
    fs::write(list.path(), names.join(&OsString::from("\n")).as_encoded_bytes())?;
    let mut tar = command("tar")?;
    tar.args(["--create", "--format=gnu", "--numeric-owner", "--absolute-names"]);
    tar.args(["--transform=s,^/,,", "--hard-dereference", "--file=-", "--files-from"]);
    Ok(run(tar.arg(list.path()))?)
}
