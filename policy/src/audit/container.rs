//! Containers, as the paths of their control groups tell them.

use std::fmt;

/// Names a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// What runs it, in the words of its control group: `cri-containerd`, `docker`, `crio`, `libpod`; none where
    /// the path does not say.
    pub runtime: Option<String>,
    /// The identifier: 64 hexadecimal digits, or the name that somebody gave to a container of containerd.
    pub id: String,
    /// The UID of the pod, for one of Kubernetes.
    pub pod: Option<String>,
}

impl ContainerId {
    /// Reads the path of a control group; none where it is that of no container.
    ///
    /// | driver | path |
    /// |---|---|
    /// | systemd | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID>.slice/cri-containerd-<ID>.scope` |
    /// | cgroupfs | `/kubepods/burstable/pod<UID>/<ID>` |
    /// | containerd | `/system.slice/…:cri-containerd:<ID>` |
    /// | Docker | `/system.slice/docker-<ID>.scope`, `/docker/<ID>` |
    /// | Podman | `/machine.slice/libpod-<ID>.scope/container` |
    pub fn of_cgroup(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.split('/').collect();
        // The innermost counts: containers are run in containers.
        let (position, (runtime, id)) = parts
            .iter()
            .enumerate()
            .rev()
            .find_map(|(position, part)| Some((position, split_identifier(part)?)))?;
        let runtime = match runtime {
            // What Docker makes itself has its name one level above.
            "" => parts[..position].last().copied().filter(|part| *part == "docker"),
            runtime => Some(runtime),
        };
        Some(Self {
            runtime: runtime.map(str::to_owned),
            id: id.to_owned(),
            pod: parts[..position].iter().rev().find_map(|part| pod(part)),
        })
    }

    /// Returns the identifier as people are used to see it: its first 12 digits, or the whole name.
    pub fn short(&self) -> &str {
        self.id.get(..12).filter(|_| is_identifier(&self.id)).unwrap_or(&self.id)
    }

    /// Reads the root directory of a container, as containerd and CRI-O mount it; none where it is none.
    ///
    /// Such are `/run/containerd/io.containerd.runtime.v2.task/<NAMESPACE>/<ID>/rootfs` and
    /// `/var/lib/containers/storage/overlay-containers/<ID>/userdata/…`. Clients of containerd other than Kubernetes
    /// choose the identifier.
    pub fn of_root_directory(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let id = match parts.find(|part| [CONTAINERD_TASKS, CRI_O_CONTAINERS].contains(part))? {
            CONTAINERD_TASKS => parts.nth(1).filter(|_| parts.next() == Some("rootfs"))?,
            _ => parts.next().filter(|id| is_identifier(id))?,
        };
        let is_name = !id.is_empty() && id.len() <= CONTAINERD_ID_LIMIT_BYTES;
        is_name.then(|| Self { runtime: None, id: id.to_owned(), pod: None })
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)
    }
}

/// Splits `cri-containerd-<ID>.scope` and its like.
fn split_identifier(part: &str) -> Option<(&str, &str)> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let at = name.len().checked_sub(ID_DIGITS)?;
    let (runtime, id) = (name.get(..at)?, name.get(at..)?);
    if !is_identifier(id) {
        return None;
    }
    let runtime = runtime.strip_suffix(['-', ':']).unwrap_or(runtime);
    // The monitor beside the container is none.
    if runtime.ends_with("conmon") {
        return None;
    }
    Some((runtime.rsplit(':').next().unwrap_or(runtime), id))
}

fn is_identifier(text: &str) -> bool {
    text.len() == ID_DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Reads the UID out of `kubepods-burstable-pod<UID>.slice` or `pod<UID>`.
fn pod(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = name.rsplit_once("-pod").map(|(_, uid)| uid).or_else(|| name.strip_prefix("pod"))?;
    let uid = uid.replace('_', "-");
    let is_uid =
        uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

const ID_DIGITS: usize = 64;

/// The longest identifier of containerd (`pkg/identifiers/validate.go`).
const CONTAINERD_ID_LIMIT_BYTES: usize = 76;

const CONTAINERD_TASKS: &str = "io.containerd.runtime.v2.task";
const CRI_O_CONTAINERS: &str = "overlay-containers";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "c0ffee00-1234-4321-abcd-0123456789ab";
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        for (path, runtime, pod) in [
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{id}.scope"
                ),
                Some("cri-containerd"),
                Some(uid),
            ),
            (format!("/kubepods.slice/{slice}/crio-{id}.scope/container"), Some("crio"), Some(uid)),
            (format!("/kubepods/burstable/pod{uid}/{id}"), None, Some(uid)),
            (
                format!("/system.slice/containerd.service/{slice}:cri-containerd:{id}"),
                Some("cri-containerd"),
                None,
            ),
            (format!("/system.slice/docker-{id}.scope"), Some("docker"), None),
            (format!("/docker/{id}"), Some("docker"), None),
            (format!("/machine.slice/libpod-{id}.scope/container"), Some("libpod"), None),
        ] {
            let expected = ContainerId {
                runtime: runtime.map(str::to_owned),
                id: id.clone(),
                pod: pod.map(str::to_owned),
            };
            assert_eq!(ContainerId::of_cgroup(&path), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_control_groups_are_no_containers() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            "/".to_owned(),
            "/user.slice/user-0.slice/session-1.scope".to_owned(),
            format!("/system.slice/crio-conmon-{id}.scope"),
            format!("/docker/{}", &id[1..]),
            format!("/docker/{}", id.to_uppercase()),
        ] {
            assert_eq!(ContainerId::of_cgroup(&path), None, "{path}");
        }
    }

    #[test]
    fn containers_are_known_by_their_root_directories() {
        let id = "0123456789abcdef".repeat(4);
        let path = format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/rootfs");
        assert_eq!(ContainerId::of_root_directory(&path).unwrap().short(), "0123456789ab");
        let named = "/run/containerd/io.containerd.runtime.v2.task/default/my-web-server-1";
        let found = ContainerId::of_root_directory(&format!("{named}/rootfs")).unwrap();
        assert_eq!((&*found.id, found.short()), ("my-web-server-1", "my-web-server-1"));
        let storage = format!("/var/lib/containers/storage/overlay-containers/{id}/userdata/shm");
        assert_eq!(ContainerId::of_root_directory(&storage).unwrap().id, id);
        for path in [
            &format!("/mnt/{id}"),
            named,
            "/run/containerd/io.containerd.runtime.v2.task/default",
            "/run/containerd/io.containerd.runtime.v2.task/default//rootfs",
            "/var/lib/containers/storage/overlay-containers/other/userdata",
        ] {
            assert_eq!(ContainerId::of_root_directory(path), None, "{path}");
        }
    }
}
