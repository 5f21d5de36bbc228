//! Drives the library from a shell, as the tests in the virtual machine do.
//!
//! ```text
//! node mount TARGET [--allow-unsigned] [--upper DIR WORK] LAYER.json…    bottom layer first
//! node unmount TARGET
//! node list
//! node gc
//! node deploy FILE [--activate]
//! node activate NAME
//! node status
//! ```
//!
//! `LAYER.json` names the image file, the root hash, the number of data blocks and the files with signatures; salt and layout are those of `containerd-full-v1`.

use std::error::Error;
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use libverity::layer::Mode;
use libverity::verity::Parameters;
use osguard_node::deploy;
use osguard_node::image_mount::{self, MountOptions};
use osguard_node::layer_device::LayerImage;
use osguard_node::record::UpperRecord;
use osguard_node::securityfs::IpeTree;
use osguard_node::state_directory::StateDirectory;
use osguard_node::status::IpeStatus;
use osguard_policy::blob::SignedPolicy;
use serde::Deserialize;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Err(error) = run(&arguments) {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        eprintln!("{message}");
        std::process::exit(1);
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let state = StateDirectory::default();
    match arguments {
        ["mount", target, rest @ ..] => {
            let (options, layers) = mount_arguments(rest)?;
            image_mount::mount(&state, &layers, target.as_ref(), &options)?;
        }
        ["unmount", target] => {
            let unmounted = image_mount::unmount(&state, target.as_ref())?;
            println!("{unmounted:?}");
        }
        ["list"] => {
            for mount in image_mount::list(&state)? {
                let target = mount.record.target.display();
                println!("{target} {} {:?}", mount.record.layers.len(), mount.state);
            }
        }
        ["gc"] => println!("{:?}", image_mount::collect_garbage(&state)?),
        ["deploy", file, rest @ ..] => {
            let policy = SignedPolicy::read(std::fs::read(file)?)?;
            let activate = rest.contains(&"--activate");
            println!("{:?}", deploy::deploy(&IpeTree::open()?, &policy, activate)?);
        }
        ["activate", name] => println!("{:?}", deploy::activate(&IpeTree::open()?, name)?),
        ["status"] => println!("{:?}", IpeStatus::read(&IpeTree::open()?)?),
        _ => return Err("see the head of the source for the arguments".into()),
    }
    Ok(())
}

fn mount_arguments(arguments: &[&str]) -> Result<(MountOptions, Vec<LayerImage>), Box<dyn Error>> {
    let mut options = MountOptions::default();
    let mut layers = Vec::new();
    let mut rest = arguments;
    loop {
        rest = match rest {
            [] => return Ok((options, layers)),
            ["--allow-unsigned", tail @ ..] => {
                options.allow_unsigned = true;
                tail
            }
            ["--upper", directory, work, tail @ ..] => {
                options.upper =
                    Some(UpperRecord { directory: directory.into(), work: work.into() });
                tail
            }
            [layer, tail @ ..] => {
                layers.push(read_layer(Path::new(layer))?);
                tail
            }
        }
    }
}

fn read_layer(path: &Path) -> Result<LayerImage, Box<dyn Error>> {
    let layer: LayerFile = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(LayerImage {
        image: layer.image,
        root_hash: layer.root_hash,
        signatures: layer.signatures.iter().map(std::fs::read).collect::<Result<_, _>>()?,
        mode: Mode::Full,
        parameters: Parameters::with_salt("00".repeat(32).parse()?),
        data_blocks: layer.data_blocks,
        // The superblock of dm-verity takes the block between data and tree.
        hash_start_block: layer.data_blocks + 1,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerFile {
    image: PathBuf,
    root_hash: RootHash,
    data_blocks: u64,
    signatures: Vec<PathBuf>,
}
