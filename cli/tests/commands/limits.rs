//! Memory and time that large layers take.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use osguard_testkit::command::{command, run_with_input};
use osguard_testkit::image::{Compression, LayerSource, TarHeader, TarMaker};
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;

use crate::environment::Environment;
use crate::fixtures::layout;

#[test]
fn a_layer_of_2_gib_takes_little_memory() {
    a_layer_of_2_gib_takes_little_memory_by("containerd-full-v1");
}

/// Its blocks have digests of 128 MiB.
#[test]
fn a_layer_of_2_gib_with_an_index_takes_little_memory() {
    a_layer_of_2_gib_takes_little_memory_by("containerd-index-v1");
}

fn a_layer_of_2_gib_takes_little_memory_by(profile: &str) {
    let headers: Vec<_> = (0..LARGE_FILES).map(large_file_header).collect();
    let content = content();
    let Some(cost) = build_by(profile, &|layer| write_files(layer, &headers, &content)) else {
        return;
    };
    assert!(cost.peak_memory_bytes <= MEMORY_LIMIT_BYTES, "{cost:?}");
}

/// A stream of gzip members is one as well, and quicker made than 2 GiB are compressed.
#[test]
fn a_compressed_layer_of_2_gib_takes_little_memory() {
    let compress = |bytes: &[u8]| run_with_input(command("gzip")?.args(["-1", "-n"]), bytes);
    let headers = (0..LARGE_FILES).map(|number| compress(&large_file_header(number)));
    let Some(headers) = or_skip(headers.collect::<Result<Vec<_>, _>>()) else { return };
    let Some(content) = or_skip(compress(&content())) else { return };
    let Some(cost) = build(&|layer| write_files(layer, &headers, &content)) else { return };
    assert!(cost.peak_memory_bytes <= MEMORY_LIMIT_BYTES, "{cost:?}");
}

/// More than any image of a distribution has: the files of a full Debian are about 400,000.
#[test]
fn a_layer_of_many_files_takes_little_memory() {
    let write = |layer: &mut dyn Write| {
        (0..MANY_FILES).try_for_each(|number| {
            let name = format!("usr/share/{:03}/file-{number}", number / 1000);
            layer.write_all(&TarMaker::new().file(name, &[7; 512]).unfinished())
        })
    };
    let Some(cost) = build(&write) else { return };
    let limit_bytes = MEMORY_LIMIT_BYTES + MANY_FILES as u64 * ENTRY_LIMIT_BYTES;
    assert!(cost.peak_memory_bytes <= limit_bytes, "{cost:?}");
}

/// Attributes may take more than what each file has a right to, but all together not much more.
#[test]
fn a_layer_of_many_attributes_is_refused_or_takes_little_memory() {
    for (files, attributes, value_bytes, is_refused) in [
        (1000, 1, 65_000, false),
        (1000, 500, 0, false),
        (2000, 1, 65_000, true),
        (2000, 500, 0, true),
    ] {
        let value = vec![b'v'; value_bytes];
        let keys: Vec<_> =
            (0..attributes).map(|number| format!("SCHILY.xattr.user.{number}")).collect();
        let records: Vec<_> = keys.iter().map(|key| (key.as_str(), &value[..])).collect();
        let outcome = build_or_refuse("containerd-full-v1", &|layer| {
            (0..files).try_for_each(|number| {
                let file = TarMaker::new().pax(&records).file(number.to_string(), b"");
                layer.write_all(&file.unfinished())
            })
        });
        let Some((cost, message)) = outcome else { return };
        assert_eq!(message.contains("names and attributes"), is_refused, "{files}: {message}");
        let limit_bytes = MEMORY_LIMIT_BYTES + files * ENTRY_LIMIT_BYTES;
        assert!(cost.peak_memory_bytes <= limit_bytes, "{cost:?}");
    }
}

/// Several layers at once, each sent and signed while it is read.
#[test]
fn a_push_of_384_mib_takes_little_memory() {
    let environment = Environment::with_keys();
    let layer = |number: u8| {
        let tar = TarMaker::new().file("file", &vec![number; 96 << 20]).finish();
        LayerSource::new(tar, Compression::Plain).unwrap()
    };
    let layers: Vec<_> = (0..4).map(layer).collect();
    layout(&environment).image("v1", &layers).unwrap();
    drop(layers);
    let registry = Registry::start().unwrap();
    let destination = format!("{}/app", registry.host());
    let Some(time) = time() else { return };
    let mut push = environment.wrapped(&time);
    push.args(["push", "oci:image:v1", &destination, "--sign", "--key", "alice.key"]);
    assert_eq!(environment.ran(&mut push).code, 0);
    let cost = cost(&environment);
    assert!(cost.peak_memory_bytes <= PUSH_MEMORY_LIMIT_BYTES, "{cost:?}");
}

#[test]
fn files_of_one_directory_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| tar.file(format!("file-{number}"), b""));
}

#[test]
fn files_in_directories_of_their_own_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| match number % 2 {
        0 => tar.directory((number + 1).to_string(), 0o755),
        _ => tar.file(format!("{number}/file"), b""),
    });
}

#[test]
fn files_with_long_names_cost_the_same_each() {
    let name = "name".repeat(50);
    grows_with_the_number_of(&|tar, number| tar.file(format!("{name}{number}"), b""));
}

#[test]
fn hard_links_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| match number {
        0 => tar.file("0", b"linked"),
        _ => tar.hard_link(number.to_string(), (number - 1).to_string()),
    });
}

#[test]
fn symlinks_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| tar.symlink(number.to_string(), "target"));
}

#[test]
fn attributes_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| {
        let value = number.to_string();
        tar.pax(&[("SCHILY.xattr.user.number", value.as_bytes())]).file(&value, b"")
    });
}

#[test]
fn files_that_replace_others_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| match number % 3 {
        0 => tar.file("changing", b""),
        1 => tar.directory("changing", 0o755),
        _ => tar.file(format!("changing/{number}"), b""),
    });
}

#[test]
fn whiteouts_cost_the_same_each() {
    grows_with_the_number_of(&|tar, number| match number % 2 {
        0 => tar.file(format!("file-{number}"), b""),
        _ => tar.file(format!(".wh.file-{}", number - 1), b""),
    });
}

/// Checks that four times the members take at most eight times the time, and that each takes at most
/// [`ENTRY_LIMIT_BYTES`] of memory.
///
/// What grows with the square of their number takes sixteen times as much. The time is that of the
/// processor, which no other process spends; counting instructions would be better still, but a
/// virtual machine seldom has the counters.
#[track_caller]
fn grows_with_the_number_of(add: &dyn Fn(TarMaker, usize) -> TarMaker) {
    let cost_of = |members: usize| {
        let tar = (0..members).fold(TarMaker::new(), add).finish();
        build(&|layer| layer.write_all(&tar))
    };
    let Some(few) = cost_of(FEW_MEMBERS) else { return };
    let Some(many) = cost_of(4 * FEW_MEMBERS) else { return };
    assert!(many.processor_seconds <= 8.0 * few.processor_seconds.max(0.1), "{few:?}, {many:?}");
    let limit_bytes = few.peak_memory_bytes + 3 * FEW_MEMBERS as u64 * ENTRY_LIMIT_BYTES;
    assert!(many.peak_memory_bytes <= limit_bytes, "{few:?}, {many:?}");
}

/// Is what it takes to convert a layer.
#[derive(Debug)]
struct Cost {
    processor_seconds: f64,
    peak_memory_bytes: u64,
}

/// Builds an image of the layer that `write` writes, in a process of its own.
fn build(write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Option<Cost> {
    build_by("containerd-full-v1", write)
}

fn build_by(profile: &str, write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Option<Cost> {
    let (cost, message) = build_or_refuse(profile, write)?;
    assert_eq!(message, "");
    Some(cost)
}

/// Returns what it takes, and the message where the layer is refused.
fn build_or_refuse(
    profile: &str,
    write: &dyn Fn(&mut dyn Write) -> io::Result<()>,
) -> Option<(Cost, String)> {
    let environment = Environment::new();
    let mut build = environment.wrapped(&time()?);
    build.args(["layer", "build", "--quiet", "--profile", profile, "-", "image"]);
    let mut child = build.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What is refused is not read to its end.
    let written = write(&mut child.stdin.take().unwrap());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        written.unwrap();
    } else {
        assert_ne!(message, "");
    }
    Some((cost(&environment), message))
}

/// Begins a command that measures what another one takes, to be read by [`cost`].
fn time() -> Option<Command> {
    let mut time = or_skip(command("time"))?;
    time.args(["--format", "%U %S %M", "--output", "cost"]);
    Some(time)
}

fn cost(environment: &Environment) -> Cost {
    let cost = String::from_utf8(environment.read("cost")).unwrap();
    // Of a command that has failed, the first line says so.
    let cost = cost.lines().last().unwrap();
    let cost: Vec<f64> = cost.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [user_seconds, system_seconds, peak_memory_kib] = cost[..] else { panic!("{cost:?}") };
    Cost {
        processor_seconds: user_seconds + system_seconds,
        peak_memory_bytes: peak_memory_kib as u64 * 1024,
    }
}

fn write_files(layer: &mut dyn Write, headers: &[Vec<u8>], content: &[u8]) -> io::Result<()> {
    for header in headers {
        layer.write_all(header)?;
        for _ in 0..LARGE_FILE_BYTES / CONTENT_BYTES {
            layer.write_all(content)?;
        }
    }
    Ok(())
}

fn large_file_header(number: usize) -> Vec<u8> {
    let stated_size_bytes = Some(LARGE_FILE_BYTES as u64);
    let header = TarHeader { stated_size_bytes, ..TarHeader::file(format!("large-{number}")) };
    TarMaker::new().entry(header, b"").unfinished()
}

/// Makes a piece that is mostly zero, so that the image takes little of the disk.
fn content() -> Vec<u8> {
    let mut content = vec![0; CONTENT_BYTES];
    content[..4096].fill(7);
    content
}

/// Less than one of the layers.
const PUSH_MEMORY_LIMIT_BYTES: u64 = 64 << 20;
const MEMORY_LIMIT_BYTES: u64 = 128 << 20;
/// Is what each file of a layer may take on top.
const ENTRY_LIMIT_BYTES: u64 = 600;
const LARGE_FILES: usize = 8;
const LARGE_FILE_BYTES: usize = 256 << 20;
const CONTENT_BYTES: usize = 1 << 20;
const MANY_FILES: usize = 400_000;
const FEW_MEMBERS: usize = 20_000;
