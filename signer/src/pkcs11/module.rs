//! PKCS#11 modules: shared libraries that know one kind of token.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use zeroize::Zeroizing;

use super::error::{CallError, Pkcs11Error};
use super::uri::Uri;

/// Loads the module that a URI names, or else p11-kit's, which stands for all that are registered
/// on this machine.
///
/// A module stays loaded until the process ends: another signer may use it as well.
pub(super) fn load(uri: &Uri) -> Result<Pkcs11, Pkcs11Error> {
    let path = match (&uri.module_path, &uri.module_name) {
        (Some(path), _) => path.clone(),
        (None, Some(name)) => find(name)?,
        (None, None) => find(EVERY_TOKEN)?,
    };
    let failed = |error| Pkcs11Error::Module { path: path.clone(), source: CallError(error) };
    let module = Pkcs11::new(&path).map_err(failed)?;
    // The hook signs from several threads.
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(failed(error)),
    }
}

/// Reads a PIN from the first line of a file.
pub(super) fn read_pin(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
    };
    // It never grows, so that no part of the PIN stays behind in a smaller one; nor does one stay
    // in a reader's buffer.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PIN_BYTES));
    let mut file = File::open(path).map_err(named)?;
    let mut byte = Zeroizing::new([0]);
    while line.len() < MAX_PIN_BYTES
        && file.read(&mut *byte).map_err(named)? == 1
        && byte[0] != b'\n'
    {
        line.push(byte[0]);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Looks for a module where distributions put them.
fn find(name: &str) -> Result<PathBuf, Pkcs11Error> {
    let architecture = std::env::consts::ARCH;
    let directories = [
        format!("/usr/lib/{architecture}-linux-gnu/pkcs11"),
        format!("/usr/lib/{architecture}-linux-gnu"),
        format!("/usr/lib/{architecture}-linux-gnu/softhsm"),
        "/usr/lib64/pkcs11".to_owned(),
        "/usr/lib64".to_owned(),
        "/usr/lib/pkcs11".to_owned(),
        "/usr/lib/softhsm".to_owned(),
        "/usr/lib".to_owned(),
        "/usr/local/lib".to_owned(),
    ];
    // A name is no way out of these directories.
    let is_plain = !name.contains('/');
    let candidates = directories.iter().flat_map(|directory| {
        [format!("{name}.so"), format!("lib{name}.so")].map(|file| Path::new(directory).join(file))
    });
    candidates.filter(|_| is_plain).find(|path| path.is_file()).ok_or_else(|| {
        Pkcs11Error::ModuleMissing { name: name.to_owned(), places: directories.to_vec() }
    })
}

/// The module of p11-kit.
const EVERY_TOKEN: &str = "p11-kit-proxy";

/// Longer than any PIN.
const MAX_PIN_BYTES: usize = 4096;
