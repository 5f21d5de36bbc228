//! What would have to change so that a denied operation goes on: the least of it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::context::{Context, Device, DeviceKind, Place};
use super::record::{Access, Hook, RecordedOperation};
use crate::evaluate::{DecidedBy, Evaluator, Facts, Volume};
use crate::syntax::{DigestValue, Policy, Property, Statement};
use crate::vocabulary::{Action, Operation};

/// Is one thing to do about a denial. None of them allows more than what was denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Allow the initramfs, if its code has to run on.
    AllowInitramfs {
        /// For what.
        operation: Operation,
    },
    /// Start the program so that it makes no executable memory; there is no exception for one program.
    AvoidExecutableMemory {
        /// The program.
        comm: String,
    },
    /// Have the kernel read the file itself, so that it knows whence it comes.
    LoadFromFile {
        /// For what.
        operation: Operation,
    },
    /// Put the file into an image that is signed.
    Move {
        /// The file.
        path: PathBuf,
        /// The image of the container that wanted it, where it is known.
        image: Option<String>,
    },
    /// Allow one volume by its root hash, signed or not.
    Pin {
        /// For what.
        operation: Operation,
        /// The root hash.
        root_hash: DigestValue,
    },
    /// Use an image without this layer, which the policy revokes.
    ReplaceRevoked {
        /// The root hash of the layer.
        root_hash: DigestValue,
    },
    /// Sign the layer.
    Sign {
        /// The root hash of the layer.
        root_hash: DigestValue,
        /// The file of the layer, where it is known.
        layer: Option<PathBuf>,
        /// The image of the container that wanted it, where it is known.
        image: Option<String>,
    },
    /// Change the file when the image is built, not when the container runs.
    StopChanging {
        /// The file.
        path: PathBuf,
    },
    /// Use a runtime that does not run itself out of memory.
    UpgradeRunc,
}

impl Remedy {
    /// Finds what helps against a denial, the narrowest first; nothing where too little is known.
    pub fn of(access: &Access, context: &Context) -> Vec<Self> {
        if let Some(root_hash) = revoked(access) {
            return vec![Self::ReplaceRevoked { root_hash }];
        }
        let RecordedOperation::Known(operation) = access.operation else { return Vec::new() };
        let path = access.path.clone().unwrap_or_default();
        let image = context.container.as_ref().and_then(|container| container.image.clone());
        let moved = Self::Move { path: path.clone(), image: image.clone() };
        match &context.place {
            Place::Device(Device { kind: DeviceKind::Verity(volume), .. }) => {
                let root_hash = volume.root_hash.clone();
                let pin = Self::Pin { operation, root_hash: root_hash.clone() };
                let layer = volume.layer.clone();
                match volume.is_signed {
                    true => vec![pin],
                    false => vec![Self::Sign { root_hash, layer, image }, pin],
                }
            }
            Place::Initramfs => vec![moved, Self::AllowInitramfs { operation }],
            Place::Memory => match (operation, &access.hook) {
                (_, Hook::KernelLoad) => vec![Self::LoadFromFile { operation }],
                (Operation::Execute, _) => {
                    let comm = access.comm.clone().unwrap_or_default();
                    vec![Self::AvoidExecutableMemory { comm }]
                }
                _ => Vec::new(),
            },
            Place::MemoryFile => {
                let is_runc =
                    path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:runc_cloned");
                let comm = access.comm.clone().unwrap_or_default();
                match is_runc {
                    true => vec![Self::UpgradeRunc],
                    false => vec![Self::AvoidExecutableMemory { comm }],
                }
            }
            Place::OverlayUpper { is_copy: Some(true) } => vec![Self::StopChanging { path }],
            Place::OverlayUpper { is_copy: None } | Place::Overlay => {
                vec![moved, Self::StopChanging { path }]
            }
            Place::Device(_) | Place::NoDevice { .. } | Place::OverlayUpper { .. } => vec![moved],
            Place::Unknown => Vec::new(),
        }
    }

    /// Tells whether the policy itself has to be changed, and signed again.
    pub fn changes_policy(&self) -> bool {
        matches!(self, Self::AllowInitramfs { .. } | Self::Pin { .. })
    }

    /// Returns the rule to add, in front of those for the same operation, where the policy has to be changed.
    pub fn rule(&self) -> Option<String> {
        match self {
            Self::AllowInitramfs { operation } => {
                Some(format!("op={operation} boot_verified=TRUE action=ALLOW"))
            }
            Self::Pin { operation, root_hash } => {
                Some(format!("op={operation} dmverity_roothash={root_hash} action=ALLOW"))
            }
            _ => None,
        }
    }

    /// Tells whether `policy` would allow the operation once this is done: none where that does not depend on it.
    ///
    /// A policy that allows certain volumes only denies what is signed as well.
    pub fn suffices(&self, policy: &Policy, operation: Operation) -> Option<bool> {
        let root_hash = match self {
            Self::Sign { root_hash, .. } => root_hash.clone(),
            // Of a volume that nobody has made yet the root hash is not known.
            Self::Move { .. } | Self::StopChanging { .. } => {
                DigestValue { algorithm: b"unknown".to_vec(), bytes: Vec::new() }
            }
            _ => return None,
        };
        let facts =
            Facts { volume: Some(Volume { root_hash, is_signed: true }), ..Facts::default() };
        let decision = Evaluator::new().decide(policy, Some(operation), &facts);
        Some(decision.action == Action::Allow && decision.by != DecidedBy::Nothing)
    }

    /// Returns how to go about it, in commands and sentences.
    pub fn steps(&self) -> Vec<String> {
        let policy_steps = |rule: &str| {
            vec![
                format!("add `{rule}` to the policy, in front of the other rules for the same operation"),
                "raise its version, sign it with `osguard policy sign`, deploy it with `osguard policy deploy`".to_owned(),
            ]
        };
        match self {
            Self::AllowInitramfs { .. } | Self::Pin { .. } => {
                policy_steps(&self.rule().unwrap_or_default())
            }
            Self::AvoidExecutableMemory { comm } => vec![match comm.as_str() {
                "node" | "MainThread" => "start node with --jitless".to_owned(),
                "java" => "Java cannot run without executable memory, not even with -Xint: run it on a node \
                    that does not enforce"
                    .to_owned(),
                "luajit" => "start luajit with -joff".to_owned(),
                "ruby" => "start ruby without --yjit and --mjit".to_owned(),
                "php" | "php-fpm" => "switch opcache.jit and pcre.jit off".to_owned(),
                _ => "switch its just-in-time compiler off, or run it on a node that does not enforce: IPE \
                    has no exception for one program"
                    .to_owned(),
            }],
            Self::LoadFromFile { operation } => vec![match operation {
                Operation::KernelModule => {
                    "load it with kmod's modprobe or insmod, which pass the file (finit_module), from a signed \
                     volume; busybox's insmod passes its bytes"
                        .to_owned()
                }
                Operation::KexecImage | Operation::KexecInitramfs => {
                    "use kexec -s, which passes the file (kexec_file_load)".to_owned()
                }
                _ => "have the kernel read the file itself".to_owned(),
            }],
            Self::Move { image, .. } => vec![
                "put the file into the image when it is built".to_owned(),
                sign(image.as_deref()),
                "mount it again (`osguard node mount`)".to_owned(),
            ],
            Self::ReplaceRevoked { .. } => {
                vec!["start it from an image in which this layer was replaced".to_owned()]
            }
            Self::Sign { layer, image, .. } => {
                let which = match (layer, image) {
                    (_, Some(_)) => String::new(),
                    (Some(layer), None) => {
                        format!(", the image whose layer is {}", escaped(layer))
                    }
                    (None, None) => ", the image that has this layer: `osguard inspect` shows root hashes".to_owned(),
                };
                vec![
                    sign(image.as_deref()) + &which,
                    "make its device again (`osguard node unmount` and `mount`): a signature belongs to the device from \
                     its start on"
                        .to_owned(),
                ]
            }
            Self::StopChanging { .. } => vec![
                "do chmod, chown and writes when the image is built, and sign it".to_owned(),
                "for other owners use an idmapped mount, which copies nothing".to_owned(),
            ],
            Self::UpgradeRunc => vec![
                "use runc 1.2 or newer, or crun, and load the kernel module overlay".to_owned(),
            ],
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowInitramfs { operation } => {
                write!(formatter, "allow {operation} from the initramfs, if its code has to run on")
            }
            Self::AvoidExecutableMemory { comm } => {
                write!(formatter, "run {} without executable memory", comm.escape_debug())
            }
            Self::LoadFromFile { .. } => {
                formatter.write_str("let the kernel read the file instead of passing its bytes")
            }
            Self::Move { path, image } => {
                match path.as_os_str().is_empty() {
                    true => formatter.write_str("put the file")?,
                    false => write!(formatter, "put {}", escaped(path))?,
                }
                match image {
                    Some(image) => {
                        write!(formatter, " into the image {}, signed", image.escape_debug())
                    }
                    None => formatter.write_str(" into a signed image"),
                }
            }
            Self::Pin { operation, root_hash } => {
                write!(
                    formatter,
                    "allow {operation} from the one volume with the root hash {root_hash}"
                )
            }
            Self::ReplaceRevoked { root_hash } => write!(
                formatter,
                "replace the layer with the root hash {root_hash}: the policy revokes it on purpose"
            ),
            Self::Sign { root_hash, image: Some(image), .. } => write!(
                formatter,
                "sign the image {}, of which the layer with the root hash {root_hash} is not signed",
                image.escape_debug()
            ),
            Self::Sign { root_hash, .. } => {
                write!(formatter, "sign the layer with the root hash {root_hash}")
            }
            Self::StopChanging { path } => {
                write!(formatter, "leave {} as it is in its image", escaped(path))
            }
            Self::UpgradeRunc => {
                formatter.write_str("use a runc that does not run itself out of memory")
            }
        }
    }
}

/// Returns the command that signs an image.
fn sign(image: Option<&str>) -> String {
    // A name that needs quotation marks is none of an image.
    let is_name = |image: &&str| {
        image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/@".contains(&byte))
    };
    format!("osguard sign {} --key KEY", image.filter(is_name).unwrap_or("IMAGE"))
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Returns the root hash that a rule denies by name.
fn revoked(access: &Access) -> Option<DigestValue> {
    let Statement::Rule(rule) = access.rule.as_ref()?.statement()? else { return None };
    rule.properties.iter().find_map(|property| match &property.value {
        Property::DmVerityRootHash(digest) if rule.action.value == Action::Deny => {
            Some(digest.clone())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::container::ContainerId;
    use super::super::context::{Container, VerityVolume};
    use super::super::record::{Content, Record};
    use super::*;
    use crate::kernel_version::KernelVersion;
    use crate::syntax::parse;

    fn access(fields: &str, rule: &str) -> Access {
        let line = format!("IPE_ACCESS enforcing=1 pid=1 {fields} rule=\"{rule}\"");
        match Record::of_line(line.as_bytes()).unwrap().unwrap().content {
            Content::Access(access) => access,
            other => panic!("{other:?}"),
        }
    }

    fn remedies(fields: &str, rule: &str, place: Option<Place>) -> Vec<String> {
        let access = access(fields, rule);
        let mut context = Context::of_record(&access);
        context.place = place.unwrap_or(context.place);
        Remedy::of(&access, &context).iter().map(ToString::to_string).collect()
    }

    const EXEC: &str = "ipe_op=EXECUTE ipe_hook=BPRM_CHECK comm=\"sh\" path=\"/x\"";
    const DEFAULT: &str = "DEFAULT op=EXECUTE action=DENY";

    fn verity(is_signed: bool) -> Option<Place> {
        let root_hash = DigestValue { algorithm: b"sha256".to_vec(), bytes: vec![0xab] };
        let volume = VerityVolume { root_hash, is_signed, layer: None, mounted_at: Vec::new() };
        let kind = DeviceKind::Verity(volume);
        Some(Place::Device(Device { name: "dm-1".to_owned(), kind }))
    }

    #[test]
    fn the_narrowest_comes_first() {
        let tmpfs = format!("{EXEC} dev=\"tmpfs\" ino=1");
        assert_eq!(remedies(&tmpfs, DEFAULT, None), ["put /x into a signed image"]);
        assert_eq!(
            remedies(&tmpfs, DEFAULT, verity(false)),
            [
                "sign the layer with the root hash sha256:ab",
                "allow EXECUTE from the one volume with the root hash sha256:ab",
            ]
        );
        let upper = Place::OverlayUpper { is_copy: Some(true) };
        assert_eq!(remedies(&tmpfs, DEFAULT, Some(upper)), ["leave /x as it is in its image"]);
        let revocation = "op=EXECUTE dmverity_roothash=\"sha256\":AB action=DENY";
        assert_eq!(
            remedies(&tmpfs, revocation, verity(true)),
            ["replace the layer with the root hash sha256:ab: the policy revokes it on purpose"]
        );
    }

    #[test]
    fn the_image_is_named_where_it_is_known() {
        let access = access(&format!("{EXEC} dev=\"tmpfs\" ino=1"), DEFAULT);
        let mut context = Context::of_record(&access);
        let id = ContainerId { runtime: None, id: "0".repeat(64), pod: None };
        let image = |name: &str| Some(name.to_owned());
        let container =
            Container { id, name: None, pod: None, image: image("registry.example/web:v1") };
        context.container = Some(container);
        let [moved] = &Remedy::of(&access, &context)[..] else { panic!("one remedy") };
        assert_eq!(moved.to_string(), "put /x into the image registry.example/web:v1, signed");
        assert_eq!(moved.steps()[1], "osguard sign registry.example/web:v1 --key KEY");
        let hostile = Remedy::Move { path: "/x".into(), image: image("x; rm -rf /\u{1b}") };
        assert_eq!(hostile.steps()[1], "osguard sign IMAGE --key KEY");
        assert!(!hostile.to_string().contains('\u{1b}'));
    }

    #[test]
    fn what_has_no_file_has_its_own_ways() {
        let memory = "ipe_op=EXECUTE ipe_hook=MPROTECT comm=\"node\" path=? dev=? ino=?";
        assert_eq!(remedies(memory, DEFAULT, None), ["run node without executable memory"]);
        let module = "ipe_op=KMODULE ipe_hook=KERNEL_LOAD comm=\"insmod\" path=? dev=? ino=?";
        assert_eq!(
            remedies(module, "DEFAULT op=KMODULE action=DENY", None),
            ["let the kernel read the file instead of passing its bytes"]
        );
        let hex = hex::encode_upper("/memfd:runc_cloned:/proc/self/exe (deleted)");
        let runc = format!(
            "ipe_op=EXECUTE ipe_hook=BPRM_CHECK comm=\"runc\" path={hex} dev=\"tmpfs\" ino=1"
        );
        assert_eq!(
            remedies(&runc, DEFAULT, None),
            ["use a runc that does not run itself out of memory"]
        );
    }

    #[test]
    fn no_remedy_allows_more_than_was_denied() {
        let all = [
            Remedy::AllowInitramfs { operation: Operation::Execute },
            Remedy::Pin {
                operation: Operation::Execute,
                root_hash: DigestValue { algorithm: b"sha256".to_vec(), bytes: vec![1] },
            },
        ];
        for remedy in all {
            let rule = remedy.rule().unwrap();
            assert!(remedy.changes_policy());
            let text = format!("policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n{rule}\n");
            let policy = parse(text.as_bytes(), KernelVersion::V6_12).unwrap();
            let nothing = Facts::default();
            let decision = Evaluator::new().decide(&policy, Some(Operation::Execute), &nothing);
            assert_eq!(decision.action, Action::Deny, "{rule}");
        }
    }

    #[test]
    fn signing_does_not_suffice_where_volumes_are_named() {
        let policy = |rule: &str| {
            let text = format!("policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n{rule}\n");
            parse(text.as_bytes(), KernelVersion::V6_12).unwrap()
        };
        let remedy = Remedy::Move { path: "/x".into(), image: None };
        let signed = policy("op=EXECUTE dmverity_signature=TRUE action=ALLOW");
        assert_eq!(remedy.suffices(&signed, Operation::Execute), Some(true));
        let pinned = policy("op=EXECUTE dmverity_roothash=sha256:ab action=ALLOW");
        assert_eq!(remedy.suffices(&pinned, Operation::Execute), Some(false));
        assert_eq!(Remedy::UpgradeRunc.suffices(&pinned, Operation::Execute), None);
    }
}
