//! SoftHSM: tokens of PKCS#11 in a directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::command::{command, run};
use crate::error::{Error, Result};

/// Is a SoftHSM of the test's own, with tokens in a directory that goes when this is dropped.
///
/// A program that shall see it needs the environment variable of [`Self::environment`].
#[derive(Debug)]
pub struct SoftHsm {
    directory: tempfile::TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// The user's PIN of every token.
    pub const PIN: &str = "1234";

    /// Is without a token.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where SoftHSM or OpenSC is not installed.
    pub fn new() -> Result<Self> {
        command("softhsm2-util")?;
        command("pkcs11-tool")?;
        let module = MODULES.iter().map(PathBuf::from).find(|path| path.is_file());
        let module = module.ok_or_else(|| Error::Missing("the module of SoftHSM".to_owned()))?;
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let tokens = directory.path().join("tokens");
        cache::create_directories(&tokens)?;
        let settings =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        cache::write(&directory.path().join("softhsm2.conf"), settings.as_bytes())?;
        Ok(Self { directory, module })
    }

    /// Returns the variable through which SoftHSM finds its tokens.
    pub fn environment(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.path("softhsm2.conf"))
    }

    /// Returns the file of the module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Makes a token.
    pub fn add_token(&self, label: &str) -> Result<()> {
        let mut util = command("softhsm2-util")?;
        util.args(["--init-token", "--free", "--label", label, "--so-pin", "5678"]);
        self.run(util.args(["--pin", Self::PIN]))
    }

    /// Makes a key in a token, such as `rsa:2048` or `EC:prime256v1`, and a certificate for it by an
    /// authority of the moment, which lies in the token as well if `with_certificate`. Returns the
    /// certificate's file, in DER.
    pub fn add_key(
        &self,
        token: &str,
        label: &str,
        id: &str,
        kind: &str,
        with_certificate: bool,
    ) -> Result<PathBuf> {
        let names = ["--label", label, "--id", id];
        self.run(self.tool(token)?.args(["--keypairgen", "--key-type", kind]).args(names))?;
        let certificate = self.certify(token, label, id, kind)?;
        if with_certificate {
            let mut tool = self.tool(token)?;
            tool.args(["--write-object"]).arg(&certificate).args(["--type", "cert"]);
            self.run(tool.args(names))?;
        }
        Ok(certificate)
    }

    /// OpenSSL cannot reach the private key, so that another one signs for the public key.
    fn certify(&self, token: &str, label: &str, id: &str, kind: &str) -> Result<PathBuf> {
        let at = |ending: &str| self.path(&format!("{id}{ending}"));
        let mut read = self.tool(token)?;
        read.args(["--read-object", "--type", "pubkey", "--id", id, "--output-file"]);
        self.run(read.arg(at(".pub")))?;
        let tool = if kind.starts_with("rsa") { "rsa" } else { "ec" };
        let mut convert = command("openssl")?;
        convert.args([tool, "-pubin", "-inform", "der", "-in"]).arg(at(".pub"));
        run(convert.arg("-out").arg(at(".pem")))?;
        let mut authority = command("openssl")?;
        authority.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority"]);
        run(authority.arg("-keyout").arg(at(".ca.key")).arg("-out").arg(at(".ca.crt")))?;
        let mut request = command("openssl")?;
        request.args(["req", "-new", "-subj", &format!("/CN={label}"), "-key"]).arg(at(".ca.key"));
        run(request.arg("-out").arg(at(".csr")))?;
        cache::write(&at(".ext"), b"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")?;
        let mut sign = command("openssl")?;
        sign.args(["x509", "-req", "-days", "3650", "-outform", "der", "-in"]).arg(at(".csr"));
        sign.arg("-CA").arg(at(".ca.crt")).arg("-CAkey").arg(at(".ca.key"));
        sign.arg("-force_pubkey").arg(at(".pem")).arg("-extfile").arg(at(".ext"));
        run(sign.arg("-CAcreateserial").arg("-out").arg(at(".der")))?;
        Ok(at(".der"))
    }

    fn tool(&self, token: &str) -> Result<Command> {
        let mut tool = command("pkcs11-tool")?;
        tool.arg("--module").arg(&self.module);
        tool.args(["--token-label", token, "--login", "--pin", Self::PIN]);
        Ok(tool)
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let (name, value) = self.environment();
        run(command.env(name, value)).map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Where distributions have it.
const MODULES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];
