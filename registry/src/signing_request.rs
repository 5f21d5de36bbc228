//! Signing in two steps: what is to be signed goes out as a document, and comes back signed.
//!
//! The document holds no secret, and nothing in it is trusted when it comes back: root hashes are
//! computed again from the layers, and signatures are verified as those of every other signer.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding as _};
use libverity::certificate::{Certificate, HashAlgorithm};
use libverity::digest::{Digest, RootHash};
use libverity::layer::{ConvertedLayer, Discard, Profile};
use libverity::signer::SignatureAlgorithm;
use serde::{Deserialize, Serialize};

use crate::conversion::{Watch, convert_layer};
use crate::image::Image;
use crate::place::Place;
use crate::signing::{SigningError, check_layers};

/// Is what is to be signed of an image, and what was signed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningRequest {
    /// The name and the version of this form.
    schema: String,
    /// How the image was named; for people.
    pub reference: String,
    /// The digest of the manifest or index that the name stood for.
    pub image: Digest,
    /// By which profiles the layers were converted.
    pub profiles: Vec<Profile>,
    /// The signer's certificate in PEM, where it was known.
    pub certificate: Option<String>,
    /// The algorithm of its key, for people.
    pub algorithm: Option<String>,
    /// The manifests, one for each platform.
    pub manifests: Vec<RequestedManifest>,
    /// What is to be signed, each once.
    pub messages: Vec<RequestedMessage>,
}

/// Is the manifest of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedManifest {
    /// Its digest.
    pub digest: Digest,
    /// The platform, such as linux/amd64.
    pub platform: String,
    /// The layers, lowest first.
    pub layers: Vec<RequestedLayer>,
}

/// Is one layer, as it was converted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedLayer {
    /// The digest of its blob.
    pub digest: Digest,
    /// The digest of its archive.
    pub diff_id: Digest,
    /// The root hashes, one for each profile.
    pub root_hashes: Vec<RequestedRootHash>,
}

/// Is a root hash by one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedRootHash {
    /// The profile.
    pub profile: Profile,
    /// The root hash.
    pub root_hash: RootHash,
    /// The size of the image, and so the hash offset.
    pub image_size_bytes: u64,
}

/// Is one message, in every form that a signing service might want, and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedMessage {
    /// The root hash, whose lower-case hexadecimal digits are the message.
    pub root_hash: RootHash,
    /// The message in base64.
    pub message: String,
    /// Its digests in hexadecimal: for RSA and P-256, P-384, P-521.
    pub sha256: String,
    /// See `sha256`.
    pub sha384: String,
    /// See `sha256`.
    pub sha512: String,
    /// The signature in base64, once there is one: RSA PKCS#1 v1.5, or ECDSA in DER or as r‖s.
    pub signature: Option<String>,
}

impl SigningRequest {
    /// Begins the request for an image.
    pub fn new(
        reference: String,
        image: Digest,
        profiles: &[Profile],
        certificate: Option<&Certificate>,
    ) -> Self {
        let algorithm = certificate
            .and_then(|certificate| SignatureAlgorithm::for_key(certificate.public_key()).ok());
        Self {
            schema: SCHEMA.to_owned(),
            reference,
            image,
            profiles: profiles.to_vec(),
            certificate: certificate.map(Certificate::to_pem),
            algorithm: algorithm.map(|algorithm| algorithm.to_string()),
            manifests: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Converts the layers of one platform's image and adds what is to be signed of it.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with a layer, or that there is none.
    pub fn add(
        &mut self,
        place: &dyn Place,
        image: &Image,
        watch: Watch<'_>,
    ) -> Result<(), SigningError> {
        check_layers(image)?;
        let mut layers = Vec::new();
        let mut seen = BTreeSet::new();
        for layer in &image.layers {
            if seen.insert(layer.descriptor.digest) {
                let converted = convert_layer(place, layer, &self.profiles, &mut Discard, watch)?;
                layers.push(self.layer(&converted));
            }
        }
        let (digest, platform) = (image.manifest.digest(), image.platform.to_string());
        self.manifests.push(RequestedManifest { digest, platform, layers });
        Ok(())
    }

    fn layer(&mut self, layer: &ConvertedLayer) -> RequestedLayer {
        let mut root_hashes = Vec::new();
        for image in &layer.images {
            let root_hash = image.root_hash.clone();
            if !self.messages.iter().any(|message| message.root_hash == root_hash) {
                self.messages.push(RequestedMessage::new(root_hash.clone()));
            }
            let (profile, image_size_bytes) = (image.profile, image.image_size_bytes);
            root_hashes.push(RequestedRootHash { profile, root_hash, image_size_bytes });
        }
        RequestedLayer { digest: layer.layer_digest, diff_id: layer.diff_id, root_hashes }
    }

    /// Reads a request that comes back.
    pub fn parse(json: &[u8]) -> Result<Self, SigningRequestError> {
        let request: Self = serde_json::from_slice(json)
            .map_err(|source| SigningRequestError::Malformed { reason: source.to_string() })?;
        if request.schema != SCHEMA {
            return Err(SigningRequestError::Schema { found: request.schema });
        }
        Ok(request)
    }

    /// Reads the certificate in the request, if there is one.
    pub fn certificates(&self) -> Result<Vec<Certificate>, SigningRequestError> {
        let Some(pem) = &self.certificate else { return Ok(Vec::new()) };
        Certificate::all_from_file_contents(pem.as_bytes())
            .map_err(|source| SigningRequestError::Malformed { reason: source.to_string() })
    }
}

impl RequestedMessage {
    fn new(root_hash: RootHash) -> Self {
        let text = root_hash.signed_text();
        let digest = |hash: HashAlgorithm| {
            hash.digest(text.as_bytes()).unwrap_or_default().iter().map(hex_digits).collect()
        };
        Self {
            message: Base64::encode_string(text.as_bytes()),
            sha256: digest(HashAlgorithm::Sha256),
            sha384: digest(HashAlgorithm::Sha384),
            sha512: digest(HashAlgorithm::Sha512),
            signature: None,
            root_hash,
        }
    }

    /// Returns the signature, where it was filled in.
    pub fn signature(&self) -> Result<Option<Vec<u8>>, SigningRequestError> {
        let Some(text) = &self.signature else { return Ok(None) };
        // Most programs break base64 into lines.
        let text: String = text.split_whitespace().collect();
        Base64::decode_vec(&text).map(Some).map_err(|_| SigningRequestError::Malformed {
            reason: format!("the signature of {} is not base64", self.root_hash),
        })
    }
}

fn hex_digits(byte: &u8) -> String {
    format!("{byte:02x}")
}

/// Says why a document is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningRequestError {
    /// It is not what was written.
    #[error("it is not a signing request: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// It is of another kind or version.
    #[error("it is a document of the schema {found:?}, and not {SCHEMA}")]
    Schema {
        /// The schema.
        found: String,
    },
}

/// The name and the version of the document.
const SCHEMA: &str = "osguard.signing-request.v1";
