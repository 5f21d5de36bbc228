//! Signatures beside OpenSSL's: its messages are judged as the kernel judges them, and ours are
//! its own, byte for byte where the algorithm allows.

#![expect(clippy::unwrap_used, reason = "the helpers here are tests as well")]

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use libverity::errno::Errno;
use libverity::pkcs7::{
    Embedding, MAX_MESSAGE_BYTES, sign_policy, sign_root_hash, verify_policy, verify_root_hash,
};
use libverity::signer::{FileSigner, SignError, SignatureAlgorithm, Signer};
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::{Identity, TestPki, Wanted};

const POLICY: &[u8] = b"policy_name=test policy_version=0.0.1\nDEFAULT action=ALLOW\n";

/// What a policy is signed with by OpenSSL's S/MIME command so that the kernel takes it.
const ATTACHED: &[&str] = &["-binary", "-noattr", "-nodetach"];
const DETACHED: &[&str] = &["-binary", "-noattr"];

fn root_hash() -> RootHash {
    RootHash::from_bytes([0x5a; 32])
}

fn signer(identity: &Identity) -> FileSigner {
    let mut no_passphrase = || Err(io::Error::other("the key is not encrypted"));
    FileSigner::open(&identity.key, &identity.certificate, &mut no_passphrase).unwrap()
}

fn certificate(identity: &Identity) -> Certificate {
    Certificate::from_file_contents(&identity.certificate_pem().unwrap()).unwrap()
}

/// Judges a signed policy with one trusted certificate, and returns the kernel's error.
fn policy_errno(message: &[u8], trusted: &Identity) -> Result<(), Option<Errno>> {
    verify_policy(message, &[certificate(trusted)]).map(|_| ()).map_err(|refusal| refusal.errno())
}

/// Judges a signature of [`root_hash`] in the same way.
fn root_hash_errno(message: &[u8], trusted: &Identity) -> Result<(), Option<Errno>> {
    verify_root_hash(&root_hash(), message, &[certificate(trusted)])
        .map(|_| ())
        .map_err(|refusal| refusal.errno())
}

fn refused(errno: Errno) -> Result<(), Option<Errno>> {
    Err(Some(errno))
}

#[test]
fn rsa_messages_are_those_of_openssl() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let signer = signer(&rsa);
    let text = root_hash().signed_text();

    let expected = rsa.sign("smime", &["-binary", "-noattr", "-nocerts"], text.as_bytes()).unwrap();
    assert_eq!(sign_root_hash(&root_hash(), &signer, Embedding::Nothing).unwrap(), expected);

    let expected = rsa.sign("smime", DETACHED, text.as_bytes()).unwrap();
    assert_eq!(sign_root_hash(&root_hash(), &signer, Embedding::Certificate).unwrap(), expected);

    let expected = rsa.sign("smime", ATTACHED, POLICY).unwrap();
    assert_eq!(sign_policy(POLICY, &signer, Embedding::Certificate).unwrap(), expected);
}

#[test]
fn openssl_verifies_what_we_sign() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let p384 = pki.identity(Wanted::signer("p384", "ec:P-384")).unwrap();
    let p521 = pki.identity(Wanted::signer("p521", "ec:P-521")).unwrap();
    let rsa4096 = pki.identity(Wanted::signer("rsa 4096", "rsa:4096")).unwrap();
    let content = pki.file("roothash", root_hash().signed_text().as_bytes()).unwrap();
    for identity in [pki.rsa().unwrap(), pki.ec().unwrap(), p384, p521, rsa4096] {
        let signer = signer(&identity);
        for embedding in [Embedding::Certificate, Embedding::Nothing] {
            let message = sign_root_hash(&root_hash(), &signer, embedding).unwrap();
            let message = pki.file("roothash.p7s", &message).unwrap();
            for tool in ["smime", "cms"] {
                run(command("openssl")
                    .unwrap()
                    .args([tool, "-verify", "-binary", "-inform", "der", "-purpose", "any", "-in"])
                    .arg(&message)
                    .arg("-content")
                    .arg(&content)
                    .arg("-CAfile")
                    .arg(&identity.certificate)
                    .arg("-certfile")
                    .arg(&identity.certificate))
                .unwrap();
            }
        }
        let message = sign_policy(POLICY, &signer, Embedding::Certificate).unwrap();
        let message = pki.file("policy.p7b", &message).unwrap();
        let content = run(command("openssl")
            .unwrap()
            .args(["cms", "-verify", "-binary", "-inform", "der", "-purpose", "any", "-in"])
            .arg(&message)
            .arg("-CAfile")
            .arg(&identity.certificate))
        .unwrap();
        assert_eq!(content, POLICY);
    }
}

#[test]
fn every_variant_is_judged_as_by_the_kernel() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let other = pki.identity(Wanted::signer("other", "rsa:2048")).unwrap();
    let ok = Ok(());
    let with = |tool: &str, more: &[&str]| {
        let options = [ATTACHED, more].concat();
        rsa.sign(tool, &options, POLICY).unwrap()
    };

    assert_eq!(policy_errno(&with("smime", &["-nosmimecap"]), &rsa), ok, "as documented");
    assert_eq!(policy_errno(&with("cms", &["-nosmimecap"]), &rsa), ok, "CMS");
    assert_eq!(policy_errno(&with("smime", &["-nocerts"]), &rsa), ok, "no certificate");
    assert_eq!(policy_errno(&with("smime", &[]), &other), refused(Errno::ENOKEY), "unknown signer");
    assert_eq!(
        policy_errno(&with("smime", &["-nocerts"]), &other),
        refused(Errno::ENOKEY),
        "unknown signer, no certificate"
    );
    for hash in ["sha1", "sha224", "sha384", "sha512"] {
        assert_eq!(policy_errno(&with("smime", &["-md", hash]), &rsa), ok, "{hash}");
        let nocerts = with("smime", &["-md", hash, "-nocerts"]);
        assert_eq!(policy_errno(&nocerts, &rsa), ok, "{hash}, no certificate");
    }
    assert_eq!(policy_errno(&with("smime", &["-md", "md5"]), &rsa), refused(Errno::ENOPKG), "MD5");
    assert_eq!(policy_errno(&with("cms", &["-keyid"]), &rsa), ok, "subject key identifier");

    let attributes = |more: &[&str]| {
        let options = [&["-binary", "-nodetach"], more].concat();
        rsa.sign("cms", &options, POLICY).unwrap()
    };
    assert_eq!(policy_errno(&attributes(&["-nosmimecap"]), &rsa), ok, "signed attributes");
    assert_eq!(
        policy_errno(&attributes(&["-nosmimecap", "-nocerts"]), &rsa),
        ok,
        "signed attributes, no certificate"
    );
    assert_eq!(
        policy_errno(&attributes(&[]), &rsa),
        refused(Errno::EKEYREJECTED),
        "S/MIME capabilities"
    );
    assert_eq!(
        policy_errno(&with("cms", &["-keyopt", "rsa_padding_mode:pss"]), &rsa),
        refused(Errno::ENOPKG),
        "RSA-PSS"
    );
    assert_eq!(policy_errno(&with("cms", &["-stream"]), &rsa), refused(Errno::EKEYREJECTED), "BER");
    let text = rsa.sign("smime", &["-noattr", "-nodetach"], POLICY).unwrap();
    assert_eq!(policy_errno(&text, &rsa), ok, "text mode");
    let detached = rsa.sign("smime", DETACHED, POLICY).unwrap();
    assert_eq!(policy_errno(&detached, &rsa), refused(Errno::EKEYREJECTED), "detached");
    let detached = rsa.sign("smime", &["-binary", "-noattr", "-nocerts"], POLICY).unwrap();
    assert_eq!(policy_errno(&detached, &rsa), refused(Errno::EKEYREJECTED), "detached, no certs");
    assert_eq!(policy_errno(&detached, &other), refused(Errno::ENOKEY), "detached and unknown");
    assert_eq!(policy_errno(POLICY, &rsa), refused(Errno::EBADMSG), "unsigned");
    assert_eq!(policy_errno(b"", &rsa), refused(Errno::EBADMSG), "nothing");
    let large = vec![b'#'; MAX_MESSAGE_BYTES];
    let large = rsa.sign("smime", ATTACHED, &large).unwrap();
    assert_eq!(policy_errno(&large, &rsa), refused(Errno::EMSGSIZE), "too large");
}

#[test]
fn elliptic_curves_are_judged_as_by_the_kernel() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    for (name, key, hash) in [
        ("p256", "ec:P-256", "sha256"),
        ("p256", "ec:P-256", "sha384"),
        ("p256", "ec:P-256", "sha1"),
        ("p256", "ec:P-256", "sha512"),
        ("p384", "ec:P-384", "sha256"),
        ("p384", "ec:P-384", "sha384"),
        ("p384", "ec:P-384", "sha1"),
        ("p521", "ec:P-521", "sha256"),
        ("p521", "ec:P-521", "sha512"),
    ] {
        let identity = pki.identity(Wanted::signer(name, key)).unwrap();
        let message = identity.sign("smime", &[ATTACHED, &["-md", hash]].concat(), POLICY).unwrap();
        assert_eq!(policy_errno(&message, &identity), Ok(()), "{name} with {hash}");
    }
}

#[test]
fn certificates_that_the_kernel_does_not_load_help_nobody() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let ed25519 = pki.identity(Wanted::signer("ed25519", "ed25519")).unwrap();
    let parsed = certificate(&ed25519);
    assert_eq!(parsed.loadable().unwrap_err().errno(), Errno::ENOPKG);
    let path = ed25519.certificate.display().to_string();
    let message = rsa.sign("smime", &[ATTACHED, &["-certfile", &path]].concat(), POLICY).unwrap();
    assert_eq!(policy_errno(&message, &rsa), refused(Errno::ENOPKG), "embedded");
    let message = rsa.sign("smime", ATTACHED, POLICY).unwrap();
    assert_eq!(policy_errno(&message, &ed25519), refused(Errno::ENOKEY));
}

#[test]
fn chains_are_followed_as_far_as_the_kernel_follows_them() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let authority = pki.authority().unwrap();
    let intermediate =
        pki.identity(Wanted::authority("intermediate", "ec:P-256").issued_by(&authority)).unwrap();
    let leaf = pki.leaf().unwrap();
    let deep = pki.identity(Wanted::signer("deep", "rsa:2048").issued_by(&intermediate)).unwrap();
    let bare = pki
        .identity(Wanted::signer("bare", "rsa:2048").issued_by(&authority).with_extensions(&[]))
        .unwrap();
    let path = |identity: &Identity| identity.certificate.display().to_string();
    let (authority_path, intermediate_path) = (path(&authority), path(&intermediate));
    let sign = |identity: &Identity, more: &[&str]| {
        identity.sign("smime", &[ATTACHED, more].concat(), POLICY).unwrap()
    };

    let message = sign(&leaf, &[]);
    let (accepted, content) = verify_policy(&message, &[certificate(&authority)]).unwrap();
    assert_eq!(content, POLICY);
    assert_eq!(accepted.certificate, certificate(&leaf));
    assert_eq!(accepted.anchor, certificate(&authority));
    assert_eq!(policy_errno(&message, &leaf), Ok(()), "the leaf itself is trusted");

    let message = sign(&leaf, &["-certfile", &authority_path]);
    assert_eq!(policy_errno(&message, &authority), Ok(()), "leaf and authority embedded");
    let message = sign(&leaf, &["-nocerts"]);
    assert_eq!(policy_errno(&message, &authority), refused(Errno::ENOKEY), "leaf not embedded");

    let message = sign(&deep, &[]);
    assert_eq!(policy_errno(&message, &intermediate), Ok(()), "intermediate trusted");
    assert_eq!(policy_errno(&message, &authority), refused(Errno::ENOKEY), "a link is missing");
    let message = sign(&deep, &["-certfile", &intermediate_path]);
    assert_eq!(policy_errno(&message, &authority), Ok(()), "intermediate embedded");

    let message = sign(&bare, &[]);
    assert_eq!(
        policy_errno(&message, &authority),
        refused(Errno::ENOKEY),
        "without authority key identifier the issuer is not found"
    );
    let by_key = leaf.sign("cms", &[ATTACHED, &["-keyid"]].concat(), POLICY).unwrap();
    assert_eq!(policy_errno(&by_key, &leaf), Ok(()));
    assert_eq!(
        policy_errno(&by_key, &authority),
        refused(Errno::ENOKEY),
        "a signer named by key identifier is only looked for among the trusted"
    );
}

#[test]
fn our_chains_are_accepted() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let authority = pki.authority().unwrap();
    let intermediate =
        pki.identity(Wanted::authority("intermediate", "ec:P-384").issued_by(&authority)).unwrap();
    let deep = pki.identity(Wanted::signer("deep", "ec:P-256").issued_by(&intermediate)).unwrap();
    let chain = [certificate(&intermediate), certificate(&deep)];
    let message = sign_root_hash(&root_hash(), &signer(&deep), Embedding::Chain(&chain)).unwrap();
    let accepted = verify_root_hash(&root_hash(), &message, &[certificate(&authority)]).unwrap();
    assert_eq!(accepted.certificate, certificate(&deep));
    let message = sign_root_hash(&root_hash(), &signer(&deep), Embedding::Certificate).unwrap();
    let refusal = verify_root_hash(&root_hash(), &message, &[certificate(&authority)]).unwrap_err();
    assert_eq!(refusal.errno(), Some(Errno::ENOKEY));
}

#[test]
fn one_trusted_signer_of_several_is_enough() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let (rsa, ec) = (pki.rsa().unwrap(), pki.ec().unwrap());
    let third = pki.identity(Wanted::signer("third", "ec:P-256")).unwrap();
    let (certificate_path, key_path) = (ec.certificate.display(), ec.key.display());
    let (certificate_path, key_path) = (certificate_path.to_string(), key_path.to_string());
    let second = ["-signer", &certificate_path, "-inkey", &key_path];
    let message = rsa.sign("smime", &[ATTACHED, &second].concat(), POLICY).unwrap();
    assert_eq!(policy_errno(&message, &rsa), Ok(()));
    assert_eq!(policy_errno(&message, &ec), Ok(()));
    let refusal = verify_policy(&message, &[certificate(&third)]).unwrap_err();
    assert_eq!(refusal.errno(), Some(Errno::ENOKEY));
    assert!(refusal.to_string().contains(" and by "), "{refusal}");
}

#[test]
fn root_hashes_are_judged_as_by_the_kernel() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let (rsa, leaf, authority) =
        (pki.rsa().unwrap(), pki.leaf().unwrap(), pki.authority().unwrap());
    let text = root_hash().signed_text();
    let sign = |identity: &Identity, tool: &str, options: &[&str], content: &[u8]| {
        identity.sign(tool, options, content).unwrap()
    };

    let message = sign(&rsa, "smime", DETACHED, text.as_bytes());
    assert_eq!(root_hash_errno(&message, &rsa), Ok(()));
    assert_eq!(root_hash_errno(&message, &leaf), refused(Errno::ENOKEY));
    let message = sign(&leaf, "smime", DETACHED, text.as_bytes());
    assert_eq!(root_hash_errno(&message, &authority), Ok(()));
    let message = sign(&rsa, "cms", &["-binary", "-noattr", "-keyid"], text.as_bytes());
    assert_eq!(root_hash_errno(&message, &rsa), Ok(()));
    let message = sign(&rsa, "cms", &["-binary", "-nosmimecap"], text.as_bytes());
    assert_eq!(root_hash_errno(&message, &rsa), Ok(()));
    let message = sign(&rsa, "cms", &["-binary"], text.as_bytes());
    assert_eq!(root_hash_errno(&message, &rsa), refused(Errno::EKEYREJECTED));

    let message = sign(&rsa, "smime", ATTACHED, text.as_bytes());
    assert_eq!(root_hash_errno(&message, &rsa), refused(Errno::EBADMSG), "attached");
    for wrong in [format!("{text}\n"), text.to_uppercase(), text.replace('5', "6")] {
        for options in [DETACHED, &["-binary", "-noattr", "-nocerts"]] {
            let message = sign(&rsa, "smime", options, wrong.as_bytes());
            assert_eq!(root_hash_errno(&message, &rsa), refused(Errno::EKEYREJECTED), "{wrong:?}");
        }
    }
    let binary = sign(&rsa, "smime", DETACHED, root_hash().as_bytes());
    assert_eq!(root_hash_errno(&binary, &rsa), refused(Errno::EKEYREJECTED), "binary");
}

#[test]
fn validity_and_purpose_do_not_count() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let wanted = Wanted::signer("old", "rsa:2048")
        .with_arguments(&["-days", "1"])
        .with_extensions(&["extendedKeyUsage=serverAuth", "keyUsage=keyAgreement"]);
    let old = pki.identity(wanted).unwrap();
    let message = sign_policy(POLICY, &signer(&old), Embedding::Certificate).unwrap();
    let (accepted, _) = verify_policy(&message, &[certificate(&old)]).unwrap();
    let now = SystemTime::now();
    assert!(!accepted.is_expired_at(now));
    assert!(accepted.is_expired_at(now + Duration::from_secs(3 * 86_400)));
    assert!(accepted.is_expired_at(now - Duration::from_secs(86_400)));
}

#[test]
fn a_message_cut_short_is_refused_everywhere() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = pki.rsa().unwrap();
    let anchors = [certificate(&rsa)];
    for embedding in [Embedding::Nothing, Embedding::Certificate] {
        let message = sign_root_hash(&root_hash(), &signer(&rsa), embedding).unwrap();
        for length in 0..message.len() {
            let refusal = verify_root_hash(&root_hash(), &message[..length], &anchors).unwrap_err();
            assert_eq!(refusal.errno(), Some(Errno::EBADMSG), "{length} bytes: {refusal}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_accepted_for_another_content() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    for identity in [pki.rsa().unwrap(), pki.ec().unwrap()] {
        let anchors = [certificate(&identity)];
        let message = sign_policy(POLICY, &signer(&identity), Embedding::Certificate).unwrap();
        let signature = message.len() - 60..message.len();
        for place in 0..message.len() {
            for bit in 0..8 {
                let mut flipped = message.clone();
                flipped[place] ^= 1 << bit;
                // What is not signed may change; the kernel does not look at it either.
                if let Ok((_, content)) = verify_policy(&flipped, &anchors) {
                    assert_eq!(content, POLICY, "bit {bit} of byte {place}");
                    assert!(!signature.contains(&place), "bit {bit} of byte {place}");
                }
            }
        }
    }
}

#[test]
fn what_the_kernel_could_not_read_is_not_signed() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let rsa = signer(&pki.rsa().unwrap());
    let fits = vec![b'#'; 64_000];
    assert!(sign_policy(&fits, &rsa, Embedding::Certificate).is_ok());
    for bytes in [65_000, 65_535, 65_536, 1 << 20] {
        let error = sign_policy(&vec![b'#'; bytes], &rsa, Embedding::Certificate).unwrap_err();
        assert!(matches!(error, SignError::TooLarge { .. }), "{bytes}: {error}");
    }
}

#[test]
fn keys_are_read_in_every_form() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let (rsa, ec) = (pki.rsa().unwrap(), pki.ec().unwrap());
    let p384 = pki.identity(Wanted::signer("p384", "ec:P-384")).unwrap();
    let p521 = pki.identity(Wanted::signer("p521", "ec:P-521")).unwrap();
    let convert = |identity: &Identity, arguments: &[&str]| {
        run(command("openssl").unwrap().args(arguments).arg("-in").arg(&identity.key)).unwrap()
    };
    for (identity, tool) in [(&rsa, "rsa"), (&ec, "ec"), (&p384, "ec"), (&p521, "ec")] {
        let traditional: &[&str] = if tool == "rsa" { &["-traditional"] } else { &[] };
        let forms = [
            convert(identity, &["pkcs8", "-topk8", "-nocrypt"]),
            convert(identity, &["pkcs8", "-topk8", "-nocrypt", "-outform", "der"]),
            convert(identity, &[&[tool], traditional].concat()),
            convert(identity, &[&[tool, "-outform", "der"], traditional].concat()),
            convert(identity, &["pkcs8", "-topk8", "-passout", "pass:secret"]),
            convert(identity, &["pkcs8", "-topk8", "-passout", "pass:secret", "-outform", "der"]),
            convert(identity, &["pkcs8", "-topk8", "-scrypt", "-passout", "pass:secret"]),
        ];
        for (number, form) in forms.iter().enumerate() {
            let mut passphrase = || Ok(b"secret".to_vec().into());
            let name = Path::new("key");
            let signer =
                FileSigner::from_contents(name, form, certificate(identity), &mut passphrase)
                    .unwrap_or_else(|error| panic!("{tool}, form {number}: {error}"));
            sign_root_hash(&root_hash(), &signer, Embedding::Nothing).unwrap();
        }
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_by_name() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let (rsa, ec) = (pki.rsa().unwrap(), pki.ec().unwrap());
    let other = pki.identity(Wanted::signer("other", "ec:P-256")).unwrap();
    let p224 = pki.identity(Wanted::signer("p224", "ec:P-224")).unwrap();
    let encrypted = run(command("openssl")
        .unwrap()
        .args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"])
        .arg(&rsa.key))
    .unwrap();
    let legacy = run(command("openssl")
        .unwrap()
        .args(["rsa", "-aes128", "-traditional", "-passout", "pass:secret", "-in"])
        .arg(&rsa.key))
    .unwrap();
    let open = |contents: &[u8], certified: &Identity| {
        let mut passphrase = || Ok(b"wrong".to_vec().into());
        FileSigner::from_contents(
            Path::new("the.key"),
            contents,
            certificate(certified),
            &mut passphrase,
        )
        .unwrap_err()
        .to_string()
    };
    for (error, part) in [
        (open(&ec.key_pem().unwrap(), &rsa), "not the key of the certificate"),
        (open(&ec.key_pem().unwrap(), &other), "not the key of the certificate"),
        (open(&rsa.key_pem().unwrap(), &ec), "not the key of the certificate"),
        (open(&p224.key_pem().unwrap(), &p224), "cannot sign here"),
        (open(&encrypted, &rsa), "passphrase is wrong"),
        (open(&legacy, &rsa), "old way"),
        (open(b"nonsense", &rsa), "not a private key"),
        (open(&rsa.certificate_pem().unwrap(), &rsa), "not a private key"),
    ] {
        assert!(error.starts_with("the.key: "), "{error}");
        assert!(error.contains(part), "{error} does not say {part:?}");
    }
}

/// Is a token that does something else than it should.
struct Erring {
    signer: FileSigner,
    sign: Sign,
}

type Sign = fn(&FileSigner, &[u8]) -> Vec<u8>;

impl Signer for Erring {
    fn certificate(&self) -> &Certificate {
        self.signer.certificate()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.signer.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok((self.sign)(&self.signer, message))
    }
}

#[test]
fn what_a_signer_gets_wrong_is_never_let_out() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let mistakes: [Sign; 5] = [
        |_, _| Vec::new(),
        |_, message| message.to_vec(),
        |signer, message| signer.sign(&[message, b"\n"].concat()).unwrap(),
        |signer, message| signer.sign(message).unwrap().split_off(1),
        |signer, message| {
            let mut signature = signer.sign(message).unwrap();
            *signature.last_mut().unwrap() ^= 1;
            signature
        },
    ];
    for identity in [pki.rsa().unwrap(), pki.ec().unwrap()] {
        for (number, sign) in mistakes.into_iter().enumerate() {
            let erring = Erring { signer: signer(&identity), sign };
            for embedding in [Embedding::Certificate, Embedding::Nothing] {
                let error = sign_root_hash(&root_hash(), &erring, embedding).unwrap_err();
                assert!(matches!(error, SignError::NotAcceptable(_)), "{number}: {error}");
                let error = sign_policy(POLICY, &erring, embedding).unwrap_err();
                assert!(matches!(error, SignError::NotAcceptable(_)), "{number}: {error}");
            }
        }
    }
}
