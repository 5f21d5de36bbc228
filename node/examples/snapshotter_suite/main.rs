//! The 21 cases of containerd's snapshotter test suite, against the daemon's socket: one daemon for each.
//!
//! ```text
//! snapshotter_suite OSGUARD          runs all cases, each in a process of its own, with the program OSGUARD
//! snapshotter_suite OSGUARD CASE     runs one
//! ```
//!
//! It needs root and devices, so it runs in a virtual machine. Names and meaning of the cases are those of containerd's
//! `core/snapshots/testsuite`.

#![expect(clippy::unwrap_used, reason = "a case ends where its preparation fails")]

mod content;
mod metadata;
mod mounting;
mod snapshotter;
mod tree;

use std::process::Command;

use self::snapshotter::Snapshotter;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [program] => std::process::exit(run_all(&arguments[0], program)),
        [program, case] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(run(program, case));
        }
        _ => panic!("see the head of the source for the arguments"),
    }
}

/// Runs all cases, and says of each whether it is good; returns how many are not.
fn run_all(suite: &str, program: &str) -> i32 {
    let mut failed = 0;
    for case in CASES {
        let status = Command::new(suite).args([program, case]).status().unwrap();
        println!("{} {case}", if status.success() { "good" } else { "BAD" });
        failed += i32::from(!status.success());
    }
    println!("{} of {} cases are good", CASES.len() as i32 - failed, CASES.len());
    failed
}

async fn run(program: &str, case: &str) {
    let snapshotter = Snapshotter::start(program, case).await;
    match case {
        "Basic" => content::basic(&snapshotter).await,
        "StatActive" => metadata::stat_active(&snapshotter).await,
        "StatCommitted" => metadata::stat_committed(&snapshotter).await,
        "Transitivity" => metadata::transitivity(&snapshotter).await,
        "PrepareViewFailing" => metadata::prepare_view_failing(&snapshotter).await,
        "Update" => metadata::update(&snapshotter).await,
        "Remove" => metadata::remove(&snapshotter).await,
        "Walk" => metadata::walk(&snapshotter).await,
        "LayerFileUpdate" => content::layer_file_update(&snapshotter).await,
        "RemoveDirectoryInLowerLayer" => content::remove_directory(&snapshotter).await,
        "Chown" => content::chown(&snapshotter).await,
        "DirectoryPermissionOnCommit" => content::directory_permission(&snapshotter).await,
        "RemoveIntermediateSnapshot" => metadata::remove_intermediate(&snapshotter).await,
        "DeletedFilesInChildSnapshot" => content::deleted_files(&snapshotter).await,
        "MoveFileFromLowerLayer" => content::move_file(&snapshotter).await,
        "ViewReadonly" => content::view_read_only(&snapshotter).await,
        "StatInWalk" => metadata::stat_in_walk(&snapshotter).await,
        "CloseTwice" => metadata::close_twice(&snapshotter).await,
        "RootPermission" => content::root_permission(&snapshotter).await,
        "Rename" => content::rename(&snapshotter).await,
        "128LayersMount" => content::many_layers(&snapshotter).await,
        _ => panic!("there is no case {case:?}"),
    }
    snapshotter.stop().await;
}

const CASES: [&str; 21] = [
    "Basic",
    "StatActive",
    "StatCommitted",
    "Transitivity",
    "PrepareViewFailing",
    "Update",
    "Remove",
    "Walk",
    "LayerFileUpdate",
    "RemoveDirectoryInLowerLayer",
    "Chown",
    "DirectoryPermissionOnCommit",
    "RemoveIntermediateSnapshot",
    "DeletedFilesInChildSnapshot",
    "MoveFileFromLowerLayer",
    "ViewReadonly",
    "StatInWalk",
    "CloseTwice",
    "RootPermission",
    "Rename",
    "128LayersMount",
];
