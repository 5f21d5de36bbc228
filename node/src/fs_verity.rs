//! Files with fs-verity (`fs/verity/`, `Documentation/filesystems/fsverity.rst`).

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use osguard_policy::evaluate::FsVerity;
use osguard_policy::syntax::DigestValue;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Returns what the kernel knows of a file with fs-verity, opened for reading; `None` for one without.
///
/// Where a signature is stored, the kernel has verified it before it let the file be opened, if it was built
/// with `FS_VERITY_BUILTIN_SIGNATURES`.
///
/// # Errors
///
/// Fails where the kernel does not answer.
pub fn fs_verity(file: &File) -> io::Result<Option<FsVerity>> {
    let Some(digest) = digest(file)? else { return Ok(None) };
    Ok(Some(FsVerity { digest, is_signed: has_signature(file)? }))
}

#[expect(unsafe_code, reason = "ioctl")]
fn digest(file: &File) -> io::Result<Option<DigestValue>> {
    let mut found = MeasuredDigest {
        algorithm: 0,
        size_bytes: MAX_DIGEST_BYTES as u16,
        digest: [0; MAX_DIGEST_BYTES],
    };
    // SAFETY: the request reads and writes one `struct fsverity_digest` with as many bytes behind it as
    // `size_bytes` says, which `MeasuredDigest` has.
    let answer =
        unsafe { ioctl(file.as_fd(), Updater::<MEASURE_OPCODE, MeasuredDigest>::new(&mut found)) };
    match answer {
        Ok(()) => {}
        Err(Errno::NODATA | Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let algorithm = match found.algorithm {
        1 => "sha256",
        2 => "sha512",
        other => return Err(io::Error::other(format!("fs-verity with the algorithm {other}"))),
    };
    let bytes = found.digest.get(..found.size_bytes.into()).unwrap_or_default().to_vec();
    Ok(Some(DigestValue { algorithm: algorithm.into(), bytes }))
}

#[expect(unsafe_code, reason = "ioctl")]
fn has_signature(file: &File) -> io::Result<bool> {
    let mut byte = [0_u8];
    let mut request = ReadMetadata {
        kind: SIGNATURE,
        offset_bytes: 0,
        length_bytes: byte.len() as u64,
        buffer: byte.as_mut_ptr() as u64,
        reserved: 0,
    };
    // SAFETY: the request reads one `struct fsverity_read_metadata_arg` and writes at most `length_bytes`
    // to where `buffer` points, which is the byte above.
    let answer = unsafe {
        ioctl(file.as_fd(), Updater::<READ_METADATA_OPCODE, ReadMetadata>::new(&mut request))
    };
    match answer {
        Ok(()) => Ok(true),
        Err(Errno::NODATA | Errno::NOTTY | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// `struct fsverity_digest` with room for the digest (`include/uapi/linux/fsverity.h`).
#[repr(C)]
struct MeasuredDigest {
    algorithm: u16,
    size_bytes: u16,
    digest: [u8; MAX_DIGEST_BYTES],
}

/// `struct fsverity_read_metadata_arg`.
#[repr(C)]
struct ReadMetadata {
    kind: u64,
    offset_bytes: u64,
    length_bytes: u64,
    buffer: u64,
    reserved: u64,
}

/// That of SHA-512.
const MAX_DIGEST_BYTES: usize = 64;
/// `FS_VERITY_METADATA_TYPE_SIGNATURE`.
const SIGNATURE: u64 = 3;
/// `FS_IOC_MEASURE_VERITY`, whose number counts the four bytes before the digest alone.
const MEASURE_OPCODE: Opcode = opcode::read_write::<[u8; 4]>(b'f', 134);
/// `FS_IOC_READ_VERITY_METADATA`.
const READ_METADATA_OPCODE: Opcode = opcode::read_write::<ReadMetadata>(b'f', 135);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_files_have_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(fs_verity(&file).unwrap(), None);
        assert_eq!(fs_verity(&File::open("/proc/self/maps").unwrap()).unwrap(), None);
    }
}
