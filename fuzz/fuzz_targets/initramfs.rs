//! No initramfs makes the search for policies panic or takes more memory than a policy has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_policy::initramfs::packed_policies;

fuzz_target!(|bytes: &[u8]| {
    for policy in packed_policies(bytes) {
        assert!(policy.path.to_string_lossy().contains("ipe/"));
    }
});
