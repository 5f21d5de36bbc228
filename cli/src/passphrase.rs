//! Passphrases of private keys and PINs of tokens: from a file, an open descriptor, the environment or the
//! terminal, never an argument.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Is a passphrase, wiped from memory when it is dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// Where the passphrase or the PIN of an existing key comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct PassphraseArguments {
    /// Read the passphrase of the private key, or the PIN of the token, from the first line of this file
    ///
    /// Without it the environment variable OSGUARD_PASSPHRASE is taken where it is set, and else the terminal is
    /// asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The same from an open file descriptor
    #[arg(long, value_name = "NUMBER", conflicts_with = "passphrase_file")]
    passphrase_fd: Option<u32>,
}

impl PassphraseArguments {
    /// Gets the passphrase; called only once it is known that the key has one.
    ///
    /// Errors name the file, or the terminal, that did not give it.
    pub(crate) fn obtain(&self, prompt: &str) -> io::Result<Secret> {
        Source::of(self).obtain(prompt)
    }

    /// Gets the passphrase for a new key, or `None` if it is to have none.
    pub(crate) fn for_new_key(&self, is_wanted: bool) -> Result<Option<Secret>, Failure> {
        let source = Source::of(self);
        let failed = |error| match &source.file {
            Some(path) => Failure::reading(path, error),
            None => Failure::reading(Path::new("the passphrase"), error),
        };
        let given = source.without_asking().map_err(failed)?;
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
}

/// Is where one passphrase comes from.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file in whose first line it is.
    pub(crate) file: Option<PathBuf>,
    /// The variable of the environment that has it where there is no file.
    pub(crate) variable: &'static str,
}

impl Source {
    fn of(arguments: &PassphraseArguments) -> Self {
        // The kernel opens what the descriptor has open: no descriptor is taken over from its number.
        let descriptor = arguments.passphrase_fd.map(|number| format!("/dev/fd/{number}").into());
        Self { file: arguments.passphrase_file.clone().or(descriptor), variable: VARIABLE }
    }

    /// Gets the passphrase; where neither file nor variable has it, the terminal is asked.
    pub(crate) fn obtain(&self, prompt: &str) -> io::Result<Secret> {
        match (self.without_asking(), &self.file) {
            (Ok(Some(secret)), _) => Ok(secret),
            (Ok(None), _) => ask(prompt).map_err(|error| named("it from a terminal", error)),
            (Err(error), Some(path)) => Err(named(&path.display().to_string(), error)),
            (Err(error), None) => Err(error),
        }
    }

    fn without_asking(&self) -> io::Result<Option<Secret>> {
        match &self.file {
            Some(path) => first_line(path).map(Some),
            None => {
                let value = std::env::var_os(self.variable);
                Ok(value.map(|text| Zeroizing::new(text.into_encoded_bytes())))
            }
        }
    }
}

fn first_line(path: &Path) -> io::Result<Secret> {
    // Neither grows, so that no part of the secret stays behind in a smaller one; and what the reader
    // holds is wiped by nobody, so that there is none.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    let mut file = File::open(path)?;
    let mut byte = Zeroizing::new([0]);
    while line.len() < MAX_BYTES && file.read(&mut *byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn named(object: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {object}: {error}"))
}

fn ask(prompt: &str) -> io::Result<Secret> {
    rpassword::prompt_password(prompt).map(|text| Zeroizing::new(text.into_bytes()))
}

const VARIABLE: &str = "OSGUARD_PASSPHRASE";

/// Longer than any passphrase; a wrong file shall not fill the memory.
const MAX_BYTES: usize = 4096;
