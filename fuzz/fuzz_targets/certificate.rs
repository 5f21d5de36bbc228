//! A file is refused, or its certificates are the same when they are written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::certificate::Certificate;

fuzz_target!(|bytes: &[u8]| {
    let Ok(certificates) = Certificate::all_from_file_contents(bytes) else { return };
    let pem: String = certificates.iter().map(Certificate::to_pem).collect();
    let again = Certificate::all_from_file_contents(pem.as_bytes()).expect("what was written");
    assert_eq!(again, certificates);
    for certificate in certificates {
        let _ = (certificate.subject(), certificate.issuer(), certificate.serial());
        let _ = certificate.loadable();
    }
});
