//! What a virtual machine reports.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};

/// Is what happened in a virtual machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The exit code of the script.
    pub exit_code: i32,
    /// The commands that the script ran with `step`, by name.
    pub steps: BTreeMap<String, Step>,
    /// The kernel's log at the end, complete.
    pub kernel_log: String,
    /// The console: the kernel's messages and what the script printed outside of steps.
    pub console: String,
    /// How long the machine ran.
    pub wall_time: Duration,
}

/// Is what one command of the script did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its exit code; 126 if the kernel refused to execute it.
    pub exit_code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Returns the step `name`.
    ///
    /// # Panics
    ///
    /// Panics, with the console, if the script did not come to it.
    #[track_caller]
    pub fn step(&self, name: &str) -> &Step {
        self.steps.get(name).unwrap_or_else(|| {
            let names: Vec<_> = self.steps.keys().collect();
            panic!("no step {name:?}, only {names:?}; the console:\n{}", self.console)
        })
    }

    /// Returns the audit records of a type, for example 1420 for an access that IPE judged, from
    /// the word `audit:` on.
    pub fn audit_records(&self, record_type: u32) -> Vec<&str> {
        let start = format!("audit: type={record_type} ");
        let record = |line| str::find(line, &start).map(|position| &line[position..]);
        self.kernel_log.lines().filter_map(record).collect()
    }

    /// Parses a report; its form is told in `init.sh`.
    pub(super) fn parse(report: &[u8]) -> Result<Self> {
        let start = report.windows(START.len()).position(|window| window == START);
        let start = start.ok_or_else(|| unreadable("no start"))?;
        let mut report = Report(&report[start + START.len()..]);
        let mut steps = BTreeMap::new();
        let mut kernel_log = String::new();
        loop {
            let line = report.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["step", name, exit_code, stdout, stderr] => {
                    let exit_code = number(exit_code)?;
                    let stdout = report.bytes(number(stdout)?)?;
                    let stderr = report.bytes(number(stderr)?)?;
                    steps.insert(name.to_owned(), Step { exit_code, stdout, stderr });
                }
                ["log", length] => {
                    kernel_log =
                        String::from_utf8_lossy(&report.bytes(number(length)?)?).into_owned();
                }
                ["exit", exit_code] => {
                    let exit_code = number(exit_code)?;
                    let (console, wall_time) = (String::new(), Duration::ZERO);
                    return Ok(Self { exit_code, steps, kernel_log, console, wall_time });
                }
                _ => return Err(unreadable(&line)),
            }
        }
    }
}

impl Step {
    /// Returns the standard output as text, without white space at its ends.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Returns the standard error as text, without white space at its ends.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

struct Report<'a>(&'a [u8]);

impl Report<'_> {
    fn line(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or_else(|| unreadable("cut"))?;
        let line = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[end + 1..];
        Ok(line)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| unreadable("cut"))?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| unreadable(word))
}

fn unreadable(found: &str) -> Error {
    Error::unexpected("the report of the virtual machine", found)
}

/// Stands between what the firmware wrote to the same port and the report.
const START: &[u8] = b"\nreport\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report_byte_by_byte() {
        let report = b"firmware\r\n\nreport\nstep a 0 5 0\nexit\nstep b 126 0 4\nno\n\nlog 33\n[1] audit: type=1420 x\n[2] other\nexit 7\n";
        let outcome = Outcome::parse(report).unwrap();
        assert_eq!(outcome.exit_code, 7);
        assert_eq!(outcome.step("a").stdout, b"exit\n");
        assert_eq!(outcome.step("b").stderr_text(), "no");
        assert_eq!(outcome.step("b").exit_code, 126);
        assert_eq!(outcome.audit_records(1420), ["audit: type=1420 x"]);
        for cut in 0..report.len() {
            assert!(Outcome::parse(&report[..cut]).is_err(), "{cut} bytes are no whole report");
        }
    }
}
