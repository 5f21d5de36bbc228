//! What a record says, by its type.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use libverity::digest::Digest;
use libverity::errno::Errno;

pub use super::envelope::{EventId, EventIdError, Utc};

use super::envelope::{Envelope, RecordType};
use super::fields::{Fields, Value};
use super::rule::RecordedRule;
use crate::version::PolicyVersion;
use crate::vocabulary::Operation;

/// Is a record of the audit system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event to which it belongs; none where a log does not tell.
    pub id: Option<EventId>,
    /// What it says.
    pub content: Content,
}

/// Is what a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// IPE judged something (1420).
    Access(Access),
    /// Another policy is in force (1421).
    ConfigChange(ConfigChange),
    /// The records of the event are complete (1327 or 1320).
    End,
    /// Enforcement was switched on or off (1404 with `lsm=ipe`).
    Enforcement(Enforcement),
    /// A policy was loaded, or refused (1422).
    PolicyLoad(PolicyLoad),
    /// The system call about which the other records of the event are (1300).
    SystemCall(SystemCall),
    /// A dm-verity device came, went, or read something corrupt (1338, 1339).
    Volume(VolumeRecord),
}

/// Says what IPE judged.
///
/// Source: `security/ipe/audit.c`, `ipe_audit_match`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What was to be done.
    pub operation: RecordedOperation,
    /// Where the kernel asked.
    pub hook: Hook,
    /// Whether a denial was carried out; otherwise it was only recorded.
    pub enforcing: bool,
    /// The process, in the initial namespace of process numbers.
    pub pid: Option<u32>,
    /// The name of its thread; for an execution still the one before it. At most 15 bytes, chosen by the process.
    pub comm: Option<String>,
    /// The file, as the process sees it: in a container relative to its root. None for memory without a file.
    pub path: Option<PathBuf>,
    /// The device or the type of the file system: `dm-7`, `sda1`, `tmpfs`, `overlay`, `rootfs`.
    pub device: Option<String>,
    /// The number of the inode; in an overlay that of the overlay.
    pub inode: Option<u64>,
    /// What decided. None where the record was cut off before it.
    pub rule: Option<RecordedRule>,
    /// Whether the record ends too early, as the kernel's log cuts off what is longer than about 1,000 bytes
    /// (`kernel/printk/printk.c`, `PRINTKRB_RECORD_MAX`).
    pub is_cut_off: bool,
}

/// Names an operation in a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordedOperation {
    /// One that policies can name.
    Known(Operation),
    /// `UNKNOWN`, or one of a newer kernel.
    Other(String),
}

impl fmt::Display for RecordedOperation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(operation) => operation.fmt(formatter),
            Self::Other(word) => formatter.write_str(word),
        }
    }
}

/// Names where the kernel asked IPE (`security/ipe/hooks.c`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `execve`, of the file and of each interpreter.
    BprmCheck,
    /// `execveat` with `AT_EXECVE_CHECK`: an interpreter asks whether it may run a script (6.19 and newer).
    BprmCredsForExec,
    /// Data without a file were to be loaded: `init_module`, `kexec_load`.
    KernelLoad,
    /// A file was to be read by the kernel.
    KernelRead,
    /// `mmap` with `PROT_EXEC`, `shmat` with `SHM_EXEC`.
    Mmap,
    /// `mprotect` with `PROT_EXEC`.
    Mprotect,
    /// One of a newer kernel.
    Other(String),
}

impl Hook {
    fn of_word(word: &str) -> Self {
        match word {
            "BPRM_CHECK" => Self::BprmCheck,
            "BPRM_CREDS_FOR_EXEC" => Self::BprmCredsForExec,
            "KERNEL_LOAD" => Self::KernelLoad,
            "KERNEL_READ" => Self::KernelRead,
            "MMAP" => Self::Mmap,
            "MPROTECT" => Self::Mprotect,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BprmCheck => "BPRM_CHECK",
            Self::BprmCredsForExec => "BPRM_CREDS_FOR_EXEC",
            Self::KernelLoad => "KERNEL_LOAD",
            Self::KernelRead => "KERNEL_READ",
            Self::Mmap => "MMAP",
            Self::Mprotect => "MPROTECT",
            Self::Other(word) => word,
        })
    }
}

/// Names a policy in a record. The digest is that of the whole signed policy, or of nothing for one that is built into
/// the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPolicy {
    /// The name.
    pub name: String,
    /// The version.
    pub version: Option<PolicyVersion>,
    /// SHA-256 of the signed policy.
    pub digest: Option<Digest>,
}

/// Says which policy took the place of which.
///
/// Source: `security/ipe/audit.c`, `ipe_audit_policy_activation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The former policy; none where there was none.
    pub old: Option<RecordedPolicy>,
    /// The policy that is in force now.
    pub new: Option<RecordedPolicy>,
    /// Who did it.
    pub login: Login,
}

/// Says that a policy was loaded, or refused.
///
/// Source: `security/ipe/audit.c`, `ipe_audit_policy_load`. Before 6.16 only successes are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLoad {
    /// The policy; the kernel does not name one that it refused.
    pub policy: Option<RecordedPolicy>,
    /// Why it was refused.
    pub error: Option<Errno>,
    /// Whether it was loaded.
    pub succeeded: bool,
    /// Who did it.
    pub login: Login,
}

/// Says whether denials are carried out from now on.
///
/// Source: `security/ipe/audit.c`, `ipe_audit_enforce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// Whether they are.
    pub enforcing: bool,
    /// Whether they were.
    pub was_enforcing: Option<bool>,
    /// Who did it.
    pub login: Login,
}

/// Names the login of a user, which no `su` or `sudo` changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user who logged in; none for a service.
    pub user: Option<u32>,
    /// The number of the session.
    pub session: Option<u32>,
}

/// Says what process made the system call.
///
/// Source: `kernel/auditsc.c`, `audit_log_exit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemCall {
    /// The parent.
    pub parent: Option<u32>,
    /// The process.
    pub pid: Option<u32>,
    /// The user.
    pub user: Option<u32>,
    /// The login.
    pub login: Login,
    /// The program that the process runs, as the process sees it.
    pub executable: Option<PathBuf>,
}

/// Says what happened to a dm-verity device.
///
/// Source: `drivers/md/dm-audit.c`; only where auditing was switched on (`audit=1`, or by auditd).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// What happened: `ctr`, `dtr`, `verify-data`, `verify-metadata`, `max-corrupted-errors`.
    pub operation: String,
    /// The device's number, `254:7`.
    pub device: Option<String>,
    /// The number of the corrupt block.
    pub block: Option<u64>,
    /// Whether it went well.
    pub succeeded: bool,
    /// What the kernel says.
    pub message: Option<String>,
}

impl Record {
    /// Reads the record in one line of any log; none where the line is none, or one that matters to nobody here.
    ///
    /// # Errors
    ///
    /// Fails for a record of IPE whose fields are not those that the kernel writes.
    pub fn of_line(line: &[u8]) -> Result<Option<Self>, MalformedRecord> {
        match Envelope::of_line(line) {
            Some(envelope) => Self::of_envelope(&envelope),
            None => Ok(None),
        }
    }

    pub(super) fn of_envelope(envelope: &Envelope<'_>) -> Result<Option<Self>, MalformedRecord> {
        let body = &*envelope.body;
        let malformed = || MalformedRecord {
            id: envelope.id,
            body: String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]).into_owned(),
        };
        let content = match envelope.kind {
            RecordType::DmControl | RecordType::DmEvent => volume(body).map(Content::Volume),
            RecordType::EndOfEvent | RecordType::ProcessTitle => Some(Content::End),
            RecordType::IpeAccess => Some(Content::Access(access(body).ok_or_else(malformed)?)),
            RecordType::IpeConfigChange => {
                Some(Content::ConfigChange(config_change(body).ok_or_else(malformed)?))
            }
            RecordType::IpePolicyLoad => {
                Some(Content::PolicyLoad(policy_load(body).ok_or_else(malformed)?))
            }
            RecordType::MacStatus => enforcement(body).map(Content::Enforcement),
            RecordType::Other => None,
            RecordType::SystemCall => Some(Content::SystemCall(system_call(body))),
        };
        Ok(content.map(|content| Self { id: envelope.id, content }))
    }
}

/// Says that a record of IPE is not as the kernel writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of IPE is not as the kernel writes it: {}", body.escape_debug())]
pub struct MalformedRecord {
    /// The event.
    pub id: Option<EventId>,
    /// The start of the record.
    pub body: String,
}

fn access(body: &[u8]) -> Option<Access> {
    let (mut operation, mut hook, mut enforcing) = (None, None, None);
    let (mut pid, mut comm, mut path, mut device, mut inode) = (None, None, None, None, None);
    let (mut rule, mut is_cut_off) = (None, false);
    for (key, value) in Fields::of(body) {
        is_cut_off |= value.is_cut_off();
        match key {
            b"ipe_op" => operation = word(value),
            b"ipe_hook" => hook = word(value),
            b"enforcing" => enforcing = value.truth(),
            b"pid" => pid = value.parse(),
            b"comm" => comm = value.untrusted().map(lossy),
            b"path" => path = value.untrusted().map(file),
            b"dev" => device = value.untrusted().map(lossy),
            b"ino" => inode = value.parse(),
            b"rule" if !value.is_cut_off() => rule = value.literal().map(RecordedRule::of_record),
            _ => {}
        }
    }
    let operation = operation?;
    Some(Access {
        operation: match operation.parse() {
            Ok(known) => RecordedOperation::Known(known),
            Err(_) => RecordedOperation::Other(operation),
        },
        hook: Hook::of_word(&hook?),
        enforcing: enforcing?,
        pid,
        comm,
        path,
        device,
        inode,
        is_cut_off: is_cut_off || rule.is_none(),
        rule,
    })
}

fn config_change(body: &[u8]) -> Option<ConfigChange> {
    let fields = Named::of(body);
    let has_names = Fields::of(body).any(|(key, _)| key == b"new_active_pol_name");
    has_names.then(|| ConfigChange {
        old: fields.policy(b"old_active_pol_name", b"old_active_pol_version", b"old_policy_digest"),
        new: fields.policy(b"new_active_pol_name", b"new_active_pol_version", b"new_policy_digest"),
        login: fields.login(),
    })
}

fn policy_load(body: &[u8]) -> Option<PolicyLoad> {
    let fields = Named::of(body);
    let errno = fields.value(b"errno").and_then(Value::parse::<i32>);
    Some(PolicyLoad {
        policy: fields.policy(b"policy_name", b"policy_version", b"policy_digest"),
        error: errno.filter(|number| *number != 0).map(Errno::from_number),
        succeeded: fields.value(b"res")?.truth()?,
        login: fields.login(),
    })
}

/// Leaves out the statuses of other security modules, and the empty second record that the kernel writes after each.
fn enforcement(body: &[u8]) -> Option<Enforcement> {
    let fields = Named::of(body);
    fields.value(b"lsm").filter(|module| module.literal() == Some(b"ipe"))?;
    Some(Enforcement {
        enforcing: fields.value(b"enforcing")?.truth()?,
        was_enforcing: fields.value(b"old_enforcing").and_then(Value::truth),
        login: fields.login(),
    })
}

fn system_call(body: &[u8]) -> SystemCall {
    let fields = Named::of(body);
    let number = |key| fields.value(key).and_then(Value::parse);
    SystemCall {
        parent: number(b"ppid"),
        pid: number(b"pid"),
        user: number(b"uid"),
        login: fields.login(),
        executable: fields.value(b"exe").and_then(Value::untrusted).map(file),
    }
}

fn volume(body: &[u8]) -> Option<VolumeRecord> {
    let fields = Named::of(body);
    fields.value(b"module").filter(|module| module.literal() == Some(b"verity"))?;
    Some(VolumeRecord {
        operation: word(fields.value(b"op")?)?,
        device: fields.value(b"dev").and_then(word),
        block: fields.value(b"sector").and_then(Value::parse),
        succeeded: fields.value(b"res")?.truth()?,
        message: fields.value(b"error_msg").and_then(word).filter(|message| message != "success"),
    })
}

/// Is a record whose fields are looked up by name.
struct Named<'a>(Fields<'a>);

impl<'a> Named<'a> {
    fn of(body: &'a [u8]) -> Self {
        Self(Fields::of(body))
    }

    fn value(&self, name: &[u8]) -> Option<Value<'a>> {
        self.0.clone().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn policy(&self, name: &[u8], version: &[u8], digest: &[u8]) -> Option<RecordedPolicy> {
        let digest = self.value(digest).and_then(word).map(|text| text.to_ascii_lowercase());
        Some(RecordedPolicy {
            name: self.value(name).and_then(word)?,
            version: self.value(version).and_then(Value::parse),
            digest: digest.and_then(|text| text.parse().ok()),
        })
    }

    fn login(&self) -> Login {
        let number = |key| self.value(key).and_then(Value::parse).filter(|id| *id != u32::MAX);
        Login { user: number(b"auid"), session: number(b"ses") }
    }
}

fn word(value: Value<'_>) -> Option<String> {
    value.literal().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn file(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// How much of a malformed record is quoted.
const EXCERPT_BYTES: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        Record::of_line(line.as_bytes()).unwrap().unwrap()
    }

    fn access_of(line: &str) -> Access {
        match record(line).content {
            Content::Access(access) => access,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_denied_execution() {
        let line = "type=1420 audit(1795425188.368:4): ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1 pid=498 \
            comm=\"sh\" path=\"/run/hello\" dev=\"tmpfs\" ino=3 rule=\"DEFAULT op=EXECUTE action=DENY\" new=7";
        assert_eq!(record(line).id.unwrap().to_string(), "1795425188.368:4");
        assert_eq!(
            access_of(line),
            Access {
                operation: RecordedOperation::Known(Operation::Execute),
                hook: Hook::BprmCheck,
                enforcing: true,
                pid: Some(498),
                comm: Some("sh".to_owned()),
                path: Some("/run/hello".into()),
                device: Some("tmpfs".to_owned()),
                inode: Some(3),
                rule: Some(RecordedRule::of_record(b"DEFAULT op=EXECUTE action=DENY")),
                is_cut_off: false,
            }
        );
    }

    #[test]
    fn memory_has_no_file_and_odd_names_are_decoded() {
        let line = "IPE_ACCESS ipe_op=EXECUTE ipe_hook=MMAP enforcing=0 pid=533 comm=612062 path=? dev=? ino=? \
            rule=\"DEFAULT action=DENY\"";
        let access = access_of(line);
        assert_eq!((access.path, access.device, access.inode), (None, None, None));
        assert_eq!((access.comm.as_deref(), access.enforcing), (Some("a b"), false));
        let line = "type=1420 audit(1.000:1): ipe_op=BPF_PROG_LOAD ipe_hook=BPF enforcing=1 pid=1 comm=\"t\" \
            path=2F6D656D66643A6D202864656C6574656429 dev=\"tmpfs\" ino=2 rule=\"DEFAULT action=DENY\"";
        let access = access_of(line);
        assert_eq!(access.path.unwrap().to_str(), Some("/memfd:m (deleted)"));
        assert_eq!(access.operation, RecordedOperation::Other("BPF_PROG_LOAD".to_owned()));
        assert_eq!(access.hook, Hook::Other("BPF".to_owned()));
    }

    #[test]
    fn what_was_cut_off_is_told() {
        let line = "type=1420 audit(1.000:1): ipe_op=EXECUTE ipe_hook=MMAP enforcing=1 pid=1 comm=\"t\" path=\"/aaa";
        let access = access_of(line);
        assert!(access.is_cut_off && access.rule.is_none());
        assert_eq!(access.path.unwrap().to_str(), Some("/aaa"));
        let line = "type=1420 audit(1.000:1): ipe_op=EXECUTE";
        let error = Record::of_line(line.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a record of IPE is not as the kernel writes it: ipe_op=EXECUTE"
        );
    }

    #[test]
    fn policies_come_and_go() {
        let line = "type=1421 audit(1.000:1): old_active_pol_name=? old_active_pol_version=? old_policy_digest=? \
            new_active_pol_name=\"a\"b\" new_active_pol_version=0.1.0 \
            new_policy_digest=sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855 \
            auid=1000 ses=4294967295 lsm=ipe res=1";
        let Content::ConfigChange(change) = record(line).content else { panic!("another") };
        assert_eq!(change.old, None);
        let new = change.new.unwrap();
        assert_eq!((new.name.as_str(), new.version), ("a\"b", Some(PolicyVersion::new(0, 1, 0))));
        assert_eq!(new.digest, Some(Digest::of(b"")));
        assert_eq!(change.login, Login { user: Some(1000), session: None });
        let line = "type=1422 audit(1.000:1): policy_name=? policy_version=? policy_digest=? auid=4294967295 \
            ses=4294967295 lsm=ipe res=0 errno=-74";
        let Content::PolicyLoad(load) = record(line).content else { panic!("another") };
        assert_eq!((load.policy, load.error, load.succeeded), (None, Some(Errno::EBADMSG), false));
    }

    #[test]
    fn enforcement_is_told_from_that_of_others() {
        let line = "type=1404 audit(1.000:1): enforcing=0 old_enforcing=1 auid=0 ses=1 enabled=1 old-enabled=1 \
            lsm=ipe res=1";
        let Content::Enforcement(change) = record(line).content else { panic!("another") };
        assert_eq!((change.enforcing, change.was_enforcing), (false, Some(true)));
        for body in ["", "enforcing=0 old_enforcing=1 auid=0 ses=1 lsm=selinux res=1"] {
            let line = format!("type=1404 audit(1.000:1): {body}");
            assert_eq!(Record::of_line(line.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn volumes_and_system_calls() {
        let line =
            "type=1339 audit(1.000:1): module=verity op=verify-data dev=254:7 sector=100 res=0";
        let Content::Volume(volume) = record(line).content else { panic!("another") };
        assert_eq!((volume.device.as_deref(), volume.block), (Some("254:7"), Some(100)));
        let line = "type=1338 audit(1.000:1): module=verity op=ctr ppid=1 pid=2 auid=0 dev=254:7 \
            error_msg='Root hash verification failed' res=0";
        let Content::Volume(volume) = record(line).content else { panic!("another") };
        assert_eq!(volume.message.as_deref(), Some("Root hash verification failed"));
        let line = "type=1300 audit(1.000:1): arch=c000003e syscall=59 success=no exit=-13 ppid=7 pid=8 auid=1000 \
            uid=0 ses=3 comm=\"sh\" exe=\"/usr/bin/sh\" subj=a (enforce) key=(null)";
        let Content::SystemCall(call) = record(line).content else { panic!("another") };
        assert_eq!((call.parent, call.pid, call.user), (Some(7), Some(8), Some(0)));
        assert_eq!(call.executable, Some("/usr/bin/sh".into()));
    }
}
