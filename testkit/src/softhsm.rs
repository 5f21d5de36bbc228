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

    /// Puts a new key into a token, such as `rsa:2048` or `EC:prime256v1`, and makes a certificate for
    /// it, which lies in the token as well if `with_certificate`. Returns the certificate's file, in
    /// DER.
    ///
    /// OpenSSL makes the key: it could not reach one that was made in the token, and OpenSC before 0.24
    /// cannot hand out the public keys of all curves.
    pub fn add_key(
        &self,
        token: &str,
        label: &str,
        id: &str,
        kind: &str,
        with_certificate: bool,
    ) -> Result<PathBuf> {
        let (key, certificate) = (self.path(&format!("{id}.key")), self.path(&format!("{id}.der")));
        let mut generate = command("openssl")?;
        let (algorithm, option) = match kind.split_once(':') {
            Some(("EC", curve)) => ("EC", format!("ec_paramgen_curve:{curve}")),
            _ => ("RSA", format!("rsa_keygen_bits:{}", kind.trim_start_matches("rsa:"))),
        };
        generate.args(["genpkey", "-algorithm", algorithm, "-pkeyopt", &option]);
        run(generate.arg("-out").arg(&key))?;
        let mut certify = command("openssl")?;
        certify.args(["req", "-x509", "-days", "3650", "-outform", "der", "-subj"]);
        certify.arg(format!("/CN={label}")).arg("-key").arg(&key).arg("-out").arg(&certificate);
        run(&mut certify)?;

        let names = ["--label", label, "--id", id];
        let mut import = command("softhsm2-util")?;
        import.arg("--import").arg(&key).args(["--token", token, "--pin", Self::PIN]).args(names);
        self.run(&mut import)?;
        if with_certificate {
            let mut tool = self.tool(token)?;
            tool.args(["--write-object"]).arg(&certificate).args(["--type", "cert"]);
            self.run(tool.args(names))?;
        }
        Ok(certificate)
    }

    /// Makes a module beside SoftHSM's that has its tokens and says of each PIN that it is locked. A program
    /// that loads it needs the environment variable that is returned with it.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is no C compiler.
    pub fn module_with_locked_pin(&self) -> Result<(PathBuf, (&'static str, &Path))> {
        let (source, module) = (self.path("locked_pin.c"), self.path("locked_pin.so"));
        cache::write(&source, include_bytes!("locked_pin.c"))?;
        run(command("cc")?.args(["-shared", "-fPIC", "-o"]).arg(&module).arg(&source).arg("-ldl"))?;
        Ok((module, ("OSGUARD_TEST_MODULE", &self.module)))
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
