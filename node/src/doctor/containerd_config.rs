//! containerd's configuration, as containerd itself understands it.
//!
//! Files that are imported replace whole sections in 1.7 and are merged key by key in 2.x, keys have moved between the
//! versions, and defaults are many: only `containerd config dump` tells what holds, so it is asked.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use osguard_program::{Limits, one_line};
use toml::{Table, Value};

use super::{Machine, Unchecked};

/// Is the whole configuration of one containerd, defaults included.
#[derive(Debug)]
pub(super) struct ContainerdConfig {
    /// Where it lies.
    pub(super) file: PathBuf,
    table: Table,
}

impl ContainerdConfig {
    /// Asks every containerd that runs, or, if none does, the one that is installed; none is found where there is neither.
    pub(super) fn all(machine: &Machine) -> Result<Vec<Self>, Unchecked> {
        let mut installations = running(machine);
        if installations.is_empty() {
            installations.extend(installed(machine));
        }
        installations.iter().map(Installation::configuration).collect()
    }

    /// Parses what `containerd config dump` prints.
    pub(super) fn parse(file: &Path, dump: &str) -> Result<Self, Unchecked> {
        let table = dump.parse().map_err(|error: toml::de::Error| {
            let reason = error.message().to_owned();
            Unchecked::because(format_args!("{}: {reason}", file.display()))
        })?;
        Ok(Self { file: file.to_owned(), table })
    }

    /// Returns the version of its form: 2 of containerd 1.7, 3 and more of 2.x.
    pub(super) fn version(&self) -> i64 {
        self.table.get("version").and_then(Value::as_integer).unwrap_or(1)
    }

    /// Returns the value at `path`.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        let (last, tables) = path.split_last()?;
        let mut table = &self.table;
        for name in tables {
            table = table.get(*name)?.as_table()?;
        }
        table.get(*last)
    }

    /// Returns the string at `path`; an empty one counts for none.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// Returns the entries of the table at `path`; none where there is no table.
    pub(super) fn tables<'a>(
        &'a self,
        path: &[&str],
    ) -> impl Iterator<Item = (&'a str, &'a Table)> + use<'a> {
        let table = self.at(path).and_then(Value::as_table);
        let entries = table.into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.as_str(), value.as_table()?)))
    }

    /// Lists the runtimes of pods by name.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = (&str, &Table)> {
        let plugin = if self.version() < 3 { CRI_OF_1_7 } else { CRI_RUNTIME };
        self.tables(&["plugins", plugin, "containerd", "runtimes"])
    }
}

/// The plugin of pods in containerd 1.7.
pub(super) const CRI_OF_1_7: &str = "io.containerd.grpc.v1.cri";
/// The plugin of images of pods in containerd 2.x.
pub(super) const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";

/// Is a containerd that can be asked.
#[derive(Debug, PartialEq, Eq)]
struct Installation {
    program: PathBuf,
    file: PathBuf,
}

impl Installation {
    fn configuration(&self) -> Result<ContainerdConfig, Unchecked> {
        let because = |reason: String| {
            let Self { program, file } = self;
            let command = format!("{} --config {} config dump", program.display(), file.display());
            Unchecked::because(format_args!("`{command}`: {reason}"))
        };
        let mut command = Command::new(&self.program);
        // k3s is many programs in one, and goes by its name.
        command.arg0("containerd").arg("--config").arg(&self.file).args(["config", "dump"]);
        let answer = osguard_program::run(&mut command, &[], LIMITS)
            .map_err(|error| because(error.to_string()))?;
        if !answer.status.success() {
            return Err(because(one_line(&answer.stderr)));
        }
        ContainerdConfig::parse(&self.file, &String::from_utf8_lossy(&answer.stdout))
    }
}

/// Lists the containerds that run. A process that has ended meanwhile is none of them.
fn running(machine: &Machine) -> Vec<Installation> {
    let mut found = Vec::new();
    for entry in fs::read_dir(machine.path("/proc")).into_iter().flatten().flatten() {
        let at = |name: &str| entry.path().join(name);
        if !fs::read(at("comm")).is_ok_and(|name| name == b"containerd\n") {
            continue;
        }
        let (Ok(program), Ok(arguments)) = (fs::read_link(at("exe")), fs::read(at("cmdline")))
        else {
            continue;
        };
        let file = config_argument(&String::from_utf8_lossy(&arguments));
        let installation =
            Installation { program, file: file.unwrap_or_else(|| DEFAULT_FILE.into()) };
        if !found.contains(&installation) {
            found.push(installation);
        }
    }
    found
}

fn installed(machine: &Machine) -> Option<Installation> {
    let program = PROGRAMS.into_iter().find(|program| machine.path(program).is_file())?;
    Some(Installation { program: machine.path(program), file: machine.path(DEFAULT_FILE) })
}

/// Finds the value of `--config FILE`, `--config=FILE` or `-c FILE` among arguments that end with a NUL each.
fn config_argument(arguments: &str) -> Option<PathBuf> {
    let mut arguments = arguments.split('\0');
    while let Some(argument) = arguments.next() {
        let option = argument.trim_start_matches('-');
        match option.split_once('=') {
            _ if option == argument => {}
            Some(("config" | "c", file)) => return Some(file.into()),
            None if matches!(option, "config" | "c") => return arguments.next().map(Into::into),
            _ => {}
        }
    }
    None
}

const DEFAULT_FILE: &str = "/etc/containerd/config.toml";
const PROGRAMS: [&str; 2] = ["/usr/bin/containerd", "/usr/local/bin/containerd"];

/// containerd 2.1 prints 9 KiB with no configuration at all.
const LIMITS: Limits = Limits { answer_bytes: 4 << 20, time: Duration::from_secs(20) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_one_it_was_started_with() {
        let file = |arguments: &str| config_argument(arguments);
        assert_eq!(file("/usr/bin/containerd\0"), None);
        assert_eq!(file("containerd\0--log-level\0info\0-c\0/a\0"), Some("/a".into()));
        assert_eq!(file("containerd\0--config=/b\0"), Some("/b".into()));
        assert_eq!(file("containerd\0-config\0/c\0"), Some("/c".into()));
        assert_eq!(file("containerd\0config\0"), None);
        assert_eq!(file("containerd\0--config\0"), Some("".into()));
    }

    #[test]
    fn values_are_found_by_their_path() {
        let dump = "version = 3\n[plugins.'a.b'.c]\nd = 'e'\nf = ''\n[plugins.'a.b'.g.h]\n";
        let config = ContainerdConfig::parse("x".as_ref(), dump).unwrap();
        assert_eq!(config.version(), 3);
        assert_eq!(config.text(&["plugins", "a.b", "c", "d"]), Some("e"));
        assert_eq!(config.text(&["plugins", "a.b", "c", "f"]), None);
        assert_eq!(config.text(&["plugins", "a.b", "c", "d", "e"]), None);
        let names: Vec<_> = config.tables(&["plugins", "a.b"]).map(|(name, _)| name).collect();
        assert_eq!(names, ["c", "g"]);
        assert!(ContainerdConfig::parse("x".as_ref(), "= 1").is_err());
    }

    #[test]
    fn a_machine_without_containerd_has_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(ContainerdConfig::all(&Machine::at(root.path())).unwrap().is_empty());
    }
}
