//! What of the files in a directory is not taken as it is: the flags of every command that archives one.

use std::str::FromStr;

use libverity::layer::{DirectoryOptions, Times};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Owners and times of the files in a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct DirectoryOptionsArguments {
    /// The owner of all files of the directory, in numbers [default: each file's own]
    #[arg(long, value_name = "UID:GID")]
    owner: Option<Owner>,
    /// The time of all files of the directory, in seconds since 1970 [default: each file's own, but not after
    /// SOURCE_DATE_EPOCH]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    mtime: Option<i64>,
}

impl DirectoryOptionsArguments {
    /// Returns what the library takes.
    pub(crate) fn options(&self) -> Result<DirectoryOptions, Failure> {
        let times = match (self.mtime, source_date_epoch()?) {
            (Some(time), _) => Times::All(time),
            (None, None) => Times::Keep,
            (None, Some(epoch)) => Times::NotAfter(epoch),
        };
        Ok(DirectoryOptions { owner: self.owner.map(|Owner { uid, gid }| (uid, gid)), times })
    }

    /// Returns the first flag that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [("--owner", self.owner.is_some()), ("--mtime", self.mtime.is_some())];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

/// Reads the time that stands for now in whatever is to be the same in every run, in seconds since 1970.
///
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
pub(crate) fn source_date_epoch() -> Result<Option<i64>, Failure> {
    let Some(epoch) = std::env::var_os(SOURCE_DATE_EPOCH) else { return Ok(None) };
    match epoch.to_str().and_then(|epoch| epoch.parse().ok()) {
        Some(epoch) => Ok(Some(epoch)),
        None => Err(Failure::new(
            ExitStatus::Usage,
            format!("{SOURCE_DATE_EPOCH} is {epoch:?}, and no number of seconds"),
        )),
    }
}

/// A user and a group.
#[derive(Clone, Copy, Debug)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |number: &str| number.parse().map_err(|_| "two numbers like 0:0 are needed");
        let (uid, gid) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { uid: parse(uid)?, gid: parse(gid)? })
    }
}

const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
