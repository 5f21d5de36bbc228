//! Pushing and copying an image of 2 GiB, beside skopeo and oras.

use std::error::Error;
use std::process::Command;

use osguard_testkit::docker_registry::DockerRegistry;

use crate::Bench;
use crate::image;
use crate::measure::{Cost, head, median, row, run};

/// How much of the image lies where, in bytes and layers.
const LAYERS: usize = 8;
const LAYER_BYTES: u64 = 256 << 20;
const ROUNDS: usize = 3;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let layout = bench.directory.path().join("large");
    image::layout(&layout, LAYERS, LAYER_BYTES)?;
    let layout = layout.display().to_string();

    let mut pushes: [Vec<Cost>; 3] = Default::default();
    let mut copies: [Vec<Cost>; 3] = Default::default();
    let from = DockerRegistry::start()?;
    let source = format!("{}/large:v1", from.host());
    run(&push(bench, 0, &layout, &source)?)?;
    for round in 0..ROUNDS {
        // One after the other, each into a registry that has nothing yet and onto a disk that has
        // nothing left to write; each is the first once.
        for position in 0..3 {
            let tool = (round + position) % 3;
            pushes[tool].push(into_new_registry(|to| push(bench, tool, &layout, to))?);
            copies[tool].push(into_new_registry(|to| copy(bench, tool, &source, to))?);
        }
    }
    table("Pushing 2 GiB in 8 layers from a layout directory to Debian's docker-registry", pushes);
    table("Copying the same from one docker-registry to another", copies);
    Ok(())
}

/// Runs what moves an image to the name that `command` gets.
fn into_new_registry(
    command: impl FnOnce(&str) -> Result<Command, Box<dyn Error>>,
) -> Result<Cost, Box<dyn Error>> {
    let registry = DockerRegistry::start()?;
    let command = command(&format!("{}/large:v1", registry.host()))?;
    rustix::fs::sync();
    run(&command)
}

fn table(title: &str, costs: [Vec<Cost>; 3]) {
    let [osguard, skopeo, oras] = costs.map(median);
    head(title);
    row("osguard", osguard, osguard);
    row("skopeo copy", skopeo, osguard);
    row("oras cp", oras, osguard);
}

fn push(bench: &Bench, tool: usize, layout: &str, to: &str) -> Result<Command, Box<dyn Error>> {
    let mut command;
    match tool {
        0 => {
            command = Command::new(&bench.osguard);
            command.args(["push", "--quiet", &format!("oci:{layout}:v1"), to]);
        }
        1 => {
            command = bench.clients.skopeo()?;
            command.args(["copy", "--quiet", "--dest-tls-verify=false"]);
            command.args([&format!("oci:{layout}:v1"), &format!("docker://{to}")]);
        }
        _ => {
            command = bench.clients.oras()?;
            command.args(["cp", "--no-tty", "--from-oci-layout", "--to-plain-http"]);
            command.args([&format!("{layout}:v1"), to]);
        }
    }
    Ok(command)
}

fn copy(bench: &Bench, tool: usize, from: &str, to: &str) -> Result<Command, Box<dyn Error>> {
    let mut command;
    match tool {
        0 => {
            command = Command::new(&bench.osguard);
            command.args(["copy", "--quiet", from, to]);
        }
        1 => {
            command = bench.clients.skopeo()?;
            command.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
            command.args([&format!("docker://{from}"), &format!("docker://{to}")]);
        }
        _ => {
            command = bench.clients.oras()?;
            // With all that is attached, as ours does.
            command.args([
                "cp",
                "--no-tty",
                "-r",
                "--from-plain-http",
                "--to-plain-http",
                from,
                to,
            ]);
        }
    }
    Ok(command)
}
