//! Signatures checked as the kernel checks them.
//!
//! ring decides where it can, in a fraction of the time. What it refuses or does not know is
//! checked again the slow way: the kernel accepts more than ring does (shorter keys, further
//! digests, P-521, sloppily encoded ECDSA signatures), and where it refuses, its error number tells
//! in which step. Only public keys and signatures come by here, so nothing has to be constant-time.

use ring::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey};
use rsa::BoxedUint;

use super::algorithm::HashAlgorithm;
use super::public_key::Curve;
use crate::asn1::{Asn1Error, INTEGER, Reader, SEQUENCE};
use crate::errno::Errno;

/// Says why a signature was not verified with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureError {
    /// It is not a signature of this message by this key, with the kernel's error for it.
    Mismatch(Errno),
    /// The signature is of another kind than the key.
    OtherKind,
    /// Some kernels know the algorithm, but this program does not.
    UnsupportedHere { algorithm: String },
}

/// Checks an RSA signature with PKCS#1 v1.5 padding.
///
/// Source: `crypto/rsa.c`, and `crypto/rsa-pkcs1pad.c` or, from Linux 6.13 on,
/// `crypto/rsassa-pkcs1.c`.
pub(super) fn rsa(
    modulus: &[u8],
    exponent: &[u8],
    hash: HashAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let mismatch = |errno| Err(SignatureError::Mismatch(errno));
    if !RSA_BYTES.contains(&modulus.len()) || signature.len() != modulus.len() {
        return mismatch(Errno::EINVAL);
    }
    if let Some(parameters) = ring_rsa(modulus, hash) {
        let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
        if key.verify(parameters, message, signature).is_ok() {
            return Ok(());
        }
    }
    let digest = digest(hash, message)?;
    let Some(encoded) = rsa_public(modulus, exponent, signature) else {
        return mismatch(Errno::EINVAL);
    };
    // RFC 8017, section 9.2: 00 01 FF … FF 00 DigestInfo.
    let padded = match encoded.as_slice() {
        [0, 1, padded @ ..] => padded,
        [0, ..] => return mismatch(Errno::EBADMSG),
        _ => return mismatch(Errno::EINVAL),
    };
    let padding = padded.iter().take_while(|&&byte| byte == 0xff).count();
    let prefix = [vec![0], digest_info_prefix(hash, digest.len())].concat();
    match padded[padding..].strip_prefix(&prefix[..]) {
        Some(found) if padding >= MIN_PADDING && found == digest => Ok(()),
        Some(_) if padding >= MIN_PADDING => mismatch(Errno::EKEYREJECTED),
        _ => mismatch(Errno::EBADMSG),
    }
}

/// Checks an ECDSA signature, a DER `ECDSA-Sig-Value`.
///
/// Source: `crypto/ecdsa.c` and, from Linux 6.13 on, `crypto/ecdsa-x962.c`.
pub(super) fn ecdsa(
    curve: Curve,
    point: &[u8],
    hash: HashAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    if let Some(algorithm) = ring_ecdsa(curve, hash)
        && UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
    {
        return Ok(());
    }
    let digest = digest(hash, message)?;
    let width = match curve {
        Curve::P192 => {
            let algorithm = format!("ECDSA over {curve}");
            return Err(SignatureError::UnsupportedHere { algorithm });
        }
        Curve::P256 => 32,
        Curve::P384 => 48,
        Curve::P521 => 66,
    };
    let (r, s) = ecdsa_value(signature, width).map_err(SignatureError::Mismatch)?;
    // A digest that is longer than the curve's order counts with its first bits, a shorter one as
    // the number that it is.
    let missing = width.saturating_sub(digest.len());
    let number = [vec![0; missing], digest].concat();
    let verified = match curve {
        Curve::P384 => elliptic::p384(point, &r, &s, &number),
        Curve::P521 => elliptic::p521(point, &r, &s, &number),
        _ => elliptic::p256(point, &r, &s, &number),
    };
    verified.map_err(SignatureError::Mismatch)
}

/// The arithmetic of each curve behind one signature.
mod elliptic {
    use crate::errno::Errno;

    macro_rules! verify_on {
        ($curve:ident) => {
            pub(super) fn $curve(
                point: &[u8],
                r: &[u8],
                s: &[u8],
                digest: &[u8],
            ) -> Result<(), Errno> {
                use $curve::FieldBytes;
                use $curve::ecdsa::signature::hazmat::PrehashVerifier;
                use $curve::ecdsa::{Signature, VerifyingKey};

                // The kernel reads uncompressed points alone.
                let key = Some(point)
                    .filter(|point| point.first() == Some(&4))
                    .and_then(|point| VerifyingKey::from_sec1_bytes(point).ok())
                    .ok_or(Errno::EINVAL)?;
                let scalar = |bytes| FieldBytes::try_from(bytes).map_err(|_| Errno::EINVAL);
                let signature =
                    Signature::from_scalars(scalar(r)?, scalar(s)?).map_err(|_| Errno::EBADMSG)?;
                key.verify_prehash(digest, &signature).map_err(|_| Errno::EKEYREJECTED)
            }
        };
    }

    verify_on!(p256);
    verify_on!(p384);
    verify_on!(p521);
}

fn digest(hash: HashAlgorithm, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
    hash.digest(message).ok_or_else(|| SignatureError::UnsupportedHere {
        algorithm: format!("a digest with {hash}"),
    })
}

/// Raises a signature to the public exponent; the result is as long as the modulus.
///
/// `None` means that one of the numbers is out of range.
fn rsa_public(modulus: &[u8], exponent: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    let width = modulus.len();
    let bits = u32::try_from(width * 8).ok()?;
    let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, bits).ok();
    let limits = 8 * RSA_BYTES[0] - 7..=8 * RSA_BYTES[RSA_BYTES.len() - 1];
    let modulus = number(modulus)?;
    let signature = number(signature).filter(|signature| *signature < modulus)?;
    let key = rsa::PublicKey::new_with_size_limits(modulus, number(exponent)?, limits).ok()?;
    let result = rsa::hazmat::rsa_encrypt(&key, &signature).ok()?;
    let bytes = result.to_be_bytes();
    bytes.len().checked_sub(width).map(|extra| bytes[extra..].to_vec())
}

/// Writes what stands before the digest in a DigestInfo: the algorithm, a NULL, and the header of
/// the OCTET STRING.
pub(crate) fn digest_info_prefix(hash: HashAlgorithm, digest_bytes: usize) -> Vec<u8> {
    let oid = hash.oid();
    let oid = oid.as_bytes();
    // None of the lengths comes near 128.
    let length = |bytes: usize| bytes as u8;
    let mut prefix = vec![0x30, length(oid.len() + digest_bytes + 8)];
    prefix.extend([0x30, length(oid.len() + 4), 0x06, length(oid.len())]);
    prefix.extend(oid);
    prefix.extend([0x05, 0x00, 0x04, length(digest_bytes)]);
    prefix
}

/// Reads both numbers of a signature as `width` bytes each.
///
/// The kernel takes them as unsigned, and does not look at what follows.
fn ecdsa_value(signature: &[u8], width: usize) -> Result<(Vec<u8>, Vec<u8>), Errno> {
    let read = || -> Result<(&[u8], &[u8]), Asn1Error> {
        let mut numbers = Reader::new(signature).required(SEQUENCE)?.reader();
        let r = numbers.required(INTEGER)?.contents;
        let s = numbers.required(INTEGER)?.contents;
        numbers.finish()?;
        Ok((r, s))
    };
    let (r, s) = read().map_err(|_| Errno::EBADMSG)?;
    let fixed = |number: &[u8]| {
        let number = match number {
            [] => return Err(Errno::EINVAL),
            [0, rest @ ..] if rest.len() >= width => rest,
            number => number,
        };
        let missing = width.checked_sub(number.len()).ok_or(Errno::EINVAL)?;
        Ok([vec![0; missing], number.to_vec()].concat())
    };
    Ok((fixed(r)?, fixed(s)?))
}

fn ring_rsa(modulus: &[u8], hash: HashAlgorithm) -> Option<&'static RsaParameters> {
    Some(match hash {
        HashAlgorithm::Sha1 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha384 if modulus.len() >= 256 => &signature::RSA_PKCS1_2048_8192_SHA384,
        HashAlgorithm::Sha512 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ => return None,
    })
}

fn ring_ecdsa(curve: Curve, hash: HashAlgorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
    Some(match (curve, hash) {
        (Curve::P256, HashAlgorithm::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, HashAlgorithm::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, HashAlgorithm::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, HashAlgorithm::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return None,
    })
}

/// The lengths of a modulus that the kernel takes, in bytes.
///
/// Source: `crypto/rsa.c`, `rsa_check_key_length`.
const RSA_BYTES: [usize; 6] = [64, 128, 192, 256, 384, 512];

/// The fewest bytes of padding.
const MIN_PADDING: usize = 8;
