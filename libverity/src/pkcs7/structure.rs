//! The structures of RFC 5652 that a signature is written with.
//!
//! They borrow everything that a certificate already holds, issuer and serial number above all:
//! the kernel compares those byte for byte.

use der::asn1::{AnyRef, OctetStringRef, SetOfVec};
use der::oid::ObjectIdentifier;
use der::{Sequence, ValueOrd};

/// Wraps a message with its type.
///
/// Source: RFC 5652, section 3.
#[derive(Sequence)]
pub(super) struct ContentInfo<'a> {
    pub(super) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0")]
    pub(super) content: SignedData<'a>,
}

/// Holds a content, or stands beside one, with signatures of it.
///
/// Source: RFC 5652, section 5.1.
#[derive(Sequence)]
pub(super) struct SignedData<'a> {
    pub(super) version: u8,
    pub(super) digest_algorithms: SetOfVec<AlgorithmIdentifier<'a>>,
    pub(super) encapsulated_content: EncapsulatedContentInfo<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) certificates: Option<SetOfVec<AnyRef<'a>>>,
    pub(super) signer_infos: SetOfVec<SignerInfo<'a>>,
}

/// Holds the content itself, or its type alone.
///
/// Source: RFC 5652, section 5.2.
#[derive(Sequence)]
pub(super) struct EncapsulatedContentInfo<'a> {
    pub(super) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", optional = "true")]
    pub(super) content: Option<&'a OctetStringRef>,
}

/// Is one signature, and the name of the certificate that goes with it.
///
/// Source: RFC 5652, section 5.3.
#[derive(Sequence, ValueOrd)]
pub(super) struct SignerInfo<'a> {
    pub(super) version: u8,
    pub(super) identifier: IssuerAndSerialNumber<'a>,
    pub(super) digest_algorithm: AlgorithmIdentifier<'a>,
    pub(super) signature_algorithm: AlgorithmIdentifier<'a>,
    pub(super) signature: &'a OctetStringRef,
}

/// Names a certificate.
///
/// Source: RFC 5652, section 10.2.4.
#[derive(Sequence, ValueOrd)]
pub(super) struct IssuerAndSerialNumber<'a> {
    pub(super) issuer: AnyRef<'a>,
    pub(super) serial_number: AnyRef<'a>,
}

/// Names an algorithm.
///
/// Source: RFC 5280, section 4.1.1.2.
#[derive(Clone, Sequence, ValueOrd)]
pub(super) struct AlgorithmIdentifier<'a> {
    pub(super) algorithm: ObjectIdentifier,
    pub(super) parameters: Option<AnyRef<'a>>,
}

pub(super) const SIGNED_DATA: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
pub(super) const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
