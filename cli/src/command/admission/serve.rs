//! `osguard admission serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use osguard_admission::certificates::{CertificateFiles, SelfMade, Source};
use osguard_admission::server::{Server, ServerError, Settings};
use osguard_registry::root_hash_cache::RootHashCache;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::log::LogArguments;
use crate::output::Output;

/// Answer a Kubernetes API server that asks whether pods may start
///
/// POST /validate says whether all images of a pod, or of what makes pods, are signed as the configuration asks for
/// it; POST /mutate puts digests in the place of tags. GET /healthz, /readyz and /metrics (for Prometheus) are open.
/// What cannot be found out is refused. The configuration, the trust configuration and the certificate are read again
/// when they change. SIGTERM ends the webhook when nobody sends requests any more.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("certificate").required(true).args(["cert", "self_made"]))]
pub(crate) struct Arguments {
    /// What is asked of images, in which namespaces, and how registries are reached
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The certificate and its chain, in PEM form
    #[arg(long, value_name = "FILE", requires = "key", help_heading = HEADING)]
    cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = HEADING)]
    key: Option<PathBuf>,
    /// Make certificates by the authority in this directory (ca.pem), and that one if it is not there
    #[arg(long, value_name = "DIR", requires = "name", help_heading = HEADING)]
    self_made: Option<PathBuf>,
    /// By which name or address the webhook is called, for certificates that are made; may be repeated
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    name: Vec<String>,
    /// How many seconds an answer may take at most, also where the request leaves more
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=30))]
    timeout: u16,
    /// How many seconds requests are taken on after SIGTERM, until all know that this one ends
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=600))]
    drain: u16,
    /// Keep root hashes here that had to be computed
    #[arg(long, value_name = "DIR")]
    root_hash_cache: Option<PathBuf>,
    /// Keep verdicts on images that pass here, for the next start
    #[arg(long, value_name = "DIR")]
    verdict_cache: Option<PathBuf>,
    #[command(flatten)]
    log: LogArguments,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let root_hash_cache = arguments.root_hash_cache.as_ref().map(|directory| {
        RootHashCache::open(directory).map_err(|error| {
            let directory = directory.display();
            Failure::from_error(ExitStatus::Usage, error).context(format!("cannot use {directory}"))
        })
    });
    let server = Server::open(Settings {
        listen: arguments.listen,
        configuration: arguments.config.clone(),
        certificate: arguments.certificate()?,
        patience: Duration::from_secs(arguments.timeout.into()),
        drain: Duration::from_secs(arguments.drain.into()),
        root_hash_cache: root_hash_cache.transpose()?,
        verdict_store: arguments.verdict_cache.clone(),
    })?;
    arguments.log.start(output)?;
    server.run_until_signalled()?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    fn certificate(&self) -> Result<Source, Failure> {
        match (&self.cert, &self.key, &self.self_made) {
            (Some(certificate), Some(key), _) => {
                Ok(Source::Files(CertificateFiles::new(certificate.clone(), key.clone())))
            }
            (_, _, Some(directory)) => {
                Ok(Source::SelfMade(SelfMade::new(directory.clone(), self.name.clone())))
            }
            _ => Err(Failure::new(ExitStatus::Usage, "there is no certificate")
                .hint("--cert and --key name files, --self-made a directory for an authority.")),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Configuration(error) => error.into(),
            ServerError::Store { .. } => Self::from_error(ExitStatus::Usage, error),
            ServerError::Certificate(error) => Self::from_error(ExitStatus::Usage, error),
            error => Self::from_error(ExitStatus::Failure, error),
        }
    }
}

const HEADING: &str = "Certificate";

const EXAMPLE: &str = "\
Examples:
  osguard admission serve --config admission.toml --cert tls.crt --key tls.key
  osguard admission serve --config admission.toml --self-made authority --name webhook.osguard.svc";
