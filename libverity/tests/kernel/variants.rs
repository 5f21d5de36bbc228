//! The messages that are given to the kernel.

use libverity::certificate::Certificate;
use libverity::digest::RootHash;
use osguard_testkit::Result;
use osguard_testkit::test_pki::{Identity, TestPki, Wanted};

use crate::mutation;

pub(crate) const POLICY_NAME: &str = "signatures";

pub(crate) const POLICY: &[u8] =
    b"policy_name=signatures policy_version=0.0.1\nDEFAULT action=ALLOW\n";

/// Is a message with what there is to say about it.
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) message: Vec<u8>,
}

/// Holds the certificates in the firmware's `db`.
pub(crate) struct Trusted {
    pub(crate) rsa: Identity,
    ec: Identity,
    authority: Identity,
    intermediate: Identity,
    others: Vec<Identity>,
    pub(crate) pem: Vec<Vec<u8>>,
    pub(crate) certificates: Vec<Certificate>,
}

impl Trusted {
    pub(crate) fn new(pki: &TestPki) -> Result<Self> {
        let authority = pki.authority()?;
        let root = pki.identity(Wanted::authority("root", "rsa:2048"))?;
        let trusted = Self {
            rsa: pki.rsa()?,
            ec: pki.ec()?,
            intermediate: pki
                .identity(Wanted::authority("intermediate", "ec:P-256").issued_by(&root))?,
            others: vec![
                pki.identity(Wanted::signer("p384", "ec:P-384"))?,
                pki.identity(Wanted::signer("p521", "ec:P-521"))?,
                pki.identity(Wanted::signer("rsa 4096", "rsa:4096"))?,
                pki.identity(Wanted::signer("rsa 1024", "rsa:1024"))?,
                pki.identity(Wanted::signer("ed25519", "ed25519"))?,
                pki.identity(Wanted::signer("p224", "ec:P-224"))?,
                pki.identity(Wanted::signer("bare", "rsa:2048").with_extensions(&[]))?,
                pki.identity(Wanted::signer("for key agreement", "rsa:2048").with_extensions(&[
                    "subjectKeyIdentifier=hash",
                    "keyUsage=critical,keyAgreement",
                    "extendedKeyUsage=critical,serverAuth",
                ]))?,
            ],
            authority,
            pem: Vec::new(),
            certificates: Vec::new(),
        };
        let identities = [&trusted.rsa, &trusted.ec, &trusted.authority, &trusted.intermediate];
        let pem = identities
            .into_iter()
            .chain(&trusted.others)
            .map(Identity::certificate_pem)
            .collect::<Result<Vec<_>>>()?;
        let certificates =
            pem.iter().map(|pem| Certificate::from_file_contents(pem).unwrap()).collect();
        Ok(Self { pem, certificates, ..trusted })
    }
}

/// Makes the signed policies.
pub(crate) fn policies(pki: &TestPki, trusted: &Trusted) -> Result<Vec<Variant>> {
    let mut variants = good_and_bad(pki, trusted, POLICY, &["-nodetach"])?;
    variants.push(Variant { name: "unsigned".to_owned(), message: POLICY.to_vec() });
    let signed = trusted.rsa.sign("smime", &["-binary", "-noattr", "-nodetach"], POLICY)?;
    variants.extend(mutation::all("RSA", &signed));
    let options = ["-binary", "-noattr", "-nodetach", "-nocerts"];
    let signed = trusted.ec.sign("smime", &options, POLICY)?;
    variants.extend(mutation::all("P-256 without certificate", &signed));
    let options = ["-binary", "-nodetach", "-nosmimecap", "-nocerts"];
    let signed = trusted.rsa.sign("cms", &options, POLICY)?;
    variants.extend(mutation::all("RSA with attributes", &signed));
    let options = ["-binary", "-nodetach", "-noattr", "-nocerts", "-keyid"];
    let signed = trusted.ec.sign("cms", &options, POLICY)?;
    variants.extend(mutation::all("P-256 with key identifier", &signed));
    Ok(variants)
}

/// Makes the signatures of [`root_hash`].
pub(crate) fn signatures(pki: &TestPki, trusted: &Trusted) -> Result<Vec<Variant>> {
    let text = root_hash().signed_text();
    let mut variants = good_and_bad(pki, trusted, text.as_bytes(), &[])?;
    for (name, content) in [
        ("another root hash", text.replace('5', "6").into_bytes()),
        ("upper case", text.to_uppercase().into_bytes()),
        ("newline", format!("{text}\n").into_bytes()),
        ("binary", root_hash().as_bytes().to_vec()),
    ] {
        for certificates in [&[][..], &["-nocerts"]] {
            let options = [&["-binary", "-noattr"], certificates].concat();
            let message = trusted.rsa.sign("smime", &options, &content)?;
            variants.push(Variant { name: format!("{name} {certificates:?}"), message });
        }
    }
    let message =
        trusted.rsa.sign("smime", &["-binary", "-noattr", "-nodetach"], text.as_bytes())?;
    variants.push(Variant { name: "attached".to_owned(), message });
    let options = ["-binary", "-noattr", "-nocerts"];
    let signed = trusted.ec.sign("smime", &options, text.as_bytes())?;
    variants.extend(mutation::all("P-256 without certificate", &signed));
    Ok(variants)
}

pub(crate) fn root_hash() -> RootHash {
    RootHash::from_bytes([0x5a; 32])
}

fn good_and_bad(
    pki: &TestPki,
    trusted: &Trusted,
    content: &[u8],
    more: &[&str],
) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    let mut add = |name: &str, identity: &Identity, tool: &str, options: &[&str]| {
        let options = [options, more].concat();
        let message = identity.sign(tool, &options, content)?;
        variants.push(Variant { name: format!("{name} {options:?}"), message });
        Ok(())
    };
    let binary = ["-binary", "-noattr"];
    let with = |options: &[&'static str]| [&binary, options].concat();
    let path = |identity: &Identity| identity.certificate.display().to_string();

    for (tool, options) in [
        ("smime", with(&[])),
        ("smime", with(&["-nocerts"])),
        ("cms", with(&[])),
        ("cms", with(&["-keyid"])),
        ("cms", with(&["-stream"])),
        ("cms", with(&["-keyopt", "rsa_padding_mode:pss"])),
        ("cms", vec!["-binary"]),
        ("cms", vec!["-binary", "-nosmimecap"]),
        ("cms", vec!["-binary", "-nosmimecap", "-nocerts"]),
        ("cms", vec!["-binary", "-nosmimecap", "-cades"]),
        ("cms", vec!["-binary", "-nosmimecap", "-keyid"]),
        ("smime", vec!["-noattr"]),
        ("smime", with(&["-md", "md5"])),
        ("smime", with(&["-md", "ripemd160"])),
    ] {
        add("RSA", &trusted.rsa, tool, &options)?;
    }
    for hash in ["sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]
    {
        for certificates in [&[][..], &["-nocerts"]] {
            let options = [&binary, certificates, &["-md", hash]].concat();
            add("RSA", &trusted.rsa, "cms", &options)?;
            if !hash.starts_with("sha3") {
                add("P-256", &trusted.ec, "cms", &options)?;
            }
        }
    }
    for identity in &trusted.others {
        let name = identity.certificate.file_stem().unwrap_or_default().to_string_lossy();
        if name == "ed25519" {
            continue;
        }
        add(&name, identity, "smime", &with(&[]))?;
        add(&name, identity, "smime", &with(&["-nocerts"]))?;
    }
    let ed25519 = trusted.others.iter().map(path).find(|path| path.contains("ed25519"));
    let ed25519 = ed25519.unwrap_or_default();
    add(
        "Ed25519 embedded",
        &trusted.rsa,
        "smime",
        &[&binary, &["-certfile", &ed25519][..]].concat(),
    )?;

    let unknown = pki.identity(Wanted::signer("unknown", "rsa:2048"))?;
    add("unknown", &unknown, "smime", &with(&[]))?;
    add("unknown", &unknown, "smime", &with(&["-nocerts"]))?;
    add("unknown", &unknown, "cms", &with(&["-keyid"]))?;

    let leaf = pki.leaf()?;
    let (authority, intermediate) = (path(&trusted.authority), path(&trusted.intermediate));
    let signer = path(&trusted.rsa);
    let root = pki.identity(Wanted::authority("root", "rsa:2048"))?;
    let deep = pki.identity(Wanted::signer("deep", "rsa:2048").issued_by(&trusted.intermediate))?;
    let lower =
        pki.identity(Wanted::authority("lower", "ec:P-384").issued_by(&trusted.authority))?;
    let below = pki.identity(Wanted::signer("below", "ec:P-256").issued_by(&lower))?;
    let nameless = pki.identity(
        Wanted::signer("nameless", "rsa:2048").issued_by(&trusted.authority).with_extensions(&[]),
    )?;
    let full = pki.identity(
        Wanted::signer("full", "rsa:2048").issued_by(&trusted.authority).with_extensions(&[
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid,issuer:always",
        ]),
    )?;
    let by_serial = pki.identity(
        Wanted::signer("by serial", "rsa:2048").issued_by(&trusted.authority).with_extensions(&[
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=issuer:always",
        ]),
    )?;
    // Signed by a certificate that is trusted and no authority.
    let grafted = pki.identity(Wanted::signer("grafted", "ec:P-256").issued_by(&trusted.rsa))?;
    let stranger = pki.identity(Wanted::signer("stranger", "rsa:2048").issued_by(&unknown))?;
    for (name, identity, tool, options) in [
        ("leaf", &leaf, "smime", vec![]),
        ("leaf", &leaf, "smime", vec!["-certfile", &authority]),
        ("leaf", &leaf, "smime", vec!["-nocerts"]),
        ("leaf", &leaf, "cms", vec!["-keyid"]),
        ("deep", &deep, "smime", vec![]),
        ("deep", &deep, "smime", vec!["-certfile", &intermediate]),
        ("below", &below, "smime", vec![]),
        ("nameless", &nameless, "smime", vec![]),
        ("full", &full, "smime", vec![]),
        ("full", &full, "smime", vec!["-certfile", &authority]),
        ("by serial", &by_serial, "smime", vec![]),
        ("by serial", &by_serial, "smime", vec!["-certfile", &authority]),
        ("grafted", &grafted, "smime", vec![]),
        ("grafted", &grafted, "smime", vec!["-certfile", &signer]),
        ("stranger", &stranger, "smime", vec![]),
    ] {
        add(name, identity, tool, &[&binary, &options[..]].concat())?;
    }
    let (root, lower) = (path(&root), path(&lower));
    add("deep", &deep, "smime", &[&binary, &["-certfile", &root][..]].concat())?;
    add("below", &below, "smime", &[&binary, &["-certfile", &lower][..]].concat())?;
    add("stranger", &stranger, "smime", &[&binary, &["-certfile", &path(&unknown)][..]].concat())?;

    for (name, first, second) in [
        ("both trusted", &trusted.rsa, &trusted.ec),
        ("second trusted", &unknown, &trusted.ec),
        ("first trusted", &trusted.ec, &unknown),
        ("none trusted", &unknown, &stranger),
    ] {
        let (certificate, key) = (path(second), second.key.display().to_string());
        let second = ["-signer", &certificate, "-inkey", &key];
        add(name, first, "smime", &[&binary[..], &second].concat())?;
        add(name, first, "smime", &[&binary[..], &second, &["-nocerts"]].concat())?;
        add(name, first, "cms", &[&["-binary", "-nosmimecap"][..], &second].concat())?;
    }
    Ok(variants)
}
