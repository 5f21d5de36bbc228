//! ECDSA signatures in both forms in which they are written.

use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};

use super::SignatureAlgorithm;

/// Says that bytes are no signature of an algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes that are no signature with {algorithm}: {expected}")]
pub struct NotASignature {
    /// The algorithm.
    pub algorithm: SignatureAlgorithm,
    /// How many bytes there are.
    pub bytes: usize,
    /// What a signature would be.
    pub expected: String,
}

/// RFC 3279, section 2.2.3.
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

pub(super) fn normalize(
    algorithm: SignatureAlgorithm,
    signature: &[u8],
) -> Result<Vec<u8>, NotASignature> {
    let error = |expected: String| NotASignature { algorithm, bytes: signature.len(), expected };
    let Some(order_bytes) = algorithm.order_bytes() else {
        return match signature.len() {
            256..=512 => Ok(signature.to_vec()),
            _ => Err(error("it would have 256 to 512 bytes".to_owned())),
        };
    };
    if EcdsaSigValue::from_der(signature).is_ok() {
        return Ok(signature.to_vec());
    }
    let not_raw = || {
        error(format!(
            "it would be r and s in DER, or one after the other, {order_bytes} bytes each"
        ))
    };
    if signature.len() != 2 * order_bytes {
        return Err(not_raw());
    }
    let (r, s) = signature.split_at(order_bytes);
    let encode = || EcdsaSigValue { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der();
    encode().map_err(|_| not_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use SignatureAlgorithm::{EcdsaP256Sha256, EcdsaP521Sha512, RsaPkcs1Sha256};

    #[test]
    fn numbers_one_after_the_other_become_der() {
        // r with leading zeros, s with its first bit set: the encodings of both have their own length.
        let mut raw = [0; 64];
        raw[31] = 5;
        raw[32..].fill(0xff);
        let mut expected = vec![0x30, 3 + 2 + 33, 0x02, 1, 5, 0x02, 33, 0];
        expected.extend([0xff; 32]);
        assert_eq!(EcdsaP256Sha256.normalize(&raw).unwrap(), expected);
        assert_eq!(EcdsaP256Sha256.normalize(&expected).unwrap(), expected, "DER stays");
    }

    #[test]
    fn long_numbers_have_long_lengths() {
        let der = EcdsaP521Sha512.normalize(&[0x01; 132]).unwrap();
        assert_eq!(der[..5], [0x30, 0x81, 136, 0x02, 66]);
    }

    #[test]
    fn other_lengths_are_refused() {
        for (algorithm, bytes) in [
            (EcdsaP256Sha256, 63),
            (EcdsaP256Sha256, 0),
            (EcdsaP521Sha512, 64),
            (RsaPkcs1Sha256, 64),
        ] {
            let error = algorithm.normalize(&vec![1; bytes]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{bytes} bytes")), "{error}");
        }
    }
}
