//! The firmware of the guest, with certificates enrolled as on a user's own machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::quoted;
use crate::cache;
use crate::command::{command, run};
use crate::debian::{Packages, Suite, Tree};
use crate::error::{Error, Result};

/// Is a firmware and its variables.
pub(super) struct Firmware {
    code: PathBuf,
    variables: PathBuf,
}

impl Firmware {
    pub(super) fn attach(&self, qemu: &mut Command) {
        for (unit, path, options) in
            [(0, &self.code, "readonly=on,file.locking=off"), (1, &self.variables, "readonly=off")]
        {
            qemu.arg("-drive")
                .arg(format!("if=pflash,format=raw,unit={unit},{options},file={}", quoted(path)));
        }
    }
}

/// Returns a firmware whose `db` holds these certificates (PEM), and whose `dbx` holds these signature
/// lists; its variables lie in `directory`.
///
/// The kernel reads both with Secure Boot off as well (`security/integrity/platform_certs/
/// load_uefi.c`), so no platform key is set.
pub(super) fn with_certificates(
    certificates: &[Vec<u8>],
    revoked: &[u8],
    directory: &Path,
) -> Result<Firmware> {
    let installed = installed()?;
    let code = installed.join("OVMF_CODE_4M.fd");
    let template = installed.join("OVMF_VARS_4M.fd");
    let variables = directory.join("variables.fd");
    if certificates.is_empty() && revoked.is_empty() {
        fs::copy(&template, &variables).map_err(Error::io(&template))?;
        return Ok(Firmware { code, variables });
    }
    let mut enrol = command("virt-fw-vars")?;
    enrol.arg("--input").arg(&template).arg("--output").arg(&variables);
    for (number, certificate) in certificates.iter().enumerate() {
        let path = directory.join(format!("certificate-{number}.pem"));
        cache::write(&path, certificate)?;
        enrol.args(["--add-db", OWNER]).arg(path);
    }
    if !revoked.is_empty() {
        let path = directory.join("dbx");
        cache::write(&path, &[UPDATE, revoked].concat())?;
        enrol.arg("--set-dbx").arg(path);
    }
    run(&mut enrol)?;
    Ok(Firmware { code, variables })
}

fn installed() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("OSGUARD_VM_FIRMWARE") {
        return Ok(PathBuf::from(directory));
    }
    let tree = Tree::unpacked("vm/firmware", Suite::Trixie, Packages::Alone(&["ovmf"]))?;
    Ok(tree.root().join("usr/share/OVMF"))
}

/// Stands in front of the signature lists of an update: a time, and a PKCS#7 message of no bytes,
/// which is not asked for when variables are written from outside.
///
/// Source: UEFI 2.10, section 8.2.2, `EFI_VARIABLE_AUTHENTICATION_2`.
const UPDATE: &[u8] = b"\xda\x07\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\x18\0\0\0\0\x02\xf1\x0e\
    \x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7";

/// Names who enrolled a certificate; the kernel ignores it.
const OWNER: &str = "9f1d0b6c-3c0a-4a57-8f2c-6f7367756172";
