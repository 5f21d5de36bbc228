//! A signing plugin of the notation project that misbehaves as told: `notation-test`.

use std::path::Path;

use crate::binary;
use crate::cache::create_directories;
use crate::error::{Error, Result};

/// Installs the plugin under the name `test` where programs look whose home directory is `home`.
///
/// What it does its source tells, `src/bin/notation-test.rs`.
pub fn install(home: &Path) -> Result<()> {
    let directory = home.join(".config/notation/plugins/test");
    create_directories(&directory)?;
    let program = directory.join("notation-test");
    std::os::unix::fs::symlink(binary::built("notation-test")?, &program)
        .map_err(Error::io(&program))
}
