//! Policies signed here and by OpenSSL.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::io;

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::errno::Errno;
use libverity::pkcs7::{Embedding, Refusal};
use libverity::signer::{FileSigner, SignError};
use osguard_policy::blob::{BlobError, SignedPolicy};
use osguard_policy::node_policy::NodePolicy;
use osguard_policy::sign::{SignPolicyError, sign};
use osguard_policy::version::PolicyVersion;
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::{Identity, TestPki};

fn signer(identity: &Identity) -> FileSigner {
    let mut no_passphrase = || Err(io::Error::other("the key is not encrypted"));
    FileSigner::open(&identity.key, &identity.certificate, &mut no_passphrase).unwrap()
}

fn anchors(identity: &Identity) -> [Certificate; 1] {
    [Certificate::from_file_contents(&identity.certificate_pem().unwrap()).unwrap()]
}

fn node_policy() -> NodePolicy {
    NodePolicy::new("osguard".parse().unwrap(), PolicyVersion::new(1, 0, 7))
}

#[test]
fn a_signed_policy_is_what_openssl_signs() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let text = node_policy().to_string();
    let signed = sign(text.as_bytes(), &signer(&rsa), Embedding::Certificate).unwrap();
    let options = ["-binary", "-noattr", "-nodetach", "-nosmimecap"];
    assert_eq!(signed.as_bytes(), rsa.sign("smime", &options, text.as_bytes()).unwrap());
    assert_eq!(signed.text(), text.as_bytes());
    assert_eq!(signed.header().name.as_str(), "osguard");
    assert_eq!(signed.header().version, PolicyVersion::new(1, 0, 7));
    let accepted = signed.verify(&anchors(&rsa)).unwrap();
    assert_eq!(accepted.anchor, anchors(&rsa)[0]);
    let refusal = signed.verify(&anchors(&pki.ec().unwrap())).unwrap_err();
    assert_eq!(refusal.errno(), Some(Errno::ENOKEY));
}

#[test]
fn a_policy_of_others_is_read_without_trust() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let text = b"# theirs\r\npolicy_name=theirs policy_version=+3.02.1\r\nDEFAULT action=ALLOW\r\n";
    let signed = rsa.sign("cms", &["-binary", "-nodetach"], text);
    // The S/MIME capabilities that OpenSSL adds make the kernel refuse the whole.
    let error = SignedPolicy::read(signed.unwrap()).unwrap_err();
    assert!(matches!(error, BlobError::Message(Refusal::AttributeRefused { .. })), "{error}");
    let signed = rsa.sign("cms", &["-binary", "-nodetach", "-noattr", "-md", "sha512"], text);
    let policy = SignedPolicy::read(signed.unwrap()).unwrap();
    assert_eq!(policy.header().version, PolicyVersion::new(3, 2, 1));
    let detached = rsa.sign("cms", &["-binary", "-noattr"], text).unwrap();
    assert_eq!(
        SignedPolicy::read(detached).unwrap_err(),
        BlobError::Message(Refusal::ContentMissing)
    );
    let no_policy = rsa.sign("cms", &["-binary", "-nodetach", "-noattr"], b"hello").unwrap();
    let error = SignedPolicy::read(no_policy).unwrap_err();
    assert!(matches!(error, BlobError::Header(_)), "{error}");
}

#[test]
fn revocations_fit_until_the_kernel_reads_no_more() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let signer = signer(&pki.rsa().unwrap());
    let with_revocations = |count: u16| {
        let policy = (0..count).try_fold(node_policy(), |policy, number| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            policy.revoke(RootHash::from_bytes(bytes))
        });
        sign(policy.unwrap().to_string().as_bytes(), &signer, Embedding::Certificate)
    };
    assert!(with_revocations(550).is_ok());
    let error = with_revocations(580).unwrap_err();
    assert!(
        matches!(error, SignPolicyError::Sign(SignError::TooLarge { limit: 65_535, .. })),
        "{error}"
    );
}

#[test]
fn a_text_without_a_header_is_not_signed() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let signer = signer(&pki.ec().unwrap());
    for text in ["", "DEFAULT action=ALLOW", "policy_name=a policy_version=1"] {
        let error = sign(text.as_bytes(), &signer, Embedding::Certificate).unwrap_err();
        assert!(matches!(error, SignPolicyError::Header(_)), "{error}");
    }
}
