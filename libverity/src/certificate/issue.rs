//! Writes certificates (RFC 5280).

use std::time::{Duration, SystemTime};

use der::asn1::{Any, BitString, Null, OctetString, Uint, Utf8StringRef};
use der::flagset::FlagSet;
use der::oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode, Sequence};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use super::Certificate;
use super::algorithm::{PRIME256V1, SECP384R1, SECP521R1};
use super::generate::{GenerateError, Role};
use crate::signer::{PrivateKey, SignatureAlgorithm};

/// Is what a certificate shall say, the key apart.
pub(super) struct Request<'a> {
    role: Role<'a>,
    subject: Name,
    issuer: Name,
    /// The issuer's key identifier; `None` where the key signs itself.
    authority: Option<OctetString>,
    validity: Validity,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        role: Role<'a>,
        common_name: &str,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Self, GenerateError> {
        let subject = name(common_name)?;
        let mut end = now.checked_add(validity).ok_or(GenerateError::Validity)?;
        let (issuer, authority) = match role {
            Role::Authority | Role::SelfSigned => (subject.clone(), None),
            Role::IssuedBy(issuer) => {
                let issuer = issuer.certificate();
                end = end.min(issuer.not_after());
                let (name, identifier) = authority(issuer)?;
                (name, Some(identifier))
            }
        };
        let time = |time| Time::try_from(time).map_err(|_| GenerateError::Validity);
        let validity = Validity::new(time(now)?, time(end)?);
        Ok(Self { role, subject, issuer, authority, validity })
    }
}

/// Makes the certificate of `key`.
pub(super) fn certificate(
    request: &Request<'_>,
    key: &PrivateKey,
) -> Result<Certificate, GenerateError> {
    let signed_with = match request.role {
        Role::IssuedBy(issuer) => issuer.algorithm(),
        Role::Authority | Role::SelfSigned => key.algorithm(),
    };
    let to_be_signed =
        to_be_signed(request, key, signed_with).map_err(|_| GenerateError::Encode)?;
    let message = to_be_signed.to_der().map_err(|_| GenerateError::Encode)?;
    let signature = match request.role {
        Role::IssuedBy(issuer) => issuer.sign(&message)?,
        Role::Authority | Role::SelfSigned => {
            key.sign(&message).map_err(|_| GenerateError::Random)?
        }
    };
    let encode = || -> der::Result<Vec<u8>> {
        SignedCertificate {
            signature_algorithm: to_be_signed.signature.clone(),
            signature: BitString::from_bytes(&signature)?,
            to_be_signed,
        }
        .to_der()
    };
    let der = encode().map_err(|_| GenerateError::Encode)?;
    Ok(Certificate::from_der(&der)?)
}

/// RFC 5280, section 4.1.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0")]
    version: u8,
    serial_number: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3")]
    extensions: Vec<Extension>,
}

/// RFC 5280, section 4.1.
#[derive(Sequence)]
struct SignedCertificate {
    to_be_signed: ToBeSigned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// Returns name and key identifier of an authority, as certificates by it write them.
fn authority(issuer: &Certificate) -> Result<(Name, OctetString), GenerateError> {
    let refused = |reason| GenerateError::Issuer { issuer: issuer.subject(), reason };
    let parsed = x509_cert::Certificate::from_der(issuer.as_der())
        .map_err(|_| refused("it is not as RFC 5280 has certificates"))?;
    let parsed = parsed.tbs_certificate();
    let constraints = parsed.get_extension::<BasicConstraints>().ok().flatten();
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(refused("it is not that of an authority"));
    }
    match parsed.get_extension::<SubjectKeyIdentifier>() {
        Ok(Some((_, SubjectKeyIdentifier(identifier)))) => {
            Ok((parsed.subject().clone(), identifier))
        }
        _ => Err(refused("it has no subject key identifier, by which the kernel finds issuers")),
    }
}

fn to_be_signed(
    request: &Request<'_>,
    key: &PrivateKey,
    signed_with: SignatureAlgorithm,
) -> der::Result<ToBeSigned> {
    let parameters = signed_with.has_null_parameters().then(|| Any::from(Null));
    let signature = AlgorithmIdentifierOwned { oid: signed_with.certificate_oid(), parameters };
    let algorithm = key.algorithm();
    let key_parameters = match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => Any::encode_from(&PRIME256V1)?,
        SignatureAlgorithm::EcdsaP384Sha384 => Any::encode_from(&SECP384R1)?,
        SignatureAlgorithm::EcdsaP521Sha512 => Any::encode_from(&SECP521R1)?,
        SignatureAlgorithm::RsaPkcs1Sha256 => Any::from(Null),
    };
    let bits = key.public_key_bits();
    let subject_public_key_info = SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: algorithm.key_oid(),
            parameters: Some(key_parameters),
        },
        subject_public_key: BitString::from_bytes(bits)?,
    };
    // RFC 5280, section 4.2.1.2, method (1). It names the key and protects nothing.
    let identifier = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bits);
    let identifier = OctetString::new(identifier.as_ref())?;
    let authority = request.authority.clone().unwrap_or_else(|| identifier.clone());
    // Keys that are enrolled as MOK count as authorities only without digitalSignature
    // (certs/system_keyring.c, CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX).
    let (usage, constraints) = match request.role {
        Role::Authority => (
            KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            BasicConstraints { ca: true, path_len_constraint: Some(0) },
        ),
        Role::IssuedBy(_) | Role::SelfSigned => (
            FlagSet::from(KeyUsages::DigitalSignature),
            BasicConstraints { ca: false, path_len_constraint: None },
        ),
    };
    Ok(ToBeSigned {
        version: VERSION_3,
        serial_number: Uint::new(&serial_number()?)?,
        signature,
        issuer: request.issuer.clone(),
        validity: request.validity,
        subject: request.subject.clone(),
        subject_public_key_info,
        extensions: vec![
            extension(true, &constraints)?,
            extension(true, &KeyUsage(usage))?,
            extension(false, &SubjectKeyIdentifier(identifier))?,
            extension(
                false,
                &AuthorityKeyIdentifier { key_identifier: Some(authority), ..Default::default() },
            )?,
        ],
    })
}

fn name(common_name: &str) -> Result<Name, GenerateError> {
    let error = || GenerateError::CommonName { name: common_name.to_owned() };
    if !(1..=64).contains(&common_name.chars().count()) || common_name.contains(char::is_control) {
        return Err(error());
    }
    let name = || -> der::Result<Name> {
        let value = Any::encode_from(&Utf8StringRef::new(common_name)?)?;
        let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value };
        let relative = RelativeDistinguishedName::try_from(vec![attribute])?;
        let names = RdnSequence::from(vec![relative]);
        Name::from_der(&names.to_der()?)
    };
    name().map_err(|_| error())
}

fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> der::Result<Extension> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

/// Draws 16 bytes whose first is neither zero nor negative.
fn serial_number() -> der::Result<[u8; 16]> {
    let mut number = [0; 16];
    SystemRandom::new().fill(&mut number).map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
    number[0] = number[0] & 0x3f | 0x40;
    Ok(number)
}

/// The number of version 3 of X.509, counted from 0.
const VERSION_3: u8 = 2;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
