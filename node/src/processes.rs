//! What runs on the machine: `/proc` (`proc(5)`).

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

/// Is a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which is also that of its first thread.
    pub id: u32,
    /// Its name, of at most 15 bytes.
    pub name: String,
}

/// Is executable memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// It belongs to no file.
    Anonymous,
    /// It shows a file.
    File(MappedFile),
}

/// Is a file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedFile {
    /// Where in memory, as the kernel writes it: the name of the link in `map_files`.
    pub range: String,
    /// The device and the inode, as the kernel writes them.
    pub identity: (String, u64),
    /// The name of the file.
    pub path: PathBuf,
}

impl Process {
    /// Lists all processes but the kernel's own, by number.
    ///
    /// # Errors
    ///
    /// Fails where `/proc` is not mounted.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that has ended meanwhile has no name any more.
            let Ok(name) = std::fs::read_to_string(format!("/proc/{id}/comm")) else { continue };
            processes.push(Self { id, name: name.trim_end_matches('\n').to_owned() });
        }
        processes.sort_by_key(|process| process.id);
        Ok(processes)
    }

    /// Lists its executable memory; nothing of one that has ended, or of the kernel.
    ///
    /// # Errors
    ///
    /// Fails where this process may not look into it.
    pub fn executable_mappings(&self) -> io::Result<Vec<Mapping>> {
        match std::fs::read(format!("/proc/{}/maps", self.id)) {
            Ok(text) => Ok(text.split(|byte| *byte == b'\n').filter_map(mapping).collect()),
            Err(error) if has_ended(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Opens a mapped file, without a right to read it; `None` if the process or the mapping is gone.
    ///
    /// # Errors
    ///
    /// Fails without `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`, unless the same file is still found by its name.
    pub fn open_mapped(&self, file: &MappedFile) -> io::Result<Option<OwnedFd>> {
        let opened = self.open(&format!("map_files/{}", file.range));
        let Err(error) = opened else { return opened };
        let below = file.path.strip_prefix("/").unwrap_or(&file.path);
        match self.open(&format!("root/{}", below.display())) {
            Ok(Some(found)) if is_inode(&found, file.identity.1) => Ok(Some(found)),
            _ => Err(error),
        }
    }

    /// Opens the program that the process runs, and returns its name with it; `None` for what has none.
    ///
    /// # Errors
    ///
    /// Fails where this process may not look into it.
    pub fn open_program(&self) -> io::Result<Option<(PathBuf, OwnedFd)>> {
        let Ok(path) = std::fs::read_link(format!("/proc/{}/exe", self.id)) else {
            return Ok(None);
        };
        Ok(self.open("exe")?.map(|file| (path, file)))
    }

    /// Returns the script that the process runs, if it runs one: an argument that names an executable file whose first
    /// line names the program.
    pub fn script(&self) -> Option<(PathBuf, OwnedFd)> {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.id)).ok()?;
        let program = std::fs::read_link(format!("/proc/{}/exe", self.id)).ok()?;
        let mut arguments = arguments.split(|byte| *byte == 0).skip(1).take(3);
        let path = arguments.find(|argument| argument.starts_with(b"/"))?;
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        let inside = Path::new("/proc").join(self.id.to_string()).join("root");
        let inside = inside.join(path.strip_prefix("/").ok()?);
        let mut head = [0; 256];
        let length = io::Read::read(&mut std::fs::File::open(&inside).ok()?, &mut head).ok()?;
        let line = head[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let name = program.file_name()?.as_bytes();
        // `#!/usr/bin/env python3` runs python3.11.
        let is_named = |word: &[u8]| {
            word.rsplit(|byte| *byte == b'/')
                .next()
                .is_some_and(|word| !word.is_empty() && name.starts_with(word))
        };
        let is_its_own = line.split(|byte| b" \t".contains(byte)).any(is_named);
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&inside).ok()?);
        if !is_its_own || mode & 0o111 == 0 {
            return None;
        }
        let file = open(&inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some((path, file))
    }

    fn open(&self, link: &str) -> io::Result<Option<OwnedFd>> {
        let path = format!("/proc/{}/{link}", self.id);
        match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(errno) if has_ended(&errno.into()) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_inode(file: &OwnedFd, inode: u64) -> bool {
    rustix::fs::fstat(file).is_ok_and(|found| found.st_ino == inode)
}

fn has_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Parses `7f00-7f01 r-xp 00028000 fe:01 1234    /usr/lib/libc.so.6`; `None` for memory that is not executable, or is
/// the kernel's own.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let range = std::str::from_utf8(words.next()?).ok()?;
    if words.next()?.get(2) != Some(&b'x') {
        return None;
    }
    let device = std::str::from_utf8(words.nth(1)?).ok()?;
    let inode: u64 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let path = words.next().unwrap_or_default().trim_ascii_start();
    if inode == 0 && !path.starts_with(b"/") {
        let is_kernels = KERNELS.iter().any(|name| path == name.as_bytes());
        return (!is_kernels).then_some(Mapping::Anonymous);
    }
    // A newline in a name is written as an octal escape.
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let (range, identity) = (range.to_owned(), (device.to_owned(), inode));
    Some(Mapping::File(MappedFile { range, identity, path }))
}

/// What the kernel maps by itself, without asking IPE.
const KERNELS: [&str; 4] = ["[vdso]", "[vsyscall]", "[uprobes]", "[sigpage]"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_memory_is_told_apart() {
        let of = |line: &str| mapping(line.as_bytes());
        let file =
            "55d0-55d1 r-xp 00001000 fe:01 1234                       /usr/bin/a b (deleted)";
        let Some(Mapping::File(found)) = of(file) else { panic!("a file") };
        assert_eq!(found.path, Path::new("/usr/bin/a b (deleted)"));
        assert_eq!(
            (found.range.as_str(), found.identity),
            ("55d0-55d1", ("fe:01".to_owned(), 1234))
        );
        for anonymous in ["7f00-7f01 rwxp 00000000 00:00 0 ", "1-2 r-xp 00000000 00:00 0    [heap]"]
        {
            assert_eq!(of(anonymous), Some(Mapping::Anonymous));
        }
        for other in ["1-2 r--p 00000000 fe:01 1 /a", "1-2 r-xp 00000000 00:00 0   [vdso]", "", "x"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_is_found() {
        let all = Process::all().unwrap();
        let own = all.iter().find(|process| process.id == std::process::id()).unwrap();
        let (path, _) = own.open_program().unwrap().unwrap();
        assert_eq!(path, std::env::current_exe().unwrap());
        let mappings = own.executable_mappings().unwrap();
        let is_program =
            |mapping: &Mapping| matches!(mapping, Mapping::File(file) if file.path == path);
        assert!(mappings.iter().any(is_program));
        assert_eq!(own.script().map(|(path, _)| path), None);
    }
}
