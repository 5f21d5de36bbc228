//! A container of rpm's headers is refused, or has no more packages than there is room for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::comparison::packages::parse_ndb;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packages) = parse_ndb(bytes) {
        // A slot, a header and what is around it.
        assert!(packages.len() <= bytes.len() / (16 + 16 + 8 + 12));
    }
});
