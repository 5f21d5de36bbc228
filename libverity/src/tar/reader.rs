//! The reader of an archive: from headers and payloads to members.

use std::io::{self, Read};

use super::extensions::Extensions;
use super::header::{Header, is_zero_block};
use super::pax::{check_global, is_misread_by_1_8};
use super::{
    BLOCK_BYTES, DivergenceKind, Divergences, Entry, EntryKind, MAX_EXTENSION_BYTES,
    MAX_LINK_TARGET_BYTES, MAX_MEMBERS, MAX_METADATA_BYTES, MAX_PATH_BYTES,
    METADATA_BYTES_PER_MEMBER, Refusal, TarError, Timestamp, XATTR_BYTES, Xattr,
};

/// Reads the members of one archive from a stream, in their order.
///
/// The stream is read in blocks of 512 bytes between the payloads, so it should be buffered.
/// After the last member the stream stands right behind the end marker: what follows is padding
/// and belongs to the digest of the archive, so whoever wants that reads the rest from
/// [`TarReader::stream`].
///
/// As [`Read`] it is the payload of the current member, up to its end.
#[derive(Debug)]
pub struct TarReader<R> {
    stream: R,
    position_bytes: u64,
    /// How much of the current member's payload was not read yet.
    payload_bytes: u64,
    /// Where the current member, or the first extension header before it, begins.
    member_offset_bytes: u64,
    /// The current member's path as far as it is known.
    member_path: Vec<u8>,
    members: u64,
    metadata_bytes: u64,
    divergences: Divergences,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Begins to read an archive at the current place of `stream`.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            position_bytes: 0,
            payload_bytes: 0,
            member_offset_bytes: 0,
            member_path: Vec::new(),
            members: 0,
            metadata_bytes: 0,
            divergences: Divergences::default(),
            ended: false,
        }
    }

    /// Reads the next member, after what is left of the payload of the one before; `None` at the
    /// end of the archive.
    ///
    /// An archive ends with two zero blocks, or with its stream between two members, which is
    /// recorded as a divergence.
    ///
    /// # Errors
    ///
    /// Fails where the stream fails, and refuses what the module's documentation says. After an
    /// error the archive is at its end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let entry =
            self.skip_payload().and_then(|()| self.skip_padding()).and_then(|()| self.read_entry());
        self.ended = !matches!(entry, Ok(Some(_)));
        entry
    }

    /// Reads from the payload of the current member into `buffer` and returns how many bytes it
    /// was: 0 at the end of the payload, for members without one, and for an empty buffer.
    ///
    /// # Errors
    ///
    /// Fails where the stream fails or ends before the payload.
    pub fn read_payload(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let wanted = buffer.len().min(usize::try_from(self.payload_bytes).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.read_some(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(self.refused(Refusal::Truncated { missing_bytes: self.payload_bytes }));
        }
        self.payload_bytes -= read as u64;
        Ok(read)
    }

    /// Returns how many bytes of the archive were read: after [`TarReader::next_entry`] the place
    /// where the member's payload begins, or where the archive ends.
    pub const fn position_bytes(&self) -> u64 {
        self.position_bytes
    }

    /// Returns how many members were read.
    pub const fn members(&self) -> u64 {
        self.members
    }

    /// Returns where erofs-utils 1.8 makes another image than 1.9, as far as the archive was
    /// read.
    pub const fn divergences(&self) -> &Divergences {
        &self.divergences
    }

    /// Returns the stream under the archive.
    pub const fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.member_path.clear();
        self.member_offset_bytes = self.position_bytes;
        let mut extensions = Extensions::default();
        while let Some(header) = self.read_header()? {
            let typeflag = header.typeflag();
            if !matches!(typeflag, b'x' | b'g' | b'L' | b'K') {
                let entry = self.member(&header, extensions);
                return entry.map(Some).map_err(|reason| self.refused(reason));
            }
            extensions.check_order(typeflag).map_err(|reason| self.refused(reason))?;
            let payload = self.read_extension(&header)?;
            let applied = match typeflag {
                b'g' => self.pass_global(&payload),
                _ => extensions.apply(typeflag, payload),
            };
            applied.map_err(|reason| self.refused(reason))?;
            if let Some(path) = extensions.known_path() {
                self.member_path = path.to_vec();
            }
        }
        if extensions.is_empty() { Ok(None) } else { Err(self.refused(Refusal::ExtensionAtEnd)) }
    }

    /// Reads one header; `None` at the end of the archive.
    fn read_header(&mut self) -> Result<Option<Header>, TarError> {
        self.skip_padding()?;
        let Some(block) = self.read_block()? else {
            self.divergences.record(b"", DivergenceKind::MissingEndMarker);
            return Ok(None);
        };
        if is_zero_block(&block) {
            return match self.read_block()? {
                Some(second) if is_zero_block(&second) => Ok(None),
                Some(_) => Err(self.refused(Refusal::LoneZeroBlock)),
                None => {
                    self.divergences.record(b"", DivergenceKind::MissingEndMarker);
                    Ok(None)
                }
            };
        }
        let header = Header::parse(&block).map_err(|reason| {
            if self.position_bytes == BLOCK_BYTES as u64 {
                self.refused(Refusal::NotTar { found: block[..16].to_vec() })
            } else {
                self.refused(reason)
            }
        })?;
        Ok(Some(header))
    }

    /// Reads the payload of an extension header.
    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size_bytes = header.size_bytes().map_err(|reason| self.refused(reason))?;
        let limit_bytes = match header.typeflag() {
            b'L' | b'K' => MAX_PATH_BYTES as u64,
            _ => MAX_EXTENSION_BYTES,
        };
        if size_bytes > limit_bytes {
            return Err(self.refused(Refusal::ExtensionTooLong { size_bytes, limit_bytes }));
        }
        let mut payload = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
        let read = self.read_full(&mut payload)?;
        if read < payload.len() {
            let missing_bytes = (payload.len() - read) as u64;
            return Err(self.refused(Refusal::Truncated { missing_bytes }));
        }
        Ok(payload)
    }

    fn pass_global(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        check_global(payload)?;
        if is_misread_by_1_8(payload) {
            self.divergences.record(b"", DivergenceKind::LongPaxHeader);
        }
        Ok(())
    }

    /// Puts a member together from its header and what was said before it.
    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, Refusal> {
        let typeflag = header.typeflag();
        let path = match extensions.path()? {
            Some(path) => path.to_vec(),
            None => header.path()?,
        };
        self.member_path.clone_from(&path);
        let is_gnu_name = extensions.is_path_of_gnu();
        let path = without_trailing_slashes(path, typeflag, is_gnu_name)?;
        let kind = kind_of_member(header, &extensions)?;

        let mut pax = extensions.pax;
        let uid = pax.uid.map_or_else(|| header.uid(), Ok)?;
        let gid = pax.gid.map_or_else(|| header.gid(), Ok)?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timestamp { seconds: header.mtime_seconds()?, nanoseconds: 0 },
        };
        if pax.mtime.is_none() && mtime.seconds < 0 {
            pax.divergences.push(DivergenceKind::BinaryNegativeTime);
        }
        let mode = header.mode()?;
        let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs: pax.xattrs };

        self.count(&entry)?;
        self.record_divergences(&entry, &pax.divergences);
        if let EntryKind::Regular { size } = entry.kind {
            self.payload_bytes = size;
        }
        Ok(entry)
    }

    /// Keeps the members and what they take in memory within their limits.
    fn count(&mut self, entry: &Entry) -> Result<(), Refusal> {
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(Refusal::TooManyMembers);
        }
        let target_bytes = match &entry.kind {
            EntryKind::HardLink { target } | EntryKind::Symlink { target } => target.len(),
            _ => 0,
        };
        let xattr_bytes: u64 = entry
            .xattrs
            .iter()
            .map(|xattr| (xattr.name.len() + xattr.value.len()) as u64 + XATTR_BYTES)
            .sum();
        // Of a path, the last component is what is not in memory yet.
        let name_bytes = entry.path.rsplit(|byte| *byte == b'/').next().map_or(0, <[u8]>::len);
        self.metadata_bytes += (name_bytes + target_bytes) as u64 + xattr_bytes;
        if self.metadata_bytes > MAX_METADATA_BYTES + METADATA_BYTES_PER_MEMBER * self.members {
            return Err(Refusal::Metadata);
        }
        Ok(())
    }

    fn record_divergences(&mut self, entry: &Entry, kinds: &[DivergenceKind]) {
        let mut record = |kind| self.divergences.record(&entry.path, kind);
        let is_hard_link = matches!(entry.kind, EntryKind::HardLink { .. });
        for &kind in kinds {
            // The metadata of a hard link is read and then ignored.
            if !(is_hard_link && kind == DivergenceKind::FractionalTime) {
                record(kind);
            }
        }
        if is_hard_link {
            return;
        }
        if let EntryKind::BlockDevice(number) | EntryKind::CharacterDevice(number) = entry.kind
            && MISREAD_MINORS.contains(&number.minor)
        {
            record(DivergenceKind::LargeMinorNumber);
        }
        if entry.path.is_empty() {
            record(DivergenceKind::RootNamedBySlash);
        }
        if entry.mtime.seconds == 0 && entry.mtime.nanoseconds != 0 {
            record(DivergenceKind::SubsecondEpoch);
        }
        if entry.xattrs.iter().any(|xattr| !has_known_namespace(xattr)) {
            record(DivergenceKind::UnknownXattrNamespace);
        }
        if !entry.xattrs.is_sorted_by(|one, next| one.name <= next.name) {
            record(DivergenceKind::XattrOrder);
        }
    }

    /// Reads what is left of the current payload and throws it away.
    fn skip_payload(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; SKIP_BYTES];
        while self.read_payload(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads up to the next multiple of 512 bytes.
    fn skip_padding(&mut self) -> Result<(), TarError> {
        let padding_bytes = self.position_bytes.wrapping_neg() % BLOCK_BYTES as u64;
        let mut padding = [0; BLOCK_BYTES];
        let padding = &mut padding[..usize::try_from(padding_bytes).unwrap_or(0)];
        let read = self.read_full(padding)?;
        if read < padding.len() {
            let missing_bytes = (padding.len() - read) as u64;
            return Err(self.refused(Refusal::Truncated { missing_bytes }));
        }
        Ok(())
    }

    /// Reads one block; `None` where the stream ends before its first byte.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, TarError> {
        let mut block = [0; BLOCK_BYTES];
        match self.read_full(&mut block)? {
            0 => Ok(None),
            BLOCK_BYTES => Ok(Some(block)),
            read if self.position_bytes < BLOCK_BYTES as u64 => {
                Err(self.refused(Refusal::NotTar { found: block[..read.min(16)].to_vec() }))
            }
            read => {
                let missing_bytes = (BLOCK_BYTES - read) as u64;
                Err(self.refused(Refusal::Truncated { missing_bytes }))
            }
        }
    }

    /// Fills `buffer` as far as the stream reaches.
    fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.stream.read(buffer) {
                Ok(read) => {
                    self.position_bytes += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(TarError::Read { offset_bytes: self.position_bytes, source });
                }
            }
        }
    }

    fn refused(&self, reason: Refusal) -> TarError {
        TarError::Refused {
            offset_bytes: self.member_offset_bytes,
            path: self.member_path.clone(),
            reason,
        }
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_payload(buffer)?)
    }
}

fn kind_of_member(header: &Header, extensions: &Extensions) -> Result<EntryKind, Refusal> {
    let typeflag = header.typeflag();
    let kind = match typeflag {
        b'0' | b'7' => {
            return Ok(EntryKind::Regular { size: extensions.size_bytes(header)? });
        }
        b'1' => EntryKind::HardLink { target: link_target(header, extensions, MAX_PATH_BYTES)? },
        b'2' => {
            EntryKind::Symlink { target: link_target(header, extensions, MAX_LINK_TARGET_BYTES)? }
        }
        b'3' => EntryKind::CharacterDevice(header.device_number()?),
        b'4' => EntryKind::BlockDevice(header.device_number()?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err(Refusal::Typeflag { typeflag }),
    };
    match extensions.size_bytes(header)? {
        0 => Ok(kind),
        size_bytes => Err(Refusal::SizeWithoutContent { typeflag, size_bytes }),
    }
}

fn link_target(
    header: &Header,
    extensions: &Extensions,
    limit_bytes: usize,
) -> Result<Vec<u8>, Refusal> {
    let target = extensions.link_target()?.unwrap_or_else(|| header.link_target());
    if target.len() > limit_bytes {
        return Err(Refusal::LinkTargetTooLong { target_bytes: target.len(), limit_bytes });
    }
    Ok(target.to_vec())
}

/// Strips the slashes that end a directory's name, but for one that a GNU long name ends with.
///
/// mkfs.erofs strips those of headers and PAX headers alone. Behind a slash the name before it is
/// one on the way: a directory already, or made one, and no whiteout.
fn without_trailing_slashes(
    mut path: Vec<u8>,
    typeflag: u8,
    is_gnu_name: bool,
) -> Result<Vec<u8>, Refusal> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Refusal::PathTooLong { path_bytes: path.len() });
    }
    if path.ends_with(b"/") && typeflag != b'5' {
        return Err(Refusal::TrailingSlash { typeflag });
    }
    let is_kept = is_gnu_name && path.ends_with(b"/");
    while path.ends_with(b"/") {
        path.pop();
    }
    if is_kept {
        path.push(b'/');
    }
    Ok(path)
}

/// Tells whether EROFS has an index for the namespace of an attribute.
fn has_known_namespace(xattr: &Xattr) -> bool {
    KNOWN_XATTR_PREFIXES.iter().any(|prefix| xattr.name.starts_with(prefix.as_bytes()))
}

const KNOWN_XATTR_PREFIXES: [&str; 5] =
    ["user.", "system.posix_acl_access", "system.posix_acl_default", "trusted.", "security."];
/// Are the minor numbers of which erofs-utils 1.8 extends the highest bit as a sign, and which are
/// other ones then.
const MISREAD_MINORS: std::ops::Range<u32> = 0x80000..0xfff00;
/// Is how much of a payload is thrown away at a time.
const SKIP_BYTES: usize = 16384;

#[cfg(test)]
mod tests;
