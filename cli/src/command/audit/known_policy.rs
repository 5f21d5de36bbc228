//! The policy in which rules are looked up.

use std::path::{Path, PathBuf};

use libverity::pkcs7;
use osguard_node::securityfs::{IpeTree, PolicyFile};
use osguard_node::status::IpeStatus;
use osguard_policy::audit::explain::KnownPolicy;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::parse;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::small_file;

/// Which policy decided.
#[derive(Debug, clap::Args)]
pub(super) struct PolicyArguments {
    /// The policy that was in force, text or signed [default: the one that is, for records of this machine]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArguments {
    /// Reads the policy of the flag, or else the one in force if the records are of this machine.
    pub(super) fn read(&self, is_here: bool) -> Result<Option<KnownPolicy>, Failure> {
        match &self.policy {
            Some(path) => read(path).map(Some),
            None if is_here => Ok(in_force()),
            None => Ok(None),
        }
    }
}

/// Reads a policy from a file, text or signed.
pub(crate) fn read(path: &Path) -> Result<KnownPolicy, Failure> {
    let bytes = small_file::read(path)?;
    let name = path.display().to_string();
    let refused = |message: String| {
        Failure::new(ExitStatus::Usage, message)
            .context(name.clone())
            .hint("`osguard policy lint` says what is wrong with it.")
    };
    // Signed ones are DER sequences.
    let text = match bytes[..] {
        [0x30, 0x80..=0xff, ..] => {
            let message = pkcs7::inspect(&bytes).map_err(|error| refused(error.to_string()))?;
            let content = message.content.map(|content| content.to_vec());
            content.ok_or_else(|| refused("there is no policy in this signature".to_owned()))?
        }
        _ => bytes,
    };
    let policy = parse(&text, NEWEST).map_err(|errors| refused(errors.to_string()))?;
    Ok(KnownPolicy { name, text, policy })
}

/// Reads the policy in force; none where there is none, or it may not be read: it is only of help.
pub(crate) fn in_force() -> Option<KnownPolicy> {
    let tree = IpeTree::open().ok()?;
    let status = IpeStatus::read(&tree).ok()?;
    let active = status.active()?;
    let text = tree.read_policy(&active.name, PolicyFile::Text).ok()??;
    let policy = parse(&text, NEWEST).ok()?;
    Some(KnownPolicy {
        name: format!("the policy {} {}", active.name, active.version),
        text,
        policy,
    })
}

/// Its language has all that an older one has.
const NEWEST: KernelVersion = KernelVersion::V7_2;
