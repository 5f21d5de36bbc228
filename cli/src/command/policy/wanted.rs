//! What a node's policy is to say: from a file in TOML, from flags, or from both.

use std::path::PathBuf;

use libverity::layer::Profile;
use osguard_policy::name::PolicyName;
use osguard_policy::node_policy::NodePolicy;
use osguard_policy::version::PolicyVersion;
use osguard_policy::vocabulary::Operation;
use serde::{Deserialize, Deserializer, de};

use super::volumes::{self, Volumes};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::network::NetworkArguments;
use crate::output::Output;
use crate::small_file;

/// What the policy is to say.
#[derive(Debug, clap::Args)]
pub(super) struct WantedArguments {
    /// Take what is wanted from a file in TOML with the keys name, version, boot-verified, guard, pin and
    /// revoke; flags add to it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The name; one node should keep to one [default: osguard]
    #[arg(long)]
    name: Option<PolicyName>,
    /// The version, three numbers up to 65535; a kernel takes only higher ones than it has
    /// [default: 1.0.0]
    #[arg(long, value_name = "MAJOR.MINOR.REVISION")]
    policy_version: Option<PolicyVersion>,
    /// Allow what lies in the initramfs, too
    #[arg(long)]
    boot_verified: bool,
    /// Allow these volumes alone, signed or not, in place of all signed ones: a ROOT_HASH, the image of a
    /// layer as in ./layer.erofs, a device as in /dev/dm-3, or all layers of an IMAGE; may be repeated
    #[arg(long, value_name = "VOLUME", value_parser = Volumes::parse)]
    pin: Vec<Volumes>,
    /// Deny these volumes, whoever signed them: named as for --pin; may be repeated
    #[arg(long, value_name = "VOLUME", value_parser = Volumes::parse)]
    revoke: Vec<Volumes>,
    /// Guard this operation in the same way as EXECUTE: KMODULE, FIRMWARE, KEXEC_IMAGE, KEXEC_INITRAMFS,
    /// POLICY or X509_CERT; may be repeated
    #[arg(long, value_name = "OPERATION")]
    guard: Vec<Operation>,
    /// Guard kernel modules, firmware and kexec images
    #[arg(long)]
    strict: bool,
}

/// Is the same from a file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct WantedFile {
    #[serde(deserialize_with = "parsed")]
    name: Option<PolicyName>,
    #[serde(deserialize_with = "parsed")]
    version: Option<PolicyVersion>,
    boot_verified: bool,
    guard: Vec<String>,
    pin: Vec<String>,
    revoke: Vec<String>,
}

impl WantedArguments {
    /// Makes the policy.
    pub(super) fn policy(
        &self,
        network: &NetworkArguments,
        output: &Output,
    ) -> Result<NodePolicy, Failure> {
        let file = self.file()?;
        let name = self.name.clone().or(file.name);
        let version = self.policy_version.or(file.version);
        let mut policy = NodePolicy::new(
            name.map_or_else(|| DEFAULT_NAME.parse(), Ok).map_err(usage)?,
            version.unwrap_or(PolicyVersion::new(1, 0, 0)),
        );
        if self.boot_verified || file.boot_verified {
            policy = policy.allow_boot_verified();
        }
        let operations = file.guard.iter().map(|operation| operation.parse().map_err(usage));
        let mut operations = operations.collect::<Result<Vec<Operation>, _>>()?;
        operations.extend(&self.guard);
        if self.strict {
            operations.extend(STRICT);
        }
        for operation in operations {
            policy = policy.guard(operation);
        }
        let volumes = |typed: &[Volumes], listed: &[String]| {
            let listed = listed.iter().map(|text| Volumes::parse(text).map_err(named(text)));
            let listed = listed.collect::<Result<Vec<_>, Failure>>()?;
            Ok::<_, Failure>([typed, &listed].concat())
        };
        // A node mounts the layers of an image by the default profile; what must not be mounted must not be
        // by any.
        let pinned = volumes(&self.pin, &file.pin)?;
        for root_hash in volumes::root_hashes(&pinned, &[Profile::default()], network, output)? {
            policy = policy.pin(root_hash).map_err(usage)?;
        }
        let revoked = volumes(&self.revoke, &file.revoke)?;
        for root_hash in volumes::root_hashes(&revoked, &Profile::ALL, network, output)? {
            policy = policy.revoke(root_hash).map_err(usage)?;
        }
        Ok(policy)
    }

    fn file(&self) -> Result<WantedFile, Failure> {
        let Some(path) = &self.from else { return Ok(WantedFile::default()) };
        let text = String::from_utf8(small_file::read(path)?)
            .map_err(|error| usage(error).context(path.display()))?;
        toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or_else(String::new, |span| {
                let place = osguard_policy::syntax::position(text.as_bytes(), span.start);
                format!(":{}:{}", place.line, place.column)
            });
            let message = error.message().replace('\n', ", ");
            Failure::new(ExitStatus::Usage, format!("{}{place}: {message}", path.display()))
        })
    }
}

fn usage(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::from_error(ExitStatus::Usage, error)
}

fn named(text: &str) -> impl Fn(String) -> Failure {
    move |reason| Failure::new(ExitStatus::Usage, format!("{text:?}: {reason}"))
}

fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

const DEFAULT_NAME: &str = "osguard";

const STRICT: [Operation; 4] = [
    Operation::Firmware,
    Operation::KernelModule,
    Operation::KexecImage,
    Operation::KexecInitramfs,
];
