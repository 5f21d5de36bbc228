//! What of this machine a policy would not let start again: processes that run from volumes it denies, and mounted images
//! with such layers.
//!
//! A policy does not end what runs. A container on a layer that is denied goes on until it starts a program, or maps
//! one, and then fails; this tells beforehand which ones do.

use std::path::PathBuf;

use libverity::digest::RootHash;
use osguard_policy::audit::context::Container;
use osguard_policy::evaluate::{Evaluator, Facts, Volume};
use osguard_policy::simulation::{Actor, Knowledge, Object, Use};
use osguard_policy::syntax::{DigestValue, Policy};
use osguard_policy::vocabulary::{Action, Operation};

use crate::audit_join::container_of_process;
use crate::file_facts::FileFacts;
use crate::host_uses::{HostError, process_uses};
use crate::image_mount::{self, ImageMountError};
use crate::state_directory::StateDirectory;

/// Finds what runs from dm-verity volumes of which `policy` denies execution, and which mounted images have one.
///
/// Programs that lie on no such volume are left out, whatever the policy says of them:
/// [`host_uses`](crate::host_uses::host_uses) has those.
///
/// # Errors
///
/// Fails without root, and where the records of mounts cannot be read. A process that cannot be looked into is told.
pub fn affected(policy: &Policy, state: &StateDirectory) -> Result<Affected, AffectedError> {
    let facts = FileFacts::open().map_err(HostError::from)?;
    let (uses, looked_at) = process_uses(&facts).map_err(HostError::from)?;
    let mut affected = judge(policy, uses);
    affected.looked_at = looked_at;
    for process in &mut affected.processes {
        process.container = container_of_process(process.id);
    }
    for mount in image_mount::list(state)? {
        let layers = mount.record.layers.into_iter();
        let denied = layers.filter(|layer| {
            let root_hash = DigestValue {
                algorithm: b"sha256".to_vec(),
                bytes: layer.root_hash.as_bytes().to_vec(),
            };
            is_denied(policy, Volume { root_hash, is_signed: layer.signed })
        });
        let root_hashes: Vec<_> = denied.map(|layer| layer.root_hash).collect();
        if !root_hashes.is_empty() {
            affected.mounts.push(AffectedMount { target: mount.record.target, root_hashes });
        }
    }
    Ok(affected)
}

/// Is what a policy would not let start again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// The processes, by their numbers.
    pub processes: Vec<AffectedProcess>,
    /// The mounted images.
    pub mounts: Vec<AffectedMount>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
    /// How many processes were looked at.
    pub looked_at: usize,
}

/// Is a process that runs from a volume that is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedProcess {
    /// Its number.
    pub id: u32,
    /// Its name, of at most 15 bytes.
    pub name: String,
    /// The container that it is in, as far as that is known.
    pub container: Option<Container>,
    /// The files, each with the root hash of its volume and the name of the algorithm.
    pub files: Vec<(PathBuf, String)>,
}

/// Is a mounted image with layers that are denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedMount {
    /// Where it is mounted.
    pub target: PathBuf,
    /// The root hashes of the layers, the bottom one first.
    pub root_hashes: Vec<RootHash>,
}

/// Says why it cannot be found out what a policy affects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AffectedError {
    /// The machine cannot be looked at.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The mounted images cannot be listed.
    #[error(transparent)]
    Mounts(#[from] ImageMountError),
}

/// Sorts out what of `uses` is on volumes that are denied.
fn judge(policy: &Policy, uses: Vec<Use>) -> Affected {
    let mut affected = Affected::default();
    for Use { object, knowledge, actor, .. } in uses {
        let (Object::File(path), Actor::Process { id, name }) = (object, actor) else { continue };
        let facts = match knowledge {
            Knowledge::Known(facts) => facts,
            Knowledge::Unknown(reason) => {
                affected
                    .unknown
                    .push(format!("process {id} ({name}): {} {reason}", path.display()));
                continue;
            }
        };
        let Some(volume) = facts.volume else { continue };
        let root_hash = volume.root_hash.to_string();
        if !is_denied(policy, volume) {
            continue;
        }
        match affected.processes.iter_mut().find(|process| process.id == id) {
            Some(process) => process.files.push((path, root_hash)),
            None => affected.processes.push(AffectedProcess {
                id,
                name,
                container: None,
                files: vec![(path, root_hash)],
            }),
        }
    }
    affected
}

/// Tells whether nothing on a volume may be executed.
fn is_denied(policy: &Policy, volume: Volume) -> bool {
    let facts = Facts { volume: Some(volume), ..Facts::default() };
    let decision = Evaluator::new().decide(policy, Some(Operation::Execute), &facts);
    decision.action == Action::Deny
}

#[cfg(test)]
mod tests {
    use osguard_policy::kernel_version::KernelVersion;
    use osguard_policy::syntax::parse;

    use super::*;

    fn volume(byte: u8) -> Volume {
        let root_hash = DigestValue { algorithm: b"sha256".to_vec(), bytes: vec![byte; 32] };
        Volume { root_hash, is_signed: true }
    }

    fn runs(id: u32, path: &str, knowledge: Knowledge) -> Use {
        Use {
            operation: Operation::Execute,
            object: Object::File(path.into()),
            knowledge,
            actor: Actor::Process { id, name: "app".to_owned() },
            is_vital: false,
        }
    }

    fn on(byte: u8) -> Knowledge {
        Knowledge::Known(Facts { volume: Some(volume(byte)), ..Facts::default() })
    }

    #[test]
    fn what_runs_from_a_volume_that_is_denied_is_told() {
        let text = format!(
            "policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n\
             op=EXECUTE dmverity_roothash=sha256:{} action=DENY\n\
             op=EXECUTE dmverity_signature=TRUE action=ALLOW\n",
            "aa".repeat(32)
        );
        let policy = parse(text.as_bytes(), KernelVersion::V6_12).unwrap();
        let affected = judge(
            &policy,
            vec![
                runs(7, "/bin/old", on(0xaa)),
                runs(7, "/lib/new.so", on(0xbb)),
                runs(7, "/lib/old.so", on(0xaa)),
                runs(8, "/bin/new", on(0xbb)),
                // On no volume at all: denied as well, but not because a layer was taken back.
                runs(9, "/bin/host", Knowledge::Known(Facts::default())),
                runs(10, "/bin/hidden", Knowledge::Unknown("cannot be looked at".to_owned())),
            ],
        );
        let [process] = &affected.processes[..] else { panic!("{affected:?}") };
        let old = format!("sha256:{}", "aa".repeat(32));
        assert_eq!(process.id, 7);
        let expected = [("/bin/old", &old), ("/lib/old.so", &old)];
        assert!(
            process.files.iter().map(|(path, hash)| (path.to_str().unwrap(), hash)).eq(expected)
        );
        assert_eq!(affected.unknown, ["process 10 (app): /bin/hidden cannot be looked at"]);
    }
}
