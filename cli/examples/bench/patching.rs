//! Patching a signed image of 2 GiB: one file of 100 kB, signed, into a registry.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::registry::Registry;

use crate::Bench;
use crate::image;
use crate::measure::{Cost, head, median, row, run};

const LAYERS: usize = 20;
const LAYER_BYTES: u64 = (2 << 30) / LAYERS as u64;
const FILE_BYTES: usize = 100_000;
const ROUNDS: usize = 5;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let directory = bench.directory.path();
    let key = directory.join("patch.key");
    run(Command::new(&bench.osguard).args(["key", "generate"]).arg(key.with_extension("")))?;
    let layout = directory.join("patched");
    image::layout(&layout, LAYERS, LAYER_BYTES)?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/patched:v1", registry.host());
    push(bench, &layout, &image)?;
    std::fs::remove_dir_all(&layout)?;

    let mut costs: [Vec<Cost>; 3] = Default::default();
    // The first time each layer is fetched and converted, and from then on its root hash is known.
    let cold = patch(bench, &image, 0)?;
    for round in 1..=ROUNDS {
        costs[0].push(patch(bench, &image, round)?);
        costs[1].push(run(&verify(bench, &image, "cached"))?);
    }
    costs[2].push(run(&verify(bench, &image, "recompute"))?);
    head(
        "Patching an image of 2 GiB in 20 layers with a file of 100 kB, and signing it, in Debian's docker-registry",
    );
    let [warm, verified, recomputed] = costs.map(median);
    row("osguard patch, root hashes known", warm, warm);
    row("osguard patch, the first time", cold, warm);
    row("osguard verify of the image before, root hashes known", verified, warm);
    row("osguard verify of the image before, layers converted again", recomputed, warm);
    println!("\nUploaded by a patch, in all requests: {} bytes", uploaded(bench)?);
    Ok(())
}

/// Counts the bytes of all requests of a patch; how large the other layers are makes no difference.
fn uploaded(bench: &Bench) -> Result<u64, Box<dyn Error>> {
    let layout = bench.directory.path().join("small");
    image::layout(&layout, LAYERS, 1 << 20)?;
    let registry = Registry::start()?;
    let image = format!("{}/patched:v1", registry.host());
    push(bench, &layout, &image)?;
    registry.forget_requests();
    patch(bench, &image, 0)?;
    Ok(registry.requests().iter().map(|request| request.received_bytes).sum())
}

fn push(bench: &Bench, layout: &Path, to: &str) -> Result<(), Box<dyn Error>> {
    let mut push = Command::new(&bench.osguard);
    push.args(["push", "--quiet", &format!("oci:{}:v1", layout.display()), to, "--sign", "--key"]);
    run(push.arg(bench.directory.path().join("patch.key")))?;
    Ok(())
}

fn patch(bench: &Bench, image: &str, round: usize) -> Result<Cost, Box<dyn Error>> {
    let directory = bench.directory.path().join(format!("fix-{round}/usr/lib"));
    std::fs::create_dir_all(&directory)?;
    // Another one each time, that nothing of it is there already.
    let file: Vec<u8> = (0..FILE_BYTES).map(|byte| (byte * 7 + round * 31) as u8).collect();
    std::fs::write(directory.join("libfixed.so"), file)?;
    let mut patch = Command::new(&bench.osguard);
    patch.args(["patch", "--quiet", image, "--tag", &format!("fix-{round}"), "--add"]);
    patch.arg(bench.directory.path().join(format!("fix-{round}")));
    patch.args(["--owner", "0:0", "--root-hash", "cached", "--sign", "--key"]);
    patch.arg(bench.directory.path().join("patch.key"));
    run(with_trust(&mut patch, bench))
}

fn verify(bench: &Bench, image: &str, root_hash: &str) -> Command {
    let mut verify = Command::new(&bench.osguard);
    verify.args(["verify", "--quiet", image, "--root-hash", root_hash]);
    with_trust(&mut verify, bench);
    verify
}

fn with_trust<'a>(command: &'a mut Command, bench: &Bench) -> &'a mut Command {
    command.arg("--trust").arg(bench.directory.path().join("patch.crt"));
    command.env("XDG_CACHE_HOME", bench.directory.path().join("cache"))
}
