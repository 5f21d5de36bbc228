//! The policy that systemd loads when the machine starts (`src/core/ipe-setup.c` of systemd 257).
//!
//! Process 1 loads every `*.p7b` in four directories, takes the name of the file for the name of the policy, and makes each
//! active in the order of the names. **Whatever fails there freezes the machine before anything else has started.** So exactly
//! one file is installed, after the running kernel has taken the very same bytes, and only where nothing is in the way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use osguard_policy::blob::SignedPolicy;
use osguard_policy::initramfs::{PackedPolicy, packed_policies};
use osguard_policy::version::PolicyVersion;

use crate::probe::kernel_release;

/// Is what systemd would load when the machine starts.
#[derive(Clone, Debug)]
pub struct BootPolicies {
    root: PathBuf,
    /// By file name, which is the order in which they are loaded.
    files: BTreeMap<String, BootFile>,
    /// What the initramfs of the running kernel has of its own.
    packed: Vec<PackedPolicy>,
}

/// Is a file that systemd would load.
#[derive(Clone, Debug)]
pub struct BootFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The policy in it; none where there is none.
    pub policy: Option<SignedPolicy>,
}

/// Is what would freeze the machine at its next start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootHazard {
    /// Another file is loaded as well, and activated before or after.
    #[error(
        "systemd loads {path} as well, and freezes where one policy cannot follow upon the other; one file is enough",
        path = path.display()
    )]
    Another {
        /// The other file.
        path: PathBuf,
    },
    /// A policy of this name is built into the kernel.
    #[error(
        "the kernel has a policy {name} {built_in} of its own, after which it does not take {version}"
    )]
    BuiltIn {
        /// The name of both.
        name: String,
        /// The version of the built-in policy.
        built_in: PolicyVersion,
        /// The version of the file's.
        version: PolicyVersion,
    },
    /// The initramfs loads the same policy before.
    #[error(
        "the initramfs has {path} in version {packed}, after which the kernel does not take {version}; leave it out there, or raise the version",
        path = path.display()
    )]
    InInitramfs {
        /// The file in the initramfs.
        path: PathBuf,
        /// Its version.
        packed: PolicyVersion,
        /// The version of the file's policy.
        version: PolicyVersion,
    },
    /// The file is not named after its policy.
    #[error("{path} holds the policy {name}, after which the file must be named", path = path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name of the policy.
        name: String,
    },
    /// The file is no signed policy.
    #[error("{path} is no signed policy", path = path.display())]
    NoPolicy {
        /// The file.
        path: PathBuf,
    },
}

impl BootPolicies {
    /// Reads what systemd would load below `root`; of two files of the same name the first in the order of the directories
    /// counts, and an empty one or a link to `/dev/null` hides the others.
    ///
    /// # Errors
    ///
    /// Fails where a directory or a file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for directory in DIRECTORIES {
            let directory = root.join(directory);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                // Names with a dot in front are passed over, such as those of files half written.
                if !name.ends_with(ENDING) || name.starts_with('.') || files.contains_key(&name) {
                    continue;
                }
                files.insert(name, read_file(&entry.path())?);
            }
        }
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file?))).collect();
        // Where systemd does not run, nobody loads what is packed; and looking takes as long as unpacking all of it.
        let packed = match root.join("run/systemd/system").is_dir() {
            true => initramfs_policies(root),
            false => Vec::new(),
        };
        Ok(Self { root: root.to_owned(), files, packed })
    }

    /// Lists what is loaded, in order.
    pub fn files(&self) -> impl Iterator<Item = &BootFile> {
        self.files.values()
    }

    /// Lists what would freeze the machine, as things are.
    pub fn hazards(&self, built_in: Option<(&str, PolicyVersion)>) -> Vec<BootHazard> {
        self.hazards_of(self.files.values(), built_in)
    }

    /// Lists what would freeze the machine once `policy` is installed.
    pub fn hazards_with(
        &self,
        policy: &SignedPolicy,
        built_in: Option<(&str, PolicyVersion)>,
    ) -> Vec<BootHazard> {
        let path = self.path_of(policy);
        let name = path.file_name().unwrap_or_default();
        let others = self.files.iter().filter(|(other, _)| name != other.as_str());
        let ours = BootFile { path: path.clone(), policy: Some(policy.clone()) };
        self.hazards_of(others.map(|(_, file)| file).chain([&ours]), built_in)
    }

    /// Writes the policy to where systemd loads it; returns the file. It appears as a whole, or not at all.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be written; what was there before is there still.
    pub fn install(&self, policy: &SignedPolicy) -> io::Result<PathBuf> {
        let path = self.path_of(policy);
        let directory = self.root.join(DIRECTORIES[0]);
        fs::create_dir_all(&directory)?;
        let beside = directory.join(format!(".{}.partial", policy.header().name));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(policy.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&directory)?.sync_all()
        });
        if written.is_err() {
            // A leftover is overwritten by the next attempt.
            let _ = fs::remove_file(&beside);
        }
        written.map(|()| path)
    }

    fn path_of(&self, policy: &SignedPolicy) -> PathBuf {
        self.root.join(DIRECTORIES[0]).join(format!("{}{ENDING}", policy.header().name))
    }

    fn hazards_of<'a>(
        &'a self,
        files: impl Iterator<Item = &'a BootFile>,
        built_in: Option<(&str, PolicyVersion)>,
    ) -> Vec<BootHazard> {
        let files: Vec<_> = files.collect();
        let mut hazards = Vec::new();
        let last = files.last().map(|file| &file.path);
        for file in &files {
            let path = file.path.clone();
            if Some(&path) != last {
                hazards.push(BootHazard::Another { path: path.clone() });
            }
            let Some(policy) = &file.policy else {
                hazards.push(BootHazard::NoPolicy { path });
                continue;
            };
            let header = policy.header();
            let (name, version) = (header.name.to_string(), header.version);
            if path.file_stem().is_none_or(|stem| stem != name.as_str()) {
                hazards.push(BootHazard::Name { path: path.clone(), name: name.clone() });
            }
            for packed in
                self.packed.iter().filter(|packed| packed.name == name && packed.version >= version)
            {
                let (path, packed) = (packed.path.clone(), packed.version);
                hazards.push(BootHazard::InInitramfs { path, packed, version });
            }
            if let Some((_, built_in)) =
                built_in.filter(|built_in| built_in.0 == name && built_in.1 >= version)
            {
                hazards.push(BootHazard::BuiltIn { name, built_in, version });
            }
        }
        hazards
    }
}

/// Tells whether systemd has started this machine (`sd_booted(3)`).
pub fn is_started_by_systemd() -> bool {
    fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}

/// Reads the initramfs of the running kernel; none where it is not in one of the usual places.
fn initramfs_policies(root: &Path) -> Vec<PackedPolicy> {
    let release = kernel_release();
    let files = [
        format!("boot/initrd.img-{release}"),
        format!("boot/initramfs-{release}.img"),
        format!("usr/lib/modules/{release}/initrd"),
    ];
    let files = files.iter().filter_map(|file| File::open(root.join(file)).ok());
    files.flat_map(|file| packed_policies(io::BufReader::with_capacity(1 << 16, file))).collect()
}

/// Reads a file; `None` for one that only hides others.
fn read_file(path: &Path) -> io::Result<Option<BootFile>> {
    let is_hiding = fs::metadata(path).is_ok_and(|found| !found.is_file() || found.len() == 0);
    if is_hiding {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(BootFile { path: path.to_owned(), policy: SignedPolicy::read(bytes).ok() }))
}

/// From the one that counts most to the one that counts least (`CONF_PATHS`).
const DIRECTORIES: [&str; 4] = ["etc/ipe", "run/ipe", "usr/local/lib/ipe", "usr/lib/ipe"];
const ENDING: &str = ".p7b";
/// The kernel takes 65,535 bytes; a longer file is no policy.
const LIMIT_BYTES: u64 = 1 << 17;

#[cfg(test)]
mod tests {
    use osguard_testkit::pki::Signer;
    use osguard_testkit::{Result, or_skip};

    use super::*;

    fn signed(signer: &Signer, name: &str, version: &str) -> SignedPolicy {
        let text = format!("policy_name={name} policy_version={version}\nDEFAULT action=ALLOW\n");
        SignedPolicy::read(signer.sign_policy(&text).unwrap()).unwrap()
    }

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn messages(hazards: &[BootHazard]) -> Vec<String> {
        hazards.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policy_is_installed_once_and_as_a_whole() {
        let Some(signer): Option<Signer> = or_skip(Signer::generate("boot test")) else { return };
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["1.0.0", "1.0.1"].map(|version| signed(&signer, "node", version));
        put(root.path(), "etc/ipe/.node.partial", b"what a killed process has left");
        for policy in [&first, &second] {
            let boot = BootPolicies::read(root.path()).unwrap();
            assert_eq!(boot.hazards_with(policy, None), []);
            let path = boot.install(policy).unwrap();
            assert_eq!(path, root.path().join("etc/ipe/node.p7b"));
            assert_eq!(fs::read(path).unwrap(), policy.as_bytes());
        }
        let boot = BootPolicies::read(root.path()).unwrap();
        assert_eq!(boot.files().count(), 1);
        assert_eq!(fs::read_dir(root.path().join("etc/ipe")).unwrap().count(), 1);
    }

    #[test]
    fn all_that_freezes_systemd_is_found() -> Result<()> {
        let Some(signer): Option<Signer> = or_skip(Signer::generate("boot test")) else {
            return Ok(());
        };
        let root = tempfile::tempdir().unwrap();
        let policy = signed(&signer, "node", "1.0.5");
        let other = signed(&signer, "other", "1.0.0");
        put(root.path(), "usr/lib/ipe/wrong.p7b", other.as_bytes());
        put(root.path(), "run/ipe/text.p7b", b"policy_name=text");
        put(root.path(), "usr/lib/ipe/hidden.p7b", other.as_bytes());
        put(root.path(), "etc/ipe/hidden.p7b", b"");
        let boot = BootPolicies::read(root.path()).unwrap();
        let found = boot.hazards_with(&policy, Some(("node", PolicyVersion::new(1, 0, 5))));
        let found = messages(&found);
        for words in [
            "systemd loads",
            "text.p7b is no signed policy",
            "wrong.p7b holds the policy other",
            "the kernel has a policy node 1.0.5 of its own",
        ] {
            assert!(found.iter().any(|message| message.contains(words)), "{words}: {found:?}");
        }
        assert!(!found.iter().any(|message| message.contains("hidden")), "{found:?}");
        Ok(())
    }

    #[test]
    fn built_in_and_packed_policies_have_to_be_older() {
        let Some(signer): Option<Signer> = or_skip(Signer::generate("boot test")) else { return };
        let root = tempfile::tempdir().unwrap();
        let mut boot = BootPolicies::read(root.path()).unwrap();
        let path: PathBuf = "etc/ipe/node.p7b".into();
        boot.packed = vec![PackedPolicy {
            path,
            name: "node".to_owned(),
            version: PolicyVersion::new(1, 0, 5),
        }];
        let hazards = |version, built_in| {
            let policy = signed(&signer, "node", version);
            boot.hazards_with(&policy, Some(("node", built_in))).len()
        };
        assert_eq!(hazards("1.0.5", PolicyVersion::new(1, 0, 4)), 1);
        assert_eq!(hazards("1.0.6", PolicyVersion::new(1, 0, 5)), 0);
        assert_eq!(hazards("1.0.6", PolicyVersion::new(1, 0, 6)), 1);
    }
}
