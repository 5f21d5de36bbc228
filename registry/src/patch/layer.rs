//! The layer that a patch is: what is added, and whiteouts of what is removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use libverity::layer::{
    ConvertedLayer, DirectoryArchive, DirectoryError, DirectoryOptions, Discard, ExpectedLayer,
    LayerError, Profile, read_archive,
};
use libverity::tar::{
    BLOCK_BYTES, END_MARKER_BYTES, Entry, EntryKind, TarError, TarReader, Timestamp, encode_member,
};
use sha2::{Digest as _, Sha256};

use super::PatchError;
use super::lookup::{Found, look_up};
use crate::conversion::{Watch, convert_blob};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::image_path::{ImagePath, Meaning, whiteout_of};
use crate::media_type::MediaType;
use crate::place::{BlobSource, Place};

/// Says what a patch changes in an image.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Where the files are that it adds, or puts in the place of others.
    pub added: Option<Addition>,
    /// The files and directories that it removes.
    pub removed: BTreeSet<ImagePath>,
}

/// Says where the files of a patch are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// In an archive, which may be compressed.
    Archive(PathBuf),
    /// In a directory, which stands for the root of the image.
    Directory(PathBuf, DirectoryOptions),
}

/// Is the layer of a patch, ready to be stored.
///
/// It is an archive that is not compressed: so its digest depends on nothing but its content, and not on
/// the version of a compressor. The same change of the same image always makes the same bytes.
#[derive(Debug)]
pub struct PatchLayer {
    layer: ImageLayer,
    /// The directories above what is added and removed, and the whiteouts.
    head: Vec<u8>,
    /// All members that are added, without an end marker.
    body: File,
}

impl PatchLayer {
    /// Makes the layer that changes `image` as `change` says.
    ///
    /// A directory of the image in which something is added or removed keeps its owner and permissions,
    /// unless `change` adds the directory itself. The root is always `0755` and root's.
    ///
    /// The layers of the image are read, from the uppermost one down, only where that is needed: for what is
    /// removed, for directories that an archive leaves out, and for directories whose names are those of
    /// symbolic links in most images (`bin`, `lib`, `lib32`, `lib64`, `libx32`, `sbin`).
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the addition, and why it does not fit the image.
    pub fn build(
        place: &dyn Place,
        image: &Image,
        change: &Change,
        watch: Watch<'_>,
    ) -> Result<Self, PatchError> {
        let mut body = Body::new(&change.removed)?;
        match &change.added {
            Some(Addition::Directory(path, options)) => body.add_directory(path, *options)?,
            Some(Addition::Archive(path)) => body.add_archive(path)?,
            None => {}
        }
        let Body { file, declared, mut parents, .. } = body;
        parents.extend(change.removed.iter().flat_map(ImagePath::ancestors));
        let missing: BTreeSet<_> = parents.difference(&declared).cloned().collect();
        let checked = declared.iter().filter(|path| MERGED.contains(&path.as_bytes()));
        let wanted = missing.iter().chain(checked).chain(&change.removed).cloned().collect();
        let mut found = look_up(place, &image.layers, &wanted, watch)?;

        let mut head = encode_member(&directory(ImagePath::root().as_bytes()))?;
        for path in &wanted {
            let found = found.remove(path).unwrap_or(Found::Absent);
            if change.removed.contains(path) {
                check_removable(path, found, image)?;
            } else if let Some(entry) = parent(path, found)?
                && missing.contains(path)
            {
                head.extend(encode_member(&entry)?);
            }
        }
        for path in &change.removed {
            let kind = EntryKind::Regular { size: 0 };
            let entry = Entry { kind, mode: 0o644, ..directory(&whiteout_of(path)) };
            head.extend(encode_member(&entry)?);
        }
        Self::seal(image, head, file)
    }

    /// Returns the layer as an image has it.
    pub fn layer(&self) -> &ImageLayer {
        &self.layer
    }

    /// Converts the layer by each of `profiles`.
    ///
    /// # Errors
    ///
    /// Says what of the layer cannot be in an image.
    pub fn convert(&self, profiles: &[Profile]) -> Result<ConvertedLayer, PatchError> {
        let reader = self.reader().map_err(PatchError::Temporary)?;
        Ok(convert_blob(reader, &self.layer, profiles, &mut Discard)?)
    }

    /// Reads the archive.
    ///
    /// # Errors
    ///
    /// Fails where the temporary file that holds it cannot be read.
    pub fn reader(&self) -> io::Result<impl Read + use<>> {
        let mut body = self.body.try_clone()?;
        body.seek(SeekFrom::Start(0))?;
        let head = io::Cursor::new(self.head.clone());
        Ok(head.chain(body).chain(&[0; END_MARKER_BYTES][..]))
    }

    fn seal(image: &Image, head: Vec<u8>, body: File) -> Result<Self, PatchError> {
        let media_type = match image.manifest.descriptor().media_type == MediaType::DOCKER_MANIFEST
        {
            true => MediaType::new(DOCKER_LAYER),
            false => MediaType::OCI_LAYER,
        };
        let unknown = Descriptor::of(media_type, &[]);
        let diff_id = unknown.digest;
        let mut layer = Self { layer: ImageLayer { descriptor: unknown, diff_id }, head, body };
        let mut hasher = Sha256::new();
        let mut reader = layer.reader().map_err(PatchError::Temporary)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut size = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(PatchError::Temporary(error)),
            }
        }
        layer.layer.diff_id = Digest::from_bytes(hasher.finalize().into());
        layer.layer.descriptor.digest = layer.layer.diff_id;
        layer.layer.descriptor.size = size;
        Ok(layer)
    }
}

impl BlobSource for PatchLayer {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        let object = || "the layer of the patch".to_owned();
        let reader = self.reader();
        Ok(Box::new(reader.map_err(|source| Error::Io {
            action: "read",
            object: object(),
            source,
        })?))
    }
}

/// Gathers what is added.
struct Body<'a> {
    removed: &'a BTreeSet<ImagePath>,
    file: File,
    /// The directories that are added.
    declared: BTreeSet<ImagePath>,
    /// The directories in which something is added.
    parents: BTreeSet<ImagePath>,
}

impl<'a> Body<'a> {
    fn new(removed: &'a BTreeSet<ImagePath>) -> Result<Self, PatchError> {
        // Without a name, so that it is gone with the process.
        let file = tempfile::tempfile().map_err(PatchError::Temporary)?;
        Ok(Self { removed, file, declared: BTreeSet::new(), parents: BTreeSet::new() })
    }

    fn add_directory(&mut self, path: &Path, options: DirectoryOptions) -> Result<(), PatchError> {
        let refused = |source| PatchError::Directory { path: path.to_owned(), source };
        let archive = DirectoryArchive::open(path, options).map_err(refused)?;
        self.add(archive, path).map_err(|error| match error {
            PatchError::Archive { source: LayerError::Read { source, offset_bytes }, .. } => {
                match source.downcast::<DirectoryError>() {
                    Ok(source) => refused(source),
                    Err(source) => PatchError::Archive {
                        path: path.to_owned(),
                        source: LayerError::Read { source, offset_bytes },
                    },
                }
            }
            error => error,
        })
    }

    fn add_archive(&mut self, path: &Path) -> Result<(), PatchError> {
        let failed = |source| PatchError::Archive {
            path: path.to_owned(),
            source: LayerError::Read { source, offset_bytes: 0 },
        };
        self.add(File::open(path).map_err(failed)?, path)
    }

    /// Adds all members of an archive.
    fn add(&mut self, archive: impl Read, path: &Path) -> Result<(), PatchError> {
        // What is wrong with the archive as a whole shows at its end, and then nothing is used.
        read_archive(archive, &ExpectedLayer::default(), |members| self.add_members(members))
            .map_err(|source| PatchError::Archive { path: path.to_owned(), source })?
            .result
    }

    /// Adds members; what is wrong with the patch, and not with the archive, is the inner result.
    fn add_members(
        &mut self,
        members: &mut TarReader<&mut dyn BufRead>,
    ) -> Result<Result<(), PatchError>, TarError> {
        let file = match self.file.try_clone() {
            Ok(file) => file,
            Err(error) => return Ok(Err(PatchError::Temporary(error))),
        };
        let mut out = BufWriter::with_capacity(COPY_BYTES, file);
        while let Some(entry) = members.next_entry()? {
            let header = match self.note(&entry).and_then(|is_kept| {
                if is_kept { Ok(Some(encode_member(&entry)?)) } else { Ok(None) }
            }) {
                Ok(Some(header)) => header,
                Ok(None) => continue,
                Err(error) => return Ok(Err(error)),
            };
            if let Err(error) = out.write_all(&header) {
                return Ok(Err(PatchError::Temporary(error)));
            }
            let EntryKind::Regular { size } = entry.kind else { continue };
            if let Err(error) = copy_payload(members, size, &mut out)? {
                return Ok(Err(PatchError::Temporary(error)));
            }
        }
        Ok(out.flush().map_err(PatchError::Temporary))
    }

    /// Looks at a member, and tells whether it is added.
    fn note(&mut self, entry: &Entry) -> Result<bool, PatchError> {
        let path = match Meaning::of_member(&entry.path) {
            Meaning::Nothing => return Ok(true),
            Meaning::Opaque(path) => path.join(b".wh..wh..opq"),
            Meaning::File(path) | Meaning::Whiteout(path) => path,
        };
        if path.is_root() {
            return Ok(false);
        }
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        for removed in self.removed {
            let is_in_the_way = path == *removed
                || path.is_beneath(removed)
                || (!is_directory && removed.is_beneath(&path));
            if is_in_the_way {
                return Err(PatchError::Contradiction { removed: removed.clone(), added: path });
            }
        }
        self.parents.extend(path.ancestors());
        if is_directory {
            self.declared.insert(path);
        }
        Ok(true)
    }
}

/// Copies the content of a member, filled up to a block.
fn copy_payload<R: Read>(
    members: &mut TarReader<R>,
    size_bytes: u64,
    out: &mut impl io::Write,
) -> Result<io::Result<()>, TarError> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = members.read_payload(&mut buffer)?;
        if read == 0 {
            break;
        }
        if let Err(error) = out.write_all(&buffer[..read]) {
            return Ok(Err(error));
        }
    }
    let padding = (size_bytes.wrapping_neg() % BLOCK_BYTES as u64) as usize;
    Ok(out.write_all(&[0; BLOCK_BYTES][..padding]))
}

fn check_removable(path: &ImagePath, found: Found, image: &Image) -> Result<(), PatchError> {
    match found {
        Found::Implied | Found::Present(_) => Ok(()),
        Found::Absent => {
            Err(PatchError::NothingToRemove { path: path.clone(), image: image.manifest.digest() })
        }
        Found::Behind { path: obstacle, target } => Err(behind(obstacle, target)),
    }
}

/// Returns the directory `path` as the image has it, or as it is to be where the image does not.
fn parent(path: &ImagePath, found: Found) -> Result<Option<Entry>, PatchError> {
    let described = match found {
        Found::Present(entry) => *entry,
        Found::Absent | Found::Implied => directory(path.as_bytes()),
        Found::Behind { path: obstacle, target } => return Err(behind(obstacle, target)),
    };
    match described.kind {
        EntryKind::Directory => Ok(Some(Entry { path: path.as_bytes().to_vec(), ..described })),
        EntryKind::Symlink { target } => Err(behind(path.clone(), Some(target))),
        _ => Err(behind(path.clone(), None)),
    }
}

fn behind(obstacle: ImagePath, target: Option<Vec<u8>>) -> PatchError {
    let target = target.map(|target| target.escape_ascii().to_string());
    PatchError::NotADirectory { obstacle, target }
}

/// Returns an ordinary directory.
fn directory(path: &[u8]) -> Entry {
    let path = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
    Entry {
        path,
        kind: EntryKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Vec::new(),
    }
}

/// The names at the top that are symbolic links into `usr` in most images of today: a directory in the place
/// of one would take the whole system away.
const MERGED: [&[u8]; 6] = [b"bin", b"lib", b"lib32", b"lib64", b"libx32", b"sbin"];

/// The media type of a layer in manifests of Docker's schema 2 that is not compressed.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// How much of a file is copied at once.
const COPY_BYTES: usize = 64 << 10;
