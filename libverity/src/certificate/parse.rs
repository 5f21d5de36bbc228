//! The kernel's reading of a certificate.

use std::time::{Duration, SystemTime};

use der::oid::ObjectIdentifier;

use super::{
    Authority, Certificate, CertificateError, KeyId, MAX_CERTIFICATE_BYTES, NotLoadable, PublicKey,
    SignatureError, SignatureScheme, describe_oid,
};
use crate::asn1::{
    Asn1Error, BIT_STRING, Element, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING,
    Reader, SEQUENCE, SET, UTC_TIME, constructed_context, primitive_context,
};
use crate::errno::Errno;

/// Reads the certificate at the start of `der`.
///
/// Source: `crypto/asymmetric_keys/x509.asn1` and `x509_cert_parser.c`.
pub(super) fn parse(der: &[u8]) -> Result<Certificate, CertificateError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge { bytes: der.len() });
    }
    let outer = Reader::new(der).required(SEQUENCE)?;
    let mut parts = outer.reader();
    let to_be_signed = parts.required(SEQUENCE)?;
    let outer_algorithm = algorithm_identifier(parts.required(SEQUENCE)?)?;
    let signature = bit_string(parts.required(BIT_STRING)?)?;
    parts.finish()?;

    let mut fields = to_be_signed.reader();
    if let Some(version) = fields.optional(constructed_context(0))? {
        let mut version = version.reader();
        version.required(INTEGER)?;
        version.finish()?;
    }
    let serial = fields.required(INTEGER)?;
    let inner_algorithm = algorithm_identifier(fields.required(SEQUENCE)?)?;
    let issuer = name(&mut fields)?;
    let (not_before, not_after) = validity(fields.required(SEQUENCE)?)?;
    let subject = name(&mut fields)?;
    let (public_key, public_key_bits) = public_key(fields.required(SEQUENCE)?)?;
    for unique_identifier in [1, 2] {
        fields.optional(primitive_context(unique_identifier))?;
    }
    let extensions = match fields.optional(constructed_context(3))? {
        Some(wrapper) => extensions(wrapper)?,
        None => Extensions::default(),
    };
    fields.finish()?;
    let signature_algorithm = SignatureScheme::of_certificate_oid(inner_algorithm.identifier)
        .ok_or_else(|| describe_oid(inner_algorithm.identifier));
    if signature_algorithm.is_ok() && inner_algorithm.identifier != outer_algorithm.identifier {
        return Err(CertificateError::SignatureAlgorithms);
    }
    let mut certificate = Certificate {
        der: outer.encoding.to_vec(),
        to_be_signed: to_be_signed.encoding.to_vec(),
        serial: serial.contents.to_vec(),
        issuer: issuer.encoding.to_vec(),
        subject: subject.encoding.to_vec(),
        id: KeyId::of_issuer_and_serial(issuer.contents, serial.contents),
        subject_key_identifier: extensions.subject_key_identifier,
        authority: extensions.authority,
        public_key,
        public_key_bits: public_key_bits.to_vec(),
        signature_algorithm,
        signature: signature.to_vec(),
        not_before,
        not_after,
        self_signed: Ok(false),
    };
    certificate.self_signed = self_signed(&certificate, issuer.contents == subject.contents);
    Ok(certificate)
}

/// Reads a time of a validity or of a signing-time attribute.
///
/// A GeneralizedTime has to lie outside 1950 to 2049, and nothing may lie before 1970.
///
/// Source: `x509_decode_time`.
pub(crate) fn parse_time(element: Element<'_>) -> Option<SystemTime> {
    let (year, rest) = match (element.tag, element.contents.len()) {
        (UTC_TIME, 13) => {
            let year = digits(&element.contents[..2])?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, &element.contents[2..])
        }
        (GENERALIZED_TIME, 15) => {
            let year = digits(&element.contents[..4])?;
            (Some(year).filter(|year| !(1950..=2049).contains(year))?, &element.contents[4..])
        }
        _ => return None,
    };
    let [fields @ .., b'Z'] = rest else {
        return None;
    };
    let mut numbers = fields.chunks_exact(2).map(digits);
    let mut next = || numbers.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Tells whether the certificate is its own issuer, or why the kernel does not load it.
///
/// Source: `crypto/asymmetric_keys/x509_public_key.c`, `x509_check_for_self_signed`.
fn self_signed(certificate: &Certificate, names_agree: bool) -> Result<bool, NotLoadable> {
    if let PublicKey::Unsupported { algorithm } = &certificate.public_key {
        return Err(NotLoadable::UnsupportedKey { algorithm: algorithm.clone() });
    }
    if let Err(algorithm) = &certificate.signature_algorithm {
        return Err(NotLoadable::UnsupportedSignature { algorithm: algorithm.clone() });
    }
    if !names_agree {
        return Ok(false);
    }
    let by_serial = certificate.authority.issuer_and_serial.as_ref();
    let by_key = certificate.authority.key_identifier.as_ref();
    let serial_agrees = by_serial.is_some_and(|id| *id == certificate.id);
    let key_agrees = by_key.is_some() && by_key == certificate.subject_key_identifier.as_ref();
    let rejected = NotLoadable::SelfSignature { errno: Errno::EKEYREJECTED };
    match (by_serial.is_some(), by_key.is_some()) {
        (false, false) => {}
        (true, true) if serial_agrees != key_agrees => return Err(rejected),
        _ if !serial_agrees && !key_agrees => return Ok(false),
        _ => {}
    }
    match certificate.verify_issued_by(&certificate.public_key) {
        // What only the kernel can check is taken for what it says: a root that is not among the
        // trust anchors helps nobody.
        Ok(()) | Err(SignatureError::UnsupportedHere { .. }) => Ok(true),
        Err(SignatureError::Mismatch(errno)) => Err(NotLoadable::SelfSignature { errno }),
        Err(SignatureError::OtherKind) => Err(rejected),
    }
}

struct AlgorithmIdentifier<'a> {
    identifier: &'a [u8],
    parameters: Option<Element<'a>>,
}

fn algorithm_identifier(element: Element<'_>) -> Result<AlgorithmIdentifier<'_>, Asn1Error> {
    let mut parts = element.reader();
    let identifier = parts.required(OBJECT_IDENTIFIER)?.contents;
    let parameters = parts.optional_any()?;
    parts.finish()?;
    Ok(AlgorithmIdentifier { identifier, parameters })
}

/// Returns the bytes of a BIT STRING, which has to have no unused bits.
fn bit_string(element: Element<'_>) -> Result<&[u8], Asn1Error> {
    match element.contents {
        [0, bits @ ..] => Ok(bits),
        _ => Err(Asn1Error::Truncated),
    }
}

/// Reads a Name, of which the kernel checks the structure.
pub(crate) fn name<'a>(fields: &mut Reader<'a>) -> Result<Element<'a>, Asn1Error> {
    let name = fields.required(SEQUENCE)?;
    name.for_each(SET, |relative_name| {
        relative_name.for_each(SEQUENCE, |attribute| {
            let mut parts = attribute.reader();
            parts.required(OBJECT_IDENTIFIER)?;
            parts.any()?;
            parts.finish()
        })
    })?;
    Ok(name)
}

/// Returns the key, and its bits.
fn public_key(element: Element<'_>) -> Result<(PublicKey, &[u8]), CertificateError> {
    let mut parts = element.reader();
    let algorithm = algorithm_identifier(parts.required(SEQUENCE)?)?;
    let bits = bit_string(parts.required(BIT_STRING)?)?;
    parts.finish()?;
    let parameters = algorithm.parameters.map(|element| element.contents);
    Ok((PublicKey::parse(algorithm.identifier, parameters, bits)?, bits))
}

/// Reads both times of a validity; where the second is missing, the kernel reads the first again.
fn validity(element: Element<'_>) -> Result<(SystemTime, SystemTime), CertificateError> {
    let mut times = element.reader();
    let not_before = times.any()?;
    let not_after = times.optional_any()?.unwrap_or(not_before);
    times.finish()?;
    let time = |element| parse_time(element).ok_or(CertificateError::Time);
    Ok((time(not_before)?, time(not_after)?))
}

#[derive(Default)]
struct Extensions {
    subject_key_identifier: Option<KeyId>,
    authority: Authority,
}

fn extensions(wrapper: Element<'_>) -> Result<Extensions, CertificateError> {
    let mut outer = wrapper.reader();
    let list = outer.required(SEQUENCE)?;
    outer.finish()?;
    let mut found = Extensions::default();
    list.for_each(SEQUENCE, |extension| {
        let mut parts = extension.reader();
        let identifier = parts.required(OBJECT_IDENTIFIER)?.contents;
        parts.optional(BOOLEAN)?;
        let value = parts.required(OCTET_STRING)?.contents;
        parts.finish()?;
        found.note(identifier, value)
    })?;
    Ok(found)
}

impl Extensions {
    /// Source: `x509_process_extension`.
    fn note(&mut self, identifier: &[u8], value: &[u8]) -> Result<(), CertificateError> {
        let malformed = |extension| CertificateError::Extension { extension };
        if identifier == SUBJECT_KEY_IDENTIFIER.as_bytes() {
            let identifier = subject_key_identifier(value)
                .filter(|_| self.subject_key_identifier.is_none())
                .ok_or_else(|| malformed("subjectKeyIdentifier"))?;
            self.subject_key_identifier = Some(identifier);
        } else if identifier == AUTHORITY_KEY_IDENTIFIER.as_bytes() {
            self.authority = authority(value).map_err(|_| malformed("authorityKeyIdentifier"))?;
        } else if identifier == KEY_USAGE.as_bytes() && !is_key_usage(value) {
            return Err(malformed("keyUsage"));
        } else if identifier == BASIC_CONSTRAINTS.as_bytes() && !is_basic_constraints(value) {
            return Err(malformed("basicConstraints"));
        }
        Ok(())
    }
}

/// Reads an OCTET STRING of 1 to 127 bytes that fills the extension.
fn subject_key_identifier(value: &[u8]) -> Option<KeyId> {
    match value {
        [OCTET_STRING, length, identifier @ ..]
            if !identifier.is_empty() && usize::from(*length) == identifier.len() =>
        {
            Some(KeyId::of_key_identifier(identifier))
        }
        _ => None,
    }
}

/// Source: `crypto/asymmetric_keys/x509_akid.asn1`.
fn authority(value: &[u8]) -> Result<Authority, Asn1Error> {
    let mut fields = Reader::new(value).required(SEQUENCE)?.reader();
    let key_identifier = fields.optional(primitive_context(0))?;
    let mut issuer = None;
    if let Some(general_names) = fields.optional(constructed_context(1))? {
        let mut general_names = general_names.reader();
        while !general_names.is_at_end() {
            let general_name = general_names.any()?;
            if general_name.tag == constructed_context(DIRECTORY_NAME) {
                let mut directory_name = general_name.reader();
                issuer = Some(name(&mut directory_name)?.contents);
                directory_name.finish()?;
            }
        }
    }
    let serial = fields.optional(primitive_context(2))?;
    fields.finish()?;
    Ok(Authority {
        issuer_and_serial: issuer
            .zip(serial)
            .map(|(issuer, serial)| KeyId::of_issuer_and_serial(issuer, serial.contents)),
        key_identifier: key_identifier
            .map(|identifier| KeyId::of_key_identifier(identifier.contents)),
    })
}

fn is_key_usage(value: &[u8]) -> bool {
    matches!(value, [BIT_STRING, _, unused_bits, _, ..] if *unused_bits < 8)
}

fn is_basic_constraints(value: &[u8]) -> bool {
    matches!(value, [SEQUENCE, length, fields @ ..] if usize::from(*length) == fields.len())
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Counts the days from 1970-01-01 to a date of the Gregorian calendar, `None` if there is no such
/// date.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month).ok()?.checked_sub(1)?;
    if day < 1 || day > *lengths.get(before)? {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    Some(years + lengths[..before].iter().sum::<u64>() + day - 1)
}

const BOOLEAN: u8 = 0x01;
const DIRECTORY_NAME: u8 = 4;

const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        let element = Element { tag, contents: text.as_bytes(), encoding: &[] };
        let time = parse_time(element)?;
        Some(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "000229235959Z"), Some(951_868_799));
        assert_eq!(seconds(UTC_TIME, "261123181500Z"), Some(1_795_457_700));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(seconds(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
    }

    #[test]
    fn times_that_the_kernel_refuses_are_refused() {
        for text in [
            "690101000000Z",
            "010229000000Z",
            "011301000000Z",
            "010001000000Z",
            "010100000000Z",
            "010101240000Z",
            "010101006000Z",
            "010101000060Z",
            "0101010000000",
            "01010100000 Z",
            "0101010000Z",
        ] {
            assert_eq!(seconds(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(seconds(GENERALIZED_TIME, "20490101000000Z"), None);
        assert_eq!(seconds(GENERALIZED_TIME, "21000229000000Z"), None);
        assert_eq!(seconds(INTEGER, "700101000000Z"), None);
    }
}
