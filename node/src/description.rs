//! What this node says of itself, for whoever sends it images.

use libverity::layer::Profile;
use osguard_policy::node_description::{KernelCertificate, NodeDescription};

use crate::doctor::{DM_VERITY, Machine, Unchecked, find_keyring, volume_keyrings};
use crate::keyring::{ListedKey, is_sealed, keyring_members, listed_keys};
use crate::probe::kernel_release;

/// Describes this machine, whose layers are converted by `profiles`.
///
/// # Errors
///
/// Fails where the keyrings or the configuration of the kernel cannot be read: what is not known is not described.
pub fn describe(
    machine: &Machine,
    name: String,
    profiles: Vec<Profile>,
) -> Result<NodeDescription, Unchecked> {
    let keys = listed_keys().map_err(Unchecked::because)?;
    let mut certificates = Vec::new();
    let mut are_seen = false;
    let counting = volume_keyrings(&machine.kernel_config()?);
    for keyring in &counting {
        let Some(listed) = find_keyring(&keys, keyring) else { continue };
        are_seen = true;
        let unreadable = |error| Unchecked::because(format_args!("the keyring {keyring}: {error}"));
        // The kernel asks it only then.
        if *keyring == DM_VERITY && !is_sealed(listed.serial).map_err(unreadable)? {
            continue;
        }
        let members = keyring_members(listed.serial).map_err(unreadable)?;
        let members = keys.iter().filter(|key| members.contains(&key.serial));
        certificates.extend(members.filter_map(|key| certificate(keyring, key)));
    }
    if !are_seen && !counting.is_empty() {
        return Err(Unchecked::because("the kernel's keyrings are seen by the host's root only"));
    }
    certificates.sort();
    certificates.dedup();
    let (os, architecture) = (std::env::consts::OS, go_name(std::env::consts::ARCH));
    Ok(NodeDescription {
        name,
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        kernel: kernel_release(),
        profiles,
        certificates,
    })
}

/// Reads `SUBJECT: IDENTIFIER: X509.rsa …`, as the kernel describes a certificate; a subject may have colons itself.
fn certificate(keyring: &str, key: &ListedKey) -> Option<KernelCertificate> {
    if key.key_type == "keyring" {
        return None;
    }
    let (rest, _) = key.description.rsplit_once(": X509.")?;
    let (subject, identifier) = rest.rsplit_once(": ")?;
    let is_hex = !identifier.is_empty() && identifier.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| KernelCertificate {
        identifier: identifier.to_owned(),
        subject: subject.to_owned(),
        keyring: keyring.to_owned(),
    })
}

/// Returns Go's name of an architecture, which images and Kubernetes have.
fn go_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_as_the_kernel_describes_them() {
        let of = |description: &str| {
            let key_type = "asymmetri".to_owned();
            let key = ListedKey { serial: 1, key_type, description: description.to_owned() };
            certificate(".platform", &key).map(|found| (found.subject, found.identifier))
        };
        let both =
            |subject: &str, identifier: &str| Some((subject.to_owned(), identifier.to_owned()));
        assert_eq!(of("lab: 8a3f: X509.rsa 8a3f []"), both("lab", "8a3f"));
        // Whoever makes a certificate chooses its subject.
        assert_eq!(of("a: 77: X509.rsa: 8a3f: X509.ecdsa 3f []"), both("a: 77: X509.rsa", "8a3f"));
        assert_eq!(of("8a3f"), None);
        assert_eq!(of("lab: nothing: X509.rsa []"), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_described() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert!(describe(&machine, "a".to_owned(), Vec::new()).is_err());
    }
}
