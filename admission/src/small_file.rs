//! Files that fit into memory: configurations, certificates, tokens.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a file of at most so many bytes.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let read = File::open(path)?.take(limit_bytes + 1).read_to_end(&mut contents)?;
    match read as u64 > limit_bytes {
        true => Err(io::Error::other(format!("it is longer than {limit_bytes} bytes"))),
        false => Ok(contents),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_refused() {
        assert!(read(Path::new("/dev/zero"), 1000).is_err());
        assert_eq!(read(Path::new("/dev/null"), 0).unwrap(), b"");
    }
}
