//! Asks the kernel and us what each of many policies says about each of some files, as the tests in the virtual machine do.
//!
//! ```text
//! evaluate POLICIES FILE…
//! ```
//!
//! `POLICIES` has the length of each signed policy, four bytes with the lowest first, and then the policy; all have one name and
//! rising versions. `anonymous` and `memfd` stand for memory. A line is printed for each question: the number of the policy, the
//! operation, the file, the kernel's answer and ours. Nothing is executed here: a policy that denies everything does no harm.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use osguard_node::deploy::deploy;
use osguard_node::file_facts::FileFacts;
use osguard_node::securityfs::IpeTree;
use osguard_policy::blob::SignedPolicy;
use osguard_policy::evaluate::{Evaluator, Facts};
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::simulation::Knowledge;
use osguard_policy::syntax::parse;
use osguard_policy::vocabulary::{Action, Operation};
use rustix::io::Errno;
use rustix::system;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let batch = std::fs::read(arguments.next().ok_or("a file is missing")?)?;
    let facts = FileFacts::open()?;
    let subjects =
        arguments.map(|name| Subject::open(name, &facts)).collect::<Result<Vec<_>, _>>()?;
    let tree = IpeTree::open()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut rest = &batch[..];
    let mut number = 0;
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (policy, tail) = tail
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or("a policy is cut off")?;
        rest = tail;
        let policy = SignedPolicy::read(policy)?;
        let parsed = parse(policy.text(), KernelVersion::V6_12)?;
        deploy(&tree, &policy, true)?;
        for subject in &subjects {
            for operation in OPERATIONS {
                let Some(kernel) = subject.ask(operation)? else { continue };
                let ours = Evaluator::new().decide(&parsed, Some(operation), &subject.facts).action;
                let name = &subject.name;
                writeln!(out, "{number} {operation} {name} {kernel} {ours}")?;
            }
        }
        number += 1;
    }
    Ok(out.flush()?)
}

struct Subject {
    name: String,
    /// None for memory without a file.
    file: Option<File>,
    facts: Facts,
}

impl Subject {
    fn open(name: String, facts: &FileFacts) -> Result<Self, Box<dyn Error>> {
        let (file, knowledge) = match name.as_str() {
            "anonymous" => (None, Knowledge::Known(Facts::default())),
            "memfd" => {
                let file = rustix::fs::memfd_create("lab", rustix::fs::MemfdFlags::CLOEXEC)?;
                rustix::io::write(&file, &[0; 4096])?;
                let knowledge = facts.of(&file, Path::new("/memfd:lab (deleted)"), None);
                (Some(File::from(file)), knowledge)
            }
            path => {
                let file = File::open(path)?;
                let again: OwnedFd = file.try_clone()?.into();
                let knowledge = facts.of(&again, Path::new(path), None);
                assert_eq!(
                    knowledge,
                    facts.at(Path::new(path)),
                    "by its name or opened, it is one file"
                );
                (Some(file), knowledge)
            }
        };
        match knowledge {
            Knowledge::Known(facts) => Ok(Self { name, file, facts }),
            Knowledge::Unknown(reason) => Err(format!("{name} {reason}").into()),
        }
    }

    /// Asks the kernel; `None` where the operation needs a file and there is none.
    fn ask(&self, operation: Operation) -> io::Result<Option<Action>> {
        let file = self.file.as_ref().map(AsFd::as_fd);
        let denied = match (operation, file) {
            (Operation::Execute, file) => map_executable(file),
            (Operation::KernelModule, None) => init_module(),
            (Operation::KernelModule, Some(file)) => finit_module(file),
            (_, None) => return Ok(None),
            (_, Some(file)) => kexec_file_load(file),
        };
        Ok(Some(if denied? { Action::Deny } else { Action::Allow }))
    }
}

#[expect(unsafe_code, reason = "mmap")]
fn map_executable(file: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    let (descriptor, flags) = match file {
        Some(file) => (file.as_raw_fd(), libc::MAP_PRIVATE),
        None => (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
    };
    // SAFETY: nothing else is told of the new memory, which is given back untouched.
    let answer = unsafe {
        let place = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            flags,
            descriptor,
            0,
        );
        match place == libc::MAP_FAILED {
            true => -1,
            false => libc::munmap(place, 4096),
        }
    };
    refusal(last_error(answer.into()), &[])
}

fn finit_module(file: BorrowedFd<'_>) -> io::Result<bool> {
    refusal(system::finit_module(file, c"", 0), &[Errno::NOEXEC, Errno::IO])
}

fn init_module() -> io::Result<bool> {
    refusal(system::init_module(&[0; 4096], c""), &[Errno::NOEXEC])
}

#[expect(unsafe_code, reason = "a system call that no crate offers")]
fn kexec_file_load(file: BorrowedFd<'_>) -> io::Result<bool> {
    const KEXEC_FILE_NO_INITRAMFS: libc::c_ulong = 4;
    // SAFETY: the kernel reads an empty command line, and nothing else of this process.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            file.as_raw_fd(),
            -1,
            1_usize,
            c"".as_ptr(),
            KEXEC_FILE_NO_INITRAMFS,
        )
    };
    refusal(last_error(answer), &[Errno::NOEXEC, Errno::IO])
}

/// Returns what a system call answered that was made without rustix.
fn last_error(answer: libc::c_long) -> rustix::io::Result<()> {
    match answer {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// Tells whether IPE has refused; what was let through fails with one of `others`, for it is no module and no kernel.
fn refusal(answer: rustix::io::Result<()>, others: &[Errno]) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(false),
        Err(Errno::ACCESS) => Ok(true),
        Err(errno) if others.contains(&errno) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

const OPERATIONS: [Operation; 3] =
    [Operation::Execute, Operation::KernelModule, Operation::KexecImage];
