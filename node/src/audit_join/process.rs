//! A process that may be gone, or another one by now (`proc_pid_stat(5)`).

use std::io::Read;
use std::path::{Path, PathBuf};

/// Is a process that was there when its record was written, and still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunningProcess {
    pub(super) pid: u32,
    pub(super) parent: Option<u32>,
    pub(super) executable: Option<PathBuf>,
    pub(super) user: Option<u32>,
    pub(super) cgroup: Option<String>,
}

impl RunningProcess {
    /// Finds the process, unless the one of this number started after `recorded_milliseconds`.
    pub(super) fn find(
        pid: u32,
        recorded_milliseconds: Option<u64>,
        boot_milliseconds: Option<u64>,
    ) -> Option<Self> {
        let directory = Path::new("/proc").join(pid.to_string());
        let stat = read(&directory.join("stat"))?;
        let (parent, started_ticks) = parse_stat(&stat)?;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let started = boot_milliseconds
            .map(|boot| boot.saturating_add(started_ticks.saturating_mul(1000) / ticks_per_second));
        if let (Some(started), Some(recorded)) = (started, recorded_milliseconds)
            && started > recorded.saturating_add(CLOCK_SLACK_MILLISECONDS)
        {
            return None;
        }
        let status = read(&directory.join("status")).unwrap_or_default();
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        Some(Self {
            pid,
            parent: (parent != 0).then_some(parent),
            executable: std::fs::read_link(directory.join("exe")).ok(),
            user: user.and_then(|users| users.split_ascii_whitespace().next()?.parse().ok()),
            cgroup: read(&directory.join("cgroup")).as_deref().and_then(cgroup).map(str::to_owned),
        })
    }
}

/// Reads when the machine started, in milliseconds since 1970.
pub(super) fn boot_milliseconds() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(seconds * 1000)
}

/// Takes the parent and the time of the start, in ticks since the machine's, out of `PID (COMM) STATE PPID …`.
fn parse_stat(stat: &str) -> Option<(u32, u64)> {
    // The name may hold parentheses and spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let words: Vec<_> = rest.split_ascii_whitespace().collect();
    Some((words.get(1)?.parse().ok()?, words.get(19)?.parse().ok()?))
}

/// Takes the path of the unified hierarchy, or of the first other one, out of lines `ID:CONTROLLERS:PATH`.
fn cgroup(text: &str) -> Option<&str> {
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let first = || text.lines().find_map(|line| line.splitn(3, ':').nth(2));
    unified.filter(|path| *path != "/").or_else(first).or(unified)
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(READ_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

const READ_LIMIT_BYTES: u64 = 64 << 10;

/// The start of the machine is known to the second only.
const CLOCK_SLACK_MILLISECONDS: u64 = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_unless_the_record_is_older() {
        let pid = std::process::id();
        let boot = boot_milliseconds();
        let found = RunningProcess::find(pid, None, boot).unwrap();
        assert_eq!(found.executable, std::env::current_exe().ok());
        assert_eq!(found.user, Some(rustix::process::getuid().as_raw()));
        assert_eq!(RunningProcess::find(pid, Some(1000), boot), None);
        assert_eq!(RunningProcess::find(u32::MAX, None, boot), None);
    }

    #[test]
    fn odd_names_do_not_shift_the_fields() {
        let rest = (4..=52).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_stat(&format!("7 (a) b) S {rest}")), Some((4, 22)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn the_unified_hierarchy_counts_unless_it_is_empty() {
        assert_eq!(cgroup("1:name=systemd:/x\n0::/a/b\n"), Some("/a/b"));
        assert_eq!(cgroup("4:memory:/docker/c:d\n0::/\n"), Some("/docker/c:d"));
        assert_eq!(cgroup("0::/\n"), Some("/"));
        assert_eq!(cgroup(""), None);
    }
}
