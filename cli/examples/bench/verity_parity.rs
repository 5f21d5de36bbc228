//! Hash trees of other shapes, and parity, beside veritysetup.

use std::error::Error;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use osguard_testkit::command::command;

use crate::Bench;
use crate::measure::{Cost, head, median, row, run};
use crate::verity::write_data;

const DATA_BYTES: usize = 512 << 20;
const ROUNDS: usize = 3;
/// Is where 400 blocks of 4096 bytes are damaged, each byte of them: a burst, as a disk has it.
const DAMAGED: Range<usize> = 40_960_000..40_960_000 + 400 * 4096;
const SALT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let files = Files::new(bench.directory.path());
    write_data(&files.data, DATA_BYTES)?;
    for (title, flags) in [
        ("blocks of 512 bytes", &["--data-block-size=512", "--hash-block-size=512"][..]),
        ("sha512", &["--hash=sha512"]),
    ] {
        head(&format!("A tree over 512 MiB in the page cache: {title}"));
        let ours = formatted(&files, flags, || Ok(osguard(bench)))?;
        let theirs = formatted(&files, flags, || Ok(command("veritysetup")?))?;
        row("`osguard verity format`", ours, ours);
        row("`veritysetup format`", theirs, ours);
    }
    for roots in ["2", "24"] {
        parity(bench, &files, roots)?;
    }
    Ok(())
}

/// Measures tree and parity together, the tree alone, and repairs.
fn parity(bench: &Bench, files: &Files, roots: &str) -> Result<(), Box<dyn Error>> {
    let flags =
        [format!("--fec-device={}", files.parity.display()), format!("--fec-roots={roots}")];
    let flags = [flags[0].as_str(), flags[1].as_str()];
    head(&format!("Tree and parity of {roots} roots over 512 MiB in the page cache"));
    let ours = formatted(files, &flags, || Ok(osguard(bench)))?;
    let theirs = formatted(files, &flags, || Ok(command("veritysetup")?))?;
    row("`osguard verity format --fec-device`", ours, ours);
    row("`veritysetup format --fec-device`", theirs, ours);
    let alone = formatted(files, &[], || Ok(osguard(bench)))?;
    let alone_theirs = formatted(files, &[], || Ok(command("veritysetup")?))?;
    row(
        "parity alone, ours (the difference to a tree alone)",
        less(ours, alone),
        less(ours, alone),
    );
    row("parity alone, veritysetup's", less(theirs, alone_theirs), less(ours, alone));

    formatted(files, &flags, || Ok(osguard(bench)))?;
    repairs(bench, files, &flags, roots)
}

/// Measures what it takes to bring [`DAMAGED`] back: in memory, which is all that veritysetup does, and on disk.
fn repairs(
    bench: &Bench,
    files: &Files,
    flags: &[&str],
    roots: &str,
) -> Result<(), Box<dyn Error>> {
    let data = File::options().read(true).write(true).open(&files.data)?;
    let mut original = vec![0; DAMAGED.len()];
    data.read_exact_at(&mut original, DAMAGED.start as u64)?;
    let damaged: Vec<u8> = original.iter().map(|byte| !byte).collect();
    let root_hash = std::fs::read_to_string(&files.root_hash)?;
    let brought_back = |mut program: Command, verb| -> Result<Cost, Box<dyn Error>> {
        data.write_all_at(&damaged, DAMAGED.start as u64)?;
        program.arg(verb).args([&files.data, &files.tree]).arg(root_hash.trim());
        run(program.args(flags))
    };
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        costs[0].push(brought_back(osguard(bench), "verify")?);
        costs[1].push(brought_back(command("veritysetup")?, "verify")?);
        costs[2].push(brought_back(osguard(bench), "repair")?);
        let mut found = vec![0; DAMAGED.len()];
        data.read_exact_at(&mut found, DAMAGED.start as u64)?;
        if found != original {
            return Err("what was damaged is not as it was".into());
        }
    }
    let [ours, theirs, repaired] = costs.map(median);
    head(&format!("400 corrupt blocks in 512 MiB, {roots} roots"));
    row("found and brought back in memory, `osguard verity verify --fec-device`", ours, ours);
    row("the same, `veritysetup verify --fec-device`", theirs, ours);
    row("brought back on disk, `osguard verity repair`", repaired, ours);
    Ok(())
}

fn formatted(
    files: &Files,
    flags: &[&str],
    program: impl Fn() -> Result<Command, Box<dyn Error>>,
) -> Result<Cost, Box<dyn Error>> {
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        for path in [&files.tree, &files.parity] {
            if path.exists() {
                std::fs::remove_file(path)?;
            }
        }
        let mut program = program()?;
        program.arg("format").args([&files.data, &files.tree]).args(["--salt", SALT]);
        costs.push(run(program.args(flags).arg("--root-hash-file").arg(&files.root_hash))?);
    }
    Ok(median(costs))
}

fn osguard(bench: &Bench) -> Command {
    let mut osguard = Command::new(&bench.osguard);
    osguard.arg("verity");
    osguard
}

fn less(whole: Cost, part: Cost) -> Cost {
    Cost {
        seconds: whole.seconds - part.seconds,
        processor_seconds: whole.processor_seconds - part.processor_seconds,
        ..whole
    }
}

struct Files {
    data: PathBuf,
    tree: PathBuf,
    parity: PathBuf,
    root_hash: PathBuf,
}

impl Files {
    fn new(directory: &Path) -> Self {
        let at = |name| directory.join(name);
        Self {
            data: at("data"),
            tree: at("tree"),
            parity: at("parity"),
            root_hash: at("root-hash"),
        }
    }
}
