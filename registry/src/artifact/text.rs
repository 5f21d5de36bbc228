//! Signatures as text: base64 of their DER.

use base64ct::{Base64, Encoding as _};

use super::{ArtifactError, MAX_SIGNATURE_BYTES};

/// Returns the base64 text of a signature, with padding and without line breaks.
pub(super) fn encode(signature: &[u8]) -> String {
    Base64::encode_string(signature)
}

/// Returns the signature of a base64 text.
///
/// # Errors
///
/// Returns `wrong` if it is no such text, and [`ArtifactError::SignatureTooLong`] if the signature
/// has more than [`MAX_SIGNATURE_BYTES`].
pub(super) fn decode(
    text: &str,
    wrong: impl FnOnce() -> ArtifactError,
) -> Result<Vec<u8>, ArtifactError> {
    let limit_bytes = MAX_SIGNATURE_BYTES;
    // Of a text that is far too long nothing is decoded; the last bytes may be padding.
    let found_bytes = text.len() as u64 / 4 * 3;
    if found_bytes > limit_bytes + 2 {
        return Err(ArtifactError::SignatureTooLong { limit_bytes, found_bytes });
    }
    let signature = Base64::decode_vec(text).map_err(|_| wrong())?;
    let found_bytes = signature.len() as u64;
    if found_bytes > limit_bytes {
        return Err(ArtifactError::SignatureTooLong { limit_bytes, found_bytes });
    }
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, ArtifactError> {
        decode(text, || ArtifactError::Blob)
    }

    #[test]
    fn only_one_spelling_is_read() {
        assert_eq!(decoded("MAE=").unwrap(), [0x30, 1]);
        for text in ["MAE", "MAF=", "MAE=\n", "MA E=", "MAE-", "=", "MAE=MAE="] {
            assert!(matches!(decoded(text), Err(ArtifactError::Blob)), "{text}");
        }
    }

    #[test]
    fn the_longest_signature_is_that_of_the_kernel() {
        let longest = vec![1; MAX_SIGNATURE_BYTES as usize];
        assert_eq!(decoded(&encode(&longest)).unwrap(), longest);
        for found in [32_768, 32_769, 32_770, 40_000] {
            let text = encode(&vec![1; found]);
            assert!(matches!(decoded(&text), Err(ArtifactError::SignatureTooLong { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decoded(&encode(&bytes)).unwrap(), bytes);
        }
    }
}
