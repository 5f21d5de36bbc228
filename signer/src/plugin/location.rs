//! Where plugins are installed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::Reason;

/// Says where plugins are looked for, and how long they may take.
#[derive(Clone, Debug)]
pub struct Location {
    directory: Option<PathBuf>,
    pub(super) time_limit: Duration,
}

impl Location {
    /// Looks where notation does on Linux: in `notation/plugins` in the directory that
    /// `XDG_CONFIG_HOME` names, or else in `~/.config`.
    pub fn of_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let config = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")));
        Self {
            directory: config.map(|config| config.join("notation/plugins")),
            time_limit: TIME_LIMIT,
        }
    }

    /// Looks for `NAME/notation-NAME` in this directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), time_limit: TIME_LIMIT }
    }

    /// Gives a plugin this much time for each answer, instead of 60 seconds.
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    pub(super) fn find(&self, name: &str) -> Result<PathBuf, Reason> {
        let directory = self.directory.as_ref().ok_or(Reason::NoHome)?;
        let program = directory.join(name).join(format!("notation-{name}"));
        if program.is_file() { Ok(program) } else { Err(Reason::Missing { program }) }
    }
}

/// Time enough for a service on the other side of the world, or for somebody who confirms.
const TIME_LIMIT: Duration = Duration::from_secs(60);
