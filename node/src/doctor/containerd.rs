//! Does containerd hand every layer to osguard, on every way that an image can take?
//!
//! There are three ways to unpack, and each is configured elsewhere: the transfer service (2.x), the diff service (1.7,
//! `ctr --local`, and a CRI that falls back to pulling by itself), and the snapshotter that pods are told to use.

use std::collections::BTreeSet;

use toml::Value;

use super::containerd_config::{CRI_IMAGES, CRI_OF_1_7, ContainerdConfig};
use super::{Check, Finding, Machine, Unchecked};

pub(super) const CHECK: Check =
    Check { name: "containerd", title: "containerd hands every layer to osguard", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    Ok(ContainerdConfig::all(machine)?.iter().flat_map(judge).collect())
}

/// Lists where containerd looks for osguard.
pub(crate) fn addresses(machine: &Machine) -> Result<BTreeSet<String>, Unchecked> {
    let mut addresses = BTreeSet::new();
    for config in ContainerdConfig::all(machine)? {
        for types in [SNAPSHOT, DIFF] {
            let name = proxy(&config, &types);
            let address = name.and_then(|name| config.text(&["proxy_plugins", name, "address"]));
            addresses.extend(address.map(str::to_owned));
        }
    }
    Ok(addresses)
}

fn judge(config: &ContainerdConfig) -> Vec<Finding> {
    let file = config.file.display();
    let Some(snapshotter) = proxy(config, &SNAPSHOT) else {
        return vec![Finding::note(
            format!(
                "{file} names no snapshotter of osguard: images are unpacked as ever, and mounted without signatures"
            ),
            "deploy/containerd has the lines for each version of containerd",
        )];
    };
    let mut findings = Vec::new();
    match proxy(config, &DIFF) {
        None => findings.push(Finding::warning(
            format!("{file} names osguard as a snapshotter and not as a differ: no layer can be unpacked"),
            "add the second entry below [proxy_plugins], with type = \"diff\" and the same address",
        )),
        Some(differ) => {
            findings.extend(diff_service(config, differ));
            findings.extend(transfer_service(config, snapshotter, differ));
        }
    }
    findings.extend(pods(config, snapshotter));
    findings.extend(runtimes(config, snapshotter));
    if config.version() >= 3 {
        findings.extend(local_pulls(config));
    }
    if config.text(&["proxy_plugins", snapshotter, "exports", "root"]).is_none() {
        findings.push(Finding::note(
            format!("{file} does not tell where osguard keeps layers, so that kubelet measures another file system"),
            format!("add root = \"/var/lib/osguard\" to [proxy_plugins.{snapshotter}.exports]"),
        ));
    }
    findings
}

/// Returns the name under which osguard is plugged in as one of these types.
fn proxy<'a>(config: &'a ContainerdConfig, types: &[&str]) -> Option<&'a str> {
    let is_ours =
        |name: &str, address: &str| [name, address].iter().any(|text| text.contains("osguard"));
    let mut proxies = config.tables(&["proxy_plugins"]);
    let found = proxies.find(|(name, proxy)| {
        let text = |key: &str| proxy.get(key).and_then(Value::as_str).unwrap_or_default();
        types.contains(&text("type")) && is_ours(name, text("address"))
    });
    found.map(|(name, _)| name)
}

fn diff_service(config: &ContainerdConfig, differ: &str) -> Option<Finding> {
    let order = config.at(&["plugins", DIFF_SERVICE, "default"]);
    let order = order.and_then(Value::as_array).into_iter().flatten();
    let first = order.filter_map(Value::as_str).next().unwrap_or("walking");
    (first != differ).then(|| {
        Finding::warning(
            format!(
                "{}: the diff service asks {first} before {differ}, so that images cannot be unpacked by `ctr --local`, by \
                 containerd 1.7, and wherever pods pull without the transfer service",
                config.file.display()
            ),
            format!("write default = [\"{differ}\"] below [plugins.\"{DIFF_SERVICE}\"]"),
        )
    })
}

fn transfer_service(config: &ContainerdConfig, snapshotter: &str, differ: &str) -> Option<Finding> {
    let entries = config.at(&["plugins", TRANSFER, "unpack_config"]).and_then(Value::as_array);
    let mut entries = entries.into_iter().flatten();
    let text = |entry: &Value, key: &str| {
        entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let ours = entries.find(|entry| text(entry, "snapshotter") == snapshotter);
    let file = config.file.display();
    let lines = format!(
        "write [[plugins.\"{TRANSFER}\".unpack_config]] with platform, snapshotter = \"{snapshotter}\" and differ = \
         \"{differ}\", and a second one for overlayfs: the list replaces what containerd has built in"
    );
    match ours {
        // 1.7 pulls by its transfer service only if it is asked to.
        None if config.version() < 3 => None,
        None => Some(Finding::warning(
            format!(
                "{file}: the transfer service cannot unpack for {snapshotter}: no image can be pulled"
            ),
            lines,
        )),
        Some(entry) if text(entry, "differ") != differ => Some(Finding::warning(
            format!(
                "{file}: the transfer service unpacks for {snapshotter} with {:?}, and osguard refuses what comes of it",
                text(entry, "differ")
            ),
            lines,
        )),
        Some(_) => None,
    }
}

/// Looks at the snapshotter of pods. A file in version 2 that 2.x imports loses this line without a word.
fn pods(config: &ContainerdConfig, snapshotter: &str) -> Option<Finding> {
    let (path, section) = match config.version() {
        ..3 => (
            ["plugins", CRI_OF_1_7, "containerd", "snapshotter"].to_vec(),
            format!("[plugins.\"{CRI_OF_1_7}\".containerd]"),
        ),
        3.. => (
            ["plugins", CRI_IMAGES, "snapshotter"].to_vec(),
            format!("[plugins.'{CRI_IMAGES}'], in a file that says version = 3"),
        ),
    };
    let used = config.text(&path).unwrap_or("overlayfs");
    (used != snapshotter).then(|| {
        Finding::warning(
            format!(
                "{}: pods run on the snapshotter {used}: what is in their images is not verified, and does not run under \
                 a policy",
                config.file.display()
            ),
            format!("write snapshotter = \"{snapshotter}\" below {section}; drain the node first"),
        )
    })
}

fn runtimes<'a>(
    config: &'a ContainerdConfig,
    snapshotter: &'a str,
) -> impl Iterator<Item = Finding> + 'a {
    config.runtimes().filter_map(move |(name, runtime)| {
        let own = runtime.get("snapshotter")?.as_str()?;
        (!own.is_empty() && own != snapshotter).then(|| {
            Finding::warning(
                format!(
                    "{}: pods of the runtime class {name} run on the snapshotter {own}",
                    config.file.display()
                ),
                format!("leave snapshotter out of the runtime {name}"),
            )
        })
    })
}

/// Finds what makes pods of containerd 2.1 and newer pull without the transfer service (`internal/cri/config`,
/// `CheckLocalImagePullConfigs`): image verifiers are skipped then, and only containerd's log says so.
fn local_pulls(config: &ContainerdConfig) -> Option<Finding> {
    let at = |keys: &[&str]| config.at(&[&["plugins", CRI_IMAGES], keys].concat());
    let is = |key: &str, wanted: bool| at(&[key]).and_then(Value::as_bool) == Some(wanted);
    let has_entries = |key: &str| {
        at(&["registry", key]).and_then(Value::as_table).is_some_and(|table| !table.is_empty())
    };
    let downloads = at(&["max_concurrent_downloads"]).and_then(Value::as_integer);
    let reasons: Vec<&str> = [
        ("use_local_image_pull = true", is("use_local_image_pull", true)),
        ("disable_snapshot_annotations = false", is("disable_snapshot_annotations", false)),
        ("discard_unpacked_layers = true", is("discard_unpacked_layers", true)),
        ("image_pull_with_sync_fs = true", is("image_pull_with_sync_fs", true)),
        ("max_concurrent_downloads", downloads.is_some_and(|number| number != DEFAULT_DOWNLOADS)),
        ("registry.mirrors", has_entries("mirrors")),
        ("registry.configs", has_entries("configs")),
        ("registry.auths", has_entries("auths")),
    ]
    .into_iter()
    .filter_map(|(setting, is_set)| is_set.then_some(setting))
    .collect();
    (!reasons.is_empty()).then(|| {
        Finding::warning(
            format!(
                "{}: because of {}, pods pull without the transfer service: containerd's image verifiers are not asked, and \
                 the diff service chooses who unpacks",
                config.file.display(),
                reasons.join(", ")
            ),
            "leave these out; mirrors and credentials belong into config_path, max_concurrent_downloads below \
             [plugins.'io.containerd.transfer.v1.local']",
        )
    })
}

const SNAPSHOT: [&str; 2] = ["snapshot", "io.containerd.snapshotter.v1"];
const DIFF: [&str; 2] = ["diff", "io.containerd.differ.v1"];
const DIFF_SERVICE: &str = "io.containerd.service.v1.diff-service";
const TRANSFER: &str = "io.containerd.transfer.v1.local";
const DEFAULT_DOWNLOADS: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const PROXIES: &str = "[proxy_plugins.osguard]\ntype = 'snapshot'\naddress = '/run/osguard/c.sock'\n\
        [proxy_plugins.osguard.exports]\nroot = '/var/lib/osguard'\n\
        [proxy_plugins.osguard-diff]\ntype = 'diff'\naddress = '/run/osguard/c.sock'\n";
    const DIFFER: &str =
        "[plugins.'io.containerd.service.v1.diff-service']\ndefault = ['osguard-diff']\n";
    const UNPACK: &str = "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n\
        snapshotter = 'osguard'\ndiffer = 'osguard-diff'\n";
    const IMAGES: &str = "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'osguard'\n\
        disable_snapshot_annotations = true\nmax_concurrent_downloads = 3\n";

    fn found(parts: &[&str]) -> Vec<String> {
        let config = ContainerdConfig::parse("c.toml".as_ref(), &parts.concat()).unwrap();
        judge(&config).into_iter().map(|finding| finding.what).collect()
    }

    #[track_caller]
    fn finds(parts: &[&str], text: &str) {
        let found = found(parts);
        assert!(found.len() == 1 && found[0].contains(text), "{found:?}");
    }

    #[test]
    fn what_is_wired_passes() {
        assert_eq!(found(&["version = 3\n", PROXIES, DIFFER, UNPACK, IMAGES]), [""; 0]);
        let pods = "[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'osguard'\n";
        assert_eq!(found(&["version = 2\n", PROXIES, DIFFER, pods]), [""; 0]);
        finds(&["version = 3\n"], "names no snapshotter of osguard");
    }

    #[test]
    fn each_missing_line_is_found() {
        let version = "version = 3\n";
        finds(&[version, PROXIES, UNPACK, IMAGES], "asks walking before osguard-diff");
        finds(&[version, PROXIES, DIFFER, IMAGES], "cannot unpack for osguard");
        finds(&[version, PROXIES, DIFFER, UNPACK], "pods run on the snapshotter overlayfs");
        let other = UNPACK.replace("osguard-diff", "walking");
        finds(&[version, PROXIES, DIFFER, &other, IMAGES], "with \"walking\"");
        let differ = PROXIES.find("[proxy_plugins.osguard-diff]").unwrap();
        finds(&[version, &PROXIES[..differ], IMAGES], "not as a differ");
        let rootless = PROXIES.replace("root =", "other =");
        finds(&[version, &rootless, DIFFER, UNPACK, IMAGES], "another file system");
        let kata = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]\nsnapshotter = 'devmapper'\n";
        finds(&[version, PROXIES, DIFFER, UNPACK, IMAGES, kata], "runtime class kata");
    }

    #[test]
    fn whatever_makes_pods_pull_by_themselves_is_named() {
        for setting in [
            "use_local_image_pull = true\n",
            "discard_unpacked_layers = true\n",
            "image_pull_with_sync_fs = true\n",
            "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\n",
        ] {
            finds(&["version = 3\n", PROXIES, DIFFER, UNPACK, IMAGES, setting], "image verifiers");
        }
        for (is, becomes) in [("annotations = true", "annotations = false"), ("= 3\n", "= 5\n")] {
            let images = IMAGES.replace(is, becomes);
            finds(&["version = 3\n", PROXIES, DIFFER, UNPACK, &images], "image verifiers");
        }
    }
}
