//! Who signs: the flags that name a key, and the signer behind them.

use std::path::PathBuf;

use libverity::signer::{FileSigner, OpenError, Signer};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::passphrase::PassphraseArguments;

/// Which key signs.
#[derive(Debug, clap::Args)]
pub(crate) struct SigningArguments {
    /// The private key: PEM or DER, PKCS#8 (encrypted or not), PKCS#1 or SEC 1
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The certificate of the key [default: the key's name with the ending .crt]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl SigningArguments {
    /// Opens the key and checks that the certificate is its own.
    pub(crate) fn signer(&self) -> Result<Box<dyn Signer>, Failure> {
        let certificate = self.cert.clone().unwrap_or_else(|| self.key.with_extension("crt"));
        let signer = FileSigner::open(&self.key, &certificate, &mut || self.passphrase.obtain())
            .map_err(failure)?;
        Ok(Box::new(signer))
    }
}

fn failure(error: OpenError) -> Failure {
    let hint = match &error {
        OpenError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            return Failure::from_error(ExitStatus::NotFound, error)
                .hint("`osguard key generate` makes a key and its certificate; --cert names another certificate.");
        }
        OpenError::Decrypt { .. } | OpenError::Passphrase { .. } => {
            "--passphrase-file or OSGUARD_PASSPHRASE gives the passphrase."
        }
        OpenError::Read { .. } => return Failure::from_error(ExitStatus::Failure, error),
        OpenError::Unusable { .. } => "`osguard key generate` makes keys that the kernel accepts.",
        _ => return Failure::from_error(ExitStatus::Usage, error),
    };
    Failure::from_error(ExitStatus::Usage, error).hint(hint)
}
