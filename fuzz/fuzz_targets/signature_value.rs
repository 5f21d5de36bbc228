//! A signature from elsewhere is refused, or takes one form, which stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::signer::SignatureAlgorithm::{
    EcdsaP256Sha256, EcdsaP384Sha384, EcdsaP521Sha512, RsaPkcs1Sha256,
};

fuzz_target!(|bytes: &[u8]| {
    for algorithm in [EcdsaP256Sha256, EcdsaP384Sha384, EcdsaP521Sha512, RsaPkcs1Sha256] {
        let Ok(signature) = algorithm.normalize(bytes) else { continue };
        assert_eq!(algorithm.normalize(&signature).as_ref(), Ok(&signature));
    }
});
