//! What this machine knows about a denial: the process, its container, the volume on which the file lies.
//!
//! All of it is looked up after the fact. A process that was denied its program often lives no longer than that, a number
//! may be another process's by now, a mount may be gone. Whatever cannot be known is said to be unknown.

mod bundle;
mod overlay;
mod process;
mod volume;

use std::path::Path;

use osguard_policy::audit::container::ContainerId;
use osguard_policy::audit::context::{Container, Context, Place, Process};
use osguard_policy::audit::record::{Access, EventId, SystemCall};

use crate::dm::DeviceMapper;
use crate::mount_table::MountTable;
use crate::state_directory::StateDirectory;
use overlay::Located;
use process::RunningProcess;
use volume::Volumes;

/// Looks denials up on this machine.
pub struct Joiner {
    volumes: Volumes,
    boot_milliseconds: Option<u64>,
}

impl Joiner {
    /// Prepares to look up. Without root less is found, and said to be unknown.
    pub fn new(state: &StateDirectory) -> Self {
        let volumes = Volumes::new(DeviceMapper::open().ok(), state.clone());
        Self { volumes, boot_milliseconds: process::boot_milliseconds() }
    }

    /// Finds out what is known about a denial.
    pub fn context(
        &self,
        access: &Access,
        id: Option<EventId>,
        call: Option<&SystemCall>,
    ) -> Context {
        let mut context = Context::of_record(access);
        if let (Some(id), Some(boot)) = (id, self.boot_milliseconds)
            && id.time_milliseconds < boot
        {
            add_call(&mut context.process, call);
            let unknown = "the record is older than the start of this machine: devices and processes were others";
            context.unknown.push(unknown.to_owned());
            return context;
        }
        let running = self.process(access, id, &mut context);
        add_call(&mut context.process, call);
        self.place(access, running.as_ref(), &mut context);
        if let Some(container) = &mut context.container {
            bundle::describe(container);
        }
        context
    }

    fn process(
        &self,
        access: &Access,
        id: Option<EventId>,
        context: &mut Context,
    ) -> Option<RunningProcess> {
        let pid = access.pid?;
        let time = id.map(|id| id.time_milliseconds);
        let Some(running) = RunningProcess::find(pid, time, self.boot_milliseconds) else {
            let unknown =
                format!("process {pid} is gone, and with it its container and its parent");
            context.unknown.push(unknown);
            return None;
        };
        let id = running.cgroup.as_deref().and_then(ContainerId::of_cgroup);
        context.container = id.map(container);
        context.process = Process {
            parent: running.parent,
            executable: running.executable.clone(),
            user: running.user,
            cgroup: running.cgroup.clone(),
        };
        Some(running)
    }

    fn place(&self, access: &Access, running: Option<&RunningProcess>, context: &mut Context) {
        let unknown = match &mut context.place {
            Place::Device(device) => self.volumes.look_up(device).err(),
            Place::Overlay => {
                let mounts = MountTable::read().unwrap_or_default();
                match overlay::locate(access, running, &mounts) {
                    Ok(Located { place, mount_point }) => {
                        context.place = place;
                        note_container(&mount_point, context);
                        match &mut context.place {
                            Place::Device(device) => self.volumes.look_up(device).err(),
                            _ => None,
                        }
                    }
                    Err(unknown) => Some(unknown),
                }
            }
            _ => None,
        };
        context.unknown.extend(unknown);
    }
}

/// Returns the container in which a running process is, with what its bundle says; `None` for one in none.
pub(crate) fn container_of_process(pid: u32) -> Option<Container> {
    let running = RunningProcess::find(pid, None, None)?;
    let id = running.cgroup.as_deref().and_then(ContainerId::of_cgroup)?;
    let mut container = container(id);
    bundle::describe(&mut container);
    Some(container)
}

/// Adds what the record of the system call says, where the process is gone.
fn add_call(process: &mut Process, call: Option<&SystemCall>) {
    let Some(call) = call else { return };
    process.parent = process.parent.or(call.parent);
    process.user = process.user.or(call.user);
    if process.executable.is_none() {
        process.executable.clone_from(&call.executable);
    }
}

/// Takes the container from where its root directory is mounted, where the process is gone.
fn note_container(mount_point: &Path, context: &mut Context) {
    if context.container.is_none() {
        let path = mount_point.to_string_lossy();
        context.container = ContainerId::of_root_directory(&path).map(container);
    }
}

fn container(id: ContainerId) -> Container {
    Container { id, name: None, pod: None, image: None }
}
