//! A home, a root directory and programs, away from those of the machine.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use osguard_registry::credentials::{Credential, CredentialError, Credentials, Found};
use osguard_registry::environment::Environment;
use osguard_testkit::command::run_with_input;

/// The number of the user; no machine has so many.
pub(crate) const USER: u32 = 4_000_000;

/// Is a directory with `home`, `root` and `bin` in it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["bin", "home", "root"] {
            fs::create_dir(sandbox.path(directory)).unwrap();
        }
        sandbox
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a credential helper in shell.
    ///
    /// A file that is open for writing cannot be run, and while this process has it open, another
    /// thread may start a program that inherits it. So another program writes it.
    pub(crate) fn helper(&self, name: &str, script: &str) {
        let program = self.path(&format!("bin/docker-credential-{name}"));
        let write = r#"cat > "$1" && chmod 755 "$1""#;
        run_with_input(
            Command::new("/bin/sh").args(["-c", write, "sh"]).arg(program),
            format!("#!/bin/sh\n{script}\n").as_bytes(),
        )
        .unwrap();
    }

    /// Returns an environment with nothing but the home directory and the programs.
    pub(crate) fn environment(&self) -> Environment {
        Environment::new(&self.path("root"), USER)
            .with_variable("HOME", self.path("home"))
            .with_variable("PATH", self.path("bin"))
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::of(self.environment())
    }

    /// Returns the variables under which another program sees the same home and programs.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut path = self.path("bin").into_os_string();
        path.push(":/usr/bin:/bin");
        vec![("HOME", self.path("home").into()), ("PATH", path)]
    }
}

/// Writes down what was found, in one line: what it is, and where it is from, with `~` for
/// `directory`.
pub(crate) fn line(found: &Found, directory: &Path) -> String {
    let credential = match &found.credential {
        Credential::Anonymous => "anonymous".to_owned(),
        Credential::Basic { username, password } => format!("{username}:{}", password.expose()),
        Credential::Bearer { token } => format!("bearer {}", token.expose()),
        Credential::IdentityToken { token } => format!("identity {}", token.expose()),
    };
    let source = found.source.to_string().replace(&directory.display().to_string(), "~");
    format!("{credential} from {source}")
}

/// Writes down an error, with `~` for `directory`.
pub(crate) fn message(error: &CredentialError, directory: &Path) -> String {
    error.to_string().replace(&directory.display().to_string(), "~")
}
