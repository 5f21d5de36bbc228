//! Programs of the machine, with errors that tell what was called and what it said.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

/// Runs a program and returns what it wrote to its standard output.
///
/// # Errors
///
/// [`Error::Missing`] if there is no such program, [`Error::Command`] if it failed.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    finish(command, |command| command.stdin(Stdio::null()).output())
}

/// Runs a program with `input` on its standard input, and returns its standard output.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    finish(command, |command| {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        std::thread::scope(|scope| {
            // A program that ends before it has read everything tells why in its exit status.
            scope.spawn(move || pipe.write_all(input));
            child.wait_with_output()
        })
    })
}

/// Returns where the program `name` lies: in `PATH` or in a directory for the administrator's.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| Error::Missing(format!("the program {name}")))
}

/// Returns a command for the program `name`, wherever [`find`] finds it.
pub fn command(name: &str) -> Result<Command> {
    find(name).map(Command::new)
}

fn finish(
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> io::Result<Output>,
) -> Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let output = run(command).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Missing(format!("the program {}", program.to_string_lossy()))
        }
        _ => Error::Io { path: PathBuf::from(&program), source: error },
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Command {
        arguments: command.get_args().map(OsStr::to_owned).collect(),
        program,
        status: output.status,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
