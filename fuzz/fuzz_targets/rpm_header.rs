//! A header of rpm is refused, or its package has a name and a version that are in the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::comparison::packages::{Header, parse_header};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = parse_header(bytes) else { return };
    let Header { name, epoch, version, release, architecture } = &header;
    let full = header.full_version();
    assert!(full.ends_with(&format!("{version}-{release}")));
    assert!(epoch.is_none_or(|epoch| full.starts_with(&format!("{epoch}:"))));
    for text in [name, version, release, architecture] {
        assert!(!text.contains('\0'));
        // What is no UTF-8 is replaced.
        if !text.contains('\u{fffd}') {
            let is_in =
                text.is_empty() || bytes.windows(text.len()).any(|found| found == text.as_bytes());
            assert!(is_in, "{text:?}");
        }
    }
});
