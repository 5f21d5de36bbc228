//! Which policies an initramfs has of its own (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::blob::SignedPolicy;
use crate::version::PolicyVersion;

/// Is a policy in an initramfs, which systemd loads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedPolicy {
    /// Its path in the initramfs.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: PolicyVersion,
}

/// Lists the policies in an initramfs: archives one after the other, plain, by gzip or by Zstandard. What is packed in another way, or is
/// no archive, ends the search, and so does an error; what was found until then counts.
pub fn packed_policies(initramfs: impl BufRead) -> Vec<PackedPolicy> {
    let mut policies = Vec::new();
    // What cannot be read to its end is not known, as with another packing.
    let _ = scan(initramfs, &mut policies);
    policies
}

/// Reads archives, plain or packed, one after the other, to the end of the file.
fn scan(mut input: impl BufRead, policies: &mut Vec<PackedPolicy>) -> io::Result<()> {
    loop {
        // Zeros fill the room between archives.
        loop {
            let bytes = input.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let is_over = bytes.is_empty();
            if is_over {
                return Ok(());
            }
            let has_more = zeros == bytes.len();
            input.consume(zeros);
            if !has_more {
                break;
            }
        }
        let head = input.fill_buf()?;
        if head.starts_with(b"07070") {
            archive(&mut input, policies)?;
        } else if head.starts_with(b"\x1f\x8b") {
            return scan_unpacked(BufReader::new(MultiGzDecoder::new(input)), policies);
        } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
            return scan_unpacked(BufReader::new(zstd::Decoder::with_buffer(input)?), policies);
        } else {
            return Ok(());
        }
    }
}

/// As [`scan`], of what is not packed a second time.
fn scan_unpacked(mut input: impl BufRead, policies: &mut Vec<PackedPolicy>) -> io::Result<()> {
    while input.fill_buf()?.starts_with(b"07070") {
        archive(&mut input, policies)?;
    }
    Ok(())
}

/// Reads one archive in the format `newc`: for each file 110 bytes of which thirteen numbers of eight hexadecimal digits
/// follow upon `070701` or `070702`, the name with a NUL and the content, both filled up to a multiple of four bytes.
fn archive(input: &mut impl BufRead, policies: &mut Vec<PackedPolicy>) -> io::Result<()> {
    for _ in 0..MAX_FILES {
        let mut header = [0; 110];
        input.read_exact(&mut header)?;
        let number = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index]).ok();
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok())
        };
        let (Some(size_bytes), Some(name_bytes)) = (number(6), number(11)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if !header.starts_with(b"07070") || name_bytes == 0 || name_bytes > 4096 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut name = vec![0; name_bytes as usize];
        input.read_exact(&mut name)?;
        name.pop();
        skip(input, padding(110 + u64::from(name_bytes)))?;
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        let size_bytes = u64::from(size_bytes);
        let path = String::from_utf8_lossy(&name).trim_start_matches(['.', '/']).to_owned();
        if is_policy(&path) && size_bytes <= u64::from(u16::MAX) {
            let mut bytes = vec![0; size_bytes as usize];
            input.read_exact(&mut bytes)?;
            skip(input, padding(size_bytes))?;
            policies.extend(SignedPolicy::read(bytes).ok().map(|policy| PackedPolicy {
                path: path.into(),
                name: policy.header().name.to_string(),
                version: policy.header().version,
            }));
        } else {
            skip(input, size_bytes + padding(size_bytes))?;
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn is_policy(path: &str) -> bool {
    path.ends_with(".p7b")
        && ["etc/ipe/", "run/ipe/", "usr/local/lib/ipe/", "usr/lib/ipe/"]
            .iter()
            .any(|start| path.starts_with(start))
}

fn padding(length_bytes: u64) -> u64 {
    length_bytes.next_multiple_of(4) - length_bytes
}

fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(count), &mut io::sink())?;
    if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// More files than any initramfs has.
const MAX_FILES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use osguard_testkit::or_skip;
    use osguard_testkit::pki::Signer;

    use super::*;

    fn entry(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
        let mut fields = [0; 13];
        fields[6] = content.len();
        fields[11] = name.len() + 1;
        archive.extend_from_slice(b"070701");
        fields
            .iter()
            .for_each(|field| archive.extend_from_slice(format!("{field:08x}").as_bytes()));
        for bytes in [format!("{name}\0").as_bytes(), content] {
            archive.extend_from_slice(bytes);
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
    }

    fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        files.iter().for_each(|(name, content)| entry(&mut archive, name, content));
        entry(&mut archive, "TRAILER!!!", b"");
        archive
    }

    #[test]
    fn policies_are_found_behind_microcode_and_in_packed_archives() {
        let Some(signer): Option<Signer> = or_skip(Signer::generate("boot test")) else { return };
        let policy = signer
            .sign_policy("policy_name=n policy_version=1.0.3\nDEFAULT action=ALLOW\n")
            .unwrap();
        let early = archive_of(&[("kernel/x86/microcode/a.bin", b"microcode")]);
        let main = archive_of(&[
            ("init", b"#!"),
            ("./etc/ipe/n.p7b", &policy),
            ("etc/ipe/x.p7b", b"none"),
        ]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&main).unwrap();
        let packed = [gzip.finish().unwrap(), zstd::encode_all(&main[..], 1).unwrap(), main];
        for main in packed {
            let mut whole = early.clone();
            whole.resize(whole.len().next_multiple_of(512), 0);
            whole.extend(main);
            let mut found = Vec::new();
            scan(&whole[..], &mut found).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(
                (found[0].name.as_str(), found[0].version),
                ("n", PolicyVersion::new(1, 0, 3))
            );
        }
    }

    #[test]
    fn foreign_bytes_end_the_search() {
        for bytes in [&b""[..], b"nothing", b"070701", &[0; 600], b"\x1f\x8bnothing"] {
            let mut found = Vec::new();
            let _ = scan(bytes, &mut found);
            assert_eq!(found, []);
        }
        let mut endless = archive_of(&[("a", b"b")]);
        endless[6 + 8 * 6..14 + 8 * 6].copy_from_slice(b"ffffffff");
        assert!(scan(&endless[..], &mut Vec::new()).is_err());
    }
}
