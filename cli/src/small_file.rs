//! Files that fit into memory: certificates, signatures, policies.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::failure::Failure;

/// Reads a file of at most [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        // In one piece, as it may be a private key: memory that grows leaves copies behind.
        bytes.reserve(file.metadata()?.len().min(MAX_BYTES) as usize + 1);
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    match read {
        Ok(length) if length as u64 > MAX_BYTES => Err(Failure::reading(
            path,
            io::Error::other(format!("it is longer than {MAX_BYTES} bytes")),
        )),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::reading(path, error)),
    }
}

/// Sixteen times what the kernel takes of a signed policy, the longest of them; a bundle of a few
/// hundred certificates fits as well.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_refused() {
        let failure = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(failure.to_string(), "cannot read /dev/zero: it is longer than 1048576 bytes");
    }
}
