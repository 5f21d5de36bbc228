//! Entries that no image can express, and limits.

use std::io::{Empty, empty};

use libverity::erofs::{ErofsError, Image, Writer};
use libverity::tar::{DivergenceKind, Entry, EntryKind, Timestamp, Xattr};

#[test]
fn paths_lead_through_directories_only() {
    for in_the_way in [regular("a"), symlink("a", "b"), regular(".wh.a")] {
        let refused = refusal([directory("b"), in_the_way, regular("a/x")]);
        let ErofsError::NotDirectory { path, component } = refused else { panic!("{refused:?}") };
        assert_eq!((path.as_bytes(), component.as_bytes()), (&b"a/x"[..], &b"a"[..]));
    }
}

#[test]
fn hard_links_need_a_file_that_came_before() {
    let refused = refusal([hard_link("a", "f"), regular("f")]);
    assert!(matches!(refused, ErofsError::LinkTargetMissing { .. }), "{refused:?}");
    let refused = refusal([hard_link("a", "a")]);
    assert!(matches!(refused, ErofsError::LinkTargetMissing { .. }), "{refused:?}");
    for target in ["d", "", ".", "d/..", "/"] {
        let refused = refusal([directory("d"), hard_link("a", target)]);
        assert!(matches!(refused, ErofsError::LinkToDirectory { .. }), "{target}: {refused:?}");
    }
    // The link's own name is no directory while its target is looked up.
    let refused = refusal([regular("f"), hard_link("x", "x/../f")]);
    assert!(matches!(refused, ErofsError::NotDirectory { .. }), "{refused:?}");
}

#[test]
fn whiteouts_hide_a_name_and_have_no_content() {
    for path in [".wh.", "d/.wh.", ".wh..", ".wh..."] {
        let refused = refusal([regular(path)]);
        assert!(matches!(refused, ErofsError::WhiteoutName { .. }), "{path}: {refused:?}");
    }
    for path in [".wh.a", "d/.wh..wh..opq"] {
        let entry = Entry { kind: EntryKind::Regular { size: 7 }, ..regular(path) };
        let refused = refusal([directory("d"), entry]);
        let ErofsError::WhiteoutWithContent { size_bytes: 7, .. } = refused else {
            panic!("{path}: {refused:?}")
        };
    }
    let refused = refusal([directory("d"), directory(".wh.d")]);
    assert!(matches!(refused, ErofsError::DirectoryWhiteout { .. }), "{refused:?}");
}

#[test]
fn the_root_is_a_directory_and_never_opaque() {
    for path in ["", ".", "./", "/", "..", "/../"] {
        let refused = refusal([symlink(path, "x")]);
        assert!(matches!(refused, ErofsError::RootNotDirectory { .. }), "{path}: {refused:?}");
    }
    for path in [".wh..wh..opq", "./.wh..wh..opq", "/.wh..wh..opq"] {
        for entry in [regular(path), directory(path)] {
            let refused = refusal([entry]);
            assert!(matches!(refused, ErofsError::OpaqueRoot { .. }), "{path}: {refused:?}");
        }
    }
}

#[test]
fn what_depends_on_a_removed_directory_is_refused() {
    // `b` counts as a file of `a`, where its first name was.
    let orphan = || [regular("a/f"), hard_link("b", "a/f"), regular("a")];
    let refused = refusal(orphan().into_iter().chain([regular("b")]));
    assert!(matches!(refused, ErofsError::OrphanedParent { .. }), "{refused:?}");
    // The same for a directory in place of `b`, once its own `..` is gone.
    let upwards =
        [regular("a/f"), hard_link("b", "a/f"), directory("b"), regular("a"), regular("b/../x")];
    let refused = refusal(upwards);
    assert!(matches!(refused, ErofsError::OrphanedParent { .. }), "{refused:?}");
}

#[test]
fn names_are_as_long_as_an_image_can_hold() {
    assert!(image([regular(&"n".repeat(255))]).is_ok());
    for path in
        ["n".repeat(256), format!("{}/x", "n".repeat(256)), format!(".wh.{}", "n".repeat(256))]
    {
        let refused = refusal([regular(&path)]);
        assert!(
            matches!(refused, ErofsError::NameTooLong { component_bytes: 256, .. }),
            "{refused:?}"
        );
    }
    assert!(image([regular(&format!(".wh.{}", "n".repeat(255)))]).is_ok());
    let refused = refusal([regular(&"a/".repeat(3000))]);
    assert!(matches!(refused, ErofsError::PathTooLong { path_bytes: 6000, .. }), "{refused:?}");
    assert!(image([symlink("l", &"t".repeat(4095))]).is_ok());
    let refused = refusal([symlink("l", &"t".repeat(4096))]);
    assert!(
        matches!(refused, ErofsError::SymlinkTooLong { target_bytes: 4096, .. }),
        "{refused:?}"
    );
}

#[test]
fn zero_bytes_are_refused_wherever_they_are() {
    let named = |name: &str| Xattr { name: name.into(), value: vec![0] };
    let cases = [
        (regular("a\0b"), "path"),
        (symlink("a", "b\0"), "link text"),
        (hard_link("a", "b\0"), "path"),
        (Entry { xattrs: vec![named("user.\0")], ..regular("a") }, "attribute name"),
    ];
    for (entry, expected) in cases {
        let refused = refusal([regular("b"), entry]);
        let ErofsError::NulByte { field, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(field, expected);
    }
}

#[test]
fn attributes_are_as_large_as_an_inode_can_hold() {
    let with = |name: String, value_bytes: usize| Entry {
        xattrs: vec![Xattr { name: name.into(), value: vec![0; value_bytes] }],
        ..directory("d")
    };
    let refused = refusal([with("user.a".into(), 65_536)]);
    assert!(matches!(refused, ErofsError::XattrValueTooLong { value_bytes: 65_536, .. }));
    let refused = refusal([with("user.".to_owned() + &"a".repeat(256), 0)]);
    assert!(matches!(refused, ErofsError::XattrNameTooLong { .. }));
    // A directory that is announced again keeps what it had.
    let refused = refusal((0..5).map(|number| with(format!("user.{number}"), 65_000)));
    assert!(matches!(refused, ErofsError::XattrsTooLarge { .. }));
}

#[test]
fn content_that_ends_early_is_refused() {
    let file = Entry { kind: EntryKind::Regular { size: 9 }, ..regular("f") };
    let refused =
        Writer::new().add(&file, &mut &b"12345"[..], &mut |_: u64, _: &[u8]| Ok(())).unwrap_err();
    let ErofsError::ContentTruncated { expected_bytes: 9, found_bytes: 5, .. } = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn divergences_that_only_the_tree_shows_are_recorded() {
    use DivergenceKind::*;
    let cases: [(Vec<Entry>, &[DivergenceKind]); 6] = [
        (vec![regular("f"), hard_link("g", "f")], &[]),
        (vec![regular("f"), hard_link("f", "f")], &[LinkToItself]),
        (vec![regular("a/f"), hard_link("g", "a/f"), directory("g")], &[DirectoryReplacesHardLink]),
        (
            vec![
                directory("d/a"),
                directory("d/b"),
                regular("d/a"),
                regular("d/b"),
                directory("d"),
            ],
            &[DirectoryAnnouncedAgain],
        ),
        (vec![directory("d/a"), regular("d/a"), directory("d")], &[]),
        (
            // 1.8 would have the mark before the origin, and both behind the directory's own.
            vec![with_xattr("d", "user.z"), regular("d/.wh..wh..opq"), regular("d/.wh.x")],
            &[XattrOrder],
        ),
    ];
    for (entries, expected) in cases {
        let image = image(entries).unwrap();
        let kinds: Vec<_> = image.divergences().iter().map(|(first, _)| first.kind).collect();
        assert_eq!(kinds, expected);
    }
}

fn refusal(entries: impl IntoIterator<Item = Entry>) -> ErofsError {
    image(entries).expect_err("no image expresses this")
}

fn image(entries: impl IntoIterator<Item = Entry>) -> Result<Image, ErofsError> {
    let mut sink = |_: u64, _: &[u8]| Ok(());
    let mut content: Empty = empty();
    let mut writer = Writer::new();
    for entry in entries {
        writer.add(&entry, &mut content, &mut sink)?;
    }
    writer.finish(&mut sink)
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mtime = Timestamp::default();
    Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
}

fn regular(path: &str) -> Entry {
    entry(path, EntryKind::Regular { size: 0 })
}

fn directory(path: &str) -> Entry {
    entry(path, EntryKind::Directory)
}

fn symlink(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.into() })
}

fn hard_link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::HardLink { target: target.into() })
}

fn with_xattr(path: &str, name: &str) -> Entry {
    Entry { xattrs: vec![Xattr { name: name.into(), value: Vec::new() }], ..directory(path) }
}
