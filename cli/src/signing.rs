//! Who signs: the flags that name a key, and the signer behind them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libverity::certificate::Certificate;
use libverity::signer::{FileSigner, OpenError, Signer};
use osguard_signer::key_reference::{KeyReference, KeyReferenceError};
use osguard_signer::pkcs11::uri::{Uri, UriError};
use osguard_signer::pkcs11::{Pkcs11Error, Pkcs11Signer};
use osguard_signer::plugin::{Location, PluginError, PluginSigner, Reason};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::passphrase::{PassphraseArguments, Secret};
use crate::small_file;

/// Which key signs.
#[derive(Debug, clap::Args)]
pub(crate) struct SigningArguments {
    /// The private key: a file, pkcs11:… for one in a token or HSM, plugin:NAME/KEYID for one behind a plugin
    ///
    /// Files are in PEM or DER: PKCS#8 (encrypted or not), PKCS#1 or SEC 1. Tokens are named by URIs (RFC 7512), such
    /// as pkcs11:token=release;object=signer?module-name=softhsm2. Plugins are those of the notation project, in
    /// ~/.config/notation/plugins. docs/keys.md tells more.
    // Parsed by hand: what the parser of the command line refuses it prints, and a PIN might be in it.
    #[arg(long, value_name = "KEY", required = true)]
    key: Option<String>,
    /// The certificate of the key, and intermediate ones behind it
    ///
    /// By default that is the file with the key's name and the ending .crt; a token or a plugin is asked for it.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Tell the plugin something, each time it is asked; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    plugin_config: Vec<(String, String)>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl SigningArguments {
    /// Opens the key and checks that the certificate is its own.
    pub(crate) fn signer(&self) -> Result<Box<dyn Signer>, Failure> {
        let key = self
            .key
            .as_ref()
            .ok_or_else(|| Failure::new(ExitStatus::Usage, "--key names no key"))?;
        let certificate = self.cert.as_deref();
        let config = self.plugin_config.iter().cloned().collect();
        open_signer(key, certificate, config, &mut |prompt| self.passphrase.obtain(prompt))
    }

    /// Reads the certificate that `--cert` names, and those behind it.
    pub(crate) fn certificates(&self) -> Result<Vec<Certificate>, Failure> {
        self.cert.as_deref().map_or(Ok(Vec::new()), certificates)
    }
}

/// Opens the key that `key` names, with the certificate in the file `certificate` or where keys
/// have them.
pub(crate) fn open_signer(
    key: &str,
    certificate: Option<&Path>,
    plugin_config: BTreeMap<String, String>,
    passphrase: &mut dyn FnMut(&str) -> io::Result<Secret>,
) -> Result<Box<dyn Signer>, Failure> {
    let given = || certificate.map_or(Ok(Vec::new()), certificates);
    match parse_key(key)? {
        KeyReference::Pkcs11(uri) => {
            let mut pin = |token: &str| passphrase(&format!("PIN of the token {token}: "));
            let signer = Pkcs11Signer::open(&uri, &given()?, &mut pin)
                .map_err(|error| pkcs11_failure(error, &uri))?;
            Ok(Box::new(signer))
        }
        KeyReference::Plugin { name, key_id } => {
            let location = Location::of_user();
            let signer = PluginSigner::open(&location, &name, &key_id, &given()?, plugin_config)
                .map_err(plugin_failure)?;
            Ok(Box::new(signer))
        }
        reference => {
            let key = match reference {
                KeyReference::File(path) => path,
                other => PathBuf::from(other.to_string()),
            };
            let certificate = match certificate {
                Some(path) => path.to_owned(),
                None => key.with_extension("crt"),
            };
            let mut ask = || passphrase("Passphrase of the private key: ");
            let signer = FileSigner::open(&key, &certificate, &mut ask).map_err(file_failure)?;
            Ok(Box::new(signer))
        }
    }
}

/// Parses the name of a key.
pub(crate) fn parse_key(text: &str) -> Result<KeyReference, Failure> {
    text.parse().map_err(|error: KeyReferenceError| {
        let hint = match &error {
            KeyReferenceError::Uri(UriError::PinValue) => {
                "Leave it out; the PIN comes from --passphrase-file, --passphrase-fd, OSGUARD_PASSPHRASE, \
                 ?pin-source=/FILE or the terminal."
            }
            KeyReferenceError::Uri(_) => {
                "A key in a token is named like \
                 pkcs11:token=LABEL;object=LABEL;id=%01?module-path=/FILE."
            }
            _ => "--key takes a file, pkcs11:… or plugin:NAME/KEYID.",
        };
        Failure::from_error(ExitStatus::Usage, error).hint(hint)
    })
}

/// Reads the certificates in a file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    Certificate::all_from_file_contents(&small_file::read(path)?)
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error).context(path.display()))
}

fn file_failure(error: OpenError) -> Failure {
    let hint = match &error {
        OpenError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            return Failure::from_error(ExitStatus::NotFound, error)
                .hint("`osguard key generate` makes a key and its certificate; --cert names another certificate.");
        }
        OpenError::Decrypt { .. } | OpenError::Passphrase { .. } => PASSPHRASE_HINT,
        OpenError::Read { .. } => return Failure::from_error(ExitStatus::Failure, error),
        OpenError::Unusable { .. } => "`osguard key generate` makes keys that the kernel accepts.",
        _ => return Failure::from_error(ExitStatus::Usage, error),
    };
    Failure::from_error(ExitStatus::Usage, error).hint(hint)
}

fn pkcs11_failure(error: Pkcs11Error, uri: &Uri) -> Failure {
    let (status, hint) = match &error {
        Pkcs11Error::AmbiguousKey { .. } | Pkcs11Error::AmbiguousToken { .. } => {
            (ExitStatus::Usage, "Add to the URI what tells them apart.")
        }
        Pkcs11Error::CertificateMissing { .. } => {
            (ExitStatus::Usage, "--cert names the certificate of the key.")
        }
        Pkcs11Error::KeyMissing { .. } | Pkcs11Error::TokenMissing { .. } => {
            (ExitStatus::NotFound, "`pkcs11-tool --list-objects --login` shows what there is.")
        }
        Pkcs11Error::Module { .. } | Pkcs11Error::ModuleMissing { .. } => (
            ExitStatus::NotFound,
            "?module-path=/FILE at the end of the URI names the module that came with the token; without it, \
             p11-kit's is taken.",
        ),
        Pkcs11Error::PinIncorrect { .. } | Pkcs11Error::PinMissing { .. } => match uri.pin_source {
            Some(_) => (ExitStatus::Usage, "The PIN is read from the first line of pin-source."),
            None => (
                ExitStatus::Usage,
                "--passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the PIN.",
            ),
        },
        Pkcs11Error::PinLocked { .. } | Pkcs11Error::PinNotSet { .. } => {
            (ExitStatus::Failure, "The token's security officer sets a new one.")
        }
        Pkcs11Error::OtherKey { .. } | Pkcs11Error::Unusable { .. } => {
            (ExitStatus::Usage, "--cert names the certificate of the key.")
        }
        Pkcs11Error::PinEachTime { .. } => {
            (ExitStatus::Usage, "Take a key without that attribute, for example PIV's slot 9a.")
        }
        _ => return Failure::from_error(ExitStatus::Failure, error).context(uri),
    };
    Failure::from_error(status, error).context(uri).hint(hint)
}

fn plugin_failure(error: PluginError) -> Failure {
    let (status, hint) = match &error.reason {
        Reason::CertificateMissing | Reason::OtherKey { .. } => {
            (ExitStatus::Usage, "--cert names the certificate of the key.")
        }
        Reason::Missing { .. } => (
            ExitStatus::NotFound,
            "A plugin NAME is the program plugins/NAME/notation-NAME in notation's configuration directory.",
        ),
        Reason::NoRawSignatures { .. } | Reason::Rsa { .. } => (
            ExitStatus::Usage,
            "`osguard sign --prepare` and `--assemble` sign with whatever makes the signatures.",
        ),
        _ => return Failure::from_error(ExitStatus::Failure, error),
    };
    Failure::from_error(status, error).hint(hint)
}

/// Parses what a plugin is told.
pub(crate) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not KEY=VALUE".to_owned()),
    }
}

const PASSPHRASE_HINT: &str =
    "--passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the passphrase.";
