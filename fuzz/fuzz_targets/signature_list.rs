//! Signature lists are refused, or no entry of them is longer than what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::certificate::{SignatureListEntry, read_signature_lists};
use libverity::pkcs7::Blacklist;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entries) = read_signature_lists(bytes) else { return };
    let data: usize = entries
        .iter()
        .map(|entry| match entry {
            SignatureListEntry::Certificate(certificate) => certificate.as_der().len(),
            SignatureListEntry::CertificateDigest(data) => data.len(),
            _ => 0,
        })
        .sum();
    assert!(data <= bytes.len());
    let _ = Blacklist::new(entries, true);
});
