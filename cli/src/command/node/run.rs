//! `osguard node run`.

use std::path::{Path, PathBuf};

use osguard_node::containerd::config::{Config, ConfigError};
use osguard_node::containerd::daemon::{self, DaemonError};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::log::LogArguments;
use crate::output::Output;

/// Serve containerd: unpack layers, and mount them as signed dm-verity devices
///
/// One socket is a snapshotter and a differ to containerd, 1.7 or later. What is unsigned where signatures are required is
/// refused when it is unpacked, when it is committed and when it is mounted. SIGTERM ends the daemon, and nothing that is
/// mounted: containers go on, and the next start takes everything over.
///
/// Without --config, /etc/osguard/node.toml is read if it is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "OSGUARD_NODE_CONFIG")]
    config: Option<PathBuf>,
    /// The socket that containerd connects to, whatever the configuration says
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where layers and records are kept, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    log: LogArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut config = daemon_config(arguments.config.as_deref())?;
    config.socket = arguments.socket.clone().unwrap_or(config.socket);
    config.root = arguments.root.clone().unwrap_or(config.root);
    if arguments.check {
        return Ok(ExitStatus::Done);
    }
    arguments.log.start(output)?;
    daemon::run(&config)?;
    Ok(ExitStatus::Done)
}

/// Reads the daemon's configuration, that in its place if there is one and no other is named.
pub(super) fn daemon_config(named: Option<&Path>) -> Result<Config, Failure> {
    let path = match named {
        Some(path) => path,
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok(Config::default()),
    };
    Ok(Config::read(path)?)
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let status = match &error {
            ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ExitStatus::NotFound
            }
            _ => ExitStatus::Usage,
        };
        Self::from_error(status, error)
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
    }
}

const DEFAULT_CONFIG: &str = "/etc/osguard/node.toml";
