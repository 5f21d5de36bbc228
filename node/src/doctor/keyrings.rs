//! Whose signatures does the kernel accept?
//!
//! A policy can ask for a signature and cannot say by whom, so every certificate in these keyrings counts for every layer, and
//! those in all but `.dm-verity` for policies as well.

use libverity::certificate::Certificate;
use osguard_policy::kernel_config::KernelConfig;

use super::firmware_keys::trusted_and_revoked;
use super::{Check, Finding, Machine, Unchecked};
use crate::keyring::{ListedKey, is_sealed, keyring_members, listed_keys};

pub(super) const CHECK: Check = Check {
    name: "keyrings",
    title: "The kernel's keyrings hold no key that trusts too much",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let keys = listed_keys().map_err(|error| Unchecked::error(&error))?;
    let mut findings = Vec::new();
    let mut trusted = Vec::new();
    let mut are_seen = false;
    for keyring in KEYRINGS {
        let Some(listed) = find_keyring(&keys, keyring) else { continue };
        are_seen = true;
        let members = keyring_members(listed.serial)
            .map_err(|error| Unchecked::because(format_args!("the keyring {keyring}: {error}")))?;
        // Keyrings are linked into one another; their keys count where they are.
        let members =
            keys.iter().filter(|key| members.contains(&key.serial) && key.key_type != "keyring");
        trusted.extend(members.map(|key| (keyring, key)));
        if keyring == DM_VERITY {
            let is_sealed = is_sealed(listed.serial).map_err(|error| {
                Unchecked::because(format_args!("the keyring {keyring}: {error}"))
            })?;
            findings.extend(unsealed(is_sealed));
        }
    }
    if !are_seen {
        return Err(Unchecked::because("the kernel's keyrings are seen by the host's root only"));
    }
    if trusted.is_empty() {
        findings.push(Finding::warning(
            "the kernel trusts no certificate: nothing signed can be mounted, and no policy be loaded",
            "`osguard key generate --help` tells how it comes to trust one",
        ));
    }
    let (local, kept) = local_keys(machine);
    findings.extend(kept);
    let expected: Option<Vec<String>> = machine
        .expected()
        .map(|certificates| certificates.iter().map(Certificate::kernel_identifier).collect());
    let judged = trusted
        .iter()
        .filter_map(|(keyring, key)| judge(keyring, key, &local, expected.as_deref()));
    findings.extend(judged);
    findings.extend(trusted_and_revoked(machine));
    Ok(findings)
}

fn unsealed(is_sealed: bool) -> Option<Finding> {
    (!is_sealed).then(|| {
        Finding::critical(
            "the keyring .dm-verity is not sealed: root can add a certificate, seal it, and sign any layer",
            "add the certificates that you want and seal it (`keyctl restrict_keyring %keyring:.dm-verity`); boot \
             without dm_verity.keyring_unsealed=1 if nobody uses it",
        )
    })
}

/// Judges one certificate by those whose private keys lie here, and by those that are expected, if anybody says so.
fn judge(
    keyring: &str,
    key: &ListedKey,
    local: &[String],
    expected: Option<&[String]>,
) -> Option<Finding> {
    // `SUBJECT: KEY IDENTIFIER: X509.rsa …`
    let mut parts = key.description.splitn(3, ": ");
    let (subject, identifier) = (parts.next()?, parts.next().unwrap_or_default());
    let shown = format!("{:?} ({identifier}) in {keyring}", subject);
    let both = if keyring == DM_VERITY { "layer" } else { "layer and policy" };
    if local.iter().any(|own| own == identifier) {
        return Some(Finding::critical(
            format!(
                "the private key of {shown} lies on this machine: its root can sign any {both}"
            ),
            "take the private key away, or enrol another certificate whose key is elsewhere",
        ));
    }
    if let Some(expected) = expected {
        return (!expected.iter().any(|one| one == identifier)).then(|| {
            Finding::warning(
                format!("the kernel trusts {shown}, which is not expected: whoever has its key can sign any {both}"),
                "take it out of the keyring, or name it with --trust as well",
            )
        });
    }
    let is_vendor = VENDORS.iter().any(|vendor| subject.contains(vendor));
    is_vendor.then(|| {
        Finding::warning(
            format!("the kernel trusts {shown}: whoever has its key can sign any {both}"),
            "take it out of UEFI db if nothing has to boot with it, or use a kernel of 7.0 or newer without \
             CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG_PLATFORM_KEYRING",
        )
    })
}

/// Returns the identifiers of the certificates whose private keys lie on this machine, and what is to be said of keys whose
/// certificates cannot be read.
fn local_keys(machine: &Machine) -> (Vec<String>, Vec<Finding>) {
    let (mut identifiers, mut findings) = (Vec::new(), Vec::new());
    for (private_key, certificate) in LOCAL_KEYS {
        if !machine.path(private_key).exists() {
            continue;
        }
        let read = std::fs::read(machine.path(certificate)).ok();
        match read.and_then(|bytes| Certificate::from_file_contents(&bytes).ok()) {
            Some(certificate) => identifiers.push(certificate.kernel_identifier()),
            None => findings.push(Finding::warning(
                format!("a private key for kernel modules lies on this machine: {private_key}"),
                "if its certificate is enrolled (`mokutil --list-enrolled`), root can sign any layer and policy",
            )),
        }
    }
    (identifiers, findings)
}

/// Finds a keyring by its description, `.platform: 5`.
pub(crate) fn find_keyring<'a>(keys: &'a [ListedKey], name: &str) -> Option<&'a ListedKey> {
    keys.iter()
        .find(|key| key.key_type == "keyring" && key.description.split(": ").next() == Some(name))
}

/// Returns the keyrings that count for volumes on a kernel that was built so; none where it verifies no signatures. Of
/// `.dm-verity` that holds once it is sealed.
///
/// Source: `drivers/md/dm-verity-verify-sig.c`, `verity_verify_root_hash`.
pub(crate) fn volume_keyrings(config: &KernelConfig) -> Vec<&'static str> {
    let option =
        |suffix: &str| config.is_set(&format!("CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG{suffix}"));
    let [builtin, secondary, machine, platform, own] = KEYRINGS;
    if !option("") {
        return Vec::new();
    }
    let mut counting = vec![builtin];
    if option("_SECONDARY_KEYRING") {
        counting.extend([secondary, machine]);
    }
    if option("_PLATFORM_KEYRING") {
        counting.push(platform);
    }
    counting.push(own);
    counting
}

pub(crate) const DM_VERITY: &str = ".dm-verity";

/// The keyrings that count for volumes; all but the last count for policies (`drivers/md/dm-verity-verify-sig.c`,
/// `security/ipe/policy.c`).
const KEYRINGS: [&str; 5] =
    [".builtin_trusted_keys", ".secondary_trusted_keys", ".machine", ".platform", DM_VERITY];

/// Words in the names of certificates that come with the hardware, for other purposes.
const VENDORS: [&str; 12] = [
    "Microsoft",
    "Windows",
    "ASUS",
    "Dell",
    "Fujitsu",
    "Gigabyte",
    "HP Inc",
    "Hewlett",
    "Insyde",
    "Lenovo",
    "Samsung",
    "Supermicro",
];

/// Where machines keep keys to sign their own kernel modules with, and the certificates.
const LOCAL_KEYS: [(&str, &str); 4] = [
    ("/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.der"),
    ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub"),
    ("/etc/pki/akmods/private/private_key.priv", "/etc/pki/akmods/certs/public_key.der"),
    ("/root/.mok/client.priv", "/root/.mok/client.der"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::machine::tests::write;

    fn key(description: &str) -> ListedKey {
        ListedKey {
            serial: 1,
            key_type: "asymmetri".to_owned(),
            description: description.to_owned(),
        }
    }

    #[test]
    fn keys_that_lie_here_and_those_of_vendors_are_found() {
        let local = ["8a3f".to_owned()];
        let own = judge(".platform", &key("lab: 8a3f: X509.rsa 8a []"), &local, None).unwrap();
        assert_eq!(own.severity, Severity::Critical);
        let vendor = key("Microsoft Corporation UEFI CA 2011: 13adbf: X509.rsa bf []");
        let severity = |expected: Option<&[String]>| {
            judge(".platform", &vendor, &local, expected).map(|finding| finding.severity)
        };
        assert_eq!(severity(None), Some(Severity::Warning));
        assert_eq!(severity(Some(&["13adbf".to_owned()])), None);
        let other = key("lab: 77: X509.rsa 77 []");
        assert_eq!(judge(".platform", &other, &local, None), None);
        let unexpected = judge(".platform", &other, &local, Some(&[])).unwrap();
        assert_eq!(unexpected.severity, Severity::Warning);
    }

    #[test]
    fn the_kernels_options_say_which_keyrings_count() {
        let counting = |options: &str| {
            volume_keyrings(&KernelConfig::read(options.as_bytes()).unwrap()).join(" ")
        };
        let sig = "CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG";
        assert_eq!(counting("CONFIG_NET=y\n"), "");
        assert_eq!(counting(&format!("{sig}=y\n")), ".builtin_trusted_keys .dm-verity");
        assert_eq!(
            counting(&format!("{sig}=y\n{sig}_SECONDARY_KEYRING=y\n{sig}_PLATFORM_KEYRING=y\n")),
            KEYRINGS.join(" ")
        );
    }

    #[test]
    fn an_unsealed_keyring_is_critical() {
        assert_eq!(unsealed(true), None);
        assert_eq!(unsealed(false).unwrap().severity, Severity::Critical);
    }

    #[test]
    fn private_keys_are_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert_eq!(local_keys(&machine), (Vec::new(), Vec::new()));
        write(root.path(), "/var/lib/dkms/mok.key", "x");
        let (identifiers, findings) = local_keys(&machine);
        assert_eq!((identifiers.len(), findings.len()), (0, 1));
        let certificate = include_bytes!("../../../testdata/keys/alice.crt");
        std::fs::write(root.path().join("var/lib/dkms/mok.pub"), certificate).unwrap();
        assert_eq!(local_keys(&machine).0.len(), 1);
    }
}
