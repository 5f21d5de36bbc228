//! The kernel's reading of a PKCS#7 message.
//!
//! Source: `crypto/asymmetric_keys/pkcs7.asn1` and `pkcs7_parser.c`. The message is read from front
//! to back, and the first thing that the kernel does not like is what it reports.

use std::time::SystemTime;

use der::oid::ObjectIdentifier;

use super::refusal::Refusal;
use super::structure::{DATA, SIGNED_DATA};
use super::verify::SignerIdentifier;
use crate::asn1::{
    Asn1Error, Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET,
    constructed_context, primitive_context,
};
use crate::certificate::{
    Certificate, HashAlgorithm, KeyId, SignatureScheme, describe_oid, display_name, parse_name,
    parse_time,
};

/// Is a message that the kernel can read.
pub(super) struct Message<'a> {
    pub(super) content: Option<&'a [u8]>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) signers: Vec<SignerInfo<'a>>,
}

/// Is one signature in a message.
pub(super) struct SignerInfo<'a> {
    pub(super) identifier: Identifier<'a>,
    pub(super) hash: HashAlgorithm,
    pub(super) attributes: Option<SignedAttributes<'a>>,
    pub(super) signing_time: Option<SystemTime>,
    pub(super) scheme: SignatureScheme,
    pub(super) signature: &'a [u8],
}

/// Names the certificate of a signer.
#[derive(Clone, Copy)]
pub(super) enum Identifier<'a> {
    /// A name is there, but not of the kind that the version demands.
    Absent,
    IssuerAndSerial {
        issuer: Element<'a>,
        serial: &'a [u8],
    },
    SubjectKey(&'a [u8]),
}

/// Is what was signed instead of the content.
pub(super) struct SignedAttributes<'a> {
    /// The digest of the content.
    pub(super) message_digest: &'a [u8],
    /// The attributes as they were signed, with the tag of a SET.
    pub(super) encoding: Vec<u8>,
}

impl<'a> Message<'a> {
    /// Reads a message; `bytes` are no more than the kernel's decoder takes.
    ///
    /// Certificates that are among the `known` ones are not read, and their own signatures not
    /// checked, a second time.
    pub(super) fn parse(bytes: &'a [u8], known: &[Certificate]) -> Result<Self, Refusal> {
        let mut content_info = Reader::new(bytes).required(SEQUENCE)?.reader();
        let content_type = content_info.required(OBJECT_IDENTIFIER)?.contents;
        if content_type != SIGNED_DATA.as_bytes() {
            return Err(Refusal::NotSignedData { found: describe_oid(content_type) });
        }
        let wrapper = content_info.optional(constructed_context(0))?;
        let Some(wrapper) = wrapper else {
            content_info.finish()?;
            return Err(Refusal::NoSigner);
        };
        let mut wrapper = wrapper.reader();
        let mut fields = wrapper.required(SEQUENCE)?.reader();

        let version = version(&mut fields, "SignedData")?;
        set_or_sequence(&mut fields, |element| {
            algorithm(&mut Reader::new(element.encoding)).map(|_| ())
        })?;
        let content = content(&mut fields)?;
        let mut embedded = Embedded { known, certificates: Vec::new() };
        embedded.read_certificates(&mut fields)?;
        embedded.read_revocation_lists(&mut fields)?;
        let mut signers = Vec::new();
        set_or_sequence(&mut fields, |element| {
            SignerInfo::parse(element, version).map(|signer| signers.push(signer))
        })?;
        fields.finish()?;
        wrapper.finish()?;
        content_info.finish()?;

        let attributed = signers.iter().filter(|signer| signer.attributes.is_some()).count();
        match signers.len() {
            0 => Err(Refusal::NoSigner),
            count if attributed != 0 && attributed != count => Err(Refusal::AttributesInconsistent),
            _ => Ok(Self { content, certificates: embedded.certificates, signers }),
        }
    }
}

impl<'a> SignerInfo<'a> {
    fn parse(element: Element<'a>, message_version: u8) -> Result<Self, Refusal> {
        let mut fields = element.reader();
        let version = version(&mut fields, "SignerInfo")?;
        if version != message_version {
            return Err(Refusal::VersionMismatch { message: message_version, signer: version });
        }
        let identifier = Identifier::parse(&mut fields, version)?;
        let digest = algorithm(&mut fields)?;
        let hash = HashAlgorithm::of_digest_oid(digest)
            .ok_or_else(|| Refusal::DigestUnsupported { algorithm: describe_oid(digest) })?;
        let attributes = Attributes::parse(&mut fields)?;
        let signature_algorithm = algorithm(&mut fields)?;
        let scheme = SignatureScheme::of_signer_oid(signature_algorithm).ok_or_else(|| {
            Refusal::SignatureUnsupported { algorithm: describe_oid(signature_algorithm) }
        })?;
        let signature = fields.required(OCTET_STRING)?.contents;
        if let Some(unsigned) = one_of(&mut fields, [1, 3])? {
            unsigned_attributes(unsigned)?;
        }
        fields.finish()?;
        Ok(Self {
            identifier,
            hash,
            signing_time: attributes.signing_time,
            attributes: attributes.signed,
            scheme,
            signature,
        })
    }
}

impl<'a> Identifier<'a> {
    fn parse(fields: &mut Reader<'a>, version: u8) -> Result<Self, Asn1Error> {
        let by_serial = match fields.optional(SEQUENCE)? {
            Some(element) => {
                let mut parts = element.reader();
                let issuer = parse_name(&mut parts)?;
                let serial = parts.required(INTEGER)?.contents;
                parts.finish()?;
                Some(Self::IssuerAndSerial { issuer, serial })
            }
            None => None,
        };
        let identifier = match by_serial {
            Some(identifier) => identifier,
            None => Self::SubjectKey(fields.required(primitive_context(0))?.contents),
        };
        Ok(match (version, identifier) {
            (KEY_IDENTIFIER_VERSION, Self::SubjectKey([_, ..])) => identifier,
            (ISSUER_VERSION, Self::IssuerAndSerial { .. }) => identifier,
            _ => Self::Absent,
        })
    }

    /// Returns the name by which the kernel looks for the signer's key.
    pub(super) fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Absent => None,
            Self::IssuerAndSerial { issuer, serial } => {
                Some(KeyId::of_issuer_and_serial(issuer.contents, serial))
            }
            Self::SubjectKey(identifier) => Some(KeyId::of_key_identifier(identifier)),
        }
    }

    /// Returns the name for people and reports.
    pub(super) fn name(&self) -> SignerIdentifier {
        SignerIdentifier(self.describe())
    }

    /// Writes the name for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::IssuerAndSerial { issuer, serial } => format!(
                "the certificate {} of {}",
                hex::encode(serial),
                display_name(issuer.encoding)
            ),
            Self::SubjectKey(identifier) => format!("the key {}", hex::encode(identifier)),
            Self::Absent => "nobody".to_owned(),
        }
    }
}

/// Is what the signed attributes say, and where they are signed at all, their encoding.
#[derive(Default)]
struct Attributes<'a> {
    signed: Option<SignedAttributes<'a>>,
    signing_time: Option<SystemTime>,
    message_digest: Option<&'a [u8]>,
    seen: Vec<&'static str>,
}

impl<'a> Attributes<'a> {
    fn parse(fields: &mut Reader<'a>) -> Result<Self, Refusal> {
        let mut found = Self::default();
        if let Some(set) = fields.optional(constructed_context(0))? {
            found.read(set)?;
            if !found.seen.contains(&CONTENT_TYPE.1) || !found.seen.contains(&MESSAGE_DIGEST.1) {
                return Err(Refusal::AttributeMissing);
            }
            let mut encoding = set.encoding.to_vec();
            encoding[0] = SET;
            let message_digest = found.message_digest.unwrap_or_default();
            found.signed = Some(SignedAttributes { message_digest, encoding });
        } else if let Some(wrapper) = fields.optional(constructed_context(2))? {
            // The kernel reads this form but then takes the content for what was signed.
            let mut wrapper = wrapper.reader();
            found.read(wrapper.required(SEQUENCE)?)?;
            wrapper.finish()?;
        }
        Ok(found)
    }

    fn read(&mut self, attributes: Element<'a>) -> Result<(), Refusal> {
        attributes.for_each(SEQUENCE, |attribute| {
            let mut parts = attribute.reader();
            let kind = parts.required(OBJECT_IDENTIFIER)?.contents;
            let mut values = parts.required(SET)?.reader();
            parts.finish()?;
            loop {
                self.note(kind, values.any()?)?;
                if values.is_at_end() {
                    return Ok(());
                }
            }
        })
    }

    /// Source: `pkcs7_sig_note_authenticated_attr`.
    fn note(&mut self, kind: &[u8], value: Element<'a>) -> Result<(), Refusal> {
        let known = [
            CONTENT_TYPE,
            SIGNING_TIME,
            MESSAGE_DIGEST,
            SMIME_CAPABILITIES,
            SP_OPUS_INFO,
            STATEMENT_TYPE,
        ];
        let Some((oid, attribute)) = known.into_iter().find(|(oid, _)| oid.as_bytes() == kind)
        else {
            return Ok(());
        };
        if self.seen.contains(&attribute) {
            return Err(Refusal::AttributeRepeated { attribute });
        }
        self.seen.push(attribute);
        let malformed = Refusal::AttributeValue { attribute };
        if oid == CONTENT_TYPE.0 {
            if value.contents != DATA.as_bytes() {
                return Err(malformed);
            }
        } else if oid == SIGNING_TIME.0 {
            self.signing_time = Some(parse_time(value).ok_or(malformed)?);
        } else if oid == MESSAGE_DIGEST.0 {
            if value.tag != OCTET_STRING {
                return Err(malformed);
            }
            self.message_digest = Some(value.contents);
        } else {
            return Err(Refusal::AttributeRefused { attribute });
        }
        Ok(())
    }
}

fn version(fields: &mut Reader<'_>, part: &'static str) -> Result<u8, Refusal> {
    match fields.required(INTEGER)?.contents {
        &[version @ (ISSUER_VERSION | KEY_IDENTIFIER_VERSION)] => Ok(version),
        _ => Err(Refusal::VersionUnsupported { part }),
    }
}

/// Reads an AlgorithmIdentifier and returns the contents of its object identifier.
fn algorithm<'a>(fields: &mut Reader<'a>) -> Result<&'a [u8], Asn1Error> {
    let mut parts = fields.required(SEQUENCE)?.reader();
    let identifier = parts.required(OBJECT_IDENTIFIER)?.contents;
    parts.optional_any()?;
    parts.finish()?;
    Ok(identifier)
}

fn content<'a>(fields: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Refusal> {
    let mut encapsulated = fields.required(SEQUENCE)?.reader();
    let content_type = encapsulated.required(OBJECT_IDENTIFIER)?.contents;
    let content = match encapsulated.optional(constructed_context(0))? {
        Some(wrapper) => {
            let mut wrapper = wrapper.reader();
            let content = wrapper.any()?;
            wrapper.finish()?;
            Some(content.contents)
        }
        None => None,
    };
    encapsulated.finish()?;
    if content_type != DATA.as_bytes() {
        let authenticode = content_type == INDIRECT_DATA.as_bytes();
        return Err(Refusal::ContentType { found: describe_oid(content_type), authenticode });
    }
    Ok(content)
}

/// Collects the certificates in a message.
struct Embedded<'a> {
    known: &'a [Certificate],
    certificates: Vec<Certificate>,
}

impl Embedded<'_> {
    fn read_certificates(&mut self, fields: &mut Reader<'_>) -> Result<(), Refusal> {
        if let Some(list) = one_of(fields, [0, 2])? {
            self.read_list(list.reader())?;
        }
        Ok(())
    }

    /// Reads certificate revocation lists, in which the kernel expects sequences of certificates.
    fn read_revocation_lists(&mut self, fields: &mut Reader<'_>) -> Result<(), Refusal> {
        if let Some(lists) = one_of(fields, [1, 3])? {
            let mut lists = lists.reader();
            while !lists.is_at_end() {
                self.read_list(lists.required(SEQUENCE)?.reader())?;
            }
        }
        Ok(())
    }

    fn read_list(&mut self, mut list: Reader<'_>) -> Result<(), Refusal> {
        while !list.is_at_end() {
            let number = self.certificates.len() + 1;
            let element = list.any()?;
            if element.tag != SEQUENCE {
                let found = element.tag;
                return Err(Asn1Error::UnexpectedTag { expected: SEQUENCE, found }.into());
            }
            let encoding = element.encoding;
            let certificate = match self.known.iter().find(|known| known.as_der() == encoding) {
                Some(known) => known.clone(),
                None => Certificate::from_der(encoding)
                    .map_err(|source| Refusal::Certificate { number, source })?,
            };
            certificate
                .loadable()
                .map_err(|source| Refusal::CertificateNotLoadable { number, source })?;
            self.certificates.push(certificate);
        }
        Ok(())
    }
}

fn unsigned_attributes(element: Element<'_>) -> Result<(), Asn1Error> {
    element.for_each(SEQUENCE, |attribute| {
        let mut parts = attribute.reader();
        parts.required(OBJECT_IDENTIFIER)?;
        let mut values = parts.required(SET)?.reader();
        parts.finish()?;
        loop {
            values.any()?;
            if values.is_at_end() {
                return Ok(());
            }
        }
    })
}

/// Reads an optional element that has one of two context-specific tags.
fn one_of<'a>(fields: &mut Reader<'a>, tags: [u8; 2]) -> Result<Option<Element<'a>>, Asn1Error> {
    for tag in tags {
        if let Some(element) = fields.optional(constructed_context(tag))? {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// Reads the sequences in a SET OF, for which the kernel takes a SEQUENCE OF as well, and nothing
/// where the bytes end.
fn set_or_sequence<'a, E: From<Asn1Error>>(
    fields: &mut Reader<'a>,
    read: impl FnMut(Element<'a>) -> Result<(), E>,
) -> Result<(), E> {
    if fields.is_at_end() {
        return Ok(());
    }
    let list = match fields.optional(SET)? {
        Some(set) => set,
        None => fields.required(SEQUENCE)?,
    };
    list.for_each(SEQUENCE, read)
}

/// The version of a message, and of a signer in it, that names a certificate by issuer and serial
/// number.
const ISSUER_VERSION: u8 = 1;

/// The version of a message, and of a signer in it, that names a key by its identifier.
const KEY_IDENTIFIER_VERSION: u8 = 3;

const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");

/// Signed attributes that mean something to the kernel.
const CONTENT_TYPE: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3"), "contentType");
const MESSAGE_DIGEST: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4"), "messageDigest");
const SIGNING_TIME: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5"), "signingTime");
const SMIME_CAPABILITIES: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15"), "S/MIME capabilities");
const SP_OPUS_INFO: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.12"), "SpOpusInfo (Authenticode)");
const STATEMENT_TYPE: (ObjectIdentifier, &str) =
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.11"), "StatementType (Authenticode)");
