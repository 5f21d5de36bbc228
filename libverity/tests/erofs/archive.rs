//! Tar archives, written member by member.

/// Is an archive under construction.
#[derive(Default)]
pub(crate) struct Archive(Vec<u8>);

/// Is one member to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) form: Form,
    pub(crate) path: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// The time as a PAX header has it; empty for 0.
    pub(crate) mtime: String,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether a PAX header says the size once more, with what nobody reads.
    pub(crate) is_wordy: bool,
    pub(crate) content: Vec<u8>,
}

/// Tells apart what writers do with that for which a header has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// Long names in headers of their own and large numbers in base 256, as GNU tar.
    Gnu,
    /// Everything in a PAX header, times always.
    #[default]
    Pax,
    /// Times and long paths within the header if they fit.
    Ustar,
}

impl Archive {
    /// Appends a member; what does not fit into its header goes into others before it.
    pub(crate) fn push(&mut self, member: &Member) {
        let mut records = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| records.extend(pax_record(key, value));
        let mut header = Header::new(member);
        if header.path.is_none() && member.form != Form::Gnu {
            record(b"path", &member.path);
        }
        if member.link.len() > 100 && member.form != Form::Gnu {
            record(b"linkpath", &member.link);
        }
        if header.mtime.is_none() {
            record(b"mtime", member.mtime.as_bytes());
        }
        for (key, id) in [("uid", member.uid), ("gid", member.gid)] {
            if id > MAX_OCTAL_ID && member.form != Form::Gnu {
                record(key.as_bytes(), id.to_string().as_bytes());
            }
        }
        for (name, value) in &member.xattrs {
            record(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if member.is_wordy {
            record(b"atime", b"1.5");
            record(b"size", member.content.len().to_string().as_bytes());
            record(b"comment", b"");
        }
        if member.form == Form::Gnu {
            for (typeflag, text) in [(b'K', &member.link), (b'L', &member.path)] {
                if text.len() > 100 {
                    let long = Header { typeflag, form: Form::Gnu, ..Header::default() };
                    self.write(&long, &[&text[..], b"\0"].concat());
                }
            }
        }
        if !records.is_empty() {
            self.write(&Header { typeflag: b'x', ..Header::default() }, &records);
        }
        header.path.get_or_insert_with(|| (b"", &member.path[..member.path.len().min(100)]));
        self.write(&header, &member.content);
    }

    /// Returns the archive with its end marker.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    fn write(&mut self, header: &Header<'_>, payload: &[u8]) {
        self.0.extend(header.block(payload.len() as u64));
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}

/// Makes the header of a file of mode 0644, of which the content is elsewhere.
pub(crate) fn file_header(path: &str, size_bytes: u64) -> [u8; 512] {
    let path = Some((&b""[..], path.as_bytes()));
    Header { path, typeflag: b'0', mode: 0o644, mtime: Some(0), ..Header::default() }
        .block(size_bytes)
}

/// Holds what fits into the header of a member.
#[derive(Default)]
struct Header<'a> {
    form: Form,
    /// Prefix and name.
    path: Option<(&'a [u8], &'a [u8])>,
    typeflag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: Option<i64>,
    link: &'a [u8],
    device: (u32, u32),
}

impl<'a> Header<'a> {
    fn new(member: &'a Member) -> Self {
        let path = match &member.path[..] {
            path if path.len() <= 100 => Some((&b""[..], path)),
            path if member.form == Form::Ustar => split_path(path),
            _ => None,
        };
        let is_octal = |seconds: &i64| (0..1 << 33).contains(seconds);
        let mtime = match member.mtime.parse().ok() {
            _ if member.mtime.is_empty() => Some(0),
            Some(seconds) if member.form == Form::Gnu => Some(seconds),
            seconds => seconds.filter(|seconds| member.form == Form::Ustar && is_octal(seconds)),
        };
        Self {
            form: member.form,
            path,
            typeflag: member.typeflag,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime,
            link: &member.link[..member.link.len().min(100)],
            device: member.device,
        }
    }

    fn block(&self, size_bytes: u64) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let (prefix, name) = self.path.unwrap_or((b"", b"extension"));
        let id = |id: u64| match self.form {
            Form::Gnu if id > MAX_OCTAL_ID => binary(id.cast_signed(), 8),
            _ => octal(if id > MAX_OCTAL_ID { 0 } else { id }, 7),
        };
        let seconds = self.mtime.unwrap_or(0);
        put(0, name);
        put(100, &octal(self.mode.into(), 7));
        put(108, &id(self.uid));
        put(116, &id(self.gid));
        put(124, &octal(size_bytes, 11));
        put(
            136,
            &match u64::try_from(seconds) {
                Ok(seconds) if seconds < 1 << 33 => octal(seconds, 11),
                _ => binary(seconds, 12),
            },
        );
        put(148, b"        ");
        put(156, &[self.typeflag]);
        put(157, self.link);
        put(257, if self.form == Form::Gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(329, &octal(self.device.0.into(), 7));
        put(337, &octal(self.device.1.into(), 7));
        put(345, prefix);
        let sum: u64 = block.iter().copied().map(u64::from).sum();
        block[148..154].copy_from_slice(&octal(sum, 6));
        block[154] = 0;
        block
    }
}

/// Splits a path at a slash so that both parts fit into a header.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = path.len().checked_sub(101)?;
    let slash = first + path[first..path.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=155).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

fn octal(number: u64, digits: usize) -> Vec<u8> {
    format!("{number:0digits$o}").into_bytes()
}

/// Writes a number in base 256, of which the first byte says the sign.
fn binary(number: i64, width: usize) -> Vec<u8> {
    let mut field = vec![if number < 0 { 0xff } else { 0 }; width];
    let bytes = number.to_be_bytes();
    let used = bytes.len().min(width - 1);
    field[width - used..].copy_from_slice(&bytes[bytes.len() - used..]);
    field[0] = if number < 0 { 0xff } else { 0x80 };
    field
}

fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The largest number of seven octal digits.
const MAX_OCTAL_ID: u64 = 0o777_7777;
