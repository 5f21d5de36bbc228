//! Signing what lies in a registry.

use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{Compression, LayerError, Profile};
use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::Signer;
use osguard_registry::artifact::Format;
use osguard_registry::conversion::ConversionError;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::distribution::{Patience, RegistryError};
use osguard_registry::error::Error;
use osguard_registry::image::{Image, is_attestation};
use osguard_registry::manifest::{ImageIndex, ImageManifest, Manifest, ManifestKind};
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place::{self, Place};
use osguard_registry::reference::{Reference, ReferenceError, RegistryReference, Selector};
use osguard_registry::signatures::Published;
use osguard_registry::signing::{self, SigningError};

use crate::repository::{Repository, Target};
use crate::sign::{Outcome, Retry, SignFailure, SignImage};

/// Signs images in the one registry that it was made for.
///
/// What a target turns out to be is decided by its manifest, which is read by its digest:
///
/// | manifest                                                   | outcome                        |
/// |------------------------------------------------------------|--------------------------------|
/// | has a subject or is an artifact: signatures above all      | [`Outcome::Ignored`]           |
/// | holds no layer of a file system: statements of BuildKit, older signatures | [`Outcome::Ignored`] |
/// | an index, without its statements and artifacts             | [`Outcome::Index`]             |
/// | an image                                                   | signed, unless it is already   |
pub struct RegistrySigner {
    registry: String,
    network: Network,
    signer: Box<dyn Signer>,
    profiles: Vec<Profile>,
    /// Where something was read last, to look whether the registry is there.
    seen: Mutex<Option<Repository>>,
    /// Whether the key was usable the last time that it was used.
    has_signed: AtomicBool,
}

impl RegistrySigner {
    /// Signs with `signer` what is in `registry` (`HOST[:PORT]`), by each of `profiles`.
    ///
    /// # Errors
    ///
    /// Returns an error if `registry` is not the host of a registry.
    pub fn new(
        registry: &str,
        network: Network,
        signer: Box<dyn Signer>,
        profiles: Vec<Profile>,
    ) -> Result<Self, ReferenceError> {
        let example = format!("{registry}/{PROBED}");
        match example.parse()? {
            Reference::Registry(parsed) if parsed.registry == registry => Ok(Self {
                registry: parsed.registry,
                network,
                signer,
                profiles,
                seen: Mutex::default(),
                has_signed: AtomicBool::new(false),
            }),
            _ => Err(ReferenceError::NoRegistry { reference: registry.to_owned() }),
        }
    }

    /// Opens a repository of this registry, whatever a notification says about hosts.
    fn open(
        &self,
        repository: &str,
        selector: Selector,
        network: &Network,
    ) -> Result<Box<dyn Place>, Error> {
        let registry = self.registry.clone();
        let repository = repository.to_owned();
        let reference = Reference::Registry(RegistryReference { registry, repository, selector });
        place::open(&reference, network)
    }

    fn sign_image(&self, place: &dyn Place, manifest: &Manifest) -> Result<Outcome, SignFailure> {
        let image = Image::load(place, &manifest.descriptor().plain()).map_err(failure)?;
        let signed = signing::sign_and_publish(
            place,
            &image,
            &self.profiles,
            &*self.signer,
            Format::Standard,
            &|_, blob| blob,
        );
        match &signed {
            Ok(_) => self.has_signed.store(true, Ordering::Relaxed),
            Err(SigningError::Signer(_)) => self.has_signed.store(false, Ordering::Relaxed),
            Err(_) => {}
        }
        let (signed, published) = signed.map_err(signing_failure)?;
        for layer in &signed.layers {
            for (first, count) in layer.divergences.iter() {
                tracing::warn!(
                    layer = %layer.layer_digest, count, first = %first,
                    "nodes that convert layers with erofs-utils 1.8 will compute another root hash"
                );
            }
        }
        place.finish().map_err(failure)?;
        Ok(match published {
            Published::AlreadySigned(_) => Outcome::AlreadySigned,
            Published::Written(artifact) => Outcome::Signed { artifact },
        })
    }

    /// Makes a signature that nobody gets, unless the last one succeeded: a key may lie where every
    /// use costs money or a line in somebody's journal.
    fn check_key(&self) -> Result<(), SignFailure> {
        if self.has_signed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let no_root_hash =
            RootHash::from_bytes(*Digest::of(b"the root hash of nothing").as_bytes());
        sign_root_hash(&no_root_hash, &*self.signer, Embedding::Certificate)
            .map_err(|error| passing(with_causes(&error)))?;
        self.has_signed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl SignImage for RegistrySigner {
    fn sign(&self, target: &Target) -> Result<Outcome, SignFailure> {
        let selector = Selector::Digest(target.digest);
        let place = self
            .open(target.repository.as_str(), selector.clone(), &self.network)
            .map_err(failure)?;
        let descriptor = place.resolve(&selector).map_err(failure)?;
        let manifest = place.manifest(&descriptor).map_err(failure)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.repository.clone());
        if let Some(what) = artifact(&manifest) {
            return Ok(Outcome::Ignored { what });
        }
        match manifest.kind() {
            ManifestKind::Index(index) => manifests_of(index),
            ManifestKind::Image(image) if holds_no_file_system(image) => Ok(Outcome::Ignored {
                what: "a manifest without layers of a file system".to_owned(),
            }),
            ManifestKind::Image(_) => self.sign_image(&*place, &manifest),
        }
    }

    fn check(&self) -> Result<(), SignFailure> {
        self.check_key()?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let patience = Patience { attempts: 1, ..self.network.patience.clone() };
        let network = Network { patience, ..self.network.clone() };
        let nothing = Descriptor::of(MediaType::OCI_MANIFEST, b"nothing has this digest");
        let repository = seen.as_ref().map_or(PROBED, Repository::as_str);
        let has = self
            .open(repository, Selector::Digest(nothing.digest), &network)
            .and_then(|place| place.has(&nothing));
        match has {
            Err(error) if !is_an_answer(&error, seen.is_some()) => Err(failure(error)),
            _ => Ok(()),
        }
    }
}

/// Tells whether an error on looking for a manifest that does not exist shows that the registry is
/// there. In a repository that was read before, it has to let us in as well.
fn is_an_answer(error: &Error, was_read_before: bool) -> bool {
    let Error::Registry(error) = error else { return false };
    match &**error {
        RegistryError::NoSuchRepository { .. } => true,
        RegistryError::Denied { .. } | RegistryError::Unauthorized { .. } => !was_read_before,
        _ => false,
    }
}

/// Says what a manifest is that is attached to another one, or is no image.
fn artifact(manifest: &Manifest) -> Option<String> {
    if manifest.subject().is_some() {
        return Some("attached to another manifest".to_owned());
    }
    let artifact_type = manifest.descriptor().artifact_type.as_ref()?;
    Some(format!("an artifact of the type {artifact_type}"))
}

/// Tells whether there are layers and none of them is one of a file system. Such are the statements
/// that BuildKit puts beside an image, and signatures from before there were subjects; both look
/// like images otherwise. An image without any layer is something else: it should be signed, and
/// cannot be.
fn holds_no_file_system(manifest: &ImageManifest) -> bool {
    let is_unknown = |layer: &Descriptor| {
        let compression = Compression::of_media_type(layer.media_type.as_str());
        matches!(compression, Err(LayerError::UnknownMediaType { .. }))
    };
    !manifest.layers.is_empty() && manifest.layers.iter().all(is_unknown)
}

fn manifests_of(index: &ImageIndex) -> Result<Outcome, SignFailure> {
    let manifests: Vec<Digest> = index
        .manifests
        .iter()
        .filter(|entry| entry.media_type.is_manifest() || entry.media_type.is_index())
        .filter(|entry| entry.artifact_type.is_none() && !is_attestation(entry))
        .map(|entry| entry.digest)
        .collect();
    match manifests.len() {
        0 => Ok(Outcome::Ignored { what: "an index without images".to_owned() }),
        1..=MAX_MANIFESTS => Ok(Outcome::Index { manifests }),
        found => Err(SignFailure {
            reason: format!("the index lists {found} images, and {MAX_MANIFESTS} are the limit"),
            retry: Retry::Never,
        }),
    }
}

fn signing_failure(error: SigningError) -> SignFailure {
    match error {
        SigningError::Conversion(ConversionError::Place(error)) => failure(error),
        SigningError::Conversion(error) => SignFailure {
            retry: retry_of_cause(&error).unwrap_or(Retry::Never),
            reason: with_causes(&error),
        },
        error @ SigningError::NoLayers { .. } => {
            SignFailure { reason: error.to_string(), retry: Retry::Never }
        }
        // A token that was pulled out, a program that is away.
        error => passing(with_causes(&error)),
    }
}

fn failure(error: Error) -> SignFailure {
    SignFailure { retry: retry(&error), reason: with_causes(&error) }
}

fn passing(reason: String) -> SignFailure {
    SignFailure { reason, retry: Retry::After(None) }
}

/// Decides whether a second attempt may end better: it may where the network, the registry or what
/// an administrator can change stands in the way, and may not where content does.
fn retry(error: &Error) -> Retry {
    let later = Retry::After(None);
    match error {
        Error::Registry(error) => match &**error {
            RegistryError::NoSuchRepository { .. }
            | RegistryError::NotReferrers { .. }
            | RegistryError::Endless { .. } => Retry::Never,
            RegistryError::Status { status: 400 | 413 | 415 | 422, .. } => Retry::Never,
            error => Retry::After(error.retry_after()),
        },
        Error::Io { .. } => later,
        _ => Retry::Never,
    }
}

/// Finds what the registry or the network did to a layer while it was read.
fn retry_of_cause(error: &(dyn StdError + 'static)) -> Option<Retry> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(retry(error));
        }
        next = match error.downcast_ref::<io::Error>() {
            // What the system says: no space, no memory, no file handles.
            Some(error) if error.raw_os_error().is_some() => return Some(Retry::After(None)),
            // Its `source` would be the one of what is in it.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Writes an error with its causes on one line, without those that are part of the message before.
fn with_causes(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    line
}

/// The repository that is looked for before there was another one; it need not exist.
const PROBED: &str = "osguard";

/// How many images of one index are signed, as many as `osguard sign` takes. The widest ones in use
/// have about 20.
const MAX_MANIFESTS: usize = 64;
