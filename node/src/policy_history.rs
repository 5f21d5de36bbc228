//! The policies that were in force on the node, kept for the way back.
//!
//! ```text
//! /var/lib/osguard/policies/<name>-<version>.p7b
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use osguard_policy::blob::SignedPolicy;

/// Is the directory of former policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHistory {
    directory: PathBuf,
}

impl PolicyHistory {
    /// Names the directory; nothing is made yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Keeps a policy, and forgets all but the [`KEPT`] highest versions of its name.
    ///
    /// # Errors
    ///
    /// Fails where the directory cannot be made or written.
    pub fn keep(&self, policy: &SignedPolicy) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let header = policy.header();
        let path = self.directory.join(format!("{}-{}.p7b", header.name, header.version));
        let beside = path.with_extension("partial");
        let mut file = File::create(&beside)?;
        file.write_all(policy.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        let kept = self.all(header.name.as_str())?;
        for (path, _) in kept.iter().rev().skip(KEPT) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Lists the policies of a name, the lowest version first.
    ///
    /// # Errors
    ///
    /// Fails where the directory cannot be read; one that does not exist is empty.
    pub fn all(&self, name: &str) -> io::Result<Vec<(PathBuf, SignedPolicy)>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut policies = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "p7b")
                && let Some(policy) = read(&path)?
                && policy.header().name.as_str() == name
            {
                policies.push((path, policy));
            }
        }
        policies.sort_by_key(|(_, policy)| policy.header().version);
        Ok(policies)
    }
}

impl Default for PolicyHistory {
    /// Names `/var/lib/osguard/policies`.
    fn default() -> Self {
        Self::new("/var/lib/osguard/policies")
    }
}

fn read(path: &Path) -> io::Result<Option<SignedPolicy>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(1 << 17).read_to_end(&mut bytes)?;
    Ok(SignedPolicy::read(bytes).ok())
}

/// How many policies of a name are kept: one for each of the last changes, at 64 KiB each.
pub const KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use osguard_testkit::or_skip;
    use osguard_testkit::pki::Signer;

    use super::*;

    #[test]
    fn last_policies_are_kept_by_version() {
        let Some(signer): Option<Signer> = or_skip(Signer::generate("history test")) else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let history = PolicyHistory::new(directory.path().join("policies"));
        assert_eq!(history.all("node").unwrap(), []);
        for revision in 1..=KEPT + 3 {
            let text =
                format!("policy_name=node policy_version=1.0.{revision}\nDEFAULT action=ALLOW\n");
            history.keep(&SignedPolicy::read(signer.sign_policy(&text).unwrap()).unwrap()).unwrap();
        }
        let kept = history.all("node").unwrap();
        let versions: Vec<_> =
            kept.iter().map(|(_, policy)| policy.header().version.revision).collect();
        assert_eq!(versions, [4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(history.all("other").unwrap(), []);
    }
}
