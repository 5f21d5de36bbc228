//! Files of two images.

use std::collections::BTreeSet;

use super::tree::{File, FileKind, Tree};
use crate::image_path::ImagePath;

/// Is a file that is not the same in both images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Where it is.
    pub path: ImagePath,
    /// What differs.
    pub difference: Difference,
}

/// Says what of a file differs; what comes first here is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the new image has it.
    Added,
    /// Only the old image has it.
    Removed,
    /// It is another kind of file.
    Kind,
    /// It has another content, target or device number.
    Content,
    /// It has other permissions, another owner or other extended attributes.
    Metadata,
}

pub(super) fn compare(old: &Tree<'_>, new: &Tree<'_>) -> Vec<FileChange> {
    let touched: BTreeSet<&ImagePath> = old.touched().chain(new.touched()).collect();
    let change = |path: &ImagePath| {
        let difference = match (old.file(path), new.file(path)) {
            (None, None) => return None,
            // The root is there whether a layer describes it or not.
            (None, _) | (_, None) if path.is_root() => return None,
            (None, Some(_)) => Difference::Added,
            (Some(_), None) => Difference::Removed,
            (Some(old), Some(new)) => difference(old, new)?,
        };
        Some(FileChange { path: path.clone(), difference })
    };
    touched.into_iter().filter_map(change).collect()
}

fn difference(old: &File, new: &File) -> Option<Difference> {
    let is_same_kind =
        std::mem::discriminant::<FileKind>(&old.kind) == std::mem::discriminant(&new.kind);
    if !is_same_kind {
        return Some(Difference::Kind);
    }
    if old.kind != new.kind {
        return Some(Difference::Content);
    }
    (old != new).then_some(Difference::Metadata)
}

#[cfg(test)]
mod tests {
    use libverity::tar::TarReader;
    use osguard_testkit::image::{TarHeader, TarMaker};

    use super::super::tree::Files;
    use super::*;

    fn apply(tree: &mut Tree<'_>, layer: TarMaker) {
        let archive = layer.finish();
        let files = Files::read(&mut TarReader::new(&*archive), tree).unwrap().unwrap();
        assert!(tree.apply(files));
    }

    fn base() -> TarMaker {
        TarMaker::new()
            .directory("usr", 0o755)
            .directory("usr/lib", 0o755)
            .file("usr/lib/a", b"a")
            .file("usr/lib/b", b"b")
            .hard_link("usr/lib/c", "usr/lib/b")
            .directory("etc", 0o755)
            .file("etc/x", b"x")
            .symlink("etc/y", "x")
    }

    /// Compares an image with itself under one more layer.
    fn changes(layer: TarMaker) -> Vec<(String, Difference)> {
        let mut below = Tree::new(None);
        apply(&mut below, base());
        let below = below.into_files();
        let old = Tree::new(Some(&below));
        let mut new = Tree::new(Some(&below));
        apply(&mut new, layer);
        let shared = compare(&old, &new);
        // The same comes out where nothing is shared.
        let (mut one, mut other) = (Tree::new(None), Tree::new(None));
        apply(&mut one, base());
        apply(&mut other, base());
        let upper: Vec<_> = shared.iter().map(|change| change.path.clone()).collect();
        assert!(compare(&one, &other).is_empty());
        assert!(upper.is_sorted());
        shared.into_iter().map(|change| (change.path.to_string(), change.difference)).collect()
    }

    #[test]
    fn each_file_is_told_with_what_differs() {
        let layer = TarMaker::new()
            .file("usr/lib/a", b"A")
            .entry(TarHeader { mode: 0o600, ..TarHeader::file("usr/lib/b") }, b"b")
            .file("usr/lib/new", b"")
            .symlink("etc/x", "y")
            .symlink("etc/y", "X")
            .file("usr/lib/.wh.c", b"");
        let expected = [
            ("/etc/x", Difference::Kind),
            ("/etc/y", Difference::Content),
            ("/usr/lib/a", Difference::Content),
            ("/usr/lib/b", Difference::Metadata),
            ("/usr/lib/c", Difference::Removed),
            ("/usr/lib/new", Difference::Added),
        ];
        let expected = expected.map(|(path, difference)| (path.to_owned(), difference));
        assert_eq!(changes(layer), expected);
    }

    #[test]
    fn the_same_again_is_no_difference() {
        assert_eq!(changes(base()), []);
        assert_eq!(changes(TarMaker::new()), []);
    }

    #[test]
    fn what_hides_a_directory_hides_all_in_it() {
        let removed = |paths: &[&str]| {
            paths.iter().map(|path| ((*path).to_owned(), Difference::Removed)).collect::<Vec<_>>()
        };
        let all = ["/usr/lib", "/usr/lib/a", "/usr/lib/b", "/usr/lib/c"];
        assert_eq!(changes(TarMaker::new().file("usr/.wh.lib", b"")), removed(&all));
        assert_eq!(changes(TarMaker::new().file("usr/lib/.wh..wh..opq", b"")), removed(&all[1..]));
        let mut replaced = removed(&all);
        replaced[0].1 = Difference::Kind;
        assert_eq!(changes(TarMaker::new().symlink("usr/lib", "lib64")), replaced);
        // What hides and what is there in one layer: the whiteout is for the layers below.
        let layer = TarMaker::new().file("etc/x", b"x").file("etc/.wh..wh..opq", b"");
        assert_eq!(changes(layer), removed(&["/etc/y"]));
    }

    #[test]
    fn attributes_count() {
        let layer = TarMaker::new().pax(&[("SCHILY.xattr.user.a", b"1")]).file("etc/x", b"x");
        assert_eq!(changes(layer), [("/etc/x".to_owned(), Difference::Metadata)]);
    }
}
