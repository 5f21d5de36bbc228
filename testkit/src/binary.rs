//! The programs of this crate, for tests of others.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::target_directory;
use crate::command::run;
use crate::error::Result;

/// Returns the program `name` of this crate.
///
/// It is built on demand: a test of another package cannot ask cargo for it beforehand.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = target_directory();
    run(Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "osguard-testkit", "--bin", name])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(target.join("debug").join(name))
}
