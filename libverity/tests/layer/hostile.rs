//! Layers that nobody makes who means well: refused, or converted within the limits.

use std::fs;
use std::io::Write as _;

use libverity::erofs::{ErofsError, Reader};
use libverity::layer::{
    ConvertedLayer, Discard, ExpectedLayer, ImageFile, LayerError, Profile, convert,
};
use libverity::tar::{DivergenceKind, MAX_PATH_BYTES, Refusal, TarError};
use osguard_testkit::command::{command, run};
use osguard_testkit::image::{TarHeader, TarMaker};
use osguard_testkit::or_skip;

#[test]
fn every_truncation_is_refused_or_ends_between_two_members() {
    let archive = TarMaker::new()
        .directory("d", 0o755)
        .pax(&[("path", b"d/long"), ("SCHILY.xattr.user.a", b"v"), ("mtime", b"1.123456789")])
        .file("f", &[1; 700])
        .hard_link("g", "d/long")
        .finish();
    let ends = [0, 512, 3072, 3584, archive.len() - 512];
    for length in 0..archive.len() {
        match converted(&archive[..length]) {
            Ok(layer) => {
                assert!(ends.contains(&length), "{length} bytes");
                let kinds: Vec<_> = layer.divergences.iter().map(|(first, _)| first.kind).collect();
                assert_eq!(kinds, [DivergenceKind::MissingEndMarker]);
            }
            Err(error) => assert!(!ends.contains(&length), "{length} bytes: {error:?}"),
        }
    }
    for blob in [gzip(&archive), zstd::encode_all(&archive[..], 3).unwrap()] {
        assert!(converted(&blob).is_ok());
        for length in 1..blob.len() {
            assert!(converted(&blob[..length]).is_err(), "{length} bytes");
        }
    }
}

/// A hundred thousand names of one byte fit into no path, and links do not lengthen one.
#[test]
fn directories_are_nested_as_deep_as_a_path_is_long() {
    let nested = |depth: usize| {
        let path = "d/".repeat(depth);
        converted(&TarMaker::new().directory(path.trim_end_matches('/'), 0o755).finish())
    };
    let deepest = MAX_PATH_BYTES.div_ceil(2);
    let layer = nested(deepest).unwrap();
    assert_eq!(layer.inodes, deepest as u64 + 1);
    for depth in [deepest + 1, 100_000] {
        let refused = tar_refusal(nested(depth));
        assert!(matches!(refused, Refusal::PathTooLong { .. }), "{refused:?}");
    }
}

/// What a path of four kilobytes makes must not cost memory without an end.
#[test]
fn directories_that_no_member_announces_are_counted() {
    let mut archive = Vec::new();
    for number in 0..600 {
        let path = format!("{number}/{}f", "d/".repeat(2000));
        archive.extend(TarMaker::new().file(path, b"").unfinished());
    }
    let refused = converted(&archive).unwrap_err();
    assert!(
        matches!(
            refused,
            LayerError::Erofs { source: ErofsError::TooManyImpliedDirectories { .. } }
        ),
        "{refused:?}"
    );
}

#[test]
fn names_of_ten_thousand_bytes_are_refused() {
    let long = "n".repeat(10_000);
    let archives = [
        TarMaker::new().file(&long, b""),
        TarMaker::new().symlink("l", &long),
        TarMaker::new().hard_link("l", &long),
        TarMaker::new().pax(&[(&format!("SCHILY.xattr.{long}"), b"v")]).file("f", b""),
        gnu_long(b'L', long.as_bytes()).file("f", b""),
        gnu_long(b'K', long.as_bytes()).symlink("f", "t"),
    ];
    for archive in archives {
        tar_refusal(converted(&archive.finish()));
    }
    let names = vec!["n".repeat(255); 15].join("/");
    assert!(converted(&TarMaker::new().file(names, b"").finish()).is_ok());
    let refused = converted(&TarMaker::new().file("n".repeat(256), b"").finish()).unwrap_err();
    assert!(
        matches!(refused, LayerError::Erofs { source: ErofsError::NameTooLong { .. } }),
        "{refused:?}"
    );
}

#[test]
fn hard_links_never_make_a_circle() {
    for links in
        [&[("a", "b"), ("b", "a")][..], &[("a", "a")], &[("a", "b"), ("b", "c"), ("c", "a")]]
    {
        let archive =
            links.iter().fold(TarMaker::new(), |tar, (name, target)| tar.hard_link(name, target));
        let refused = converted(&archive.finish()).unwrap_err();
        assert!(
            matches!(refused, LayerError::Erofs { source: ErofsError::LinkTargetMissing { .. } }),
            "{refused:?}"
        );
    }
    let closed = TarMaker::new().file("a", b"x").hard_link("b", "a").hard_link("a", "b");
    assert_eq!(converted(&closed.finish()).unwrap().inodes, 2);
}

#[test]
fn extension_headers_are_bounded_however_they_are_filled() {
    let records: Vec<u8> = b"6 a=b\n".repeat(170_000);
    let header = TarHeader { typeflag: b'x', ..TarHeader::file("pax") };
    let many = TarMaker::new().entry(header.clone(), &records).file("f", b"").finish();
    assert!(converted(&many).is_ok());
    let huge = TarHeader { stated_size_bytes: Some(0o77777777777), ..header };
    let refused = tar_refusal(converted(&TarMaker::new().entry(huge, b"").finish()));
    assert!(matches!(refused, Refusal::ExtensionTooLong { .. }), "{refused:?}");
    // Globals that are repeated without an end replace one another.
    let global = TarMaker::new().global_pax(&[("comment", &[b'c'; 9000])]).unfinished();
    let many = [global.repeat(2000), TarMaker::new().file("f", b"").finish()].concat();
    assert_eq!(converted(&many).unwrap().members, 1);
    for typeflag in *b"xLK" {
        let header = TarHeader { typeflag, ..TarHeader::file("extension") };
        let twice = TarMaker::new()
            .entry(header.clone(), b"9 comm=x\n")
            .entry(header, b"9 comm=x\n")
            .file("f", b"");
        let refused = tar_refusal(converted(&twice.finish()));
        assert_eq!(refused, Refusal::ExtensionOrder { typeflag });
    }
}

#[test]
fn numbers_that_are_none_or_too_large_are_refused() {
    let with = |offset: usize, field: &[u8]| {
        let mut archive = TarMaker::new().file("f", b"").finish();
        archive[offset..offset + field.len()].copy_from_slice(field);
        archive[148..156].fill(b' ');
        let sum: u32 = archive[..512].iter().copied().map(u32::from).sum();
        archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        converted(&archive)
    };
    let [mode, uid, gid, size, mtime] = [100, 108, 116, 124, 136];
    for (offset, field) in [
        (mode, &b"\x80\0\0\0\0\0\x01\xa4"[..]),
        (mode, b"99999999"),
        (uid, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        (uid, b"-0000001"),
        (gid, b"\x80\0\0\x01\0\0\0\0"),
        (size, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (size, b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (size, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
        (size, b"0x000000000\0"),
        (mtime, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
        (mtime, b"            "),
    ] {
        let outcome = with(offset, field);
        let is_blank = field.iter().all(|byte| *byte == b' ');
        assert_eq!(outcome.is_ok(), is_blank, "{}: {outcome:?}", field.escape_ascii());
    }
    // A size that the archive does not have ends it, or is too large for any image.
    let refused = tar_refusal(with(size, b"77777777777\0"));
    assert!(matches!(refused, Refusal::Truncated { .. }), "{refused:?}");
    let refused = with(size, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").unwrap_err();
    assert!(
        matches!(refused, LayerError::Erofs { source: ErofsError::ImageTooLarge }),
        "{refused:?}"
    );
    assert!(with(mtime, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_ok(), "1969");
}

/// Readers that do not know of sparse files see the map for the content.
#[test]
fn sparse_files_of_every_kind_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("sparse")).unwrap();
    file.set_len(1 << 20).unwrap();
    (&file).write_all(b"data").unwrap();
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let Some(mut tar) = or_skip(command("tar")) else { return };
        tar.args(["--create", "--sparse", "--file=-"]).args(form);
        let archive = run(tar.arg("--directory").arg(directory.path()).arg("sparse")).unwrap();
        let refused = tar_refusal(converted(&archive));
        let is_known = matches!(&refused, Refusal::Typeflag { typeflag: b'S' })
            || matches!(&refused, Refusal::Keyword { keyword } if keyword.starts_with(b"GNU.sparse."));
        assert!(is_known, "{form:?}: {refused:?}");
    }
}

/// What follows the end is hashed and has no meaning, whatever it is.
#[test]
fn a_second_archive_behind_the_first_says_nothing() {
    let one = TarMaker::new().file("one", b"1").finish();
    let two = TarMaker::new().file("two", b"2").finish();
    let both = converted(&[&one[..], &two].concat()).unwrap();
    assert_eq!((both.members, both.archive_size_bytes), (1, (one.len() + two.len()) as u64));
    let members = converted(&[gzip(&one), gzip(&two)].concat()).unwrap();
    assert_eq!(members.diff_id, both.diff_id);
    for trailing in [&b"\0"[..], &[0; 512], b"trailing", &two] {
        let error = converted(&[&gzip(&one)[..], trailing].concat()).unwrap_err();
        assert!(matches!(error, LayerError::Inflate { .. }), "{error:?}");
        let frame = zstd::encode_all(&one[..], 3).unwrap();
        let error = converted(&[&frame[..], trailing].concat()).unwrap_err();
        assert!(matches!(error, LayerError::Inflate { .. }), "{error:?}");
    }
    let skippable = b"\x5f\x2a\x4d\x18\x04\0\0\0skip";
    let frames = [zstd::encode_all(&one[..], 3).unwrap(), skippable.repeat(1000)].concat();
    assert_eq!(converted(&frames).unwrap().diff_id, converted(&one).unwrap().diff_id);
}

/// Converts, and has the reader of images check what came out.
fn converted(blob: &[u8]) -> Result<ConvertedLayer, LayerError> {
    let file = tempfile::tempfile().unwrap();
    let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
    let profiles = [Profile::ContainerdFullV1];
    let layer = convert(blob, &ExpectedLayer::default(), &profiles, &mut sink)?;
    let checked = Reader::open(&file).unwrap().check().unwrap();
    assert_eq!(checked.inodes, layer.inodes);
    let again = convert(blob, &ExpectedLayer::default(), &profiles, &mut Discard).unwrap();
    assert_eq!(again, layer);
    Ok(layer)
}

#[track_caller]
fn tar_refusal(outcome: Result<ConvertedLayer, LayerError>) -> Refusal {
    match outcome.unwrap_err() {
        LayerError::Tar { source: TarError::Refused { reason, .. } } => reason,
        other => panic!("{other:?}"),
    }
}

fn gnu_long(typeflag: u8, text: &[u8]) -> TarMaker {
    let header = TarHeader { typeflag, ..TarHeader::file("././@LongLink") };
    TarMaker::new().entry(header, &[text, b"\0"].concat())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
