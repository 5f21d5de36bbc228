//! Tar archives, written member by member.

/// Is an archive under construction.
#[derive(Default)]
pub(crate) struct Archive(Vec<u8>);

/// Is one member to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
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
    pub(crate) content: Vec<u8>,
}

impl Archive {
    /// Appends a member; what does not fit into its header goes into a PAX header before it.
    pub(crate) fn push(&mut self, member: &Member) {
        let mut records = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| records.extend(pax_record(key, value));
        if member.path.len() > 100 {
            record(b"path", &member.path);
        }
        if member.link.len() > 100 {
            record(b"linkpath", &member.link);
        }
        if !member.mtime.is_empty() {
            record(b"mtime", member.mtime.as_bytes());
        }
        for (key, id) in [("uid", member.uid), ("gid", member.gid)] {
            if id > 0o777_7777 {
                record(key.as_bytes(), id.to_string().as_bytes());
            }
        }
        for (name, value) in &member.xattrs {
            record(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            let extension = Member { path: b"x".into(), typeflag: b'x', ..Member::default() };
            self.write(&extension, &records);
        }
        self.write(member, &member.content);
    }

    /// Returns the archive with its end marker.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    fn write(&mut self, member: &Member, payload: &[u8]) {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &member.path[..member.path.len().min(100)]);
        put(100, octal(member.mode.into(), 7).as_bytes());
        put(108, octal(if member.uid > 0o777_7777 { 0 } else { member.uid }, 7).as_bytes());
        put(116, octal(if member.gid > 0o777_7777 { 0 } else { member.gid }, 7).as_bytes());
        put(124, octal(payload.len() as u64, 11).as_bytes());
        put(136, octal(0, 11).as_bytes());
        put(148, b"        ");
        put(156, &[member.typeflag]);
        put(157, &member.link[..member.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, octal(member.device.0.into(), 7).as_bytes());
        put(337, octal(member.device.1.into(), 7).as_bytes());
        let sum: u64 = header.iter().copied().map(u64::from).sum();
        header[148..155].copy_from_slice(format!("{}\0", octal(sum, 6)).as_bytes());
        self.0.extend(header);
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}

fn octal(number: u64, digits: usize) -> String {
    format!("{number:0digits$o}")
}

fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
