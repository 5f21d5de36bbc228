//! Images to move and to sign.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libverity::digest::Digest;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::Error as RegistryError;
use osguard_registry::layout::Layout;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{BlobSource, Listing, Place};
use osguard_registry::tag::Tag;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Makes a layout directory with one image `v1` of so many layers, each a compressed tar of one file
/// of `layer_bytes` that does not compress.
pub(crate) fn layout(
    directory: &Path,
    layers: usize,
    layer_bytes: u64,
) -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    layout_of(
        directory,
        (0..layers).map(|layer| archive(scratch.path(), layer as u64, layer_bytes)),
    )
}

/// Is a layer in a file, compressed by gzip.
pub(crate) struct Layer {
    blob: PathBuf,
    diff_id: Digest,
}

impl Layer {
    /// Is the layer with `tar` in it, compressed to `blob`.
    pub(crate) fn of_gzip(tar: &Path, blob: PathBuf) -> io::Result<Self> {
        Ok(Self { blob, diff_id: digest_of(tar)? })
    }
}

/// Makes a layout directory with one image `v1` of these layers, whose files are gone then.
pub(crate) fn layout_of(
    directory: &Path,
    layers: impl IntoIterator<Item = Result<Layer, Box<dyn Error>>>,
) -> Result<(), Box<dyn Error>> {
    let layout = Layout::create(directory)?;
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        let Layer { blob, diff_id } = layer?;
        let descriptor = Descriptor::new(
            MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip"),
            digest_of(&blob)?,
            blob.metadata()?.len(),
        );
        layout.push_blob(&descriptor, &FileBlob(blob.clone()))?;
        std::fs::remove_file(blob)?;
        descriptors.push(descriptor);
        diff_ids.push(diff_id);
    }
    push_image(&layout, &descriptors, &diff_ids, &"v1".parse()?)?;
    Ok(())
}

/// Stores configuration and manifest of an image whose layers are there.
pub(crate) fn push_image(
    place: &dyn Place,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    tag: &Tag,
) -> Result<Manifest, Box<dyn Error>> {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
    place.push_blob(&descriptor, &config.as_slice())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor, "layers": layers,
    });
    let manifest = Manifest::parse(None, manifest.to_string().into_bytes())?;
    place.push_manifest(&manifest, Listing::Tag(tag))?;
    Ok(manifest)
}

/// Makes a layer of one file of `bytes` that does not compress.
fn archive(scratch: &Path, seed: u64, bytes: u64) -> Result<Layer, Box<dyn Error>> {
    let content = scratch.join("content");
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(&content)?);
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (seed + 1);
    for _ in 0..bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        writer.write_all(&state.to_le_bytes())?;
    }
    writer.into_inner()?;
    let tar = scratch.join("layer.tar");
    let deterministic = ["--format=gnu", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
    run(Command::new("tar")
        .arg("-C")
        .arg(scratch)
        .args(deterministic)
        .arg("-cf")
        .arg(&tar)
        .arg("content"))?;
    let blob = scratch.join("layer.tar.gz");
    run(Command::new("gzip").args(["-1", "-n", "-c"]).arg(&tar).stdout(File::create(&blob)?))?;
    Ok(Layer::of_gzip(&tar, blob)?)
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    match command.stdin(Stdio::null()).status()?.success() {
        true => Ok(()),
        false => Err(format!("{command:?} has failed").into()),
    }
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

struct FileBlob(PathBuf);

impl BlobSource for FileBlob {
    fn open(&self) -> Result<Box<dyn Read + '_>, RegistryError> {
        match File::open(&self.0) {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(RegistryError::Io {
                action: "open",
                object: self.0.display().to_string(),
                source,
            }),
        }
    }
}
