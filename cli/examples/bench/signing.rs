//! Signing an image in a registry: what the registry adds to the hashing, and what notation takes.

use std::error::Error;
use std::process::Command;

use osguard_testkit::command;
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::pki::Signer;

use crate::Bench;
use crate::image;
use crate::measure::{Cost, median, run};

const LAYERS: usize = 3;
const LAYER_BYTES: u64 = 16 << 20;
const ROUNDS: usize = 15;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let layout = bench.directory.path().join("small");
    image::layout(&layout, LAYERS, LAYER_BYTES)?;
    let layout = format!("oci:{}:v1", layout.display());
    let signer = Signer::generate("bench")?;
    command::run(bench.clients.notation()?.args(["cert", "generate-test", "--default", "bench"]))?;

    let registry = DockerRegistry::start()?;
    let mut local: Vec<Cost> = Vec::new();
    let mut hashing = Vec::new();
    let mut signing = Vec::new();
    let mut notation = Vec::new();
    for round in 0..ROUNDS {
        let image = format!("{}/round-{round}:v1", registry.host());
        let mut push = Command::new(&bench.osguard);
        command::run(push.args(["copy", "--quiet", &layout, &image]))?;
        local.push(run(&sign(bench, &signer, &layout, true))?);
        hashing.push(run(&sign(bench, &signer, &image, true))?);
        signing.push(run(&sign(bench, &signer, &image, false))?);
        let mut sign = bench.clients.notation()?;
        sign.args(["sign", "--insecure-registry", &image]);
        notation.push(run(&sign)?);
    }
    let [local, hashing, signing, notation] = [local, hashing, signing, notation].map(median);
    println!("\n### Signing an image of 3 layers, 16 MiB each, in a registry on this machine\n");
    println!("| | time (median of {ROUNDS}) |\n|---|---|");
    println!(
        "| hashing and signing the layers of the same in a directory | {:.0} ms |",
        millis(local)
    );
    println!(
        "| hashing and signing the layers, read from the registry | {:.0} ms |",
        millis(hashing)
    );
    println!(
        "| the same, and storing the signatures in the registry | {:.0} ms |",
        millis(signing)
    );
    println!("| what storing them adds | {:.0} ms |", millis(signing) - millis(hashing));
    println!("| `notation sign`, of the manifest alone | {:.0} ms |", millis(notation));
    Ok(())
}

fn sign(bench: &Bench, signer: &Signer, image: &str, is_dry: bool) -> Command {
    let mut command = Command::new(&bench.osguard);
    command.args(["sign", "--quiet", image, "--key"]).arg(signer.key_path());
    command.arg("--cert").arg(signer.certificate_path());
    if is_dry {
        command.arg("--dry-run");
    }
    command
}

fn millis(cost: Cost) -> f64 {
    cost.seconds * 1000.0
}
