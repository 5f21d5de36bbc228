//! Certificates that the firmware both trusts (`db`) and revokes (`dbx`).
//!
//! The kernel loads `db` first, so that they all come into `.platform`; what it then makes of `dbx` is told by
//! [`libverity::pkcs7::Blacklist`], and is nothing in most cases.

use std::fs::File;
use std::io::Read as _;

use libverity::certificate::{Certificate, SignatureListEntry, read_signature_lists};
use osguard_policy::trust::{Revocation, RevocationList};

use super::{Finding, Machine};

/// Finds them, if the firmware's variables can be read (`efivarfs`).
pub(super) fn trusted_and_revoked(machine: &Machine) -> Vec<Finding> {
    let variable = |name: &str| read_signature_lists(&read(machine, name)?).ok();
    let (Some(trusted), Some(revoked)) = (variable("db"), variable("dbx")) else {
        return Vec::new();
    };
    let certificates = trusted.iter().filter_map(|entry| match entry {
        SignatureListEntry::Certificate(certificate) => Some(&**certificate),
        _ => None,
    });
    let revoked =
        RevocationList { entries: revoked.iter().filter_map(Revocation::of_dbx).collect() };
    let is_revoked = |certificate: &&Certificate| revoked.of_certificate(certificate).is_some();
    certificates.filter(is_revoked).map(finding).collect()
}

fn finding(certificate: &Certificate) -> Finding {
    Finding::critical(
        format!(
            "the firmware revokes {:?} in dbx and trusts it in db, and the kernel heeds db: whoever has its key can sign \
             layers and policies",
            certificate.subject()
        ),
        "take the certificate out of db",
    )
}

fn read(machine: &Machine, name: &str) -> Option<Vec<u8>> {
    let path = machine.path(&format!("/sys/firmware/efi/efivars/{name}-{IMAGE_SECURITY}"));
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, under which `db` and `dbx` are kept.
const IMAGE_SECURITY: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

/// Firmware keeps 64 KiB of all variables together, some 256 KiB.
const READ_LIMIT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use libverity::digest::Digest;

    use super::*;

    #[test]
    fn what_is_in_both_lists_is_critical() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert_eq!(trusted_and_revoked(&machine), []);
        let read = |bytes: &[u8]| Certificate::from_file_contents(bytes).unwrap();
        let alice = read(include_bytes!("../../../testdata/keys/alice.crt"));
        let mallory = read(include_bytes!("../../../testdata/keys/mallory.crt"));
        let write = |name: &str, lists: &[Vec<u8>]| {
            let path = format!("/sys/firmware/efi/efivars/{name}-{IMAGE_SECURITY}");
            let path = machine.path(&path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, [&[vec![0x27, 0, 0, 0]][..], lists].concat().concat()).unwrap();
        };
        let whole = |certificate: &Certificate| list(X509, certificate.as_der());
        let digest = Digest::of(alice.to_be_signed());
        let timed = list(X509_SHA256, &[digest.as_bytes(), &[0; 16][..]].concat());
        write("db", &[whole(&alice), whole(&mallory)]);
        for revoked in [timed, list(X509_SHA256, digest.as_bytes()), whole(&alice)] {
            write("dbx", &[list([7; 16], &[0; 32]), revoked]);
            let findings = trusted_and_revoked(&machine);
            assert_eq!(findings, [finding(&alice)]);
        }
        write("dbx", &[list([7; 16], &[0; 32])]);
        assert_eq!(trusted_and_revoked(&machine), []);
    }

    fn list(kind: [u8; 16], data: &[u8]) -> Vec<u8> {
        let entry_bytes = u32::try_from(16 + data.len()).unwrap();
        let sizes = [28 + entry_bytes, 0, entry_bytes].map(u32::to_le_bytes).concat();
        [&kind[..], &sizes, &[0; 16], data].concat()
    }

    const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
    const X509_SHA256: [u8; 16] =
        *b"\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed";
}
