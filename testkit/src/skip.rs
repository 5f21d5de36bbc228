//! Tests that cannot run here say so, and are counted.

/// Says on standard error that the calling test is skipped because `missing` is not here; the
/// test then returns.
///
/// `scripts/test` counts the lines. With `CI` set nothing may be skipped.
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
}
