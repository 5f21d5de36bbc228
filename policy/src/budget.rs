//! How long a policy may be: 65,535 bytes with its signature, which is as much as the kernel reads.

use libverity::pkcs7::MAX_MESSAGE_BYTES;

/// What the shortest signature adds to a text: P-256, no certificate, an issuer of a few bytes.
pub const LEAST_SIGNATURE_BYTES: usize = 200;

/// What a signature by RSA-4096 adds together with its certificate.
pub const USUAL_SIGNATURE_BYTES: usize = 2_500;

/// The longest text for which there is a signature that the kernel takes with it.
pub const MAX_TEXT_BYTES: usize = MAX_MESSAGE_BYTES - LEAST_SIGNATURE_BYTES;

/// The longest text that every usual signature can be put to.
pub const USUAL_TEXT_BYTES: usize = MAX_MESSAGE_BYTES - USUAL_SIGNATURE_BYTES;
