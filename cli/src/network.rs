//! How registries are reached, and as whom: the flags of every command that takes an image.

use std::io::{self, Read as _};
use std::path::PathBuf;

use clap::ValueEnum;
use osguard_registry::credentials::{Credentials, Login, Secret, Source};
use osguard_registry::network::{Network, ReferrersMode};
use osguard_registry::reference::Reference;
use osguard_registry::tls::Tls;
use zeroize::Zeroizing;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::is_standard_stream;

/// How registries are reached, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkArguments {
    /// Log in as this user [default: as `docker login` or `podman login` has stored it]
    ///
    /// The password comes from --password-stdin or the environment variable OSGUARD_PASSWORD, or the terminal is
    /// asked. Without the flag, OSGUARD_USERNAME names the user, or OSGUARD_TOKEN is the token that the registry
    /// is shown. The login is for one registry alone: the one that is written to, or else the one that is read.
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, help_heading = HEADING)]
    password_stdin: bool,
    /// Take credentials from this file of docker or podman, and from no other
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    auth_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file as well; may be repeated
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    ca_file: Vec<PathBuf>,
    /// Show the registry this client certificate
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = HEADING)]
    client_cert: Option<PathBuf>,
    /// The private key of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_cert", help_heading = HEADING)]
    client_key: Option<PathBuf>,
    /// Speak HTTP without TLS
    #[arg(long, help_heading = HEADING)]
    plain_http: bool,
    /// How signatures and other referrers are listed in the registry
    #[arg(long, value_enum, default_value_t, value_name = "WAY", help_heading = HEADING)]
    referrers: Referrers,
}

/// Names the ways in which a registry lists the referrers of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Referrers {
    /// By its referrers API alone
    Api,
    /// By the API, or by a tag where the registry has no API
    #[default]
    Auto,
    /// By a tag that is made of the manifest's digest
    Tag,
}

impl NetworkArguments {
    /// Says how the registry of `read` is reached, from which an image comes, and that of
    /// `written`, to which it goes.
    ///
    /// The password is asked for only if one of them is a registry.
    pub(crate) fn network(
        &self,
        read: &Reference,
        written: Option<&Reference>,
    ) -> Result<Network, Failure> {
        if self.password_stdin && is_standard_stream(read) {
            return Err(Failure::new(
                ExitStatus::Usage,
                "--password-stdin and the image both read standard input",
            )
            .hint("OSGUARD_PASSWORD gives the password as well, or `docker login` stores it."));
        }
        let registry = [written, Some(read)].into_iter().flatten().find_map(registry);
        let mut network = Network {
            plain_http: self.plain_http,
            referrers: match self.referrers {
                Referrers::Api => ReferrersMode::Api,
                Referrers::Auto => ReferrersMode::Auto,
                Referrers::Tag => ReferrersMode::Tag,
            },
            ..Network::default()
        };
        let Some(registry) = registry else {
            // A login that goes nowhere was meant for an image that was not named as it should be.
            return match self.username.is_some() || self.password_stdin {
                true => Err(Failure::new(ExitStatus::Usage, "a login is given, and no registry")
                    .hint("An image in a registry is named HOST/REPOSITORY:TAG.")),
                false => Ok(network),
            };
        };
        network.credentials = self.credentials(registry)?;
        network.tls = self.tls(registry)?;
        Ok(network)
    }

    fn credentials(&self, registry: &str) -> Result<Credentials, Failure> {
        let mut credentials = Credentials::default();
        if let Some(file) = &self.auth_file {
            credentials = credentials.with_file(file);
        }
        Ok(match self.login(registry)? {
            Some(login) => credentials.with_login(registry, login),
            None => credentials,
        })
    }

    fn tls(&self, registry: &str) -> Result<Tls, Failure> {
        let tls = self.ca_file.iter().fold(Tls::default(), Tls::with_ca_file);
        tls.check_ca_files().map_err(|error| {
            Failure::from_error(ExitStatus::Usage, error)
                .hint("--ca-file takes certificates of authorities in PEM form.")
        })?;
        Ok(match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                tls.with_client_certificate(registry, certificate, key)
            }
            _ => tls,
        })
    }

    fn login(&self, registry: &str) -> Result<Option<Login>, Failure> {
        let usage = |message: String| Failure::new(ExitStatus::Usage, message);
        let by_variable = variable(USERNAME)?;
        let (username, source) = match (&self.username, by_variable) {
            (Some(username), _) => (username.clone(), Source::Flag("--username")),
            (None, Some(username)) => (username, Source::Variable(USERNAME)),
            (None, _) if self.password_stdin => {
                return Err(usage("--password-stdin is given, and no user name".to_owned())
                    .hint("--username or OSGUARD_USERNAME names the user."));
            }
            (None, _) => {
                let token = variable(TOKEN)?.map(Secret::new);
                let source = Source::Variable(TOKEN);
                return Ok(token.map(|token| Login::Token { token, source }));
            }
        };
        let password = if self.password_stdin {
            from_standard_input()?
        } else if let Some(password) = variable(PASSWORD)? {
            Secret::new(password)
        } else {
            let prompt = format!("Password of {username} for {registry}: ");
            let password = rpassword::prompt_password(prompt).map_err(|error| {
                usage(format!(
                    "there is no password for {username}: the terminal cannot be asked: {error}"
                ))
                .hint("--password-stdin or OSGUARD_PASSWORD gives it.")
            })?;
            Secret::new(password)
        };
        Ok(Some(Login::Password { username, password, source }))
    }
}

/// Returns the host of the registry in which an image lies.
fn registry(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Registry(reference) => Some(&reference.registry),
        _ => None,
    }
}

/// Reads a variable of the environment; one that is empty counts as not set, as CI systems have it
/// for secrets that do not exist.
fn variable(name: &'static str) -> Result<Option<String>, Failure> {
    match std::env::var_os(name).filter(|text| !text.is_empty()).map(|text| text.into_string()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Failure::new(ExitStatus::Usage, format!("{name} is not valid UTF-8"))),
    }
}

/// Reads standard input to its end: some passwords are documents of several lines. One line break
/// at the end belongs to the program that printed it.
fn from_standard_input() -> Result<Secret, Failure> {
    let failed = |reason: String| {
        Failure::new(
            ExitStatus::Usage,
            format!("cannot read the password from standard input: {reason}"),
        )
    };
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSWORD_BYTES as usize + 1));
    let read = io::stdin().lock().take(MAX_PASSWORD_BYTES + 1).read_to_string(&mut text);
    match read.map_err(|error| failed(error.to_string()))? {
        read if read as u64 > MAX_PASSWORD_BYTES => {
            Err(failed(format!("it is longer than {MAX_PASSWORD_BYTES} bytes")))
        }
        _ => {
            let password = text.strip_suffix('\n').unwrap_or(&text);
            let password = password.strip_suffix('\r').unwrap_or(password);
            if password.is_empty() {
                Err(failed("it is empty".to_owned()))
            } else {
                Ok(Secret::new(password.to_owned()))
            }
        }
    }
}

const HEADING: &str = "Registry";
const PASSWORD: &str = "OSGUARD_PASSWORD";
const TOKEN: &str = "OSGUARD_TOKEN";
const USERNAME: &str = "OSGUARD_USERNAME";

/// Longer than any password; the longest in use are keys of service accounts, of about 2,500 bytes.
const MAX_PASSWORD_BYTES: u64 = 1 << 16;
