//! `osguard layer build` of directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use insta::assert_snapshot;
use osguard_testkit::{command, or_skip};

use crate::environment::{Environment, Ran};

/// Makes a directory whose archive is always the same, but for times and owners.
fn directory() -> Environment {
    let environment = Environment::new();
    for name in ["tree", "tree/bin"] {
        fs::create_dir(environment.path(name)).unwrap();
        fs::set_permissions(environment.path(name), Permissions::from_mode(0o755)).unwrap();
    }
    environment.write("tree/bin/program", b"#!/bin/sh\n");
    fs::set_permissions(environment.path("tree/bin/program"), Permissions::from_mode(0o755))
        .unwrap();
    symlink("program", environment.path("tree/bin/link")).unwrap();
    environment
}

fn build(environment: &Environment, arguments: &[&str]) -> Ran {
    let command = ["layer", "build", "tree", "image", "--owner", "0:0"];
    environment.run(command.iter().chain(arguments))
}

#[test]
fn a_directory_becomes_an_image() {
    let environment = directory();
    let ran = build(&environment, &["--mtime", "0", "--archive", "tree.tar"]);
    assert_snapshot!(ran, @"
    Image:         image
    Archive:       tree.tar
    Root hash:     0a4ce685a4a1e5932d28a1c0e2fe9cf25ce1168998def49543229a5654ba4aa6
    Profile:       containerd-full-v1
    Layer digest:  sha256:846fd5208f3b236acbbb67abfcb3ec6021fa36752fc36d949fcbd5aa3f0eb58c
    diffID:        sha256:846fd5208f3b236acbbb67abfcb3ec6021fa36752fc36d949fcbd5aa3f0eb58c
    UUID:          39eef390-d3cd-5947-b37f-0de0e1af2c3d
    Compression:   plain tar
    Layer size:    3584 bytes
    Archive size:  3584 bytes, 4 members
    Hash offset:   8192 bytes, 4 files
    ");

    // What was written beside is the layer that the image is of.
    let from_archive = environment.run(["layer", "build", "tree.tar", "other"]).done();
    let from_directory = build(&environment, &["--mtime", "0"]).done();
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&from_archive), lines(&from_directory));
    assert!(environment.read("image") == environment.read("other"));
}

/// As <https://reproducible-builds.org/specs/source-date-epoch/> has it.
#[test]
fn later_times_become_that_of_the_source() {
    let environment = directory();
    let times = |epoch: &str| {
        let mut command = environment.osguard();
        command.args(["layer", "build", "tree", "image"]).env("SOURCE_DATE_EPOCH", epoch);
        environment.ran(&mut command).done();
        let shown = environment.run(["layer", "inspect", "image", "--tree", "--output", "json"]);
        let shown = shown.json();
        let files = shown["tree"].as_array().unwrap();
        files.iter().map(|file| file["mtime"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(times("1000000000"), ["2001-09-09T01:46:40Z"; 4]);
    assert!(times("99999999999").iter().all(|time| time.starts_with("20")), "they are their own");

    let mut command = environment.osguard();
    command.args(["layer", "build", "tree", "image"]).env("SOURCE_DATE_EPOCH", "yesterday");
    assert_snapshot!(environment.refuses(&mut command), @r#"
    --- standard error ---
    Error: SOURCE_DATE_EPOCH is "yesterday", and no number of seconds
    --- exit code 2 ---
    "#);
}

#[test]
fn what_cannot_be_archived_is_named() {
    let environment = directory();
    let socket = UnixListener::bind(environment.path("tree/bin/socket")).unwrap();
    assert_snapshot!(build(&environment, &[]), @"
    --- standard error ---
    Error: tree: bin/socket is a socket, which no archive holds
    --- exit code 1 ---
    ");
    drop(socket);
    fs::remove_file(environment.path("tree/bin/socket")).unwrap();
    assert!(!environment.path("image").exists());
}

#[test]
fn what_cannot_be_read_is_named() {
    let environment = directory();
    fs::set_permissions(environment.path("tree/bin/program"), Permissions::from_mode(0o000))
        .unwrap();
    let Some(mut setpriv) = or_skip(command::command("setpriv")) else { return };
    setpriv.arg("--bounding-set=-dac_override,-dac_read_search");
    let mut osguard = match environment.is_root() {
        true => environment.wrapped(&setpriv),
        false => environment.osguard(),
    };
    osguard.args(["layer", "build", "tree", "image"]);
    assert_snapshot!(environment.ran(&mut osguard), @"
    --- standard error ---
    Error: tree: cannot read bin/program: Permission denied (os error 13)
    --- exit code 1 ---
    ");
    assert!(!environment.path("image").exists());
}

#[test]
fn nothing_is_written_into_the_directory_that_is_read() {
    let environment = directory();
    for arguments in [&["tree/image"][..], &["image", "--archive", "tree/bin/archive"]] {
        let build = ["layer", "build", "tree"];
        let ran = environment.refused(build.iter().chain(arguments));
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("would be in the directory that it is made of"), "{ran}");
    }
}

#[test]
fn what_is_for_directories_is_refused_for_archives() {
    let environment = directory();
    environment.write("layer.tar", &[0; 1024]);
    for flags in [["--owner", "0:0"], ["--mtime", "0"], ["--archive", "copy"]] {
        let build = ["layer", "build", "layer.tar", "image"];
        let ran = environment.refused(build.iter().chain(&flags));
        assert_eq!(ran.code, 2);
        let message = format!("{} is for a directory, and layer.tar is none", flags[0]);
        assert!(ran.stderr.contains(&message), "{ran}");
    }
}
