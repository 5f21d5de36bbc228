//! How snapshots are mounted, in containerd's terms: it, or a shim, makes these mounts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use osguard_containerd_api::types::Mount;

/// Holds the directories of mounted layers, the topmost first, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lowers(pub(crate) Vec<PathBuf>);

/// Is the type of the mount that ties a layer which is unpacked to its snapshot. No kernel knows it, so that another differ
/// fails instead of unpacking what nobody verifies.
const UNPACK_TYPE: &str = "x-verity-layer";

/// Returns what containerd hands on to the differ.
pub(super) fn unpack(directory: &Path) -> Vec<Mount> {
    vec![mount(UNPACK_TYPE, directory, Vec::new())]
}

/// Returns the id of the snapshot into which a layer is to be unpacked; `None` where the mounts are not ours.
pub(crate) fn unpack_id(mounts: &[Mount], snapshots: &Path) -> Option<u64> {
    let [mount] = mounts else { return None };
    if mount.r#type != UNPACK_TYPE {
        return None;
    }
    let source = Path::new(&mount.source);
    if source.parent() != Some(snapshots) {
        return None;
    }
    source.file_name()?.to_str()?.parse().ok()
}

/// Returns the mount of a container's file system.
pub(super) fn active(directory: &Path, lowers: &Lowers, map: Option<&IdMap>) -> Vec<Mount> {
    let upper = directory.join("fs");
    if lowers.0.is_empty() {
        return vec![mount("bind", &upper, vec!["rw".to_owned(), "rbind".to_owned()])];
    }
    let mut options = overlay_options(lowers, map);
    options.push(format!("upperdir={}", upper.display()));
    options.push(format!("workdir={}", directory.join("work").display()));
    vec![mount("overlay", Path::new("overlay"), options)]
}

/// Returns the mount of a file system that cannot be written.
pub(super) fn view(empty: &Path, lowers: &Lowers, map: Option<&IdMap>) -> Vec<Mount> {
    match &lowers.0[..] {
        [] => vec![read_only_bind(empty)],
        [only] => vec![read_only_bind(only)],
        _ => vec![mount("overlay", Path::new("overlay"), overlay_options(lowers, map))],
    }
}

fn read_only_bind(source: &Path) -> Mount {
    mount("bind", source, vec!["ro".to_owned(), "rbind".to_owned()])
}

/// Lists the options but for the writable part.
///
/// Without an index, layers can be below many containers. Copying up only metadata and following redirects stay off: with
/// them, attributes of an unverified file, such as a setuid bit, would apply to verified contents
/// (`Documentation/filesystems/overlayfs.rst`, "Metadata only copy up").
fn overlay_options(lowers: &Lowers, map: Option<&IdMap>) -> Vec<String> {
    let lowers: Vec<String> = lowers.0.iter().map(|path| path.display().to_string()).collect();
    let mut options =
        ["index=off", "metacopy=off", "redirect_dir=nofollow"].map(str::to_owned).to_vec();
    if let Some(map) = map {
        options.push(format!("uidmap={}", map.users));
        options.push(format!("gidmap={}", map.groups));
    }
    options.push(format!("lowerdir={}", lowers.join(":")));
    options
}

fn mount(r#type: &str, source: &Path, options: Vec<String>) -> Mount {
    Mount {
        r#type: r#type.to_owned(),
        source: source.display().to_string(),
        target: String::new(),
        options,
    }
}

/// Says which users and groups those of a container's user namespace are: `CONTAINER:HOST:SIZE`, comma-separated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
    users: String,
    groups: String,
    root: (u32, u32),
}

impl IdMap {
    /// Reads the labels `containerd.io/snapshot/uidmapping` and `gidmapping` (`core/snapshots/snapshotter.go`).
    pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Result<Option<Self>, IdMapError> {
        let (users, groups) = match (labels.get(USERS_LABEL), labels.get(GROUPS_LABEL)) {
            (None, None) => return Ok(None),
            (Some(users), Some(groups)) => (users.clone(), groups.clone()),
            (Some(map), None) | (None, Some(map)) => {
                return Err(IdMapError { map: map.clone() });
            }
        };
        let root = (root_of(&users)?, root_of(&groups)?);
        Ok(Some(Self { users, groups, root }))
    }

    /// Returns who the container's root is.
    pub(super) fn root(&self) -> (u32, u32) {
        self.root
    }
}

/// Says that a text maps no users or groups.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{map:?} is no map of users and groups, both of which there must be: CONTAINER:HOST:SIZE, with 0 among the first"
)]
pub(crate) struct IdMapError {
    map: String,
}

fn root_of(map: &str) -> Result<u32, IdMapError> {
    let malformed = || IdMapError { map: map.to_owned() };
    let mut root = None;
    for entry in map.split(',') {
        let numbers: Vec<u32> = entry
            .split(':')
            .map(|number| match number.bytes().all(|byte| byte.is_ascii_digit()) {
                true => number.parse().map_err(|_| malformed()),
                false => Err(malformed()),
            })
            .collect::<Result<_, _>>()?;
        let [container, host, size] = numbers[..] else { return Err(malformed()) };
        if size == 0 || host.checked_add(size).is_none() || container.checked_add(size).is_none() {
            return Err(malformed());
        }
        if container == 0 {
            root = Some(host);
        }
    }
    root.ok_or_else(malformed)
}

const USERS_LABEL: &str = "containerd.io/snapshot/uidmapping";
const GROUPS_LABEL: &str = "containerd.io/snapshot/gidmapping";

#[cfg(test)]
mod tests {
    use super::*;

    fn lowers(names: &[&str]) -> Lowers {
        Lowers(names.iter().map(|name| Path::new("/var/lib/osguard/l").join(name)).collect())
    }

    fn shown(mounts: &[Mount]) -> String {
        let [mount] = mounts else { panic!("{mounts:?}") };
        format!("{} {} {}", mount.r#type, mount.source, mount.options.join(","))
    }

    #[test]
    fn containers_are_overlays_over_their_layers() {
        let directory = Path::new("/var/s/7");
        assert_eq!(
            shown(&active(directory, &lowers(&["2", "1u"]), None)),
            "overlay overlay index=off,metacopy=off,redirect_dir=nofollow,\
             lowerdir=/var/lib/osguard/l/2:/var/lib/osguard/l/1u,upperdir=/var/s/7/fs,workdir=/var/s/7/work"
        );
        assert_eq!(shown(&active(directory, &lowers(&[]), None)), "bind /var/s/7/fs rw,rbind");
    }

    #[test]
    fn views_cannot_be_written() {
        let empty = Path::new("/var/empty");
        assert_eq!(shown(&view(empty, &lowers(&[]), None)), "bind /var/empty ro,rbind");
        assert_eq!(
            shown(&view(empty, &lowers(&["3"]), None)),
            "bind /var/lib/osguard/l/3 ro,rbind"
        );
        let two = view(empty, &lowers(&["4", "3"]), None);
        assert!(shown(&two).ends_with("lowerdir=/var/lib/osguard/l/4:/var/lib/osguard/l/3"));
    }

    #[test]
    fn only_our_own_mounts_lead_to_a_snapshot() {
        let snapshots = Path::new("/var/s");
        let ours = unpack(Path::new("/var/s/7"));
        assert_eq!(unpack_id(&ours, snapshots), Some(7));
        assert_eq!(unpack_id(&[], snapshots), None);
        assert_eq!(unpack_id(&[ours.clone(), ours].concat(), snapshots), None);
        for (r#type, source) in [
            ("bind", "/var/s/7"),
            (UNPACK_TYPE, "/var/t/7"),
            (UNPACK_TYPE, "/var/s/7/fs"),
            (UNPACK_TYPE, "7"),
        ] {
            let foreign = mount(r#type, Path::new(source), Vec::new());
            assert_eq!(unpack_id(&[foreign], snapshots), None);
        }
    }

    #[test]
    fn user_namespaces_are_read_from_both_labels() {
        let labels = |users: Option<&str>, groups: Option<&str>| {
            let labels = [(USERS_LABEL, users), (GROUPS_LABEL, groups)];
            let labels = labels.into_iter().filter_map(|(key, value)| Some((key, value?)));
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        assert_eq!(IdMap::of_labels(&labels(None, None)).unwrap(), None);
        let map = IdMap::of_labels(&labels(Some("0:65536:65536"), Some("0:70000:10,10:5:1")));
        let map = map.unwrap().unwrap();
        assert_eq!(map.root(), (65536, 70000));
        let container = active(Path::new("/var/s/7"), &lowers(&["2"]), Some(&map));
        assert!(shown(&container).contains("uidmap=0:65536:65536,gidmap=0:70000:10,10:5:1"));
        for (users, groups) in [
            (Some("0:1:1"), None),
            (Some("1:1:1"), Some("0:1:1")),
            (Some("0:1"), Some("0:1:1")),
            (Some("0:1:0"), Some("0:1:1")),
            (Some("0:4294967295:2"), Some("0:1:1")),
            (Some("0:1:1,x"), Some("0:1:1")),
            (Some("0:+1:1"), Some("0:1:1")),
        ] {
            IdMap::of_labels(&labels(users, groups)).unwrap_err();
        }
    }
}
