//! Loads many signed policies into the kernel, one after the other, and prints its answers, as the
//! tests in the virtual machine need it: a shell would start two programs for each.
//!
//! The file has the length of each policy, four bytes with the lowest first, and then the policy. A
//! line is printed for each: its number, and the kernel's error number or 0. What was loaded is
//! deleted at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

const IPE: &str = "/sys/kernel/security/ipe";

fn main() -> io::Result<()> {
    let file = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("a file is missing"))?;
    let bytes = fs::read(file)?;
    let mut rest = &bytes[..];
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut number = 0;
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (policy, tail) =
            tail.split_at_checked(length).ok_or_else(|| io::Error::other("a policy is cut off"))?;
        rest = tail;
        let errno = match write(&Path::new(IPE).join("new_policy"), policy) {
            Ok(()) => {
                for loaded in fs::read_dir(Path::new(IPE).join("policies"))? {
                    write(&loaded?.path().join("delete"), b"1")?;
                }
                0
            }
            Err(error) => error.raw_os_error().ok_or(error)?,
        };
        writeln!(out, "{number} {errno}")?;
        number += 1;
    }
    out.flush()
}

/// Writes in one piece, as the kernel takes each write for a whole policy.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path)?.write(bytes)?;
    match written == bytes.len() {
        true => Ok(()),
        false => Err(io::Error::other("the kernel has taken a part only")),
    }
}
