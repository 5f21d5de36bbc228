//! Archives of all kinds of members, few names and so many collisions.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Makes archives with up to `max_members` members.
pub(crate) fn archive(max_members: usize) -> impl Strategy<Value = Archive> {
    vec(member(), 0..=max_members).prop_map(|members| Archive { members })
}

/// Makes archives with up to `max_members` members, of which some bytes in the headers and
/// extensions are other ones; most have right checksums again.
pub(crate) fn damaged_archive(max_members: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b" 0123456789=./\n\0xgLKSV\x80\xff".to_vec())];
    let damage = vec((any::<Index>(), any::<Index>(), byte), 1..4);
    (archive(max_members), damage, weighted(0.9)).prop_map(|(archive, damage, repair)| {
        let mut archive = archive.bytes();
        let headers = header_offsets(&archive);
        for (header, offset, byte) in damage {
            // Content says nothing about members, so only its beginning is hit.
            let start = headers.get(header.index(headers.len().max(1))).copied().unwrap_or(0);
            let end = (start + 512 + 64).min(archive.len());
            archive[start + offset.index(end - start)] = byte;
        }
        if repair {
            for header in headers {
                repair_checksum(&mut archive[header..header + 512]);
            }
        }
        archive
    })
}

/// Is an archive by its members, as a failed test shows it.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    members: Vec<Member>,
}

impl Archive {
    /// Returns the archive.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for member in &self.members {
            member.append_to(&mut builder);
        }
        builder.into_inner().unwrap()
    }
}

/// Is one member with what its extension headers say.
#[derive(Clone, Debug)]
struct Member {
    path: Vec<u8>,
    kind: Kind,
    is_gnu: bool,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: u64,
    pax: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Device(tar::EntryType, u32, u32),
    Directory,
    Fifo,
    HardLink(Vec<u8>),
    /// So many bytes, of which each is a multiple of the other number.
    Regular(usize, u8),
    Symlink(Vec<u8>),
}

impl Member {
    fn append_to(&self, builder: &mut tar::Builder<Vec<u8>>) {
        let pax = self.pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(pax).unwrap();

        let mut header =
            if self.is_gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header.set_size(0);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        let mut content = Vec::new();
        match &self.kind {
            Kind::Device(entry_type, major, minor) => {
                header.set_entry_type(*entry_type);
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
            }
            Kind::Directory => header.set_entry_type(tar::EntryType::Directory),
            Kind::Fifo => header.set_entry_type(tar::EntryType::Fifo),
            Kind::HardLink(target) | Kind::Symlink(target) => {
                header.set_entry_type(match self.kind {
                    Kind::HardLink(_) => tar::EntryType::Link,
                    _ => tar::EntryType::Symlink,
                });
                append_long(builder, tar::EntryType::GNULongLink, target, 100);
                set_text(&mut header.as_old_mut().linkname, target);
            }
            Kind::Regular(size_bytes, seed) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(*size_bytes as u64);
                content = (0..*size_bytes).map(|n| (n as u8).wrapping_mul(*seed)).collect();
            }
        }
        append_long(builder, tar::EntryType::GNULongName, &self.path, 100);
        set_text(&mut header.as_old_mut().name, &self.path);
        header.set_cksum();
        builder.append(&header, &content[..]).unwrap();
    }
}

/// Adds the header of a GNU long name where the field in the header is too short for `text`.
fn append_long(
    builder: &mut tar::Builder<Vec<u8>>,
    entry_type: tar::EntryType,
    text: &[u8],
    field_bytes: usize,
) {
    if text.len() <= field_bytes {
        return;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_size(text.len() as u64 + 1);
    header.set_cksum();
    builder.append(&header, &[text, b"\0"].concat()[..]).unwrap();
}

fn set_text(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn member() -> impl Strategy<Value = Member> {
    let mode = prop_oneof![Just(0o755), Just(0o4755), 0..0o10000_u32];
    let id = prop_oneof![Just(0), 0..70000_u64, Just(u64::from(u32::MAX))];
    let mtime = prop_oneof![Just(0), Just(1_700_000_000), 0..1_u64 << 34];
    (path(), kind(), any::<bool>(), mode, (id.clone(), id), mtime, pax()).prop_map(
        |(path, kind, is_gnu, mode, (uid, gid), mtime, pax)| Member {
            path,
            kind,
            is_gnu,
            mode,
            uid,
            gid,
            mtime,
            pax,
        },
    )
}

fn kind() -> impl Strategy<Value = Kind> {
    let lengths = prop_oneof![
        Just(0),
        Just(1),
        Just(4095),
        Just(4096),
        Just(4097),
        0..20_000_usize,
        1_000_000..1_100_000_usize
    ];
    let content = (lengths, any::<u8>());
    let device = (
        select(vec![tar::EntryType::Char, tar::EntryType::Block]),
        0..4096_u32,
        prop_oneof![Just(0), 0..256_u32, 0..1_u32 << 20],
    );
    prop_oneof![
        6 => content.prop_map(|(length, seed)| Kind::Regular(length, seed)),
        4 => Just(Kind::Directory),
        2 => path().prop_map(Kind::HardLink),
        2 => prop_oneof![path(), vec(1..=255_u8, 1..4095)].prop_map(Kind::Symlink),
        1 => device.prop_map(|(entry_type, major, minor)| Kind::Device(entry_type, major, minor)),
        1 => Just(Kind::Fifo),
    ]
}

/// Makes paths of few components, some of them whiteouts.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        20 => select(vec!["a", "b", "c", "usr", "bin"]).prop_map(|name| name.as_bytes().to_vec()),
        2 => select(vec![".", "..", ".wh.a", ".wh.usr", ".wh..wh..opq", ".whale", "-", "Z"])
            .prop_map(|name| name.as_bytes().to_vec()),
        2 => vec(prop_oneof![1..b'/', b'0'..=255], 1..60),
        1 => Just(vec![b'n'; 120]),
    ];
    vec(component, 1..4).prop_map(|components| components.join(&b'/'))
}

/// Makes extended attributes and times with fractions, mostly none.
fn pax() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        8 => select(vec!["user.a", "user.b", "security.capability", "trusted.t", "user.abc",
            "system.posix_acl_access", "system.posix_acl_default", "security.selinux"])
            .prop_map(str::to_owned),
        1 => "[a-z]{1,9}\\.[a-z.]{1,40}",
    ];
    let xattr = (name, vec(any::<u8>(), 0..80))
        .prop_map(|(name, value)| (format!("SCHILY.xattr.{name}"), value));
    let mtime = prop_oneof![
        (0..2_000_000_000_u64, 0..10_usize)
            .prop_map(|(seconds, digits)| { format!("{seconds}.{}", &"123456789012"[..=digits]) }),
        (-2_000_000_000..0_i64).prop_map(|seconds| format!("{seconds}.25")),
        Just("0.5".to_owned()),
    ]
    .prop_map(|text| ("mtime".to_owned(), text.into_bytes()));
    prop_oneof![
        6 => Just(Vec::new()),
        3 => vec(xattr.clone(), 1..5),
        1 => mtime.clone().prop_map(|record| vec![record]),
        1 => (vec(xattr, 1..3), mtime).prop_map(|(mut records, record)| {
            records.push(record);
            records
        }),
    ]
}

/// Finds the headers of an archive that is still in order.
fn header_offsets(archive: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut offset = 0;
    while archive.get(offset).is_some_and(|&byte| byte != 0) {
        offsets.push(offset);
        let size = std::str::from_utf8(&archive[offset + 124..offset + 135]).unwrap();
        let size = usize::from_str_radix(size.trim_end_matches('\0'), 8).unwrap();
        offset += 512 + size.next_multiple_of(512);
    }
    offsets
}

fn repair_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
