//! The programs that systemd's units start (`systemd.unit(5)`, `systemd.service(5)`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lists the programs of the units below `root`, each with the name of its unit; what a unit of the same name in a higher
/// place hides is left out, and so are programs that are named by way of specifiers.
///
/// A directory that cannot be read counts for an empty one: what is in it would not be started either.
pub(crate) fn unit_programs(root: &Path) -> Vec<(PathBuf, String)> {
    let mut programs = Vec::new();
    let mut seen = BTreeSet::new();
    let mut visited = BTreeSet::new();
    for directory in UNIT_DIRECTORIES {
        let Ok(directory) = root.join(directory).canonicalize() else { continue };
        // `/lib` is a link to `/usr/lib` nearly everywhere.
        if !visited.insert(directory.clone()) {
            continue;
        }
        for path in entries(&directory) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(unit) = name.strip_suffix(".d") {
                // What one of these adds or takes away is told by its unit's name, wherever it lies.
                for path in entries(&path).iter().filter(|path| has_ending(path, &["conf"])) {
                    add(path, unit, &mut programs);
                }
            } else if has_ending(&path, UNIT_ENDINGS) && seen.insert(name.to_owned()) {
                add(&path, name, &mut programs);
            }
        }
    }
    programs.sort();
    programs.dedup();
    programs
}

fn add(path: &Path, unit: &str, programs: &mut Vec<(PathBuf, String)>) {
    // A masked unit is a link to /dev/null.
    let is_file =
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_UNIT_BYTES);
    let text = if is_file { fs::read(path).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&text).replace("\\\n", " ");
    programs.extend(text.lines().filter_map(program).map(|program| (program, unit.to_owned())));
}

/// Takes the program out of a line such as `ExecStart=-/usr/bin/true --flag`.
fn program(line: &str) -> Option<PathBuf> {
    let (key, value) = line.trim().split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    if !KEYS.contains(&key) {
        return None;
    }
    let value = value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let word = match value.strip_prefix(['"', '\'']) {
        Some(quoted) => quoted.split(['"', '\'']).next()?,
        None => value.split_whitespace().next()?,
    };
    (!word.is_empty() && !word.contains('%')).then(|| word.into())
}

pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known))
}

/// From the one that counts most to the one that counts least.
const UNIT_DIRECTORIES: [&str; 8] = [
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator.early",
    "run/systemd/generator",
    "run/systemd/generator.late",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

const UNIT_ENDINGS: &[&str] = &["mount", "service", "socket", "swap"];

const KEYS: [&str; 9] = [
    "ExecCondition",
    "ExecReload",
    "ExecStart",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "ExecStopPre",
    "ExecReloadPost",
];

/// Systemd takes no longer ones, either.
const MAX_UNIT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_taken_out_of_lines() {
        let of = |line: &str| program(line).map(|path| path.display().to_string());
        assert_eq!(of("ExecStart=/usr/sbin/sshd -D $OPTS").as_deref(), Some("/usr/sbin/sshd"));
        assert_eq!(of("ExecStartPre=-+/bin/mkdir -p /run/x").as_deref(), Some("/bin/mkdir"));
        assert_eq!(of("ExecStop=@/bin/a \"b\"").as_deref(), Some("/bin/a"));
        assert_eq!(of("ExecStart=\"/opt/a b/c\" d").as_deref(), Some("/opt/a b/c"));
        assert_eq!(of(" ExecReload = kill -HUP $MAINPID").as_deref(), Some("kill"));
        for other in
            ["ExecStart=", "ExecStart=%h/bin/x", "Type=exec", "# ExecStart=/a", "ExecStartX=/a"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn higher_places_hide_lower_ones() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/lib/systemd/system/a.service", "[Service]\nExecStart=/usr/bin/a \\\n  --flag\n");
        write("usr/lib/systemd/system/b.service", "[Service]\nExecStart=/usr/bin/b\n");
        write("usr/lib/systemd/system/c.service", "[Service]\nExecStart=/usr/bin/c\n");
        write("usr/lib/systemd/system/d.target", "ExecStart=/usr/bin/d\n");
        write("etc/systemd/system/b.service", "[Service]\nExecStart=/opt/b\n");
        write("etc/systemd/system/a.service.d/more.conf", "[Service]\nExecStartPost=/opt/post\n");
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/systemd/system/c.service"))
            .unwrap();
        std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).unwrap();
        let found = unit_programs(root.path());
        let shown: Vec<_> =
            found.iter().map(|(path, unit)| format!("{} {unit}", path.display())).collect();
        assert_eq!(shown, ["/opt/b b.service", "/opt/post a.service", "/usr/bin/a a.service"]);
    }
}
