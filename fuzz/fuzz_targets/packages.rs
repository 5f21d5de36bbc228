//! A database of packages is refused, or its packages have names and are not too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::comparison::packages::{MAX_PACKAGES, parse_apk, parse_dpkg};

fuzz_target!(|bytes: &[u8]| {
    for parse in [parse_apk, parse_dpkg] {
        let Ok(packages) = parse(bytes) else { continue };
        assert!(packages.len() <= MAX_PACKAGES && packages.len() <= bytes.len() / 4);
        for package in packages {
            for text in [&package.name, &package.version, &package.architecture] {
                // What is no UTF-8 becomes longer, at most threefold, and never a line break.
                assert!(text.len() <= 3 * bytes.len() && !text.contains('\n'));
            }
        }
    }
});
