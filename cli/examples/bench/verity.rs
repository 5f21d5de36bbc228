//! Hash trees over a file that lies in the page cache, beside veritysetup.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use libverity::sha256::Backend;
use osguard_testkit::command::command;

use crate::Bench;
use crate::measure::{Cost, median, run};

const DATA_BYTES: usize = 2 << 30;
const ROUNDS: usize = 5;
const SALT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let data = bench.directory.path().join("data");
    write_data(&data, DATA_BYTES)?;
    println!(
        "\n### A tree over 2 GiB in the page cache: sha256, blocks of 4096, 32 bytes of salt\n"
    );
    println!(
        "| | format | as a ratio | verify | as a ratio | peak memory of both |\n|---|---|---|---|---|---|"
    );
    let mut tools = vec![Tool { name: "`veritysetup`".to_owned(), ..Tool::default() }];
    for backend in Backend::available() {
        for is_pinned in [true, false] {
            let threads = if is_pinned { "one processor" } else { "all processors" };
            tools.push(Tool {
                name: format!("`osguard verity`, `{backend}`, {threads}"),
                backend: Some(backend.to_string()),
                is_pinned,
            });
        }
    }
    let mut costs: Vec<[Vec<Cost>; 2]> = vec![Default::default(); tools.len()];
    for _ in 0..ROUNDS {
        for (tool, costs) in tools.iter().zip(&mut costs) {
            let tree = bench.directory.path().join("tree");
            let root_hash = bench.directory.path().join("root-hash");
            let format = ["--salt", SALT, "--root-hash-file"];
            let mut formatting = tool.command(bench, "format", &data, &tree)?;
            costs[0].push(run(formatting.args(format).arg(&root_hash))?);
            let root_hash_text = std::fs::read_to_string(&root_hash)?;
            let mut verifying = tool.command(bench, "verify", &data, &tree)?;
            costs[1].push(run(verifying.arg(root_hash_text.trim()))?);
            std::fs::remove_file(&tree)?;
        }
    }
    let costs: Vec<[Cost; 2]> = costs.into_iter().map(|costs| costs.map(median)).collect();
    for (tool, [format, verify]) in tools.iter().zip(&costs) {
        let ratio = |kind: usize, cost: &Cost| costs[0][kind].seconds / cost.seconds;
        println!(
            "| {} | {:.2} s | {:.1} | {:.2} s | {:.1} | {:.0} MiB |",
            tool.name,
            format.seconds,
            ratio(0, format),
            verify.seconds,
            ratio(1, verify),
            format.memory_kib.max(verify.memory_kib) as f64 / 1024.0
        );
    }
    Ok(())
}

/// Is what makes trees; veritysetup if it has no backend.
#[derive(Default)]
struct Tool {
    name: String,
    backend: Option<String>,
    is_pinned: bool,
}

impl Tool {
    fn command(
        &self,
        bench: &Bench,
        action: &str,
        data: &Path,
        tree: &Path,
    ) -> Result<Command, Box<dyn Error>> {
        let mut program = match (&self.backend, self.is_pinned) {
            (None, _) => command("veritysetup")?,
            (Some(_), false) => Command::new(&bench.osguard),
            (Some(_), true) => {
                let mut pinned = command("taskset")?;
                pinned.args(["--cpu-list", "0"]).arg(&bench.osguard);
                pinned
            }
        };
        if let Some(backend) = &self.backend {
            program.env("OSGUARD_SHA256_BACKEND", backend).args(["verity", action, "--quiet"]);
        } else {
            program.arg(action);
        }
        program.arg(data).arg(tree);
        Ok(program)
    }
}

/// Writes bytes that no two blocks share.
pub(crate) fn write_data(path: &Path, data_bytes: usize) -> Result<(), Box<dyn Error>> {
    let mut file = File::create(path)?;
    let mut block: Vec<u8> = (0..1 << 20).map(|place: u32| (place * 31 / 7) as u8).collect();
    for number in 0..(data_bytes >> 20) as u64 {
        for place in (0..block.len()).step_by(4096) {
            block[place..place + 8].copy_from_slice(&(number << 20 | place as u64).to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}
