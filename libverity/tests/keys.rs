//! New keys and certificates, beside OpenSSL's opinion of them.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libverity::certificate::{Certificate, GenerateError, GeneratedKey, KeyKind, generate};
use libverity::digest::RootHash;
use libverity::pkcs7::{Embedding, inspect, sign_root_hash, verify_root_hash};
use libverity::signer::FileSigner;
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::{TestPki, Wanted};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// 2026-11-23 18:15:00 UTC.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_457_700)
}

fn new_key(kind: KeyKind) -> GeneratedKey {
    generate(kind, "A signer", now(), 10 * YEAR).unwrap()
}

#[test]
fn every_kind_of_key_signs_and_is_accepted() {
    let root_hash = RootHash::from_bytes([7; 32]);
    for kind in
        [KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::Rsa2048, KeyKind::Rsa3072]
    {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("k"), directory.path().join("c"));
        let generated = new_key(kind);
        generated.write(&key, &certificate, None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&key), 0o600);
        let mut no_passphrase = || Err(io::Error::other("not encrypted"));
        let signer = FileSigner::open(&key, &certificate, &mut no_passphrase).unwrap();
        let message = sign_root_hash(&root_hash, &signer, Embedding::Nothing).unwrap();
        let anchors = [generated.certificate().clone()];
        let accepted = verify_root_hash(&root_hash, &message, &anchors).unwrap();
        assert_eq!(accepted.anchor, anchors[0], "{kind}");
    }
}

#[test]
fn openssl_reads_what_is_written() {
    if or_skip(command("openssl")).is_none() {
        return;
    }
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::Rsa2048] {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("k"), directory.path().join("c"));
        new_key(kind).write(&key, &certificate, Some(b"secret")).unwrap();
        let openssl = |arguments: &[&str], file: &Path| {
            run(command("openssl").unwrap().args(arguments).arg(file)).unwrap()
        };
        openssl(&["pkey", "-check", "-noout", "-passin", "pass:secret", "-in"], &key);
        let public = openssl(&["pkey", "-pubout", "-passin", "pass:secret", "-in"], &key);
        assert_eq!(openssl(&["x509", "-pubkey", "-noout", "-in"], &certificate), public);
        run(command("openssl")
            .unwrap()
            .args(["verify", "-x509_strict", "-check_ss_sig", "-partial_chain", "-trusted"])
            .arg(&certificate)
            .arg(&certificate))
        .unwrap();
        let text = String::from_utf8(openssl(
            &["x509", "-noout", "-subject", "-dates", "-ext", EXTENSIONS, "-in"],
            &certificate,
        ))
        .unwrap();
        for part in [
            "subject=CN = A signer",
            "notBefore=Nov 23 18:15:00 2026 GMT",
            "notAfter=Nov 20 18:15:00 2036 GMT",
            "CA:FALSE",
            "Digital Signature",
            "Subject Key Identifier",
            "Authority Key Identifier",
        ] {
            assert!(text.contains(part), "{kind}: {part} is not in\n{text}");
        }
        let parsed = Certificate::from_file_contents(&fs::read(&certificate).unwrap()).unwrap();
        let identifier = parsed.subject_key_identifier().unwrap();
        assert!(text.replace(':', "").to_lowercase().contains(&identifier), "{identifier}\n{text}");
    }
}

const EXTENSIONS: &str = "basicConstraints,keyUsage,subjectKeyIdentifier,authorityKeyIdentifier";

#[test]
fn files_that_exist_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("old"), "old").unwrap();
    let generated = new_key(KeyKind::EcP256);
    for (key, certificate) in [("old", "new"), ("new", "old")] {
        let error = generated.write(&file(key), &file(certificate), None).unwrap_err();
        assert!(matches!(error, GenerateError::Create { ref path, .. } if *path == file("old")));
        assert_eq!(fs::read_to_string(file("old")).unwrap(), "old");
        assert!(!file("new").exists());
    }
}

#[test]
fn names_and_times_that_do_not_fit_are_refused() {
    for name in ["", "a\nb", &"x".repeat(65)] {
        let error = generate(KeyKind::EcP256, name, now(), YEAR).unwrap_err();
        assert!(matches!(error, GenerateError::CommonName { .. }), "{error}");
    }
    for validity in [10_000 * YEAR, Duration::MAX] {
        let error = generate(KeyKind::EcP256, "name", now(), validity).unwrap_err();
        assert!(matches!(error, GenerateError::Validity), "{error}");
    }
    let name = "Schlüssel, Nr. 1";
    let late = generate(KeyKind::EcP256, name, now(), 100 * YEAR).unwrap();
    assert_eq!(late.certificate().subject(), "CN=Schlüssel\\, Nr. 1");
    assert_eq!(late.certificate().not_after(), now() + 100 * YEAR);
}

#[test]
fn certificates_are_found_among_other_text() {
    let (one, two) = (new_key(KeyKind::EcP256), new_key(KeyKind::EcP256));
    let (one, two) = (one.certificate(), two.certificate());
    let bundle = format!("# ours\n{}\r\nand theirs:\n{}", one.to_pem(), two.to_pem());
    let found = Certificate::all_from_file_contents(bundle.as_bytes()).unwrap();
    assert_eq!(found, [one.clone(), two.clone()]);
    assert_eq!(Certificate::from_file_contents(one.as_der()).unwrap(), *one);
    let cut = &bundle[..bundle.len() - 30];
    for bad in [cut, "-----BEGIN PRIVATE KEY-----", "nothing", ""] {
        assert!(Certificate::all_from_file_contents(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_broken_certificate_is_refused_and_never_panics() {
    let generated = new_key(KeyKind::EcP256);
    let der = generated.certificate().as_der();
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err(), "{length} bytes");
    }
    let mut loadable = 0;
    for place in 0..der.len() {
        for bit in 0..8 {
            let mut flipped = der.to_vec();
            flipped[place] ^= 1 << bit;
            // What is signed may not change. A name that no longer equals the issuer's makes it a
            // certificate by somebody else, which nobody can check without that one.
            if let Ok(certificate) = Certificate::from_der(&flipped) {
                loadable += usize::from(certificate.is_self_signed());
            }
        }
    }
    assert!(loadable < 16, "{loadable} changed certificates still verify with their own key");
}

#[test]
fn intermediates_go_into_signatures_and_others_do_not() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let root = pki.authority().unwrap();
    let middle = pki.identity(Wanted::authority("middle", "ec:P-256").issued_by(&root)).unwrap();
    let leaf = pki.identity(Wanted::signer("leaf", "ec:P-256").issued_by(&middle)).unwrap();
    let pem: Vec<_> = [&leaf, &pki.rsa().unwrap(), &root, &middle]
        .into_iter()
        .flat_map(|identity| identity.certificate_pem().unwrap())
        .collect();
    let bundle = pki.file("bundle", &pem).unwrap();
    let signer = FileSigner::open(&leaf.key, &bundle, &mut || unreachable!()).unwrap();
    let root_hash = RootHash::from_bytes([7; 32]);
    let message = sign_root_hash(&root_hash, &signer, Embedding::Certificate).unwrap();
    let subjects: Vec<_> =
        inspect(&message).unwrap().certificates.iter().map(Certificate::subject).collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    let anchor = Certificate::from_file_contents(&root.certificate_pem().unwrap()).unwrap();
    let accepted = verify_root_hash(&root_hash, &message, std::slice::from_ref(&anchor)).unwrap();
    assert_eq!(accepted.anchor, anchor);
}
