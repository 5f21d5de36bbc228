//! What the running machine executes and loads, each with what IPE would know of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use osguard_policy::evaluate::Facts;
use osguard_policy::simulation::{Actor, FileTree, Knowledge, Loader, Object, TreeFile, Use};
use osguard_policy::vocabulary::Operation;

use crate::file_facts::{FactsError, FileFacts};
use crate::kernel_modules::loaded_modules;
use crate::probe::kernel_release;
use crate::processes::{Mapping, Process};
use crate::unit_programs::{entries, unit_programs};

/// Lists what the machine executes and loads: the executable memory and the program of every process, and, with
/// interpreters and libraries, the programs of units, of the container runtime, of Kubernetes and of the kernel; and the
/// files of the modules that are loaded.
///
/// Vital is what process 1, what it starts everything with, and this process need.
///
/// # Errors
///
/// Fails without root.
pub fn host_uses() -> Result<HostUses, HostError> {
    let facts = FileFacts::open()?;
    let (mut uses, processes) = process_uses(&facts)?;
    let host = Host;
    let mut programs =
        Programs { loader: Loader::new(&host), facts: &facts, known: BTreeMap::new() };
    for (program, unit) in unit_programs(Path::new("/")) {
        programs.add(&program, Actor::Unit(unit), false, &mut uses)?;
    }
    for (path, part, is_vital) in PARTS {
        programs.add(Path::new(path), Actor::Part(part), is_vital, &mut uses)?;
    }
    for (directory, part) in PART_DIRECTORIES {
        for path in entries(Path::new(directory)) {
            // Kubelet's volume plugins lie one directory deeper.
            for path in [entries(&path), vec![path]].concat() {
                programs.add(&path, Actor::Part(part), false, &mut uses)?;
            }
        }
    }
    for (file, purpose) in HELPERS {
        let text = fs::read_to_string(file).unwrap_or_default();
        let program = text.trim().trim_start_matches('|').split(' ').next().unwrap_or_default();
        if program.starts_with('/') && (file != CORE_PATTERN || text.starts_with('|')) {
            programs.add(Path::new(program), Actor::Kernel(purpose), false, &mut uses)?;
        }
    }
    programs.add(Path::new("/sbin/request-key"), Actor::Kernel("keys"), false, &mut uses)?;
    let mut modules_without_file = Vec::new();
    for (name, file) in loaded_modules(Path::new("/"), &kernel_release())? {
        let Some(file) = file else {
            modules_without_file.push(name);
            continue;
        };
        let knowledge = facts.at(&file);
        uses.push(Use {
            operation: Operation::KernelModule,
            object: Object::File(file),
            knowledge,
            actor: Actor::Kernel("a module in use"),
            is_vital: false,
        });
    }
    Ok(HostUses { uses, processes, modules_without_file })
}

/// Lists what the processes execute, and counts them.
pub(crate) fn process_uses(facts: &FileFacts) -> io::Result<(Vec<Use>, usize)> {
    let mut uses = Vec::new();
    let processes = Process::all()?;
    for process in &processes {
        match add_process(process, facts, &mut uses) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                uses.push(hidden(process, &error));
            }
            other => other?,
        }
    }
    Ok((uses, processes.len()))
}

/// Is what the running machine executes and loads.
#[derive(Clone, Debug)]
pub struct HostUses {
    /// All of it.
    pub uses: Vec<Use>,
    /// How many processes there are.
    pub processes: usize,
    /// The names of loaded modules whose files are not on the machine.
    pub modules_without_file: Vec<String>,
}

/// Says why the machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// What the kernel knows cannot be found out.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// Processes or programs cannot be read.
    #[error("cannot look at what runs on this machine")]
    Read(#[from] io::Error),
}

fn add_process(process: &Process, facts: &FileFacts, uses: &mut Vec<Use>) -> io::Result<()> {
    let is_vital = process.id == 1 || process.id == std::process::id();
    let mut add = |object, knowledge| {
        let actor = Actor::Process { id: process.id, name: process.name.clone() };
        let operation = Operation::Execute;
        uses.push(Use { operation, object, knowledge, actor, is_vital });
    };
    let mut seen = Vec::new();
    for mapping in process.executable_mappings()? {
        let Mapping::File(file) = mapping else {
            add(Object::AnonymousMemory, Knowledge::Known(Facts::default()));
            continue;
        };
        if seen.contains(&file.path) {
            continue;
        }
        let Some(opened) = process.open_mapped(&file)? else { continue };
        let knowledge = facts.of(&opened, &file.path, Some(process.id));
        seen.push(file.path.clone());
        add(Object::File(file.path), knowledge);
    }
    for (path, opened) in process.open_program()?.into_iter().chain(process.script()) {
        if !seen.contains(&path) {
            let knowledge = facts.of(&opened, &path, Some(process.id));
            add(Object::File(path), knowledge);
        }
    }
    Ok(())
}

/// Tells of a process into which this one may not look.
fn hidden(process: &Process, error: &io::Error) -> Use {
    Use {
        operation: Operation::Execute,
        object: Object::File(format!("/proc/{}/exe", process.id).into()),
        knowledge: Knowledge::Unknown(format!("cannot be looked at: {error}")),
        actor: Actor::Process { id: process.id, name: process.name.clone() },
        is_vital: process.id == 1,
    }
}

/// Is what is started of programs that need not run at the moment.
struct Programs<'a> {
    loader: Loader<'a, Host>,
    facts: &'a FileFacts,
    known: BTreeMap<PathBuf, Knowledge>,
}

impl Programs<'_> {
    /// Adds a program with all that it takes along, if it is there and may be executed.
    fn add(
        &mut self,
        program: &Path,
        actor: Actor,
        is_vital: bool,
        uses: &mut Vec<Use>,
    ) -> io::Result<()> {
        let search = SEARCH.map(PathBuf::from);
        let Some(program) = self.loader.find_program(program, &search)? else { return Ok(()) };
        let mode = fs::metadata(&program).map(|found| std::os::unix::fs::MetadataExt::mode(&found));
        if mode.is_ok_and(|mode| mode & 0o111 == 0) {
            return Ok(());
        }
        for file in self.loader.load(&program)?.files {
            let known = self.known.entry(file.path.clone());
            let knowledge = known.or_insert_with(|| self.facts.at(&file.path)).clone();
            let (operation, object) = (Operation::Execute, Object::File(file.path));
            uses.push(Use { operation, object, knowledge, actor: actor.clone(), is_vital });
        }
        Ok(())
    }
}

/// Is the tree of files that this process sees.
struct Host;

impl FileTree for Host {
    fn open(&self, path: &Path) -> io::Result<Option<TreeFile<'_>>> {
        let is_absent = |error: &io::Error| {
            use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
            matches!(error.kind(), NotADirectory | NotFound | PermissionDenied)
        };
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if is_absent(&error) || error.raw_os_error() == Some(libc::ELOOP) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Opening a pipe would wait for whoever writes to it.
        if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        match File::open(&path) {
            Ok(file) => Ok(Some(TreeFile { path, content: Box::new(file) })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let names = entries(path).into_iter().filter_map(|path| Some(path.file_name()?.into()));
        Ok(names.collect())
    }
}

/// Where systemd looks for programs without a slash (`systemd-path search-binaries-default`).
const SEARCH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Programs of which the machine makes use when something happens.
const PARTS: [(&str, &str, bool); 24] = [
    ("/sbin/init", "the first process", true),
    // From version 254 on systemd starts every service with it.
    ("/usr/lib/systemd/systemd-executor", "what systemd starts services with", true),
    ("/usr/lib/systemd/systemd-shutdown", "the end of the machine", false),
    ("/usr/bin/containerd", "the container runtime", false),
    ("/usr/local/bin/containerd", "the container runtime", false),
    ("/usr/bin/containerd-shim-runc-v2", "the container runtime", false),
    ("/usr/local/bin/containerd-shim-runc-v2", "the container runtime", false),
    ("/usr/bin/crio", "the container runtime", false),
    ("/usr/libexec/crio/conmon", "the container runtime", false),
    ("/usr/bin/conmon", "the container runtime", false),
    ("/usr/bin/dockerd", "the container runtime", false),
    ("/usr/bin/runc", "what starts containers", false),
    ("/usr/sbin/runc", "what starts containers", false),
    ("/usr/local/sbin/runc", "what starts containers", false),
    ("/usr/libexec/crio/runc", "what starts containers", false),
    ("/usr/bin/crun", "what starts containers", false),
    ("/usr/libexec/crio/crun", "what starts containers", false),
    ("/usr/bin/kubelet", "kubelet", false),
    ("/usr/local/bin/kubelet", "kubelet", false),
    ("/usr/local/bin/k3s", "kubelet", false),
    ("/opt/rke2/bin/rke2", "kubelet", false),
    ("/usr/sbin/iptables", "kube-proxy's rules", false),
    ("/usr/sbin/nft", "kube-proxy's rules", false),
    ("/usr/sbin/ip", "the network of containers", false),
];

/// Directories of such programs.
const PART_DIRECTORIES: [(&str, &str); 11] = [
    ("/opt/cni/bin", "a CNI plugin"),
    ("/usr/lib/cni", "a CNI plugin"),
    ("/usr/libexec/cni", "a CNI plugin"),
    ("/usr/libexec/kubernetes/kubelet-plugins/volume/exec", "a volume plugin of kubelet"),
    (
        "/usr/libexec/kubernetes/kubelet-plugins/credential-provider",
        "a credential provider of kubelet",
    ),
    ("/etc/kubernetes/credential-provider", "a credential provider of kubelet"),
    ("/var/lib/kubelet/credential-provider", "a credential provider of kubelet"),
    ("/var/lib/kubelet/volumeplugins", "a volume plugin of kubelet"),
    ("/var/lib/rancher/k3s/data/current/bin", "k3s"),
    ("/usr/lib/systemd/system-generators", "a generator of systemd"),
    ("/usr/lib/udev", "a helper of udev"),
];

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// What the kernel starts by itself.
const HELPERS: [(&str, &str); 3] = [
    (CORE_PATTERN, "core dumps"),
    ("/proc/sys/kernel/modprobe", "modules"),
    ("/sys/kernel/uevent_helper", "devices"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_vital_and_known() {
        let found = match host_uses() {
            Ok(found) => found,
            Err(HostError::Facts(_)) => return osguard_testkit::skip("root"),
            Err(error) => panic!("{error}"),
        };
        let program = Object::File(std::env::current_exe().unwrap());
        let own = found.uses.iter().find(|one| one.is_vital && one.object == program).unwrap();
        assert_eq!(own.operation, Operation::Execute);
        assert!(found.processes > 1);
    }
}
