//! Whom a command trusts: certificates, or a configuration that says who may sign what.

use std::path::PathBuf;
use std::time::SystemTime;

use osguard_policy::trust::{
    Judge, NoScope, Repository, TrustConfiguration, TrustError, TrustStore,
};
use osguard_registry::reference::Reference;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Which signers are trusted, and for the images of which repository.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustArguments {
    #[command(flatten)]
    signers: SignerArguments,
    /// Judge an image in a directory or an archive as one of this repository
    #[arg(long, value_name = "HOST/REPOSITORY")]
    scope: Option<Repository>,
}

/// Which signers are trusted.
#[derive(Debug, clap::Args)]
pub(crate) struct SignerArguments {
    /// Trust the certificates in this file, or in all files of this directory; may be repeated
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "trust_config")]
    trust: Vec<PathBuf>,
    /// Trust whom this file names for the image's repository: a trust.toml, or notation's
    /// trustpolicy.oci.json [default: osguard/trust.toml in XDG_CONFIG_HOME or ~/.config, else in /etc]
    #[arg(long, value_name = "FILE")]
    trust_config: Option<PathBuf>,
}

/// Is the configuration with the repository that is to be judged.
pub(crate) struct Trust {
    pub(crate) configuration: TrustConfiguration,
    /// Whether it is from a file, and not from certificates on the command line.
    pub(crate) is_from_file: bool,
    repository: Option<Repository>,
    now: SystemTime,
}

impl TrustArguments {
    /// Reads who is trusted, for an image of this name.
    pub(crate) fn read(&self, image: &Reference, output: &Output) -> Result<Trust, Failure> {
        let configuration = self.signers.configuration(output)?;
        let repository = match (image, &self.scope) {
            (Reference::Registry(reference), None) => Some(
                format!("{}/{}", reference.registry, reference.repository)
                    .parse()
                    .map_err(|error| Failure::from_error(ExitStatus::Usage, error))?,
            ),
            (Reference::Registry(_), Some(_)) => {
                return Err(Failure::new(
                    ExitStatus::Usage,
                    "--scope is for images that lie in no registry, and this one has a repository",
                ));
            }
            (_, scope) => scope.clone(),
        };
        let is_from_file = self.signers.trust.is_empty();
        Ok(Trust { configuration, is_from_file, repository, now: SystemTime::now() })
    }
}

impl SignerArguments {
    /// Reads who is trusted, and says what is remarkable about it.
    pub(crate) fn configuration(&self, output: &Output) -> Result<TrustConfiguration, Failure> {
        let configuration = self.read()?;
        for anchor in configuration.scopes.iter().flat_map(|scope| &scope.stores).flat_map(anchors)
        {
            if let Err(reason) = anchor.loadable() {
                let subject = anchor.subject();
                output.warning(format_args!(
                    "the kernel would not load the certificate of {subject}: {reason}"
                ));
            }
        }
        for remark in &configuration.remarks {
            output.detail(remark);
        }
        Ok(configuration)
    }

    fn read(&self) -> Result<TrustConfiguration, Failure> {
        if !self.trust.is_empty() {
            return match TrustStore::read("--trust", &self.trust) {
                Ok(store) => Ok(TrustConfiguration::of_anchors("--trust", store.anchors)),
                Err(TrustError::EmptyStore { .. }) => {
                    Err(Failure::new(ExitStatus::Usage, "--trust names no certificate"))
                }
                Err(error) => Err(error.into()),
            };
        }
        if let Some(path) = &self.trust_config {
            return Ok(TrustConfiguration::read(path)?);
        }
        match default_files().into_iter().find(|path| path.exists()) {
            Some(path) => Ok(TrustConfiguration::read(&path)?),
            None => Err(Failure::new(ExitStatus::Usage, "nothing says which signers are trusted")
                .hint("--trust names certificates, --trust-config a file that says who may sign what.")
                .hint(format!("Without them, the first of these is read: {}.", listed(&default_files())))),
        }
    }
}

impl Trust {
    /// Returns who judges the image.
    pub(crate) fn judge(&self) -> Result<Judge<'_>, Failure> {
        self.configuration.judge(self.repository.as_ref(), self.now).map_err(Failure::from)
    }
}

impl From<NoScope> for Failure {
    fn from(error: NoScope) -> Self {
        let hint = match &error.repository {
            Some(_) => "Add a scope for it if its signers are to be trusted.",
            None => {
                "--scope names the repository as which the image is judged; a scope for `**` covers all images."
            }
        };
        Self::from_error(ExitStatus::Refused, error).hint(hint)
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let not_found = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
        match &error {
            TrustError::Read { source, .. } if not_found(source) => {
                Self::from_error(ExitStatus::NotFound, error)
            }
            TrustError::Certificate { .. } => Self::from_error(ExitStatus::Usage, error)
                .hint("Certificates are read in PEM or DER, and of a directory all files."),
            _ => Self::from_error(ExitStatus::Usage, error),
        }
    }
}

fn anchors(store: &TrustStore) -> &[libverity::certificate::Certificate] {
    &store.anchors
}

/// Lists where a configuration is looked for, the user's own place first.
fn default_files() -> Vec<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    user.into_iter().chain([PathBuf::from("/etc")]).map(|directory| directory.join(FILE)).collect()
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

const FILE: &str = "osguard/trust.toml";
