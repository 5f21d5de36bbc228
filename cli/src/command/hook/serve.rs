//! `osguard hook serve`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use libverity::layer::Profile;
use osguard_hook::allow_list::{AllowList, Pattern};
use osguard_hook::backoff::Backoff;
use osguard_hook::hook::{Hook, HookError, Settings};
use osguard_hook::queue::Limits;
use osguard_hook::registry_signer::RegistrySigner;
use osguard_hook::token::Token;
use osguard_registry::reference::{Reference, RegistryReference};
use zeroize::Zeroizing;

use crate::conversion::warn_of_profiles;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::log::LogArguments;
use crate::network::NetworkArguments;
use crate::output::Output;
use crate::signing::SigningArguments;
use crate::small_file;

/// Receive a registry's notifications and sign what is pushed
///
/// The registry tells of every push. What is pushed to an allowed repository is queued on the disk, read by its
/// digest, and signed as `osguard sign` does it; what fails is tried again for a day. Signatures, attestations
/// and other artifacts are left alone. Only names of repositories and digests are taken from a notification, never a
/// host.
///
/// POST /notifications takes notifications, GET /failed lists what was given up (both with the token); GET /healthz,
/// /readyz and /metrics (for Prometheus) are open. TLS is for a proxy in front of it. SIGTERM ends the hook once the
/// images at hand are signed; whatever ends it, the next start goes on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The registry, as the names of its images begin
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_registry)]
    registry: RegistryReference,
    /// Sign in these repositories: TEAM/APP, TEAM/* (one level below), TEAM/** (all below); may be repeated
    #[arg(long, value_name = "PATTERN", required = true)]
    allow: Vec<Pattern>,
    /// Do not sign in these repositories, whatever --allow says; may be repeated
    #[arg(long, value_name = "PATTERN")]
    deny: Vec<Pattern>,
    /// Where to listen for notifications
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Read the token that notifications have to carry from this file
    ///
    /// Without it the environment variable OSGUARD_HOOK_TOKEN holds the token, 16 bytes or more.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Believe whoever can connect; only on a loopback address
    #[arg(long, conflicts_with = "token_file")]
    no_token: bool,
    /// Where the queue is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/osguard/hook")]
    state: PathBuf,
    /// How many images may be pending; beyond that the registry is told to come again
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    max_pending: u32,
    /// How many images are signed at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    #[command(flatten)]
    signing: SigningArguments,
    /// By which profile to convert the layers; may be repeated
    #[arg(long, value_name = "NAME", default_value = Profile::ContainerdFullV1.name())]
    profile: Vec<Profile>,
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    log: LogArguments,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let usage = |error| Failure::new(ExitStatus::Usage, error);
    let allow_list = AllowList::new(arguments.allow.clone(), arguments.deny.clone())
        .map_err(|error| usage(error.to_string()))?;
    let settings = Settings {
        listen: arguments.listen,
        state: arguments.state.clone(),
        token: arguments.token()?,
        allow_list,
        workers: NonZeroUsize::new(usize::from(arguments.workers)).unwrap_or(NonZeroUsize::MIN),
        limits: Limits { pending: arguments.max_pending as usize, ..Limits::default() },
        backoff: Backoff::default(),
    };
    let mut profiles = arguments.profile.clone();
    profiles.sort();
    profiles.dedup();
    warn_of_profiles(&profiles, output);
    let signer = arguments.signing.signer()?;
    let registry = &arguments.registry.registry;
    let reference = Reference::Registry(arguments.registry.clone());
    let network = arguments.network.network(&reference, None)?;
    let signer = RegistrySigner::new(registry, network, signer, profiles)
        .map_err(|error| usage(error.to_string()))?;
    let hook = Hook::open(settings, Arc::new(signer))?;
    arguments.log.start(output)?;
    hook.run_until_signalled()?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    fn token(&self) -> Result<Option<Token>, Failure> {
        if self.no_token {
            return Ok(None);
        }
        let (source, text) = match (&self.token_file, std::env::var_os(TOKEN_VARIABLE)) {
            (Some(file), _) => (file.display().to_string(), small_file::read(file)?),
            (None, Some(text)) => (TOKEN_VARIABLE.to_owned(), text.into_encoded_bytes()),
            (None, None) => {
                return Err(Failure::new(ExitStatus::Usage, "there is no token").hint(format!(
                    "Put one into a file for --token-file, or into {TOKEN_VARIABLE}: \
                     `openssl rand -hex 32` makes one."
                )));
            }
        };
        let text = Zeroizing::new(text);
        Token::parse(&text)
            .map(Some)
            .map_err(|error| Failure::from_error(ExitStatus::Usage, error).context(source))
    }
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Unprotected { .. } => Self::from_error(ExitStatus::Usage, error)
                .hint("Give a token by --token-file, or listen on 127.0.0.1."),
            error => Self::from_error(ExitStatus::Failure, error),
        }
    }
}

/// Takes the host of a registry as the beginning of an image's name, which is what it is.
fn parse_registry(text: &str) -> Result<RegistryReference, String> {
    match format!("{text}/any").parse() {
        Ok(Reference::Registry(reference)) if reference.registry == text => Ok(reference),
        _ => Err("write HOST or HOST:PORT in lower case, such as registry.example, localhost or \
                  registry:5000"
            .to_owned()),
    }
}

const TOKEN_VARIABLE: &str = "OSGUARD_HOOK_TOKEN";

const EXAMPLE: &str = "\
Example:
  openssl rand -hex 32 > hook.token
  osguard hook serve --registry registry.example:5000 --allow 'team/**' --key release.key \\
      --token-file hook.token

In the configuration of the registry:
  notifications:
    endpoints:
      - name: osguard
        url: http://127.0.0.1:8080/notifications
        headers:
          Authorization: [Bearer THE-TOKEN-IN-THE-FILE]
        timeout: 5s
        threshold: 5
        backoff: 10s
        ignore:
          mediatypes: [application/octet-stream]
          actions: [pull]";
