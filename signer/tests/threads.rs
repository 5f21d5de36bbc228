//! One signer with a key in a token, used from several threads as the push hook does.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::process::Command;

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::pkcs7::{Embedding, sign_root_hash, verify_root_hash};
use libverity::signer::Signer as _;
use osguard_signer::pkcs11::Pkcs11Signer;
use osguard_testkit::or_skip;
use osguard_testkit::softhsm::SoftHsm;

/// SoftHSM finds its tokens through a variable of the environment, so that the test runs itself in
/// another process.
#[test]
fn several_threads_sign_with_one_token() {
    if let Ok(uri) = std::env::var(URI) {
        return several_threads_sign_with(&uri);
    }
    let Some(hsm) = or_skip(SoftHsm::new()) else { return };
    hsm.add_token("release").unwrap();
    for (kind, id) in [("rsa:2048", "01"), ("EC:prime256v1", "02")] {
        hsm.add_key("release", "signer", id, kind, true).unwrap();
        let (name, value) = hsm.environment();
        let uri = format!("pkcs11:id=%{id}?module-path={}", hsm.module().display());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "several_threads_sign_with_one_token", "--nocapture"])
            .env(name, value)
            .env(URI, uri)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains(DONE), "{printed}");
    }
}

fn several_threads_sign_with(uri: &str) {
    let uri = uri.parse().unwrap();
    let mut asked = 0;
    let mut pin = |_: &str| {
        asked += 1;
        Ok(SoftHsm::PIN.as_bytes().to_vec().into())
    };
    let signer = Pkcs11Signer::open(&uri, &[], &mut pin).unwrap();
    assert_eq!(asked, 1);
    let anchors: [Certificate; 1] = [signer.certificate().clone()];
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let (signer, anchors) = (&signer, &anchors);
            scope.spawn(move || {
                for number in 0..5 {
                    let root_hash = RootHash::from_bytes([thread * 16 + number; 32]);
                    let signed =
                        sign_root_hash(&root_hash, signer, Embedding::Certificate).unwrap();
                    verify_root_hash(&root_hash, &signed, anchors).unwrap();
                }
            });
        }
    });
    println!("{DONE}");
}

const URI: &str = "OSGUARD_TEST_URI";
const DONE: &str = "forty signatures were made";
