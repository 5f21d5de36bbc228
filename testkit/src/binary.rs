//! The programs of this crate, for tests of others.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::target_directory;
use crate::command::run;
use crate::error::Result;

/// Returns the program `name` of this crate.
///
/// It is built on demand: a test of another package cannot ask cargo for it beforehand. It is asked for as
/// the tests of the whole workspace are, with the features that those have: where they were built
/// it is there, and else two hundred dependencies would be compiled a second time.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = target_directory();
    run(Command::new(cargo)
        .args([
            "test",
            "--quiet",
            "--locked",
            "--workspace",
            "--no-run",
            "--test",
            TEST_OF_THIS_CRATE,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(target.join("debug").join(name))
}

/// Is a test that no other crate has, before which cargo builds the programs of this one.
const TEST_OF_THIS_CRATE: &str = "docker_registry";
