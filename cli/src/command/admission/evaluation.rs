//! What `check` and `report` share: which manifests, by which policy.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use libverity::layer::Profile;
use osguard_admission::configuration::{ConfigurationError, DemandsTable};
use osguard_admission::offline::{Checked, Checker};
use osguard_admission::policy::Policy;
use osguard_admission::workload::{MAX_MANIFEST_BYTES, Workload, parse_manifests};
use osguard_registry::credentials::Credentials;
use osguard_registry::network::Network;
use osguard_registry::platform::Platform;
use osguard_registry::tls::Tls;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;
use crate::trust::SignerArguments;

/// Which manifests are judged, and by what.
#[derive(Debug, clap::Args)]
pub(super) struct EvaluationArguments {
    /// Manifests in YAML or JSON; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take rules, signers and registries from the configuration of the webhook
    #[arg(long, value_name = "FILE", conflicts_with_all = CONFIGURED)]
    config: Option<PathBuf>,
    #[command(flatten)]
    signers: SignerArguments,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The platforms of the cluster's nodes, such as linux/amd64; may be repeated [default: all that
    /// an image has]
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,
    /// The profiles by which the nodes convert layers; may be repeated [default: any]
    #[arg(long, value_name = "NAME")]
    profile: Vec<Profile>,
    /// Read all layers, and compare their root hashes with the signed ones
    #[arg(long)]
    recompute: bool,
    /// Refuse images that are named without a digest
    #[arg(long)]
    require_digest: bool,
    /// Take credentials from this file of docker or podman, and from no other
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    auth_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file as well; may be repeated
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    ca_file: Vec<PathBuf>,
    /// Speak HTTP without TLS
    #[arg(long, help_heading = HEADING)]
    plain_http: bool,
}

/// Is a workload with what was found of it.
pub(super) struct Evaluated {
    /// The file, as it was given.
    pub(super) file: String,
    pub(super) workload: Workload,
    pub(super) checked: Vec<Checked>,
}

impl EvaluationArguments {
    /// Judges all images of all manifests.
    pub(super) fn evaluate(&self, output: &Output) -> Result<Vec<Evaluated>, Failure> {
        let policy = self.policy(output)?;
        let mut files = Vec::new();
        let mut workloads = Vec::new();
        for path in &self.files {
            let file = path.display().to_string();
            let found = parse_manifests(&read(path)?).map_err(|error| {
                let place = match error.line() {
                    Some(line) => format!("{file}:{line}"),
                    None => file.clone(),
                };
                Failure::from_error(ExitStatus::Usage, error).context(place)
            })?;
            files.extend(found.iter().map(|_| file.clone()));
            workloads.extend(found);
        }
        let checker = Checker::new(policy).map_err(|error| {
            Failure::from_error(ExitStatus::Failure, error).context("cannot start")
        })?;
        let checked = checker.check(&workloads, &self.namespace);
        let evaluated = files.into_iter().zip(workloads).zip(checked);
        Ok(evaluated
            .map(|((file, workload), checked)| Evaluated { file, workload, checked })
            .collect())
    }

    fn policy(&self, output: &Output) -> Result<Policy, Failure> {
        if let Some(path) = &self.config {
            return Policy::read(path).map_err(Failure::from);
        }
        let trust = self.signers.configuration(output)?;
        let demands = DemandsTable {
            platforms: Some(self.platform.iter().map(ToString::to_string).collect()),
            profiles: Some(self.profile.clone()),
            recompute: Some(self.recompute),
            require_digest: Some(self.require_digest),
            ..DemandsTable::default()
        };
        let mut credentials = Credentials::default();
        if let Some(file) = &self.auth_file {
            credentials = credentials.with_file(file);
        }
        let tls = self.ca_file.iter().fold(Tls::default(), Tls::with_ca_file);
        tls.check_ca_files().map_err(|error| Failure::from_error(ExitStatus::Usage, error))?;
        let network =
            Network { credentials, tls, plain_http: self.plain_http, ..Network::default() };
        Ok(Policy::of_trust(trust, &demands, network))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let limited = |reader: &mut dyn Read| -> io::Result<String> {
        let mut text = String::new();
        reader.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(Failure::new(
                ExitStatus::Usage,
                "a manifest cannot be typed at a terminal",
            )
            .hint("Redirect standard input from a file, or from `kubectl get … -o yaml`."));
        }
        return limited(&mut io::stdin().lock())
            .map_err(|error| Failure::reading(Path::new("standard input"), error));
    }
    File::open(path)
        .and_then(|mut file| limited(&mut file))
        .map_err(|error| Failure::reading(path, error))
}

impl From<ConfigurationError> for Failure {
    fn from(error: ConfigurationError) -> Self {
        match error {
            ConfigurationError::Trust(error) => error.into(),
            ConfigurationError::Read { path, source } => Self::reading(&path, source),
            error => Self::from_error(ExitStatus::Usage, error),
        }
    }
}

/// What the configuration says, and flags cannot say at the same time.
const CONFIGURED: [&str; 9] = [
    "auth_file",
    "ca_file",
    "plain_http",
    "platform",
    "profile",
    "recompute",
    "require_digest",
    "trust",
    "trust_config",
];

const HEADING: &str = "Registry";
