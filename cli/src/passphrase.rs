//! Passphrases of private keys: from a file, the environment or the terminal, never an argument.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Is a passphrase, wiped from memory when it is dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// Where the passphrase of an existing key comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct PassphraseArguments {
    /// Read the passphrase of the private key from the first line of this file
    ///
    /// Without it the environment variable OSGUARD_PASSPHRASE is taken where it is set, and else the terminal is
    /// asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArguments {
    /// Gets the passphrase; called only once it is known that the key has one.
    ///
    /// Errors name the file, or the terminal, that did not give it.
    pub(crate) fn obtain(&self) -> io::Result<Secret> {
        let named = |object: &dyn fmt::Display, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {object}: {error}"))
        };
        match (self.without_asking(), &self.passphrase_file) {
            (Ok(Some(secret)), _) => Ok(secret),
            (Ok(None), _) => ask("Passphrase of the private key: ")
                .map_err(|error| named(&"it from a terminal", error)),
            (Err(error), Some(path)) => Err(named(&path.display(), error)),
            (Err(error), None) => Err(error),
        }
    }

    /// Gets the passphrase for a new key, or `None` if it is to have none.
    pub(crate) fn for_new_key(&self, is_wanted: bool) -> Result<Option<Secret>, Failure> {
        let failed = |error| match &self.passphrase_file {
            Some(path) => Failure::reading(path, error),
            None => Failure::reading(Path::new("the passphrase"), error),
        };
        let given = self.without_asking().map_err(failed)?;
        if given.is_some() || !is_wanted {
            return Ok(given);
        }
        let read = || {
            let secret = ask("Passphrase for the new key: ")?;
            let again = ask("The same again: ")?;
            if *secret == *again { Ok(secret) } else { Err(io::Error::other("they differ")) }
        };
        read().map(Some).map_err(failed)
    }

    fn without_asking(&self) -> io::Result<Option<Secret>> {
        if let Some(path) = &self.passphrase_file {
            let mut line = Zeroizing::new(Vec::new());
            BufReader::new(File::open(path)?.take(MAX_BYTES)).read_until(b'\n', &mut line)?;
            while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                line.pop();
            }
            return Ok(Some(line));
        }
        Ok(std::env::var_os(VARIABLE).map(|text| Zeroizing::new(text.into_encoded_bytes())))
    }
}

fn ask(prompt: &str) -> io::Result<Secret> {
    rpassword::prompt_password(prompt).map(|text| Zeroizing::new(text.into_bytes()))
}

const VARIABLE: &str = "OSGUARD_PASSPHRASE";

/// Longer than any passphrase; a wrong file shall not fill the memory.
const MAX_BYTES: u64 = 4096;
