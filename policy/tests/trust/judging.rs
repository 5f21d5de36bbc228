//! What a configuration makes of signatures, by keys and certificates of every kind.

use std::path::Path;
use std::time::{Duration, SystemTime};

use libverity::certificate::{Certificate, SignatureListEntry};
use libverity::digest::{Digest, RootHash};
use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_policy::trust::{
    Candidate, Comparison, Finding, LayerVerdict, Revocation, Standing, TrustConfiguration,
};
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::{Identity, TestPki, Wanted};

/// Is a set of signers and the configuration that is about them.
struct Scene {
    pki: TestPki,
    authority: Identity,
    leaf: Identity,
    other_leaf: Identity,
    single: Identity,
}

impl Scene {
    fn new() -> Option<Self> {
        let pki = or_skip(TestPki::new())?;
        let authority = pki.authority().unwrap();
        let other_leaf =
            pki.identity(Wanted::signer("other leaf", "ec:P-256").issued_by(&authority)).unwrap();
        Some(Self {
            leaf: pki.leaf().unwrap(),
            single: pki.ec().unwrap(),
            other_leaf,
            authority,
            pki,
        })
    }

    /// Trusts the authority as `team` and the single key as `auditor`.
    fn configuration(&self, scope: &str, more: &str) -> TrustConfiguration {
        let [team, auditor] =
            [&self.authority, &self.single].map(|identity| identity.certificate.display());
        let text = format!(
            "version = 1\nstores.team.certificates = [{:?}]\nstores.auditor.certificates = [{:?}]\n\
             [[scopes]]\nrepositories = [\"**\"]\nstores = [\"team\", \"auditor\"]\n{scope}\n{more}\n",
            team.to_string(),
            auditor.to_string()
        );
        TrustConfiguration::parse(&text, Path::new("trust.toml")).unwrap()
    }

    fn revoking(&self, entry: &str) -> TrustConfiguration {
        self.configuration("", &format!("[[revoked]]\nreason = \"stolen\"\n{entry}\n"))
    }
}

fn certificate(identity: &Identity) -> Certificate {
    Certificate::from_file_contents(&identity.certificate_pem().unwrap()).unwrap()
}

fn root_hash() -> RootHash {
    RootHash::from_bytes([7; 32])
}

fn judge_at(
    configuration: &TrustConfiguration,
    signers: &[&Identity],
    comparison: Comparison,
    now: SystemTime,
) -> LayerVerdict {
    let root_hash = root_hash();
    let sign = |identity: &&Identity| {
        let signer = FileSigner::open(&identity.key, &identity.certificate, &mut || unreachable!());
        sign_root_hash(&root_hash, &signer.unwrap(), Embedding::Certificate).unwrap()
    };
    let signatures: Vec<_> = signers.iter().map(sign).collect();
    let candidates: Vec<_> = signatures
        .iter()
        .map(|signature| Candidate { root_hash: &root_hash, signature, comparison })
        .collect();
    configuration.judge(None, now).unwrap().layer(&candidates)
}

fn judge(configuration: &TrustConfiguration, signers: &[&Identity]) -> LayerVerdict {
    judge_at(configuration, signers, Comparison::Equal, SystemTime::now())
}

fn standing(configuration: &TrustConfiguration, signers: &[&Identity]) -> Standing {
    judge(configuration, signers).standing
}

#[test]
fn one_trusted_signature_is_enough_unless_more_are_required() {
    let Some(scene) = Scene::new() else { return };
    let Scene { leaf, other_leaf, single, pki, .. } = &scene;
    let stranger = pki.identity(Wanted::signer("stranger", "ec:P-256")).unwrap();
    let any = scene.configuration("", "");
    assert_eq!(standing(&any, &[]), Standing::NotSigned);
    assert_eq!(standing(&any, &[&stranger]), Standing::NotTrusted);
    assert_eq!(standing(&any, &[&stranger, leaf]), Standing::Signed);
    let verdict = judge(&any, &[leaf, single]);
    assert_eq!(verdict.signatures[0].stores, [0]);
    assert_eq!(verdict.signatures[1].stores, [1]);

    let all = scene.configuration("require = \"all\"", "");
    assert_eq!(standing(&all, &[leaf, other_leaf]), Standing::Refused);
    assert_eq!(standing(&all, &[leaf, single]), Standing::Signed);
    let unmet = judge(&all, &[leaf, leaf]).unmet.unwrap();
    assert_eq!((unmet.needed, unmet.found), (2, 1));
    let two = scene.configuration("require = \"2 keys\"", "");
    assert_eq!(standing(&two, &[leaf, leaf, &stranger]), Standing::Refused);
    assert_eq!(standing(&two, &[leaf, other_leaf]), Standing::Signed);
}

/// The key is what counts, whatever certificates there are of it.
#[test]
fn two_certificates_of_one_key_are_one_signer() {
    let Some(scene) = Scene::new() else { return };
    let request = scene.leaf.certificate.with_extension("csr");
    let second = scene.leaf.certificate.with_file_name("second.crt");
    let mut issue = osguard_testkit::command::command("openssl").unwrap();
    issue.args(["x509", "-req", "-set_serial", "4711", "-in"]).arg(&request);
    issue.arg("-CA").arg(&scene.authority.certificate).arg("-CAkey").arg(&scene.authority.key);
    let extensions = scene.leaf.certificate.with_extension("ext");
    osguard_testkit::command::run(issue.arg("-extfile").arg(extensions).arg("-out").arg(&second))
        .unwrap();
    let second = Identity { certificate: second, ..scene.leaf.clone() };
    let two = scene.configuration("require = \"2 keys\"", "");
    let verdict = judge(&two, &[&scene.leaf, &second]);
    assert!(verdict.signatures.iter().all(|signature| signature.standing == Standing::Signed));
    assert_eq!(verdict.standing, Standing::Refused);
}

#[test]
fn only_the_subjects_that_are_named_are_trusted() {
    let Some(scene) = Scene::new() else { return };
    let narrow = |subject: &str| {
        let authority = scene.authority.certificate.display().to_string();
        let text = format!(
            "version = 1\n[stores.team]\ncertificates = [{authority:?}]\nsubjects = [{subject:?}]\n\
             [[scopes]]\nrepositories = [\"**\"]\nstores = [\"team\"]\n"
        );
        TrustConfiguration::parse(&text, Path::new("trust.toml")).unwrap()
    };
    assert_eq!(standing(&narrow("CN=leaf"), &[&scene.leaf]), Standing::Signed);
    assert_eq!(standing(&narrow("O=osguard"), &[&scene.leaf]), Standing::Signed);
    let verdict = judge(&narrow("O=osguard, CN=other leaf"), &[&scene.leaf]);
    assert_eq!(verdict.standing, Standing::NotTrusted);
    let reason = verdict.signatures[0].findings[0].to_string();
    assert!(reason.ends_with("is not among the subjects that are trusted in team"), "{reason}");
}

#[test]
fn other_content_is_told_before_who_signed_it() {
    let Some(scene) = Scene::new() else { return };
    let any = scene.configuration("", "");
    let at = |comparison| judge_at(&any, &[&scene.leaf], comparison, SystemTime::now()).standing;
    assert_eq!(at(Comparison::Differs), Standing::ContentDiffers);
    assert_eq!(at(Comparison::Skipped), Standing::Signed);
}

#[test]
fn certificates_out_of_their_validity_are_refused_or_reported() {
    let Some(scene) = Scene::new() else { return };
    let year = Duration::from_secs(365 * 86_400);
    for (now, word) in [
        (SystemTime::now() + 20 * year, "is expired on 20"),
        (SystemTime::now() - year, "is not valid before 20"),
    ] {
        let enforced = scene.configuration("", "");
        let verdict = judge_at(&enforced, &[&scene.leaf], Comparison::Equal, now);
        assert_eq!(verdict.standing, Standing::Refused);
        let findings = &verdict.signatures[0].findings;
        assert_eq!(findings.len(), 2, "the signer's and the authority's: {findings:?}");
        assert!(findings[0].to_string().contains(word), "{}", findings[0]);

        let logged = scene.configuration("validity = \"log\"", "");
        let verdict = judge_at(&logged, &[&scene.leaf], Comparison::Equal, now);
        assert_eq!(verdict.standing, Standing::Signed);
        assert_eq!(verdict.signatures[0].remarks.len(), 2);
        let skipped = scene.configuration("validity = \"skip\"", "");
        let verdict = judge_at(&skipped, &[&scene.leaf], Comparison::Equal, now);
        assert!(verdict.signatures[0].remarks.is_empty());
    }
}

#[test]
fn what_is_revoked_counts_for_nothing() {
    let Some(scene) = Scene::new() else { return };
    let leaf = certificate(&scene.leaf);
    let colons = |hexadecimal: String| {
        let digits: Vec<char> = hexadecimal.to_ascii_uppercase().chars().collect();
        digits.chunks(2).map(|pair| pair.iter().collect()).collect::<Vec<String>>().join(":")
    };
    for entry in [
        format!("key = {:?}", leaf.subject_key_identifier().unwrap()),
        format!("key = {:?}", colons(leaf.derived_key_identifier())),
        format!("key = {:?}", certificate(&scene.authority).subject_key_identifier().unwrap()),
        format!("certificate = \"{}\"", Digest::of(leaf.as_der())),
        format!("issuer = \"CN=authority,O=osguard\"\nserial = \"00{}\"", leaf.serial()),
        format!("root-hash = \"{}\"", root_hash()),
    ] {
        let verdict = judge(&scene.revoking(&entry), &[&scene.leaf]);
        assert_eq!(verdict.standing, Standing::Refused, "{entry}");
        let reason = verdict.signatures[0].findings[0].to_string();
        assert!(reason.contains("is revoked: stolen"), "{reason}");
    }
    for entry in [
        format!("key = \"{}\"", "00".repeat(20)),
        format!("certificate = \"{}\"", Digest::of(b"other")),
        format!("issuer = \"CN=authority\"\nserial = {:?}", leaf.serial()),
        format!("issuer = \"CN=authority,O=osguard\"\nserial = \"1{}\"", leaf.serial()),
        format!("root-hash = \"{}\"", "00".repeat(32)),
    ] {
        assert_eq!(standing(&scene.revoking(&entry), &[&scene.leaf]), Standing::Signed, "{entry}");
    }
}

/// A key that has lost its subject key identifier is still the key.
#[test]
fn the_firmwares_list_revokes_whoever_is_in_it() {
    let Some(scene) = Scene::new() else { return };
    let [leaf, authority] = [&scene.leaf, &scene.authority].map(certificate);
    let timed = [Digest::of(leaf.to_be_signed()).as_bytes(), &[0; 16][..]].concat();
    for entry in [
        SignatureListEntry::CertificateDigest(timed),
        SignatureListEntry::Certificate(Box::new(leaf)),
        SignatureListEntry::Certificate(Box::new(authority)),
    ] {
        let mut configuration = scene.configuration("", "");
        configuration.revocations.entries.extend(Revocation::of_dbx(&entry));
        let verdict = judge(&configuration, &[&scene.leaf]);
        assert_eq!(verdict.standing, Standing::Refused, "{entry:?}");
        let reason = verdict.signatures[0].findings[0].to_string();
        assert!(reason.starts_with("the firmware's dbx revokes the certificate of"), "{reason}");
    }
    assert_eq!(Revocation::of_dbx(&SignatureListEntry::Other), None);
    assert_eq!(Revocation::of_dbx(&SignatureListEntry::CertificateDigest(vec![0; 31])), None);
}

#[test]
fn a_revoked_key_is_known_by_itself() {
    let Some(scene) = Scene::new() else { return };
    let wanted = Wanted::signer("bare", "rsa:2048")
        .issued_by(&scene.authority)
        .with_extensions(&["subjectKeyIdentifier=none", "authorityKeyIdentifier=keyid"]);
    let bare = scene.pki.identity(wanted).unwrap();
    let key = certificate(&bare).derived_key_identifier();
    assert_eq!(certificate(&bare).subject_key_identifier(), None);
    assert_eq!(standing(&scene.configuration("", ""), &[&bare]), Standing::Signed);
    let revoking = scene.revoking(&format!("key = {key:?}"));
    assert_eq!(standing(&revoking, &[&bare]), Standing::Refused);
}

#[test]
fn every_intermediate_certificate_counts() {
    let Some(scene) = Scene::new() else { return };
    let lower = scene
        .pki
        .identity(Wanted::authority("lower", "ec:P-256").issued_by(&scene.authority))
        .unwrap();
    let below = scene.pki.identity(Wanted::signer("below", "ec:P-256").issued_by(&lower)).unwrap();
    let root_hash = root_hash();
    let chain = lower.certificate.display().to_string();
    let options = ["-binary", "-noattr", "-certfile", &chain];
    let signature = below.sign("smime", &options, root_hash.signed_text().as_bytes()).unwrap();
    let candidate =
        Candidate { root_hash: &root_hash, signature: &signature, comparison: Comparison::Equal };
    let judged = |configuration: &TrustConfiguration| {
        configuration.judge(None, SystemTime::now()).unwrap().layer(&[candidate])
    };
    let verdict = judged(&scene.configuration("", ""));
    assert_eq!(verdict.standing, Standing::Signed);
    let signer = verdict.signatures[0].signer.as_ref().unwrap();
    let names: Vec<_> = signer.chain().map(Certificate::subject).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let key = certificate(&lower).subject_key_identifier().unwrap();
    let verdict = judged(&scene.revoking(&format!("key = {key:?}")));
    assert_eq!(verdict.standing, Standing::Refused);
    assert!(
        matches!(&verdict.signatures[0].findings[0], Finding::RevokedSigner { subject, .. } if subject.contains("lower"))
    );
}
