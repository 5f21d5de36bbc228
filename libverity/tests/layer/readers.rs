//! The members of an archive as GNU tar, libarchive and Python see them: an archive that is read
//! here has one reading, and no other program has another one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use libverity::tar::{EntryKind, TarReader};
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{TestRng, TestRunner};

use crate::archives::{archive, damaged_archive};

#[test]
fn archives_have_one_reading() {
    all_read_alike(&archive(8).prop_map(|archive| archive.bytes()));
}

#[test]
fn damaged_archives_have_one_reading_or_none() {
    all_read_alike(&damaged_archive(4));
}

/// Compares the readings of generated archives, always the same ones; `PROPTEST_CASES` asks for
/// another number of them.
fn all_read_alike(archives: &impl Strategy<Value = Vec<u8>>) {
    let programs = [("tar", gnu_tar as Program), ("bsdtar", libarchive), ("python3", python)];
    for (name, _) in programs {
        if or_skip(command(name)).is_none() {
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let config = ProptestConfig::default();
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let cases = config.cases;
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut ours = BTreeMap::new();
    for number in 0..cases {
        let archive = archives.new_tree(&mut runner).unwrap().current();
        let name = format!("{number:06}");
        if let Some(members) = read_here(&archive) {
            fs::write(directory.path().join(&name), &archive).unwrap();
            ours.insert(name, members);
        }
    }
    for (program, read) in programs {
        let theirs = read(directory.path());
        let mut alike = 0;
        for (name, members) in &ours {
            let Some(found) = &theirs[name] else { continue };
            if found != members {
                let kept =
                    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differs-{program}.tar"));
                fs::copy(directory.path().join(name), &kept).unwrap();
                panic!("{program} reads {}:\n{found:#?}\nand we:\n{members:#?}", kept.display());
            }
            alike += 1;
        }
        println!("{program}: {alike} of {} archives that are read here are read alike", ours.len());
        assert!(alike * 2 > ours.len(), "{program} refuses most of them");
    }
    assert!(ours.len() * 8 > cases as usize, "{} archives are read", ours.len());
}

/// Reads all archives of a directory; `None` for those that a program refuses.
type Program = fn(&Path) -> BTreeMap<String, Option<Vec<Member>>>;

/// Is what all readers say of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    kind: char,
    path: String,
    target: String,
    mode: u16,
    uid: u64,
    gid: u64,
    seconds: i64,
    size_bytes: u64,
    device: (u32, u32),
}

fn read_here(archive: &[u8]) -> Option<Vec<Member>> {
    let mut reader = TarReader::new(archive);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let (kind, target, size_bytes, device) = match entry.kind {
            EntryKind::BlockDevice(number) => ('4', Vec::new(), 0, (number.major, number.minor)),
            EntryKind::CharacterDevice(number) => {
                ('3', Vec::new(), 0, (number.major, number.minor))
            }
            EntryKind::Directory => ('5', Vec::new(), 0, (0, 0)),
            EntryKind::Fifo => ('6', Vec::new(), 0, (0, 0)),
            EntryKind::HardLink { target } => ('1', target, 0, (0, 0)),
            EntryKind::Regular { size } => ('0', Vec::new(), size, (0, 0)),
            EntryKind::Symlink { target } => ('2', target, 0, (0, 0)),
        };
        members.push(Member {
            kind,
            path: hex(entry.path.strip_suffix(b"/").unwrap_or(&entry.path)),
            target: hex(&target),
            mode: entry.mode,
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            seconds: entry.mtime.seconds,
            size_bytes,
            device,
        });
    }
    Some(members)
}

fn python(directory: &Path) -> BTreeMap<String, Option<Vec<Member>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer/python_reader.py");
    let printed = run(command("python3").unwrap().arg(script).arg(directory)).unwrap();
    let member = |text: &str| {
        let [kind, path, target, mode, uid, gid, seconds, size_bytes, major, minor] =
            text.split(',').collect::<Vec<_>>().try_into().unwrap();
        let text = |hex: &str| hex.replace('-', "");
        Member {
            kind: kind.parse().unwrap(),
            path: text(path),
            target: text(target),
            mode: mode.parse().unwrap(),
            uid: uid.parse().unwrap(),
            gid: gid.parse().unwrap(),
            seconds: seconds.parse().unwrap(),
            size_bytes: size_bytes.parse().unwrap(),
            device: (major.parse().unwrap(), minor.parse().unwrap()),
        }
    };
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let members: Vec<&str> = words.collect();
        let is_refused = members.first() == Some(&"refused");
        (name, (!is_refused).then(|| members.into_iter().map(member).collect()))
    };
    String::from_utf8(printed).unwrap().lines().map(line).collect()
}

/// Has libarchive write what it reads into an archive of one form only, and reads that.
fn libarchive(directory: &Path) -> BTreeMap<String, Option<Vec<Member>>> {
    each_file(directory, |file| {
        let mut bsdtar = command("bsdtar").unwrap();
        bsdtar.args(["-c", "-P", "--format=pax", "-f", "-"]);
        bsdtar.arg(format!("@{}", file.display()));
        let output = bsdtar.env("LC_ALL", "C.UTF-8").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        // A name that is not UTF-8 is written as it is, and complained of.
        let is_read = message
            .lines()
            .all(|line| line.contains("to UTF-8") || line.contains("current locale"));
        // Devices with large numbers are written in a way that is refused here.
        is_read.then(|| read_here(&output.stdout)).flatten()
    })
}

fn gnu_tar(directory: &Path) -> BTreeMap<String, Option<Vec<Member>>> {
    each_file(directory, |file| {
        let mut tar = command("tar").unwrap();
        tar.args(["--list", "--verbose", "--full-time", "--numeric-owner", "--quoting-style=c"])
            .args(["--absolute-names", "--file"])
            .arg(file);
        let printed = listed(&mut tar)?;
        Some(printed.lines().map(member_of_gnu_tar).collect())
    })
}

fn listed(tar: &mut Command) -> Option<String> {
    let output = tar.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Reads a line such as `-rwsr-xr-x 0/70000 5 2023-11-14 22:13:20.5 "name" link to "target"`.
fn member_of_gnu_tar(line: &str) -> Member {
    let (facts, names) = line.split_at(line.find('"').unwrap());
    let facts: Vec<&str> = facts.split_whitespace().collect();
    let [mode, owner, size] = facts[..3].try_into().unwrap();
    let (uid, gid) = owner.split_once('/').unwrap();
    let (path, rest) = unquoted(names);
    let target = rest.find('"').map_or_else(Vec::new, |start| unquoted(&rest[start..]).0);
    let kind = match mode.as_bytes()[0] {
        b'-' | b'C' => '0',
        b'h' => '1',
        b'l' => '2',
        b'c' => '3',
        b'b' => '4',
        b'd' => '5',
        b'p' => '6',
        other => char::from(other),
    };
    let device = size.split_once(',');
    let mut path = &path[..];
    while kind == '5' && path.ends_with(b"/") {
        path = &path[..path.len() - 1];
    }
    Member {
        kind,
        path: hex(path),
        target: hex(&target),
        mode: permissions(&mode.as_bytes()[1..10]),
        uid: uid.parse().unwrap(),
        gid: gid.parse().unwrap(),
        seconds: match facts[3..] {
            [date, time] => seconds_of_date(date, time),
            // A year that no calendar has.
            _ => facts[3].parse().unwrap(),
        },
        size_bytes: if device.is_some() { 0 } else { size.parse().unwrap() },
        device: device
            .map_or((0, 0), |(major, minor)| (major.parse().unwrap(), minor.parse().unwrap())),
    }
}

/// Reads `rwsr-xr-t`.
fn permissions(text: &[u8]) -> u16 {
    let mut mode = 0;
    for (place, byte) in text.iter().enumerate() {
        let bit = 0o400 >> place;
        let special = [0o4000, 0o2000, 0o1000][place / 3];
        mode |= match byte {
            b'-' => 0,
            b'S' | b'T' => special,
            b's' | b't' => special | bit,
            _ => bit,
        };
    }
    mode
}

/// Counts from 1970, rounded down. GNU tar prints a fraction before 1970 as one behind a second that
/// is rounded up.
fn seconds_of_date(date: &str, time: &str) -> i64 {
    let (negative, date) = date.strip_prefix('-').map_or((false, date), |date| (true, date));
    let [year, month, day] = date
        .split('-')
        .map(|number| number.parse::<i64>().unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let [hour, minute, second] = time
        .split('.')
        .next()
        .unwrap()
        .split(':')
        .map(|number| number.parse::<i64>().unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    // Years that begin with March have the leap day at their end.
    let year = if negative { -year } else { year } - i64::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    if seconds < 0 && time.contains('.') { seconds - 1 } else { seconds }
}

/// Reads a text in the quotes of C, and returns what follows.
fn unquoted(text: &str) -> (Vec<u8>, &str) {
    let mut bytes = Vec::new();
    let mut rest = &text[1..];
    loop {
        let (first, tail) = rest.split_at(1);
        rest = tail;
        match first {
            "\"" => return (bytes, rest),
            "\\" => {
                let length = if rest.as_bytes()[0].is_ascii_digit() { 3 } else { 1 };
                let (escaped, tail) = rest.split_at(length);
                rest = tail;
                bytes.push(match escaped {
                    "a" => 7,
                    "b" => 8,
                    "f" => 12,
                    "n" => b'\n',
                    "r" => b'\r',
                    "t" => b'\t',
                    "v" => 11,
                    octal if length == 3 => u8::from_str_radix(octal, 8).unwrap(),
                    other => other.as_bytes()[0],
                });
            }
            other => bytes.push(other.as_bytes()[0]),
        }
    }
}

fn each_file(
    directory: &Path,
    read: impl Fn(&Path) -> Option<Vec<Member>>,
) -> BTreeMap<String, Option<Vec<Member>>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), read(&file.path()))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}
