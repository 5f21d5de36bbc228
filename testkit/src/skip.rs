//! Tests that cannot run here say so, and are counted.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says on standard error that the calling test is skipped because `missing` is not here; the
/// test then returns.
///
/// The line also goes to the file that the environment variable `OSGUARD_SKIPPED` names, which
/// `scripts/test` counts. With `CI=true` nothing may be skipped.
///
/// # Panics
///
/// Panics where the environment variable `CI` is `true`.
pub fn skip(missing: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    assert!(
        std::env::var_os("CI").is_none_or(|value| value != "true"),
        "{name} would be skipped for want of {missing}, and on CI nothing may be skipped"
    );
    eprintln!("SKIPPED: {name}: {missing}");
    if let Some(path) = std::env::var_os("OSGUARD_SKIPPED") {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("the file of skipped tests can be written");
        writeln!(file, "{name}: {missing}").expect("the file of skipped tests can be written");
    }
}
