//! What is executed and mapped when a program is started: its interpreters and its libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::elf::{MAGIC, Needs, Target};

/// Is a tree of files in which programs are looked for.
pub trait FileTree {
    /// Opens the regular file at `path`, through whatever symbolic links; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be read.
    fn open(&self, path: &Path) -> io::Result<Option<TreeFile<'_>>>;

    /// Lists the names in the directory at `path`, in order; none where there is none.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be read.
    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Is an opened file of a tree.
pub struct TreeFile<'a> {
    /// Where it lies, without symbolic links.
    pub path: PathBuf,
    /// Its content.
    pub content: Box<dyn ReadSeek + 'a>,
}

/// Can be read at any place.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Finds out what programs take along; what it has found once it keeps in mind.
pub struct Loader<'t, T: ?Sized> {
    tree: &'t T,
    /// By resolved path.
    known: BTreeMap<PathBuf, Needed>,
    /// Resolved paths, and none for what does not exist.
    resolved: BTreeMap<PathBuf, Option<PathBuf>>,
    configured: Option<Vec<PathBuf>>,
}

/// Is what one file asks for, by resolved paths.
#[derive(Clone, Debug, Default)]
struct Needed {
    /// The program that runs a script, or the one that loads this one.
    interpreters: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
    missing: Vec<PathBuf>,
    target: Option<Target>,
    rpath: Vec<PathBuf>,
}

/// Is what is executed and mapped when a program is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The files, the program first.
    pub files: Vec<LoadedFile>,
    /// What is asked for and is not there; libraries by their name.
    pub missing: Vec<PathBuf>,
}

/// Is a file that is executed or mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedFile {
    /// Where it lies, without symbolic links.
    pub path: PathBuf,
    /// What for.
    pub reason: Reason,
}

/// Says why a file is executed or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It runs the script, or loads the program.
    Interpreter,
    /// The program is linked with it.
    Library,
    /// It is the program.
    Program,
}

impl<'t, T: FileTree + ?Sized> Loader<'t, T> {
    /// Looks into `tree`.
    pub fn new(tree: &'t T) -> Self {
        Self { tree, known: BTreeMap::new(), resolved: BTreeMap::new(), configured: None }
    }

    /// Lists what is executed and mapped when the program at `path` is started.
    ///
    /// # Errors
    ///
    /// Fails where a file cannot be read.
    pub fn load(&mut self, path: &Path) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        let Some(program) = self.resolve(path)? else {
            loaded.missing.push(path.to_owned());
            return Ok(loaded);
        };
        let mut seen = BTreeSet::new();
        let mut waiting = vec![(program, Reason::Program, Vec::new())];
        while let Some((path, reason, inherited)) = waiting.pop() {
            if seen.len() >= MAX_FILES || !seen.insert(path.clone()) {
                continue;
            }
            let needed = self.needed(&path, &inherited)?;
            let next = [inherited, needed.rpath].concat();
            loaded.files.push(LoadedFile { path, reason });
            loaded.missing.extend(needed.missing);
            // Last in, first out: the interpreters come right behind what they run.
            waiting.extend(
                needed
                    .libraries
                    .into_iter()
                    .rev()
                    .map(|path| (path, Reason::Library, next.clone())),
            );
            waiting.extend(
                needed
                    .interpreters
                    .into_iter()
                    .map(|path| (path, Reason::Interpreter, next.clone())),
            );
        }
        loaded.missing.sort();
        loaded.missing.dedup();
        Ok(loaded)
    }

    /// Finds a program as a shell does: by its path, or else in the directories of `search`.
    ///
    /// # Errors
    ///
    /// Fails where a file cannot be read.
    pub fn find_program(&mut self, name: &Path, search: &[PathBuf]) -> io::Result<Option<PathBuf>> {
        if name.as_os_str().as_bytes().contains(&b'/') {
            return self.resolve(name);
        }
        for directory in search {
            if let Some(found) = self.resolve(&directory.join(name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn needed(&mut self, path: &Path, inherited: &[PathBuf]) -> io::Result<Needed> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let needed = self.read(path, inherited)?;
        self.known.insert(path.to_owned(), needed.clone());
        Ok(needed)
    }

    fn read(&mut self, path: &Path, inherited: &[PathBuf]) -> io::Result<Needed> {
        let mut needed = Needed::default();
        let Some(mut file) = self.tree.open(path)? else { return Ok(needed) };
        let mut head = Vec::new();
        file.content.by_ref().take(SCRIPT_HEAD_BYTES).read_to_end(&mut head)?;
        if let Some(interpreter) = script_interpreter(&head) {
            match self.resolve(&interpreter)? {
                Some(path) => needed.interpreters.push(path),
                None => needed.missing.push(interpreter),
            }
            return Ok(needed);
        }
        if !head.starts_with(MAGIC) {
            return Ok(needed);
        }
        let Some(needs) = Needs::read(file.content)? else { return Ok(needed) };
        needed.target = Some(needs.target);
        if let Some(interpreter) = needs.interpreter.map(to_path) {
            match self.resolve(&interpreter)? {
                Some(path) => needed.interpreters.push(path),
                None => needed.missing.push(interpreter),
            }
        }
        let origin = path.parent().unwrap_or_else(|| Path::new("/"));
        let expanded = |paths: &[Vec<u8>]| -> Vec<PathBuf> {
            paths.iter().map(|path| expand(path, origin)).collect()
        };
        needed.rpath = expanded(&needs.rpath);
        let mut search = match needs.runpath.is_empty() {
            true => [&needed.rpath[..], inherited].concat(),
            false => expanded(&needs.runpath),
        };
        search.extend(self.directories(needs.target)?);
        for name in needs.libraries.into_iter().map(to_path) {
            match self.find_library(&name, &search, needs.target)? {
                Some(path) => needed.libraries.push(path),
                None => needed.missing.push(name),
            }
        }
        Ok(needed)
    }

    fn find_library(
        &mut self,
        name: &Path,
        search: &[PathBuf],
        target: Target,
    ) -> io::Result<Option<PathBuf>> {
        if name.as_os_str().as_bytes().contains(&b'/') {
            return self.resolve(name);
        }
        for directory in search {
            let Some(found) = self.resolve(&directory.join(name))? else { continue };
            // One of another kind of machine is passed over; a damaged one fails when it is mapped.
            if self.target(&found)?.is_none_or(|found| found == target) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn target(&self, path: &Path) -> io::Result<Option<Target>> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.target);
        }
        let Some(mut file) = self.tree.open(path)? else { return Ok(None) };
        let mut magic = [0; 4];
        match file.content.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Needs::read(file.content)?.map(|needs| needs.target))
    }

    fn resolve(&mut self, path: &Path) -> io::Result<Option<PathBuf>> {
        if let Some(known) = self.resolved.get(path) {
            return Ok(known.clone());
        }
        let resolved = self.tree.open(path)?.map(|file| file.path);
        self.resolved.insert(path.to_owned(), resolved.clone());
        Ok(resolved)
    }

    /// Lists where the dynamic linkers of this machine's kind look for libraries.
    fn directories(&mut self, target: Target) -> io::Result<Vec<PathBuf>> {
        if self.configured.is_none() {
            self.configured = Some(self.read_configuration()?);
        }
        let mut directories = self.configured.clone().unwrap_or_default();
        let triple = TRIPLES.iter().find(|(machine, _)| *machine == target.machine);
        for root in ["/lib", "/usr/lib", "/usr/local/lib"] {
            directories.extend(triple.map(|(_, triple)| Path::new(root).join(triple)));
        }
        if target.is_64_bit {
            directories.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
        }
        directories.extend(["/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
        Ok(directories)
    }

    /// Reads directories, and files that `include` lines name (`ldconfig(8)`); each once, and not more than any system has.
    fn read_configuration(&self) -> io::Result<Vec<PathBuf>> {
        let mut directories = Vec::new();
        let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
        let mut next = 0;
        while let Some(path) = files.get(next).cloned() {
            next += 1;
            let Some(file) = self.tree.open(&path)? else { continue };
            let mut text = Vec::new();
            file.content.take(MAX_CONFIGURATION_BYTES).read_to_end(&mut text)?;
            for line in String::from_utf8_lossy(&text).lines() {
                let line = line.split('#').next().unwrap_or_default().trim();
                match line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
                    None if line.starts_with('/') && directories.len() < MAX_DIRECTORIES => {
                        directories.push(line.into());
                    }
                    None => {}
                    Some(pattern) => {
                        let pattern = Path::new(pattern.trim());
                        let pattern = path.parent().unwrap_or_else(|| Path::new("/")).join(pattern);
                        for found in self.matching(&pattern)? {
                            if files.len() < MAX_CONFIGURATION_FILES && !files.contains(&found) {
                                files.push(found);
                            }
                        }
                    }
                }
            }
        }
        Ok(directories)
    }

    /// Lists what a path with a star in its last part means.
    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
            return Ok(Vec::new());
        };
        let name = name.as_bytes();
        let Some(star) = name.iter().position(|byte| *byte == b'*') else {
            return Ok(vec![pattern.to_owned()]);
        };
        let mut names = self.tree.names(directory)?;
        names.retain(|found| {
            let found = found.as_os_str().as_bytes();
            found.len() + 1 >= name.len()
                && found.starts_with(&name[..star])
                && found.ends_with(&name[star + 1..])
        });
        Ok(names.into_iter().map(|name| directory.join(name)).collect())
    }
}

/// Returns the interpreter that the first line of a script names.
///
/// Source: `fs/binfmt_script.c`: 256 bytes are read, and spaces and tabs may stand around the path.
fn script_interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| b" \t\0".contains(byte)).filter(|word| !word.is_empty());
    words.next().map(|path| to_path(path.to_vec()))
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Puts the directory of the file in the place of `$ORIGIN` (`ld.so(8)`).
fn expand(path: &[u8], origin: &Path) -> PathBuf {
    for variable in [&b"$ORIGIN"[..], b"${ORIGIN}"] {
        if let Some(rest) = path.strip_prefix(variable) {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            return origin.join(OsStr::from_bytes(rest));
        }
    }
    to_path(path.to_vec())
}

/// Is what the kernel reads of a file to find out how to run it (`BINPRM_BUF_SIZE`).
const SCRIPT_HEAD_BYTES: u64 = 256;
/// More files than any program is made of.
const MAX_FILES: usize = 4096;
const MAX_CONFIGURATION_BYTES: u64 = 64 << 10;
const MAX_CONFIGURATION_FILES: usize = 64;
const MAX_DIRECTORIES: usize = 256;

/// The directories of Debian's kind, by `e_machine`.
const TRIPLES: [(u16, &str); 7] = [
    (3, "i386-linux-gnu"),
    (21, "powerpc64le-linux-gnu"),
    (22, "s390x-linux-gnu"),
    (40, "arm-linux-gnueabihf"),
    (62, "x86_64-linux-gnu"),
    (183, "aarch64-linux-gnu"),
    (243, "riscv64-linux-gnu"),
];

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// Is a directory that is taken for the root.
    struct Directory(PathBuf);

    impl FileTree for Directory {
        fn open(&self, path: &Path) -> io::Result<Option<TreeFile<'_>>> {
            let inside = self.0.join(path.strip_prefix("/").unwrap_or(path));
            let Ok(real) = inside.canonicalize() else { return Ok(None) };
            let path = Path::new("/").join(real.strip_prefix(&self.0).unwrap());
            Ok(Some(TreeFile { path, content: Box::new(File::open(real)?) }))
        }

        fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
            let inside = self.0.join(path.strip_prefix("/").unwrap_or(path));
            let Ok(entries) = fs::read_dir(inside) else { return Ok(Vec::new()) };
            let mut names: Vec<_> = entries
                .map(|entry| entry.map(|entry| entry.file_name().into()))
                .collect::<Result<_, _>>()?;
            names.sort();
            Ok(names)
        }
    }

    #[test]
    fn scripts_take_their_interpreters_along() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        let write = |path: &str, content: &str| fs::write(root.join(path), content).unwrap();
        write("bin/first", "#! /bin/second -x\necho");
        write("bin/real", "#!/bin/shell");
        write("bin/lost", "#!/bin/nowhere\n");
        write("bin/shell", "no script and no program");
        std::os::unix::fs::symlink("real", root.join("bin/second")).unwrap();
        let tree = Directory(root);
        let mut loader = Loader::new(&tree);
        let paths = |loaded: Loaded| -> Vec<_> {
            loaded.files.into_iter().map(|file| file.path.display().to_string()).collect()
        };
        let loaded = loader.load(Path::new("/bin/first")).unwrap();
        assert_eq!(paths(loaded), ["/bin/first", "/bin/real", "/bin/shell"]);
        let loaded = loader.load(Path::new("/bin/lost")).unwrap();
        assert_eq!(loaded.missing, [Path::new("/bin/nowhere")]);
        let search = [PathBuf::from("/sbin"), PathBuf::from("/bin")];
        let found = loader.find_program(Path::new("second"), &search).unwrap();
        assert_eq!(found, Some("/bin/real".into()));
        assert_eq!(loader.find_program(Path::new("third"), &search).unwrap(), None);
    }

    #[test]
    fn programs_of_this_machine_take_what_the_kernel_maps() {
        let tree = Directory("/".into());
        let program = std::env::current_exe().unwrap();
        let loaded = Loader::new(&tree).load(&program).unwrap();
        assert_eq!(loaded.missing, [] as [&Path; 0]);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps
            .lines()
            .filter(|line| line.contains(" r-xp "))
            .filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
        for path in mapped {
            let found = loaded.files.iter().any(|file| file.path == Path::new(&path));
            assert!(found, "{path} is mapped; found {:?}", loaded.files);
        }
        assert_eq!(loaded.files[0].reason, Reason::Program);
        assert_eq!(loaded.files[1].reason, Reason::Interpreter);
    }

    #[test]
    fn own_directories_are_searched_first() {
        let at = |path: &[u8]| expand(path, Path::new("/opt/app/bin"));
        assert_eq!(at(b"$ORIGIN/../lib"), Path::new("/opt/app/bin/../lib"));
        assert_eq!(at(b"${ORIGIN}"), Path::new("/opt/app/bin/"));
        assert_eq!(at(b"/opt/lib"), Path::new("/opt/lib"));
    }
}
