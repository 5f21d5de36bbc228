//! What an image executes, whose layers are mounted as volumes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use libverity::erofs::{FileKind, ImageSource, ReadError, Reader, WalkedFile};

use super::jit::{JitRuntime, jit_runtime};
use super::loader::{FileTree, Loader, TreeFile};
use super::{Actor, Knowledge, Object, Use};
use crate::evaluate::{Facts, Volume};
use crate::vocabulary::Operation;

/// Is a layer as it is mounted on a node.
pub struct ImageVolume<S> {
    /// The image of the layer.
    pub reader: Reader<S>,
    /// What the kernel knows of the volume.
    pub volume: Volume,
}

/// Is what an image starts, as its configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPoint {
    /// The program and its arguments; empty where the image starts nothing by itself.
    pub command: Vec<String>,
    /// Where programs without a slash are looked for.
    pub search: Vec<PathBuf>,
    /// Where a relative path starts.
    pub working_directory: PathBuf,
}

/// Is what an image executes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUses {
    /// What is executed, and by whom.
    pub uses: Vec<Use>,
    /// What is started or asked for and is not in the image.
    pub missing: Vec<PathBuf>,
    /// Runtimes that compile while they run.
    pub runtimes: Vec<(PathBuf, JitRuntime)>,
}

/// Lists what an image executes: its entry point and its setuid programs with all that they take along, and the
/// memory that known runtimes make executable. The layers come lowest first.
///
/// # Errors
///
/// Fails where a layer cannot be read.
pub fn image_uses<S: ImageSource>(
    layers: &[ImageVolume<S>],
    entry: &EntryPoint,
) -> Result<ImageUses, ImageError> {
    let tree = ImageTree::new(layers)?;
    let mut found = ImageUses::default();
    let mut loader = Loader::new(&tree);
    if let Some(program) = entry.command.first() {
        let mut program = PathBuf::from(program);
        if program.as_os_str().as_bytes().contains(&b'/') {
            program = Path::new("/").join(&entry.working_directory).join(program);
        }
        match loader.find_program(&program, &entry.search)? {
            Some(path) => found.add(&tree, loader.load(&path)?, Actor::EntryPoint),
            None => found.missing.push(program),
        }
    }
    for (path, node) in &tree.nodes {
        let inode = &node.file.inode;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let is_program = inode.kind == FileKind::Regular && inode.permissions & 0o111 != 0;
        if is_program && inode.permissions & 0o6000 != 0 {
            let loaded = loader.load(path)?;
            found.add(&tree, loaded, Actor::Setuid);
        }
        if inode.kind == FileKind::Regular
            && let Some(runtime) = jit_runtime(path)
        {
            found.runtimes.push((path.to_owned(), runtime));
            found.uses.push(Use {
                operation: Operation::Execute,
                object: Object::AnonymousMemory,
                knowledge: Knowledge::Known(Facts::default()),
                actor: Actor::Runtime { name: runtime.name, path: path.to_owned() },
                is_vital: false,
            });
        }
    }
    found.missing.sort();
    found.missing.dedup();
    Ok(found)
}

/// Says why the content of an image is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file cannot be read.
    #[error("a file of the image cannot be read")]
    File(#[from] io::Error),
    /// A layer cannot be read.
    #[error("a layer of the image cannot be read")]
    Layer(#[from] ReadError),
}

impl ImageUses {
    fn add<S>(&mut self, tree: &ImageTree<'_, S>, loaded: super::Loaded, actor: Actor) {
        self.missing.extend(loaded.missing);
        for file in loaded.files {
            let Some(node) = tree.nodes.get(file.path.as_os_str().as_bytes()) else { continue };
            let volume = Some(tree.layers[node.layer].volume.clone());
            self.uses.push(Use {
                operation: Operation::Execute,
                object: Object::File(file.path),
                knowledge: Knowledge::Known(Facts { volume, ..Facts::default() }),
                actor: actor.clone(),
                is_vital: false,
            });
        }
    }
}

/// Is the tree that overlayfs makes of the layers.
struct ImageTree<'a, S> {
    layers: &'a [ImageVolume<S>],
    /// By absolute path.
    nodes: BTreeMap<Vec<u8>, Node>,
}

struct Node {
    /// The layer in which the file lies.
    layer: usize,
    file: WalkedFile,
}

impl<'a, S: ImageSource> ImageTree<'a, S> {
    fn new(layers: &'a [ImageVolume<S>]) -> Result<Self, ReadError> {
        let mut nodes: BTreeMap<Vec<u8>, Node> = BTreeMap::new();
        for (number, layer) in layers.iter().enumerate() {
            for file in layer.reader.walk() {
                let file = file?;
                let path = file.path.as_bytes().to_vec();
                let is_directory = file.inode.kind == FileKind::Directory;
                let is_merged = is_directory && !is_opaque(&layer.reader, &file)?;
                // Only what lower layers have is hidden; what this one has comes behind its directory.
                if !is_merged {
                    remove_below(&mut nodes, &path);
                }
                match file.inode.kind.is_whiteout() {
                    true => drop(nodes.remove(&path)),
                    false => drop(nodes.insert(path, Node { layer: number, file })),
                }
            }
        }
        Ok(Self { layers, nodes })
    }

    /// Follows symbolic links, at most as many as the kernel does.
    fn resolve(&self, path: &Path) -> io::Result<Option<(PathBuf, &Node)>> {
        let mut left: Vec<OsString> = components(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let Some(node) = self.nodes.get(next.as_os_str().as_bytes()) else { return Ok(None) };
            if node.file.inode.kind != FileKind::Symlink {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Ok(None);
            }
            let reader = &self.layers[node.layer].reader;
            let target = reader.symlink_target(&node.file).map_err(io::Error::other)?;
            let target = PathBuf::from(OsString::from_vec(target));
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(components(&target));
        }
        Ok(self.nodes.get(at.as_os_str().as_bytes()).map(|node| (at, node)))
    }
}

impl<S: ImageSource> FileTree for ImageTree<'_, S> {
    fn open(&self, path: &Path) -> io::Result<Option<TreeFile<'_>>> {
        let Some((path, node)) = self.resolve(path)? else { return Ok(None) };
        if node.file.inode.kind != FileKind::Regular {
            return Ok(None);
        }
        let content = self.layers[node.layer].reader.read_file(&node.file);
        Ok(Some(TreeFile { path, content: Box::new(content.map_err(io::Error::other)?) }))
    }

    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let Some((path, _)) = self.resolve(path)? else { return Ok(Vec::new()) };
        let below = below(path.as_os_str().as_bytes());
        let inside = self.nodes.range(below.clone()..).map(|(path, _)| path);
        let inside = inside.take_while(|path| path.starts_with(&below));
        let names = inside.map(|path| &path[below.len()..]).filter(|name| !name.contains(&b'/'));
        Ok(names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect())
    }
}

/// Lists the parts of a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

fn below(path: &[u8]) -> Vec<u8> {
    let mut below = path.to_vec();
    if below.last() != Some(&b'/') {
        below.push(b'/');
    }
    below
}

fn remove_below(nodes: &mut BTreeMap<Vec<u8>, Node>, path: &[u8]) {
    let below = below(path);
    let range = (Bound::Excluded(below.clone()), Bound::Unbounded);
    let inside: Vec<_> = nodes
        .range::<Vec<u8>, _>(range)
        .map(|(path, _)| path.clone())
        .take_while(|path| path.starts_with(&below))
        .collect();
    for path in inside {
        nodes.remove(&path);
    }
}

/// Source: `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
fn is_opaque<S: ImageSource>(reader: &Reader<S>, file: &WalkedFile) -> Result<bool, ReadError> {
    let xattrs = reader.xattrs(file)?;
    Ok(xattrs.iter().any(|xattr| xattr.name == b"trusted.overlay.opaque" && xattr.value == b"y"))
}

/// `MAXSYMLINKS` of the kernel.
const MAX_LINKS: usize = 40;
