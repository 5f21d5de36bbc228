//! Running a program and taking its time and its memory.

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};

use osguard_testkit::command::command;

/// Is what one run of a program has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// The largest resident set, in KiB.
    pub(crate) memory_kib: u64,
    /// The time that processors were busy with it, of itself and of the kernel.
    pub(crate) processor_seconds: f64,
}

/// Runs a program to its end.
///
/// # Errors
///
/// Fails with what the program has said if it fails.
pub(crate) fn run(program: &Command) -> Result<Cost, Box<dyn Error>> {
    let output = tempfile::NamedTempFile::new()?;
    let mut time = command("time")?;
    time.args(["--quiet", "--format", "%M %U %S", "--output"]).arg(output.path());
    time.arg(program.get_program()).args(program.get_args());
    time.env_clear();
    time.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = program.get_current_dir() {
        time.current_dir(directory);
    }
    let start = std::time::Instant::now();
    let ran = time.stdin(Stdio::null()).output()?;
    let seconds = start.elapsed().as_secs_f64();
    if !ran.status.success() {
        let words = String::from_utf8_lossy(&ran.stderr).into_owned();
        return Err(format!("{program:?}: {words}").into());
    }
    let text = fs::read_to_string(output.path())?;
    let words: Vec<_> = text.split_whitespace().collect();
    let [memory, user, system] = words[..] else { return Err("time has printed nothing".into()) };
    let processor_seconds = user.parse::<f64>()? + system.parse::<f64>()?;
    Ok(Cost { seconds, memory_kib: memory.parse()?, processor_seconds })
}

/// Returns the run of median time.
pub(crate) fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    costs[costs.len() / 2]
}

/// Prints one line of a table: a program, its cost, and how it compares to ours.
pub(crate) fn row(name: &str, cost: Cost, ours: Cost) {
    println!(
        "| {name} | {:.3} s | {:.2} s | {:.0} MiB | {:.2} |",
        cost.seconds,
        cost.processor_seconds,
        cost.memory_kib as f64 / 1024.0,
        cost.seconds / ours.seconds
    );
}

/// Prints the head of a table of programs.
pub(crate) fn head(title: &str) {
    println!(
        "\n### {title}\n\n\
         | | time (median) | processor time of the tool | peak memory | time, as a ratio to ours |\n\
         |---|---|---|---|---|"
    );
}

/// Prints on what machine this runs.
pub(crate) fn machine() -> Result<(), Box<dyn Error>> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!(
        "{}, {count} processors, Linux {}",
        model.map_or("an unknown processor", |(_, model)| model),
        kernel.trim()
    );
    Ok(())
}
