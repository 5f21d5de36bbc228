//! An event as it is printed.

use std::io::{self, Write};

use osguard_policy::audit::context::{Container, Context, DeviceKind, Place};
use osguard_policy::audit::event::Event;
use osguard_policy::audit::explain::Verdict;
use osguard_policy::audit::record::{
    Access, ConfigChange, Content, Enforcement, EventId, Login, PolicyLoad, RecordedPolicy,
    VolumeRecord,
};
use serde::Serialize;

use crate::output::Report;
use crate::printable::Printable;

#[derive(Serialize)]
pub(super) struct EventReport {
    /// As the kernel names it, `1795425188.368:4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(flatten)]
    content: ContentReport,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "snake_case")]
enum ContentReport {
    Access(Box<AccessReport>),
    Enforcement {
        enforcing: bool,
        was_enforcing: Option<bool>,
        login_user: Option<u32>,
    },
    PolicyChange {
        old: Option<PolicyReport>,
        new: Option<PolicyReport>,
        login_user: Option<u32>,
    },
    PolicyLoad {
        policy: Option<PolicyReport>,
        succeeded: bool,
        error: Option<String>,
        login_user: Option<u32>,
    },
    Volume {
        operation: String,
        device: Option<String>,
        block: Option<u64>,
        succeeded: bool,
        message: Option<String>,
    },
}

#[derive(Serialize)]
struct AccessReport {
    /// `denied`, `would-be-denied`, `allowed` or `unknown`.
    verdict: &'static str,
    operation: String,
    hook: String,
    enforcing: bool,
    pid: Option<u32>,
    comm: Option<String>,
    /// As the process sees it.
    path: Option<String>,
    device: Option<String>,
    inode: Option<u64>,
    rule: Option<String>,
    cut_off: bool,
    parent_pid: Option<u32>,
    executable: Option<String>,
    user: Option<u32>,
    cgroup: Option<String>,
    container: Option<ContainerReport>,
    place: String,
    volume: Option<VolumeReport>,
}

#[derive(Serialize)]
struct ContainerReport {
    id: String,
    runtime: Option<String>,
    name: Option<String>,
    pod: Option<String>,
    pod_uid: Option<String>,
    image: Option<String>,
}

#[derive(Serialize)]
struct VolumeReport {
    root_hash: String,
    signed: bool,
    layer: Option<String>,
    mounted_at: Vec<String>,
}

#[derive(Serialize)]
struct PolicyReport {
    name: String,
    version: Option<String>,
    digest: Option<String>,
}

impl EventReport {
    /// Makes a report of an event; none of one that says nothing by itself.
    pub(super) fn new(event: &Event, context: Option<&Context>) -> Option<Self> {
        let login_user = |login: Login| login.user;
        let content = match &event.record.content {
            Content::Access(access) => {
                ContentReport::Access(Box::new(access_report(access, context)))
            }
            Content::ConfigChange(ConfigChange { old, new, login }) => {
                ContentReport::PolicyChange {
                    old: old.as_ref().map(policy),
                    new: new.as_ref().map(policy),
                    login_user: login_user(*login),
                }
            }
            Content::Enforcement(Enforcement { enforcing, was_enforcing, login }) => {
                ContentReport::Enforcement {
                    enforcing: *enforcing,
                    was_enforcing: *was_enforcing,
                    login_user: login_user(*login),
                }
            }
            Content::PolicyLoad(PolicyLoad { policy: loaded, error, succeeded, login }) => {
                ContentReport::PolicyLoad {
                    policy: loaded.as_ref().map(policy),
                    succeeded: *succeeded,
                    error: error.map(|error| error.to_string()),
                    login_user: login_user(*login),
                }
            }
            Content::Volume(VolumeRecord { operation, device, block, succeeded, message }) => {
                ContentReport::Volume {
                    operation: operation.clone(),
                    device: device.clone(),
                    block: *block,
                    succeeded: *succeeded,
                    message: message.clone(),
                }
            }
            _ => return None,
        };
        let id = event.record.id;
        Some(Self {
            event: id.map(|id| id.to_string()),
            time: id.map(|id: EventId| id.utc().to_string()),
            content,
        })
    }
}

impl EventReport {
    /// Writes what is known about event, process and container, each on a line.
    pub(super) fn details(&self, out: &mut dyn Write) -> io::Result<()> {
        if let (Some(time), Some(event)) = (&self.time, &self.event) {
            writeln!(out, "  time     {time} (event {event})")?;
        }
        let ContentReport::Access(access) = &self.content else { return Ok(()) };
        if let Some(volume) = &access.volume {
            if let Some(layer) = &volume.layer {
                writeln!(out, "  layer    {}", Printable(layer))?;
            }
            for target in &volume.mounted_at {
                writeln!(out, "  image    mounted at {}", Printable(target))?;
            }
        }
        let mut facts = Vec::new();
        if let Some(executable) = &access.executable {
            facts.push(format!("runs {}", Printable(executable)));
        }
        if let Some(parent) = access.parent_pid {
            facts.push(format!("started by process {parent}"));
        }
        if let Some(user) = access.user {
            facts.push(format!("user {user}"));
        }
        if !facts.is_empty() {
            writeln!(out, "  process  {}", facts.join(", "))?;
        }
        if let Some(container) = &access.container {
            let ContainerReport { id, name, pod, image, .. } = container;
            let named =
                [("container ", name), ("pod ", pod), ("image ", image)].map(|(what, name)| {
                    let name = name.as_deref()?;
                    Some(format!(", {what}{}", Printable(name)))
                });
            let named: String = named.into_iter().flatten().collect();
            writeln!(out, "  in       container {}{named}", Printable(id))?;
        }
        Ok(())
    }
}

fn access_report(access: &Access, context: Option<&Context>) -> AccessReport {
    let own = Context::of_record(access);
    let context = context.unwrap_or(&own);
    let lossy = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let volume = match &context.place {
        Place::Device(device) => match &device.kind {
            DeviceKind::Verity(volume) => Some(VolumeReport {
                root_hash: volume.root_hash.to_string(),
                signed: volume.is_signed,
                layer: volume.layer.as_ref().map(lossy),
                mounted_at: volume.mounted_at.iter().map(lossy).collect(),
            }),
            _ => None,
        },
        _ => None,
    };
    AccessReport {
        verdict: Verdict::of(access).word(),
        operation: access.operation.to_string(),
        hook: access.hook.to_string(),
        enforcing: access.enforcing,
        pid: access.pid,
        comm: access.comm.clone(),
        path: access.path.as_ref().map(lossy),
        device: access.device.clone(),
        inode: access.inode,
        rule: access.rule.as_ref().map(ToString::to_string),
        cut_off: access.is_cut_off,
        parent_pid: context.process.parent,
        executable: context.process.executable.as_ref().map(lossy),
        user: context.process.user,
        cgroup: context.process.cgroup.clone(),
        container: context.container.as_ref().map(container),
        place: context.place.to_string(),
        volume,
    }
}

fn container(container: &Container) -> ContainerReport {
    ContainerReport {
        id: container.id.id.clone(),
        runtime: container.id.runtime.clone(),
        name: container.name.clone(),
        pod: container.pod.clone(),
        pod_uid: container.id.pod.clone(),
        image: container.image.clone(),
    }
}

fn policy(policy: &RecordedPolicy) -> PolicyReport {
    PolicyReport {
        name: policy.name.clone(),
        version: policy.version.map(|version| version.to_string()),
        digest: policy.digest.map(|digest| digest.to_string()),
    }
}

impl Report for EventReport {
    const SCHEMA: &'static str = "osguard.audit.tail.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = self.time.as_deref().unwrap_or("at an unknown time");
        write!(out, "{time}  ")?;
        match &self.content {
            ContentReport::Access(access) => access.text(out)?,
            ContentReport::Enforcement { enforcing, login_user, .. } => {
                let state = if *enforcing { "on" } else { "OFF: denials are recorded only" };
                write!(out, "enforcement was switched {state}{}", by(*login_user))?;
            }
            ContentReport::PolicyChange { old, new, login_user } => {
                write!(out, "policy {} is in force", named(new))?;
                if let Some(old) = old {
                    write!(out, " in place of {}", named(&Some(old)))?;
                }
                write!(out, "{}", by(*login_user))?;
            }
            ContentReport::PolicyLoad { policy, succeeded: true, login_user, .. } => {
                write!(out, "policy {} was loaded{}", named(policy), by(*login_user))?;
            }
            ContentReport::PolicyLoad { error, login_user, .. } => {
                let error = error.as_deref().unwrap_or("the record does not say why");
                write!(out, "a policy was REFUSED ({error}){}", by(*login_user))?;
            }
            ContentReport::Volume { operation, device, block, succeeded, message } => {
                let device = Printable(device.as_deref().unwrap_or("of an unknown number"));
                write!(out, "dm-verity device {device}: {}", Printable(operation))?;
                if let Some(block) = block {
                    write!(out, " of block {block}")?;
                }
                write!(out, "{}", if *succeeded { "" } else { " FAILED" })?;
                if let Some(message) = message {
                    write!(out, ": {}", Printable(message))?;
                }
            }
        }
        writeln!(out)
    }
}

impl AccessReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = match self.verdict {
            "denied" => "DENIED",
            "would-be-denied" => "would be denied",
            other => other,
        };
        let path = Printable(self.path.as_deref().unwrap_or("memory"));
        write!(out, "{verdict}  {} {path}", Printable(&self.operation))?;
        if let Some(comm) = &self.comm {
            write!(out, " by {}", Printable(comm))?;
        }
        if let Some(pid) = self.pid {
            write!(out, " ({pid})")?;
        }
        if let Some(container) = &self.container {
            let id = container.id.get(..12).unwrap_or(&container.id);
            let name = container.pod.as_deref().or(container.image.as_deref()).unwrap_or(id);
            write!(out, " in {}", Printable(name))?;
        }
        write!(out, ": {}", Printable(&self.place))
    }
}

fn named<P: std::borrow::Borrow<PolicyReport>>(policy: &Option<P>) -> String {
    match policy {
        Some(policy) => {
            let policy = policy.borrow();
            let version = policy.version.as_deref().unwrap_or("of an unknown version");
            format!("{} {version}", Printable(&policy.name))
        }
        None => "of an unknown name".to_owned(),
    }
}

fn by(login_user: Option<u32>) -> String {
    login_user.map_or_else(String::new, |user| format!(" by the login of user {user}"))
}
