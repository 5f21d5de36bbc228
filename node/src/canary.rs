//! Does the kernel enforce, right now? An unsigned program is tried, and a signed one.
//!
//! A policy may be loaded and active, and nothing be enforced all the same: somebody has switched it off, another policy
//! took its place, a rule allows more than was meant. Only the attempt tells. The unsigned program is 132 bytes in
//! memory, on no file system that anybody could have mounted with `noexec`; it ends at once with an exit code that nothing
//! else has. The signed one is any program on a signed volume, by default the one that runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use osguard_program::{Limits, RunError};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::fs::{MemfdFlags, memfd_create};

/// Is what is tried.
#[derive(Clone, Debug)]
pub struct Canary {
    signed_program: PathBuf,
    arguments: Vec<String>,
}

impl Default for Canary {
    /// Takes the program that runs for the signed one.
    fn default() -> Self {
        Self::with_program("/proc/self/exe", ["version"])
    }
}

impl Canary {
    /// Takes a program for the signed one; with these arguments it has to succeed within ten seconds, and change nothing.
    pub fn with_program(
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { signed_program: path.into(), arguments }
    }

    /// Tries both programs. It takes some milliseconds, and leaves an audit record of the denial.
    pub fn probe(&self) -> Probe {
        Probe { unsigned: unsigned(), signed: self.signed() }
    }

    fn signed(&self) -> Attempt {
        let mut command = Command::new(&self.signed_program);
        // Whoever lists processes sees whose it is.
        command.arg0("osguard-canary").args(&self.arguments);
        let path = self.signed_program.display();
        match attempt(&mut command) {
            Err(attempt) => attempt,
            Ok(status) if status.success() => Attempt::Ran,
            Ok(status) => Attempt::Unclear { reason: format!("{path} ended with {status}") },
        }
    }
}

/// Tells what became of both programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What became of the unsigned program.
    pub unsigned: Attempt,
    /// What became of the signed program.
    pub signed: Attempt,
}

impl Probe {
    /// Tells whether the kernel denies what nobody signed, and runs what somebody did.
    pub fn is_enforced(&self) -> bool {
        (&self.unsigned, &self.signed) == (&Attempt::Denied, &Attempt::Ran)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.unsigned, &self.signed) {
            (Attempt::Denied, Attempt::Ran) => {
                formatter.write_str("the kernel denies an unsigned program and runs a signed one")
            }
            (Attempt::Ran, _) => formatter.write_str("the kernel ran an unsigned program"),
            (Attempt::Unclear { reason }, _) => {
                write!(
                    formatter,
                    "whether the kernel denies an unsigned program is not known: {reason}"
                )
            }
            (_, Attempt::Denied) => formatter.write_str("the kernel denies a signed program, too"),
            (_, Attempt::Unclear { reason }) => {
                write!(formatter, "whether the kernel runs a signed program is not known: {reason}")
            }
        }
    }
}

/// Tells what became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The kernel refused to execute it (`EACCES`).
    Denied,
    /// It ran.
    Ran,
    /// Neither is known.
    Unclear {
        /// Why, a sentence without its full stop.
        reason: String,
    },
}

/// Holds what the last probe found, for Prometheus.
#[derive(Clone, Debug, Default)]
pub struct CanaryMetrics {
    unsigned_denied: Gauge,
    signed_runs: Gauge,
    last_probe: Gauge<f64, AtomicU64>,
}

impl CanaryMetrics {
    /// Registers the gauges `canary_unsigned_denied` and `canary_signed_runs`, 1 or 0, and the time of the last probe.
    pub fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "canary_unsigned_denied",
            "Whether the kernel denied the unsigned program that was tried last",
            metrics.unsigned_denied.clone(),
        );
        registry.register(
            "canary_signed_runs",
            "Whether the kernel ran the signed program that was tried last",
            metrics.signed_runs.clone(),
        );
        registry.register_with_unit(
            "canary_last_probe_timestamp",
            "When the canary's programs were tried last, in seconds since 1970",
            Unit::Seconds,
            metrics.last_probe.clone(),
        );
        metrics
    }

    /// Takes over what a probe found.
    pub fn observe(&self, probe: &Probe) {
        self.unsigned_denied.set(i64::from(probe.unsigned == Attempt::Denied));
        self.signed_runs.set(i64::from(probe.signed == Attempt::Ran));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_probe.set(now.as_secs_f64());
    }
}

/// Probes at once and then at this interval, for ever: into the metrics, and into the log where the result has changed or
/// is not as it should be.
pub async fn watch(canary: Canary, interval: Duration, metrics: CanaryMetrics) {
    let mut ticks = tokio::time::interval(interval);
    // A machine that was asleep has nothing to make up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let canary = canary.clone();
        let Ok(probe) = tokio::task::spawn_blocking(move || canary.probe()).await else { continue };
        metrics.observe(&probe);
        match probe.is_enforced() {
            false => tracing::error!(enforced = false, "canary: {probe}"),
            true if last.as_ref() != Some(&probe) => {
                tracing::info!(enforced = true, "canary: {probe}")
            }
            true => tracing::debug!(enforced = true, "canary: {probe}"),
        }
        last = Some(probe);
    }
}

fn unsigned() -> Attempt {
    let program = match program_in_memory() {
        Ok(program) => program,
        Err(error) => {
            return Attempt::Unclear {
                reason: format!("no program can be made in memory: {error}"),
            };
        }
    };
    // The child has the descriptor until the kernel has opened the program.
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    match attempt(&mut command) {
        Err(attempt) => attempt,
        Ok(status) if status.code() == Some(EXIT_CODE.into()) => Attempt::Ran,
        Ok(status) => {
            Attempt::Unclear { reason: format!("the unsigned program ended with {status}") }
        }
    }
}

fn attempt(command: &mut Command) -> Result<std::process::ExitStatus, Attempt> {
    let path = PathBuf::from(command.get_program());
    match osguard_program::run(command, &[], LIMITS) {
        Ok(answer) => Ok(answer.status),
        Err(RunError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Attempt::Denied)
        }
        Err(error) => Err(Attempt::Unclear { reason: format!("{}: {error}", path.display()) }),
    }
}

fn program_in_memory() -> io::Result<File> {
    let descriptor = memfd_create("osguard-canary", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)?;
    let mut file = File::from(descriptor);
    file.write_all(&elf())?;
    Ok(file)
}

/// Writes a program that ends with [`EXIT_CODE`] (System V ABI, ELF-64): one header, one segment, some instructions.
fn elf() -> Vec<u8> {
    let total = (HEADER_BYTES + SEGMENT_BYTES) as u64 + CODE.len() as u64;
    let entry = BASE + (HEADER_BYTES + SEGMENT_BYTES) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let put16 = |numbers: &[u16]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let put64 = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    // Type: executable; machine; version 1 in two halves.
    elf.extend(put16(&[2, MACHINE, 1, 0]));
    // Entry, program headers, section headers; no flags.
    elf.extend(put64(&[entry, HEADER_BYTES as u64, 0]));
    elf.extend(put16(&[0, 0, HEADER_BYTES as u16, SEGMENT_BYTES as u16, 1, 0, 0, 0]));
    // One segment to be loaded, readable and executable: the whole file.
    elf.extend(put16(&[1, 0, 5, 0]));
    elf.extend(put64(&[0, BASE, BASE, total, total, PAGE_BYTES]));
    elf.extend_from_slice(CODE);
    elf
}

const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const BASE: u64 = 0x40_0000;
/// The largest page of the machines that there is code for.
const PAGE_BYTES: u64 = 0x1_0000;

/// What the unsigned program ends with.
const EXIT_CODE: u8 = 42;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// `mov edi, 42; mov eax, 60; syscall`.
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0xbf, EXIT_CODE, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// `mov x0, #42; mov x8, #93; svc #0`.
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[0x40, 0x05, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

const LIMITS: Limits = Limits { answer_bytes: 1 << 16, time: Duration::from_secs(10) };

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine without a policy both run; the virtual machines of the tests show the rest.
    #[test]
    fn both_run_where_nothing_is_enforced() {
        let probe = Canary::with_program("/bin/true", [""; 0]).probe();
        assert_eq!(probe.signed, Attempt::Ran, "{probe}");
        if probe.unsigned == Attempt::Denied {
            assert!(probe.is_enforced());
            return;
        }
        assert_eq!(probe.unsigned, Attempt::Ran, "{probe}");
        assert!(!probe.is_enforced());
        assert_eq!(probe.to_string(), "the kernel ran an unsigned program");
    }

    #[test]
    fn what_does_not_run_is_told_from_what_is_denied() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        std::fs::write(&plain, b"no program").unwrap();
        assert_eq!(Canary::with_program(&plain, [""; 0]).signed(), Attempt::Denied);
        let absent = Canary::with_program(directory.path().join("absent"), [""; 0]).signed();
        assert!(matches!(absent, Attempt::Unclear { .. }), "{absent:?}");
        let failing = Canary::with_program("/bin/false", [""; 0]).signed();
        let Attempt::Unclear { reason } = failing else { panic!("{failing:?}") };
        assert_eq!(reason, "/bin/false ended with exit status: 1");
    }

    #[test]
    fn metrics_tell_what_was_found() {
        let mut registry = Registry::default();
        let metrics = CanaryMetrics::registered(&mut registry);
        metrics.observe(&Probe { unsigned: Attempt::Denied, signed: Attempt::Ran });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("canary_unsigned_denied 1\n"), "{text}");
        assert!(text.contains("canary_signed_runs 1\n"), "{text}");
        metrics.observe(&Probe { unsigned: Attempt::Ran, signed: Attempt::Denied });
        text.clear();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("canary_unsigned_denied 0\n"), "{text}");
    }
}
