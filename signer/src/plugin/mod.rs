//! Keys behind plugins of the notation project.
//!
//! A plugin is a program that is started once for each question, with JSON on its standard input
//! and its answer on its standard output (`protocol`). It never sees the image, only the bytes to
//! be signed, and what it answers is trusted with nothing: the signature is verified as every other.

mod error;
mod location;
mod protocol;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use libverity::certificate::Certificate;
use libverity::signer::{SignError, SignatureAlgorithm, Signer};
use osguard_program::{Limits, run};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{PluginError, Reason};
pub use location::Location;
pub use protocol::KeySpec;
use protocol::{
    CONTRACT_VERSION, DescribeKey, Failure, GenerateSignature, KeyDescription, Metadata,
    MetadataQuestion, RAW_SIGNATURES, Signature,
};

/// Signs with a key behind a plugin.
///
/// Each signature is a process of its own, so that several threads sign at a time.
#[derive(Debug)]
pub struct PluginSigner {
    plugin: Plugin,
    key_id: String,
    key_spec: KeySpec,
    certificate: Certificate,
    intermediates: Vec<Certificate>,
    algorithm: SignatureAlgorithm,
}

/// Is what a plugin is told, as key and value, by whoever signs.
pub type Config = BTreeMap<String, String>;

/// Is a program and what it is told each time.
#[derive(Debug)]
struct Plugin {
    name: String,
    program: PathBuf,
    config: Config,
    time_limit: Duration,
}

impl PluginSigner {
    /// Finds the plugin `name` and its key `key_id`.
    ///
    /// The key's certificate is the first of `certificates`; where there are none, the plugin signs
    /// a line of text once, because certificates come with signatures only.
    ///
    /// # Errors
    ///
    /// Says why the plugin gives no signature that the kernel takes: above all, RSA keys sign with
    /// PSS there, and some plugins sign nothing but whole envelopes.
    pub fn open(
        location: &Location,
        name: &str,
        key_id: &str,
        certificates: &[Certificate],
        config: Config,
    ) -> Result<Self, PluginError> {
        let failed = |reason| PluginError { plugin: name.to_owned(), reason };
        let program = location.find(name).map_err(failed)?;
        let time_limit = location.time_limit;
        let plugin = Plugin { name: name.to_owned(), program, config, time_limit };
        let key_spec = plugin.key_spec(key_id).map_err(failed)?;
        let algorithm = key_spec.algorithm().map_err(failed)?;
        let chain = match certificates {
            [] => {
                plugin
                    .signature(key_id, key_spec, algorithm, QUESTION)
                    .map_err(failed)?
                    .certificates
            }
            given => given.to_vec(),
        };
        let [certificate, others @ ..] = &chain[..] else {
            return Err(failed(Reason::CertificateMissing));
        };
        if SignatureAlgorithm::for_key(certificate.public_key()) != Ok(algorithm) {
            let certified = certificate.public_key().to_string();
            return Err(failed(Reason::OtherKey { key_spec, certified }));
        }
        let intermediates = certificate.intermediates_among(others);
        let certificate = certificate.clone();
        Ok(Self {
            plugin,
            key_id: key_id.to_owned(),
            key_spec,
            certificate,
            intermediates,
            algorithm,
        })
    }
}

impl Signer for PluginSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.plugin
            .signature(&self.key_id, self.key_spec, self.algorithm, message)
            .map(|answer| answer.signature)
            .map_err(|reason| SignError::Signer {
                signer: format!("the plugin {}", self.plugin.name),
                reason: reason.to_string(),
            })
    }

    fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

/// Is a signature as the kernel takes it, with the certificates that came along.
struct Signed {
    signature: Vec<u8>,
    certificates: Vec<Certificate>,
}

impl Plugin {
    /// Asks what the plugin can do, and for the kind of a key.
    fn key_spec(&self, key_id: &str) -> Result<KeySpec, Reason> {
        let question = MetadataQuestion { plugin_config: &self.config };
        let metadata: Metadata = self.ask("get-plugin-metadata", &question)?;
        if !metadata.supported_contract_versions.iter().any(|version| version == CONTRACT_VERSION) {
            let found = metadata.supported_contract_versions.join(", ");
            return Err(Reason::ContractVersion { found });
        }
        if !metadata.capabilities.iter().any(|capability| capability == RAW_SIGNATURES) {
            return Err(Reason::NoRawSignatures { found: metadata.capabilities.join(", ") });
        }
        let question =
            DescribeKey { contract_version: CONTRACT_VERSION, key_id, plugin_config: &self.config };
        let description: KeyDescription = self.ask("describe-key", &question)?;
        check_key_id(key_id, &description.key_id)?;
        Ok(description.key_spec)
    }

    fn signature(
        &self,
        key_id: &str,
        key_spec: KeySpec,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> Result<Signed, Reason> {
        let question = GenerateSignature {
            contract_version: CONTRACT_VERSION,
            key_id,
            plugin_config: &self.config,
            key_spec,
            hash_algorithm: key_spec.hash_algorithm(),
            payload: Base64::encode_string(message),
        };
        let answer: Signature = self.ask("generate-signature", &question)?;
        check_key_id(key_id, &answer.key_id)?;
        if answer.signing_algorithm != key_spec.signing_algorithm() {
            return Err(Reason::SigningAlgorithm {
                found: answer.signing_algorithm,
                expected: key_spec.signing_algorithm(),
            });
        }
        let bytes = Base64::decode_vec(&answer.signature)
            .map_err(|_| Reason::Malformed { reason: "its signature is not base64".to_owned() })?;
        let signature = algorithm
            .normalize(&bytes)
            .map_err(|error| Reason::Malformed { reason: format!("it has {error}") })?;
        let certificate = |(number, text): (usize, &String)| {
            let der = Base64::decode_vec(text).ok();
            der.and_then(|der| Certificate::from_der(&der).ok()).ok_or_else(|| Reason::Malformed {
                reason: format!("its certificate number {} is none", number + 1),
            })
        };
        let certificates = answer.certificate_chain.iter().enumerate().map(certificate);
        Ok(Signed { signature, certificates: certificates.collect::<Result<_, _>>()? })
    }

    fn ask<A: DeserializeOwned>(
        &self,
        command: &'static str,
        question: &impl Serialize,
    ) -> Result<A, Reason> {
        let input = serde_json::to_vec(question)
            .map_err(|error| Reason::Malformed { reason: error.to_string() })?;
        let limits = Limits { answer_bytes: MAX_ANSWER_BYTES, time: self.time_limit };
        let answer = run(Command::new(&self.program).arg(command), &input, limits)
            .map_err(|source| Reason::Run { command, source })?;
        if !answer.status.success() {
            let status = answer.status;
            return Err(Reason::Failed {
                command,
                status,
                said: Failure::in_words(&answer.stderr),
            });
        }
        // What the parser says may quote the answer, which says nothing secret.
        serde_json::from_slice(&answer.stdout).map_err(|error| Reason::Malformed {
            reason: format!("to {command} it answered no such JSON: {error}"),
        })
    }
}

/// A key that is asked for by an alias may be described by its full name, never by nothing.
fn check_key_id(asked: &str, answered: &str) -> Result<(), Reason> {
    match answered.is_empty() {
        true => {
            Err(Reason::Malformed { reason: format!("it answers for no key, and not for {asked}") })
        }
        false => Ok(()),
    }
}

impl KeySpec {
    /// Returns the algorithm of the kernel that keys of this kind sign with.
    fn algorithm(self) -> Result<SignatureAlgorithm, Reason> {
        match self {
            Self::Ec256 => Ok(SignatureAlgorithm::EcdsaP256Sha256),
            Self::Ec384 => Ok(SignatureAlgorithm::EcdsaP384Sha384),
            Self::Ec521 => Ok(SignatureAlgorithm::EcdsaP521Sha512),
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Err(Reason::Rsa { key_spec: self }),
        }
    }
}

/// What is signed once where nobody gives the certificate: no root hash, and no policy.
const QUESTION: &[u8] = b"osguard asks for the certificate of this key";

/// Some ten certificates, as base64.
const MAX_ANSWER_BYTES: usize = 1 << 16;
