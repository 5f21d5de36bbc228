//! Signers whose certificates are in the firmware's `db` and in its `dbx` as well.

use libverity::certificate::Certificate;
use osguard_testkit::Result;
use osguard_testkit::test_pki::{Identity, TestPki, Wanted};

use crate::variants::{Trusted, Variant};

/// Holds signers that `dbx` names, each in another way.
pub(crate) struct Revoked {
    /// By the digest of the signed part, alone.
    digest: Identity,
    /// By the same digest with the time of the revocation, as UEFI has it.
    timed_digest: Identity,
    /// By the certificate.
    certificate: Identity,
    /// By the digest, an authority.
    authority: Identity,
    leaf: Identity,
    pub(crate) pem: Vec<Vec<u8>>,
    pub(crate) certificates: Vec<Certificate>,
}

impl Revoked {
    pub(crate) fn new(pki: &TestPki) -> Result<Self> {
        let signer = |name| pki.identity(Wanted::signer(name, "rsa:2048"));
        let authority = pki.identity(Wanted::authority("revoked authority", "rsa:2048"))?;
        let leaf = Wanted::signer("leaf of revoked authority", "rsa:2048");
        let mut revoked = Self {
            digest: signer("revoked by digest")?,
            timed_digest: signer("revoked by digest and time")?,
            certificate: signer("revoked by certificate")?,
            leaf: pki.identity(leaf.issued_by(&authority))?,
            authority,
            pem: Vec::new(),
            certificates: Vec::new(),
        };
        for identity in
            [&revoked.digest, &revoked.timed_digest, &revoked.certificate, &revoked.authority]
        {
            let pem = identity.certificate_pem()?;
            revoked.certificates.push(Certificate::from_file_contents(&pem).unwrap());
            revoked.pem.push(pem);
        }
        Ok(revoked)
    }

    /// Makes what `dbx` holds.
    pub(crate) fn signature_lists(&self) -> Vec<u8> {
        let [digest, timed_digest, certificate, authority] = &self.certificates[..] else {
            unreachable!("there are four")
        };
        let digest_of = |certificate: &Certificate| certificate.to_be_signed_digest().unwrap();
        let never = [0; 16];
        [
            signature_list(X509_SHA256, &digest_of(digest)),
            signature_list(X509_SHA256, &[&digest_of(timed_digest)[..], &never].concat()),
            signature_list(X509, certificate.as_der()),
            signature_list(X509_SHA256, &digest_of(authority)),
        ]
        .concat()
    }

    pub(crate) fn variants(
        &self,
        pki: &TestPki,
        trusted: &Trusted,
        content: &[u8],
        more: &[&str],
    ) -> Result<Vec<Variant>> {
        let path = |identity: &Identity| identity.certificate.display().to_string();
        let (signer, key) = (path(&trusted.rsa), trusted.rsa.key.display().to_string());
        let authority = path(&self.authority);
        let mut variants = Vec::new();
        let unknown = pki.identity(Wanted::signer("unknown", "rsa:2048"))?;
        let (unknown, unknown_key) = (path(&unknown), unknown.key.display().to_string());
        for (name, identity) in [
            ("revoked by digest", &self.digest),
            ("revoked by digest and time", &self.timed_digest),
            ("revoked by certificate", &self.certificate),
            ("revoked authority itself", &self.authority),
            ("leaf of revoked authority", &self.leaf),
        ] {
            for options in [
                vec![],
                vec!["-nocerts"],
                vec!["-certfile", &authority],
                vec!["-signer", &signer, "-inkey", &key],
                vec!["-signer", &signer, "-inkey", &key, "-nocerts"],
                vec!["-signer", &unknown, "-inkey", &unknown_key],
            ] {
                let all = [&["-binary", "-noattr"], &options[..], more].concat();
                let message = identity.sign("smime", &all, content)?;
                variants.push(Variant { name: format!("{name} {options:?}"), message });
            }
        }
        Ok(variants)
    }
}

/// Writes a signature list with one entry.
///
/// Source: UEFI 2.10, section 32.4.1, `EFI_SIGNATURE_LIST`.
fn signature_list(kind: [u8; 16], data: &[u8]) -> Vec<u8> {
    let entry_bytes = u32::try_from(16 + data.len()).unwrap();
    let mut list = kind.to_vec();
    for number in [28 + entry_bytes, 0, entry_bytes] {
        list.extend(number.to_le_bytes());
    }
    list.extend([0; 16]);
    list.extend(data);
    list
}

/// `EFI_CERT_X509_SHA256_GUID`.
const X509_SHA256: [u8; 16] = [
    0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed,
];

/// `EFI_CERT_X509_GUID`.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
