//! What would break under a policy.
//!
//! Whoever knows a machine or an image lists what is executed and loaded there, each as a [`Use`] with what the
//! kernel would know of it; [`simulate`] decides each as the kernel would. The uses of an image are found
//! here ([`image_uses`]), those of a running machine by whoever may look into it. What a program takes along
//! when it is started, its interpreters and libraries, is found by a [`Loader`] in any tree of files.

mod elf;
mod image;
mod jit;
mod loader;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use image::{EntryPoint, ImageUses, ImageVolume, image_uses};
pub use jit::{JitRuntime, jit_runtime};
pub use loader::{FileTree, Loaded, LoadedFile, Loader, Reason, TreeFile};

use crate::evaluate::{DecidedBy, Evaluator, Facts};
use crate::syntax::Policy;
use crate::vocabulary::{Action, Operation};

/// Is something that is executed or loaded: one object by one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// What is done with the object.
    pub operation: Operation,
    /// What it is done with.
    pub object: Object,
    /// What the kernel knows of the object.
    pub knowledge: Knowledge,
    /// Who does it.
    pub actor: Actor,
    /// Whether the machine cannot be run or mended without it.
    pub is_vital: bool,
}

/// Is what an operation is done with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// Memory that belongs to no file.
    AnonymousMemory,
    /// A file, by its path as the actor sees it.
    File(PathBuf),
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnonymousMemory => formatter.write_str("executable memory without a file"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Is what could be found out of what the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// All of it.
    Known(Facts),
    /// Not enough, and why: the tail of a sentence that starts with the object.
    Unknown(String),
}

/// Is who executes or loads something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The entry point of an image.
    EntryPoint,
    /// A file of the image that users may execute with the rights of its owner.
    Setuid,
    /// The kernel itself, and what for.
    Kernel(&'static str),
    /// A part of the node, such as the container runtime.
    Part(&'static str),
    /// A running process.
    Process {
        /// Its number.
        id: u32,
        /// Its name, of at most 15 bytes.
        name: String,
    },
    /// A runtime that compiles while it runs.
    Runtime {
        /// What it is called.
        name: &'static str,
        /// The file by which it is known.
        path: PathBuf,
    },
    /// A unit of systemd.
    Unit(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryPoint => formatter.write_str("the entry point"),
            Self::Setuid => formatter.write_str("a setuid program"),
            Self::Kernel(purpose) => write!(formatter, "the kernel ({purpose})"),
            Self::Part(part) => formatter.write_str(part),
            Self::Process { id, name } => {
                write!(formatter, "process {id} ({})", name.escape_debug())
            }
            Self::Runtime { name, path } => write!(formatter, "{name} ({})", path.display()),
            Self::Unit(name) => formatter.write_str(name),
        }
    }
}

/// Is the outcome of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// How many different objects were looked at.
    pub objects: usize,
    /// What the policy denies, what is vital first.
    pub denied: Vec<Denied>,
    /// What cannot be decided, what is vital first.
    pub undecided: Vec<Undecided>,
}

/// Is an object that the policy denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is done with it.
    pub operation: Operation,
    /// The object.
    pub object: Object,
    /// What is known of it.
    pub facts: Facts,
    /// The rule or default that denies it, in the words of the policy.
    pub by: String,
    /// Who needs it, each once.
    pub actors: Vec<Actor>,
    /// Whether the machine cannot be run or mended without it.
    pub is_vital: bool,
}

/// Is an object of which not enough is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// What is done with it.
    pub operation: Operation,
    /// The object.
    pub object: Object,
    /// Why it cannot be decided.
    pub reason: String,
    /// Who needs it, each once.
    pub actors: Vec<Actor>,
    /// Whether the machine cannot be run or mended without it.
    pub is_vital: bool,
}

impl Simulation {
    /// Tells whether a machine under the policy could no longer be run or mended, or might not.
    pub fn is_fatal(&self) -> bool {
        self.denied.iter().any(|denied| denied.is_vital)
            || self.undecided.iter().any(|undecided| undecided.is_vital)
    }
}

/// Decides each use as the kernel would.
///
/// What nothing is known of is decided all the same where the policy has no rule that asks for anything.
pub fn simulate(policy: &Policy, evaluator: Evaluator<'_>, uses: Vec<Use>) -> Simulation {
    let mut objects: BTreeMap<(Operation, Object), (Knowledge, Vec<Actor>, bool)> = BTreeMap::new();
    for one in uses {
        let known = objects
            .entry((one.operation, one.object))
            .or_insert_with(|| (one.knowledge, Vec::new(), false));
        if !known.1.contains(&one.actor) {
            known.1.push(one.actor);
        }
        known.2 |= one.is_vital;
    }
    let mut simulation = Simulation { objects: objects.len(), ..Simulation::default() };
    for ((operation, object), (knowledge, actors, is_vital)) in objects {
        let facts = match knowledge {
            Knowledge::Known(facts) => facts,
            Knowledge::Unknown(_) if policy.rules(operation).next().is_none() => Facts::default(),
            Knowledge::Unknown(reason) => {
                let undecided = Undecided { operation, object, reason, actors, is_vital };
                simulation.undecided.push(undecided);
                continue;
            }
        };
        let decision = evaluator.decide(policy, Some(operation), &facts);
        if decision.action == Action::Deny {
            let by = match decision.by {
                DecidedBy::Rule(rule) => rule.to_string(),
                DecidedBy::Default(default) => default.to_string(),
                DecidedBy::Nothing => String::new(),
            };
            simulation.denied.push(Denied { operation, object, facts, by, actors, is_vital });
        }
    }
    simulation.denied.sort_by_key(|denied| !denied.is_vital);
    simulation.undecided.sort_by_key(|undecided| !undecided.is_vital);
    simulation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Volume;
    use crate::kernel_version::KernelVersion;
    use crate::syntax::{DigestValue, parse};

    const POLICY: &[u8] = b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\
        DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n\
        DEFAULT op=KMODULE action=DENY\n";

    fn one(path: &str, operation: Operation, knowledge: Knowledge, id: u32) -> Use {
        let actor = Actor::Process { id, name: "test".to_owned() };
        let object = Object::File(path.into());
        Use { operation, object, knowledge, actor, is_vital: id == 1 }
    }

    #[test]
    fn what_is_denied_is_told_once_with_all_who_need_it() {
        let policy = parse(POLICY, KernelVersion::V6_12).unwrap();
        let unknown = || Knowledge::Unknown("lies nowhere".to_owned());
        let nothing = || Knowledge::Known(Facts::default());
        let root_hash = DigestValue { algorithm: b"sha256".to_vec(), bytes: vec![1] };
        let volume = Some(Volume { root_hash, is_signed: true });
        let signed = Knowledge::Known(Facts { volume, ..Facts::default() });
        let uses = vec![
            one("/b", Operation::Execute, nothing(), 7),
            one("/a", Operation::Execute, nothing(), 7),
            one("/a", Operation::Execute, nothing(), 7),
            one("/a", Operation::Execute, nothing(), 1),
            one("/signed", Operation::Execute, signed, 1),
            one("/unknown", Operation::Execute, unknown(), 9),
            one("/module", Operation::KernelModule, unknown(), 9),
            one("/firmware", Operation::Firmware, unknown(), 9),
        ];
        let simulation = simulate(&policy, Evaluator::new(), uses);
        assert_eq!(simulation.objects, 6);
        let shown = |denied: &Denied| {
            let actors: Vec<_> = denied.actors.iter().map(ToString::to_string).collect();
            format!("{} {}: {} by {}", denied.object, denied.by, denied.is_vital, actors.join(", "))
        };
        let denied: Vec<_> = simulation.denied.iter().map(shown).collect();
        let by = "DEFAULT op=EXECUTE action=DENY";
        assert_eq!(
            denied,
            [
                format!("/a {by}: true by process 7 (test), process 1 (test)"),
                format!("/b {by}: false by process 7 (test)"),
                "/module DEFAULT op=KMODULE action=DENY: false by process 9 (test)".to_owned(),
            ]
        );
        assert_eq!(simulation.undecided.len(), 1);
        assert_eq!(simulation.undecided[0].reason, "lies nowhere");
        assert!(simulation.is_fatal());
    }
}
