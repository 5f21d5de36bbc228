//! One test for every rule of the reader.

use super::*;
use crate::tar::test_archive::{HeaderBlock, TestArchive};
use crate::tar::{DeviceNumber, MAX_XATTR_VALUE_BYTES};

fn archive() -> TestArchive {
    TestArchive::default()
}

fn entries(archive: &[u8]) -> Result<Vec<Entry>, TarError> {
    let mut reader = TarReader::new(archive);
    std::iter::from_fn(|| reader.next_entry().transpose()).collect()
}

fn only_entry(archive: TestArchive) -> Entry {
    let mut entries = entries(&archive.ended()).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn divergences(archive: &[u8]) -> Vec<DivergenceKind> {
    let mut reader = TarReader::new(archive);
    while reader.next_entry().unwrap().is_some() {}
    reader.divergences().iter().map(|(first, _)| first.kind).collect()
}

#[track_caller]
fn refusal(archive: &[u8]) -> Refusal {
    match entries(archive) {
        Err(TarError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn with_device(typeflag: u8) -> HeaderBlock {
    HeaderBlock::new("d", typeflag).set(329, b"0000010\0").set(337, b"0000454\0")
}

#[test]
fn every_kind_of_member_is_read() {
    let device = DeviceNumber { major: 8, minor: 300 };
    for (header, kind) in [
        (HeaderBlock::new("f", b'0'), EntryKind::Regular { size: 0 }),
        (HeaderBlock::new("f", b'7'), EntryKind::Regular { size: 0 }),
        (HeaderBlock::new("f", b'1').set(157, b"t"), EntryKind::HardLink { target: b"t".to_vec() }),
        (
            HeaderBlock::new("f", b'2').set(157, &[b't'; 100]),
            EntryKind::Symlink { target: vec![b't'; 100] },
        ),
        (with_device(b'3'), EntryKind::CharacterDevice(device)),
        (with_device(b'4'), EntryKind::BlockDevice(device)),
        (HeaderBlock::new("d/", b'5'), EntryKind::Directory),
        (HeaderBlock::new("p", b'6'), EntryKind::Fifo),
    ] {
        assert_eq!(only_entry(archive().header(header)).kind, kind);
    }
}

#[test]
fn other_kinds_are_refused_by_their_typeflag() {
    for typeflag in (0..=255).filter(|byte| !b"01234567xgLK".contains(byte)) {
        let file = archive().header(HeaderBlock::new("f", typeflag));
        assert_eq!(refusal(&file.ended()), Refusal::Typeflag { typeflag });
    }
}

#[test]
fn payloads_are_read_whole_or_skipped() {
    let content = vec![7; 1300];
    let tar = archive().file("a", &content).file("b", b"skipped").file("c", b"read").ended();
    let mut reader = TarReader::new(tar.as_slice());
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    assert_eq!(reader.position_bytes(), 512);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, content);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"c");
    read.clear();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"read");
    assert!(reader.next_entry().unwrap().is_none());
    assert_eq!(reader.position_bytes(), tar.len() as u64);
    assert_eq!(reader.members(), 3);
}

#[test]
fn nothing_is_read_beyond_the_end_marker() {
    let tar = [archive().file("a", b"1").ended(), b"trailing".to_vec()].concat();
    let mut reader = TarReader::new(tar.as_slice());
    while reader.next_entry().unwrap().is_some() {}
    assert!(reader.next_entry().unwrap().is_none());
    assert_eq!(*reader.stream(), b"trailing");
}

#[test]
fn a_missing_end_marker_diverges() {
    let file = archive().file("a", b"1");
    assert_eq!(divergences(&file.clone().ended()), []);
    let missing = [DivergenceKind::MissingEndMarker];
    assert_eq!(divergences(&file.clone().unended()), missing);
    assert_eq!(divergences(&file.raw(&[0; 512]).unended()), missing);
    assert_eq!(divergences(b""), missing);
}

#[test]
fn one_zero_block_between_members_is_refused() {
    let tar = archive().file("a", b"1").raw(&[0; 512]).file("b", b"2").ended();
    assert_eq!(refusal(&tar), Refusal::LoneZeroBlock);
}

#[test]
fn every_truncation_is_refused_or_diverges() {
    let tar = archive()
        .header(HeaderBlock::new("d/", b'5'))
        .pax(b'x', &[("path", b"d/long"), ("SCHILY.xattr.user.a", b"v")])
        .file("f", &[1; 700])
        .extension(b'L', b"d/long name\0")
        .file("g", b"2")
        .ended();
    let member_ends = [0, 512, 3072, 5120];
    for length in 0..tar.len() {
        let mut reader = TarReader::new(&tar[..length]);
        let outcome = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let is_member_end = member_ends.contains(&length) || length == tar.len() - 512;
        assert_eq!(outcome.is_ok(), is_member_end, "{length}: {outcome:?}");
        assert!(outcome.is_err() || !reader.divergences().is_empty());
    }
}

#[test]
fn bytes_that_are_no_tar_are_called_that() {
    let gzip = [&b"\x1f\x8b\x08"[..], &[0x55; 600]].concat();
    for bytes in [&gzip[..], b"#!/bin/sh\n", &[b' '; 512], &[0xff; 2048]] {
        let Refusal::NotTar { found } = refusal(bytes) else { panic!() };
        assert!(bytes.starts_with(&found));
    }
    let late = archive().file("a", b"1").raw(&[0x55; 512]).unended();
    assert!(matches!(refusal(&late), Refusal::Number { .. }));
}

#[test]
fn refusals_say_member_and_place() {
    let tar = archive()
        .file("a", b"1")
        .pax(b'x', &[("path", b"real/name")])
        .header(HeaderBlock::new("b", b'S'))
        .ended();
    let Err(TarError::Refused { offset_bytes, path, .. }) = entries(&tar) else { panic!() };
    assert_eq!((offset_bytes, path.as_slice()), (1024, &b"real/name"[..]));
}

#[test]
fn after_a_refusal_the_archive_is_at_its_end() {
    let tar = archive().header(HeaderBlock::new("b", b'S')).file("a", b"1").ended();
    let mut reader = TarReader::new(tar.as_slice());
    assert!(reader.next_entry().is_err());
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn extension_headers_stand_before_the_header() {
    let xattr = |name: &str, value: &str| Xattr { name: name.into(), value: value.into() };
    let entry = only_entry(
        archive()
            .pax(
                b'x',
                &[
                    ("path", b"pax/path"),
                    ("linkpath", b"pax target"),
                    ("uid", b"70000"),
                    ("gid", b"80000"),
                    ("mtime", b"1700000000.123456789"),
                    ("SCHILY.xattr.user.a", b"1"),
                    ("SCHILY.xattr.user.b", b"2"),
                ],
            )
            .header(HeaderBlock::new("header", b'2').set(157, b"header target")),
    );
    assert_eq!(
        entry,
        Entry {
            path: b"pax/path".to_vec(),
            kind: EntryKind::Symlink { target: b"pax target".to_vec() },
            mode: 0o644,
            uid: 70000,
            gid: 80000,
            mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
            xattrs: vec![xattr("user.a", "1"), xattr("user.b", "2")],
        }
    );
}

#[test]
fn gnu_long_names_stand_before_the_header() {
    let entry = only_entry(
        archive()
            .extension(b'K', b"long target\0")
            .extension(b'L', b"long/name\0\0")
            .header(HeaderBlock::new("header", b'2').set(157, b"header target")),
    );
    assert_eq!(entry.path, b"long/name");
    assert_eq!(entry.kind, EntryKind::Symlink { target: b"long target".to_vec() });
}

#[test]
fn gnu_names_with_a_nul_within_are_refused() {
    let tar = archive().extension(b'L', b"a\0b\0").file("f", b"").ended();
    assert_eq!(refusal(&tar), Refusal::NameWithNul { name: b"a\0b".to_vec() });
}

#[test]
fn two_names_for_one_member_must_agree() {
    let named = |pax: &[u8], gnu: &[u8]| {
        archive().pax(b'x', &[("path", pax)]).extension(b'L', gnu).file("f", b"").ended()
    };
    assert_eq!(entries(&named(b"same", b"same\0")).unwrap()[0].path, b"same");
    assert_eq!(refusal(&named(b"one", b"other\0")), Refusal::ExtensionOrder { typeflag: b'L' });
}

#[test]
fn extension_headers_do_not_repeat() {
    for typeflag in *b"xLK" {
        let payload: &[u8] = if typeflag == b'x' { b"8 uid=1\n" } else { b"name\0" };
        let twice = archive().extension(typeflag, payload).extension(typeflag, payload);
        let refused = refusal(&twice.file("f", b"").ended());
        assert_eq!(refused, Refusal::ExtensionOrder { typeflag });
    }
    let late = archive().extension(b'L', b"name\0").pax(b'g', &[("uid", b"1")]);
    let refused = refusal(&late.file("f", b"").ended());
    assert_eq!(refused, Refusal::ExtensionOrder { typeflag: b'g' });
}

#[test]
fn a_pax_size_stands_last_before_its_member() {
    let tar = archive().pax(b'x', &[("size", b"1")]).extension(b'L', b"name\0").file("f", b"1");
    assert_eq!(refusal(&tar.ended()), Refusal::ExtensionOrder { typeflag: b'L' });
}

#[test]
fn extension_headers_need_a_member() {
    let tar = archive().file("f", b"").pax(b'x', &[("uid", b"1")]);
    assert_eq!(refusal(&tar.clone().ended()), Refusal::ExtensionAtEnd);
    assert_eq!(refusal(&tar.unended()), Refusal::ExtensionAtEnd);
    let global = archive().pax(b'g', &[("comment", b"of the whole")]);
    assert_eq!(entries(&global.ended()).unwrap(), []);
}

#[test]
fn extension_headers_are_bounded() {
    let limits = [
        (b'x', MAX_EXTENSION_BYTES),
        (b'g', MAX_EXTENSION_BYTES),
        (b'L', MAX_PATH_BYTES as u64),
        (b'K', MAX_PATH_BYTES as u64),
    ];
    for (typeflag, limit_bytes) in limits {
        let size_bytes = limit_bytes + 1;
        let header = HeaderBlock::new("e", typeflag).size(usize::try_from(size_bytes).unwrap());
        let refused = refusal(&archive().header(header).ended());
        assert_eq!(refused, Refusal::ExtensionTooLong { size_bytes, limit_bytes });
    }
}

#[test]
fn a_global_header_is_a_comment() {
    let with =
        |key: &str| archive().pax(b'g', &[(key, b"7")]).file("a", b"").file("b", b"").ended();
    let entries = entries(&with("comment")).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.uid).collect::<Vec<_>>(), [0, 0]);
    let Refusal::GlobalKeyword { keyword } = refusal(&with("uid")) else { panic!() };
    assert_eq!(keyword, b"uid");
}

#[test]
fn names_lose_their_trailing_slashes() {
    for (name, path) in [("d/", "d"), ("d///", "d"), ("./", "."), ("/", ""), ("", "")] {
        let entry = only_entry(archive().header(HeaderBlock::new(name, b'5')));
        assert_eq!(entry.path, path.as_bytes());
        let pax = archive().pax(b'x', &[("path", name.as_bytes())]);
        let entry = only_entry(pax.header(HeaderBlock::new(name, b'5')));
        assert_eq!(entry.path, path.as_bytes());
    }
}

#[test]
fn gnu_long_names_of_directories_keep_a_slash() {
    for (name, path) in [("d/", "d/"), ("d///", "d/"), ("./", "./"), ("/", "/"), ("d", "d")] {
        let entry = only_entry(
            archive().extension(b'L', name.as_bytes()).header(HeaderBlock::new("x", b'5')),
        );
        assert_eq!(entry.path, path.as_bytes());
    }
}

#[test]
fn only_directories_end_in_a_slash() {
    for typeflag in *b"0123467" {
        let tar = archive().header(HeaderBlock::new("d/", typeflag));
        assert_eq!(refusal(&tar.ended()), Refusal::TrailingSlash { typeflag });
    }
}

#[test]
fn paths_and_targets_are_bounded() {
    let path = |length: usize| {
        archive().pax(b'x', &[("path", &vec![b'p'; length])]).file("f", b"").ended()
    };
    assert!(entries(&path(MAX_PATH_BYTES)).is_ok());
    let path_bytes = MAX_PATH_BYTES + 1;
    assert_eq!(refusal(&path(path_bytes)), Refusal::PathTooLong { path_bytes });

    let target = |length: usize| {
        let link = HeaderBlock::new("l", b'2');
        archive().pax(b'x', &[("linkpath", &vec![b't'; length])]).header(link).ended()
    };
    assert!(entries(&target(MAX_LINK_TARGET_BYTES)).is_ok());
    assert!(matches!(
        refusal(&target(MAX_LINK_TARGET_BYTES + 1)),
        Refusal::LinkTargetTooLong { .. }
    ));
}

#[test]
fn members_without_content_have_no_size() {
    for typeflag in *b"123456" {
        let tar = archive().header(HeaderBlock::new("f", typeflag).size(512));
        let refused = refusal(&tar.payload(&[0; 512]).ended());
        assert_eq!(refused, Refusal::SizeWithoutContent { typeflag, size_bytes: 512 });
    }
}

#[test]
fn sizes_in_header_and_pax_header_must_agree() {
    let sized = |pax: &str, header: HeaderBlock| {
        let tar = archive().pax(b'x', &[("size", pax.as_bytes())]).header(header).unended();
        TarReader::new(tar.as_slice()).next_entry().map(|entry| entry.unwrap().kind)
    };
    let header = || HeaderBlock::new("f", b'0');
    let in_base_256 = header().set(124, b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
    let large = 1_u64 << 33;
    let text = large.to_string();
    for placeholder in [
        header(),
        header().set(124, &[0; 12]),
        header().set(124, b"77777777777\0"),
        in_base_256.clone(),
    ] {
        let kind = sized(&text, placeholder).unwrap();
        assert_eq!(kind, EntryKind::Regular { size: large });
    }
    assert_eq!(sized("5", header().size(5)).unwrap(), EntryKind::Regular { size: 5 });
    for (pax, header) in [
        ("5", header()),
        ("0", header().size(5)),
        ("512", header().size(1024)),
        (&text, header().size(512)),
        ("8589934593", in_base_256),
    ] {
        let Err(TarError::Refused { reason, .. }) = sized(pax, header) else { panic!() };
        assert!(matches!(reason, Refusal::SizeConflict { .. }), "{reason:?}");
    }
    let Err(TarError::Refused { reason, .. }) = sized("5", header().set(124, &[0; 12])) else {
        panic!()
    };
    assert!(matches!(reason, Refusal::Number { .. }), "{reason:?}");
}

#[test]
fn sizes_beyond_63_bits_are_refused() {
    let tar = archive().pax(b'x', &[("size", b"9223372036854775808")]).file("f", b"").ended();
    assert!(matches!(refusal(&tar), Refusal::PaxValue { .. }));
}

#[test]
fn metadata_of_all_members_is_bounded() {
    // A stream that repeats one member with many attributes.
    let value = vec![b'v'; MAX_XATTR_VALUE_BYTES];
    let keys: Vec<String> = (0..15).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
    let records: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_slice())).collect();
    let member = archive().pax(b'x', &records).file("f", b"").unended();
    let mut reader = TarReader::new(Repeated { bytes: member, offset: 0 });
    let refused = loop {
        match reader.next_entry() {
            Ok(entry) => assert!(entry.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, TarError::Refused { reason: Refusal::Metadata, .. }));
    let keys_bytes: usize = keys.iter().map(|key| key.len() - "SCHILY.xattr.".len()).sum();
    let member_bytes = 1 + keys_bytes as u64 + 15 * (MAX_XATTR_VALUE_BYTES as u64 + XATTR_BYTES);
    let beyond_its_own = member_bytes - METADATA_BYTES_PER_MEMBER;
    assert_eq!(reader.members(), MAX_METADATA_BYTES / beyond_its_own + 1);
}

struct Repeated {
    bytes: Vec<u8>,
    offset: usize,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes[self.offset..].as_ref().read(buffer)?;
        self.offset = (self.offset + read) % self.bytes.len();
        Ok(read)
    }
}

#[test]
fn what_the_older_writer_reads_otherwise_diverges() {
    let pax = |records: &[(&str, &[u8])]| archive().pax(b'x', records).file("f", b"").ended();
    for (tar, kind) in [
        (pax(&[("mtime", b"1.5")]), DivergenceKind::FractionalTime),
        (pax(&[("mtime", b"0.123456789")]), DivergenceKind::SubsecondEpoch),
        (pax(&[("uid", b"")]), DivergenceKind::EmptyPaxValue),
        (pax(&[("SCHILY.xattr.lustre.x", b"")]), DivergenceKind::UnknownXattrNamespace),
        (pax(&[("LIBARCHIVE.xattr.user.x", b"")]), DivergenceKind::LibarchiveXattr),
        (
            pax(&[("SCHILY.xattr.user.b", b""), ("SCHILY.xattr.user.a", b"")]),
            DivergenceKind::XattrOrder,
        ),
        (
            archive().header(HeaderBlock::new("f", b'0').set(136, &[0xff; 12])).ended(),
            DivergenceKind::BinaryNegativeTime,
        ),
    ] {
        assert_eq!(divergences(&tar), [kind]);
    }
    for (minor, diverges) in
        [(0x7ffff, false), (0x80000, true), (0xffeff, true), (0xfff00, false), (0xfffff, false)]
    {
        let device = HeaderBlock::new("d", b'3').set(337, format!("{minor:07o}\0").as_bytes());
        let kinds: &[_] = if diverges { &[DivergenceKind::LargeMinorNumber] } else { &[] };
        assert_eq!(divergences(&archive().header(device).ended()), kinds, "{minor:x}");
    }
    let sorted = pax(&[("SCHILY.xattr.security.capability", b""), ("SCHILY.xattr.user.a", b"")]);
    assert_eq!(divergences(&sorted), []);
    let link = HeaderBlock::new("f", b'1').set(157, b"t");
    let on_hard_link = archive().pax(b'x', &[("mtime", b"1.5")]).header(link).ended();
    assert_eq!(divergences(&on_hard_link), []);
}

#[test]
fn a_failing_stream_is_told_from_a_bad_archive() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let tar = archive().file("f", &[0; 600]).unended();
    let mut reader = TarReader::new(tar[..700].chain(Failing));
    reader.next_entry().unwrap();
    let Err(TarError::Read { offset_bytes, source }) = reader.next_entry() else { panic!() };
    assert_eq!((offset_bytes, source.to_string().as_str()), (700, "unplugged"));
}
