//! Pulling, starting and reading with osguard and with the snapshotters that containerd 2.1 has, in a virtual machine.
//!
//! The machine is emulated: everything takes ten times as long or more, hashing most of all. Ratios are what counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use osguard_testkit::node_guest::NodeGuest;
use osguard_testkit::tools::ErofsUtils;
use osguard_testkit::vm::{Kernel, Outcome};

use super::images::{Images, LARGE_BYTES, LARGE_LAYERS, MANY_LAYERS};
use crate::Bench;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let images = Images::new(bench)?;
    println!(
        "\nIn a virtual machine with 2 emulated processors, without KVM. The image `large` has {} MiB of files of /usr in \
         {LARGE_LAYERS} layers, {} MiB compressed, and `many` has {MANY_LAYERS} small layers; both have busybox below. The \
         registry runs in the machine, too.",
        LARGE_BYTES >> 20,
        images.large_blob_bytes >> 20
    );
    // Starts on one kernel: they take the most time, and it is containerd's.
    for (kernel, pulls, starts) in [(Kernel::V7_2, 3, 7), (Kernel::V6_12, 1, 0)] {
        let outcome = run(bench, &images, kernel, pulls, starts)?;
        report(kernel, &outcome, starts > 0)?;
    }
    Ok(())
}

fn run(
    bench: &Bench,
    images: &Images,
    kernel: Kernel,
    pulls: u32,
    starts: u32,
) -> Result<Outcome, Box<dyn Error>> {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/containerd/2.toml");
    let config = std::fs::read_to_string(deployed)? + EROFS_DIFFER;
    let tools = ErofsUtils::V1_9.tree()?;
    let script = format!("pulls={pulls} starts={starts}\n{SCRIPT}");
    let store = images.registry.store();
    let guest = NodeGuest::new(kernel, &images.signer, &[&bench.osguard], Some(&store))?
        .contents("node.toml", NODE)
        .contents("containerd.toml", config)
        .machine(|machine| {
            machine.directory_disk(tools.root()).time_limit(Duration::from_secs(900))
        });
    Ok(guest.run(&script)?)
}

fn report(kernel: Kernel, outcome: &Outcome, has_starts: bool) -> Result<(), Box<dyn Error>> {
    let Some(numbers) = outcome.steps.get("numbers") else {
        return Err(format!("the machine measured nothing:\n{}", outcome.console).into());
    };
    let mut measured: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for line in numbers.stdout_text().lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [what, snapshotter, milliseconds] = words[..] else { return Err(line.into()) };
        let key = (what.to_owned(), snapshotter.to_owned());
        measured.entry(key).or_default().push(milliseconds.parse()?);
    }
    let median = |what: &str, snapshotter: &str| {
        let mut of = measured.get(&(what.to_owned(), snapshotter.to_owned())).cloned()?;
        of.sort_by(f64::total_cmp);
        Some(of[of.len() / 2])
    };
    println!(
        "\n### Beside containerd's own snapshotters, {kernel:?}, {:.0} s\n",
        outcome.wall_time.as_secs_f64()
    );
    println!(
        "| | osguard | overlayfs | EROFS, without verity | as a ratio to overlayfs | to EROFS |"
    );
    println!("|---|---|---|---|---|---|");
    for (what, name) in ROWS {
        let of = |snapshotter| median(what, snapshotter);
        let (Some(ours), Some(overlay), Some(erofs)) =
            (of("osguard"), of("overlayfs"), of("erofs"))
        else {
            continue;
        };
        let seconds = |milliseconds: f64| format!("{:.2} s", milliseconds / 1e3);
        println!(
            "| {name} | {} | {} | {} | {:.2} | {:.2} |",
            seconds(ours),
            seconds(overlay),
            seconds(erofs),
            ours / overlay,
            ours / erofs
        );
    }
    if has_starts {
        let metrics = outcome.step("metrics").stdout_text();
        let sum = metric(&metrics, "osguard_node_layer_activation_duration_seconds_sum")?;
        let count = metric(&metrics, "osguard_node_layer_activation_duration_seconds_count")?;
        println!("\nMounting a layer: {:.1} ms each, of {count}.", sum * 1e3 / count);
    }
    Ok(())
}

fn metric(metrics: &str, name: &str) -> Result<f64, Box<dyn Error>> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.ok_or_else(|| format!("no {name} in\n{metrics}"))?.parse()?)
}

const ROWS: [(&str, &str); 5] = [
    ("pull", "pulling and unpacking `large`"),
    ("first-start", "the first container of `many`, which mounts its layers"),
    ("start", "a further one"),
    ("read-cold", "reading all files of `large`, from the disk"),
    ("read-warm", "reading them again"),
];

const SCRIPT: &str = include_str!("containerd.sh");

const NODE: &str = "version = 1\nstatus = \"127.0.0.1:9464\"\n[signatures]\nmode = \"require\"\n\
    [signatures.registry]\nenabled = false\n[limits]\nkeep-unused-seconds = 1\n";

const EROFS_DIFFER: &str = "\n[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n\
    platform = 'linux/amd64'\nsnapshotter = 'erofs'\ndiffer = 'erofs'\n";
