//! A message is refused, or it holds the one policy that the key of the seeds has ever signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::pkcs7::{verify_policy, verify_root_hash};

static ANCHORS: LazyLock<[Certificate; 1]> = LazyLock::new(|| {
    [Certificate::from_der(include_bytes!("../seeds/certificate/der")).expect("a certificate")]
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok((accepted, policy)) = verify_policy(bytes, &*ANCHORS) {
        assert_eq!(policy, b"policy_name=fuzz policy_version=0.0.1\nDEFAULT action=ALLOW\n");
        assert_eq!(accepted.anchor, ANCHORS[0]);
    }
    let root_hash = RootHash::from_bytes([0; 32]);
    verify_root_hash(&root_hash, bytes, &*ANCHORS).expect_err("no root hash was ever signed");
});
