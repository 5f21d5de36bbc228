//! Places at which tests kill the process.

/// Kills the process with `SIGKILL` if the environment variable `OSGUARD_TEST_KILL_AT` names this `step`.
///
/// The code exists with the feature `fault-points` only, which no released binary has.
#[cfg(feature = "fault-points")]
pub(crate) fn point(step: &str) {
    if std::env::var_os("OSGUARD_TEST_KILL_AT").is_some_and(|name| name == step) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing: the feature `fault-points` is off.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn point(_step: &str) {}
