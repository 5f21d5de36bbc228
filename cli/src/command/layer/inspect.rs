//! `osguard layer inspect`.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::RootHash;
use libverity::layer::{HashAreaFault, HashedFile, LayerFile, LayerFileError, Mode};
use libverity::verity::Superblock;
use serde::Serialize;
use uuid::Uuid;

use super::tree::Tree;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what is in a layer's image, and whether image and hash tree are whole
///
/// The root hash is worked out anew from the image; whoever signed it, or whether anybody did, does
/// not show here.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image file, as `osguard layer build` writes it
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// List all files
    #[arg(long)]
    tree: bool,
}

#[derive(Serialize)]
struct InspectReport<'a> {
    image: PathBuf,
    mode: &'static str,
    uuid: Uuid,
    block_size_bytes: u32,
    hash_offset_bytes: u64,
    inodes: u64,
    /// What the check counted, if nothing is wrong with the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_size_bytes: Option<u64>,
    /// What is wrong with the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_fault: Option<String>,
    root_hash: RootHash,
    hash_area: HashAreaReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<Tree<'a, File>>,
}

#[derive(Serialize)]
struct HashAreaReport {
    state: HashAreaState,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// What the superblock says, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    superblock: Option<SuperblockReport>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum HashAreaState {
    Absent,
    Faulty,
    Whole,
}

#[derive(Serialize)]
struct SuperblockReport {
    uuid: Uuid,
    hash_type: u32,
    hash_algorithm: &'static str,
    data_blocks: u64,
    data_block_size_bytes: u32,
    hash_block_size_bytes: u32,
    salt: String,
}

impl Report for InspectReport<'_> {
    const SCHEMA: &'static str = "osguard.layer.inspect.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image:         {}", self.image.display())?;
        writeln!(out, "Root hash:     {}", self.root_hash)?;
        writeln!(out, "Mode:          {}", self.mode)?;
        writeln!(out, "UUID:          {}", self.uuid)?;
        writeln!(out, "Block size:    {} bytes", self.block_size_bytes)?;
        writeln!(out, "Hash offset:   {} bytes, {} files", self.hash_offset_bytes, self.inodes)?;
        match (&self.image_fault, self.names, self.content_size_bytes) {
            (Some(fault), ..) => writeln!(out, "Structure:     FAULTY: {fault}")?,
            (None, Some(names), Some(bytes)) => {
                writeln!(out, "Structure:     whole, {names} names, {bytes} bytes of content")?;
            }
            _ => {}
        }
        match (self.hash_area.state, &self.hash_area.fault) {
            (HashAreaState::Absent, _) => writeln!(out, "Hash area:     none")?,
            (HashAreaState::Whole, _) => {
                writeln!(out, "Hash area:     whole, with the parameters of the profiles")?;
            }
            (HashAreaState::Faulty, fault) => {
                let fault = fault.as_deref().unwrap_or_default();
                writeln!(out, "Hash area:     FAULTY: {fault}")?;
            }
        }
        if let Some(superblock) = &self.hash_area.superblock {
            writeln!(
                out,
                "Superblock:    {} type {}, {} data blocks of {} bytes, hash blocks of {} bytes",
                superblock.hash_algorithm,
                superblock.hash_type,
                superblock.data_blocks,
                superblock.data_block_size_bytes,
                superblock.hash_block_size_bytes,
            )?;
            writeln!(out, "Salt:          {}", superblock.salt)?;
        }
        if let Some(tree) = &self.tree {
            writeln!(out)?;
            tree.text(out)?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.image;
    let failed = |error: LayerFileError| {
        Failure::from_error(ExitStatus::Failure, error).context(path.display())
    };
    let file = File::open(path).map_err(|error| Failure::reading(path, error))?;
    let layer = LayerFile::open(file).map_err(failed)?;
    let facts = layer.image().facts();
    let label = path.display().to_string();
    let mut data =
        output.progress().reading(&label, layer.hash_offset_bytes(), layer.data().map_err(failed)?);
    let HashedFile { root_hash, hash_area } = layer.hash(&mut data).map_err(failed)?;

    let checked = layer.image().check();
    let (names, content_size_bytes) =
        checked.as_ref().ok().map(|checked| (checked.names, checked.content_bytes)).unzip();
    let image_fault = checked.err().map(|error| format!("{:#}", anyhow::Error::from(error)));
    let report = InspectReport {
        image: path.clone(),
        mode: mode_name(layer.mode()),
        uuid: facts.uuid,
        block_size_bytes: facts.block_bytes,
        hash_offset_bytes: layer.hash_offset_bytes(),
        inodes: facts.inodes,
        names,
        content_size_bytes,
        image_fault,
        root_hash,
        hash_area: HashAreaReport::new(hash_area, layer.superblock().ok()),
        tree: arguments.tree.then(|| Tree::new(layer.image())),
    };
    output.report(&report)?;
    verdict(&report).map_err(|failure| failure.context(path.display()))
}

fn verdict(report: &InspectReport<'_>) -> Result<ExitStatus, Failure> {
    if let Some(fault) = &report.image_fault {
        return Err(Failure::new(ExitStatus::Failure, fault));
    }
    match &report.hash_area.fault {
        Some(fault) => Err(Failure::new(ExitStatus::ContentDiffers, fault)),
        None => Ok(ExitStatus::Done),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Full => "full",
        Mode::Index => "index",
    }
}

impl HashAreaReport {
    fn new(checked: Result<(), HashAreaFault>, superblock: Option<Superblock>) -> Self {
        let (state, fault) = match checked {
            Ok(()) => (HashAreaState::Whole, None),
            Err(HashAreaFault::Absent) => (HashAreaState::Absent, None),
            Err(fault) => {
                (HashAreaState::Faulty, Some(format!("{:#}", anyhow::Error::from(fault))))
            }
        };
        Self { state, fault, superblock: superblock.map(SuperblockReport::from) }
    }
}

impl From<Superblock> for SuperblockReport {
    fn from(superblock: Superblock) -> Self {
        let Superblock { uuid, parameters, data_blocks } = superblock;
        Self {
            uuid,
            hash_type: parameters.hash_type.number(),
            hash_algorithm: parameters.algorithm.name(),
            data_blocks,
            data_block_size_bytes: parameters.data_block_size.bytes(),
            hash_block_size_bytes: parameters.hash_block_size.bytes(),
            salt: parameters.salt.to_string(),
        }
    }
}
