//! Single files of an image, looked up in its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use libverity::tar::{Entry, EntryKind, TarError, TarReader};

use crate::conversion::{ConversionError, Watch, read_members};
use crate::image::ImageLayer;
use crate::image_path::{ImagePath, Meaning};
use crate::place::Place;

/// Says what an image has under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A directory that no layer describes, with something in it.
    Implied,
    /// A file, as the uppermost layer with it describes it.
    Present(Box<Entry>),
    /// Nothing can be there: this file on the way is no directory.
    Behind {
        /// The file on the way.
        path: ImagePath,
        /// Where it leads, if it is a symbolic link.
        target: Option<Vec<u8>>,
    },
}

/// Looks up `wanted` in the image that `layers` make, lowest first.
///
/// Layers are read from the uppermost one down, each to its end, until all is found or known to be
/// hidden.
pub(super) fn look_up(
    place: &dyn Place,
    layers: &[ImageLayer],
    wanted: &BTreeSet<ImagePath>,
    watch: Watch<'_>,
) -> Result<BTreeMap<ImagePath, Found>, ConversionError> {
    let mut found = BTreeMap::new();
    let mut open: BTreeMap<ImagePath, Seen> =
        wanted.iter().map(|path| (path.clone(), Seen::default())).collect();
    for layer in layers.iter().rev() {
        if open.is_empty() {
            break;
        }
        let seen = read_members(place, layer, watch, move |members| look_at(members, open))?;
        open = BTreeMap::new();
        for (path, seen) in seen {
            match seen.conclusion() {
                Some(conclusion) => {
                    found.insert(path, conclusion);
                }
                None => {
                    let seen = Seen { is_implied: seen.is_implied, ..Seen::default() };
                    open.insert(path, seen);
                }
            }
        }
    }
    found.extend(open.into_iter().map(|(path, seen)| (path, seen.without_more())));
    Ok(found)
}

/// Is what one layer, and those above it, say of a path.
#[derive(Default)]
struct Seen {
    entry: Option<Box<Entry>>,
    /// Whether the layers below cannot show it any more.
    is_hidden: bool,
    /// The file that is no directory and stands on the way.
    behind: Option<(ImagePath, Option<Vec<u8>>)>,
    /// Whether something was in it.
    is_implied: bool,
}

impl Seen {
    /// Returns what is known of the path, if that does not depend on the layers below.
    fn conclusion(&self) -> Option<Found> {
        match (&self.entry, self.is_hidden || self.behind.is_some()) {
            (Some(entry), _) => Some(Found::Present(entry.clone())),
            (None, true) => Some(self.without_more()),
            (None, false) => None,
        }
    }

    /// As if there were no layers below.
    fn without_more(&self) -> Found {
        match &self.behind {
            _ if self.is_implied => Found::Implied,
            Some((path, target)) => Found::Behind { path: path.clone(), target: target.clone() },
            None => Found::Absent,
        }
    }
}

fn look_at<R: Read>(
    members: &mut TarReader<R>,
    mut open: BTreeMap<ImagePath, Seen>,
) -> Result<BTreeMap<ImagePath, Seen>, TarError> {
    while let Some(entry) = members.next_entry()? {
        match Meaning::of_member(&entry.path) {
            Meaning::Nothing => {}
            Meaning::Opaque(directory) => {
                for (_, seen) in beneath(&mut open, &directory) {
                    seen.is_hidden = true;
                }
            }
            Meaning::Whiteout(path) => {
                if let Some(seen) = open.get_mut(&path) {
                    seen.is_hidden = true;
                }
                for (_, seen) in beneath(&mut open, &path) {
                    seen.is_hidden = true;
                }
            }
            Meaning::File(path) => {
                for directory in path.ancestors() {
                    if let Some(seen) = open.get_mut(&directory) {
                        seen.is_implied = true;
                    }
                }
                if !matches!(entry.kind, EntryKind::Directory) {
                    let target = match &entry.kind {
                        EntryKind::Symlink { target } => Some(target.clone()),
                        _ => None,
                    };
                    for (_, seen) in beneath(&mut open, &path) {
                        seen.behind = Some((path.clone(), target.clone()));
                        // What was beneath a directory of this name is gone with it.
                        seen.entry = None;
                        seen.is_implied = false;
                    }
                }
                if let Some(seen) = open.get_mut(&path) {
                    seen.entry = Some(Box::new(entry));
                }
            }
        }
    }
    Ok(open)
}

/// Returns what lies beneath a directory.
fn beneath<'a>(
    open: &'a mut BTreeMap<ImagePath, Seen>,
    directory: &ImagePath,
) -> impl Iterator<Item = (&'a ImagePath, &'a mut Seen)> {
    // They are few: what a patch removes, and the directories that it is in.
    open.iter_mut().filter(move |(path, _)| path.is_beneath(directory))
}

#[cfg(test)]
mod tests {
    use osguard_testkit::image::TarMaker;

    use super::*;

    /// Looks through archives, the uppermost first, as through layers.
    fn found(layers: &[TarMaker], path: &str) -> Found {
        let path = ImagePath::parse(path.as_bytes()).unwrap();
        let mut open = BTreeMap::from([(path.clone(), Seen::default())]);
        for layer in layers {
            let archive = layer.clone().finish();
            open = look_at(&mut TarReader::new(&*archive), open).unwrap();
            let seen = &open[&path];
            if let Some(conclusion) = seen.conclusion() {
                return conclusion;
            }
        }
        open[&path].without_more()
    }

    fn is_file(found: &Found) -> bool {
        matches!(found, Found::Present(entry) if matches!(entry.kind, EntryKind::Regular { .. }))
    }

    fn tar() -> TarMaker {
        TarMaker::new()
    }

    #[test]
    fn the_uppermost_layer_decides() {
        let base = tar().directory("usr", 0o711).file("usr/x", b"x").file("usr/y", b"y");
        assert!(is_file(&found(std::slice::from_ref(&base), "usr/x")));
        assert_eq!(found(std::slice::from_ref(&base), "usr/z"), Found::Absent);
        for hiding in ["usr/.wh.x", "usr/.wh..wh..opq", ".wh.usr", ".wh..wh..opq"] {
            let layers = [tar().file(hiding, b""), base.clone()];
            assert_eq!(found(&layers, "usr/x"), Found::Absent, "{hiding}");
        }
        let layers = [tar().file(".wh.us", b"").file("us/.wh.x", b""), base.clone()];
        assert!(is_file(&found(&layers, "usr/x")));
        // A whiteout hides what is below, not what the same layer has.
        let layers = [tar().file("usr/.wh.x", b"").symlink("usr/x", "y"), base];
        assert!(matches!(found(&layers, "usr/x"), Found::Present(_)));
    }

    #[test]
    fn a_file_that_is_no_directory_stands_in_the_way() {
        let base =
            tar().directory("usr", 0o755).directory("usr/lib", 0o755).file("usr/lib/a", b"a");
        let layers = [tar().symlink("usr/lib", "lib64"), base.clone()];
        let path = ImagePath::parse(b"usr/lib").unwrap();
        let behind = Found::Behind { path: path.clone(), target: Some(b"lib64".to_vec()) };
        assert_eq!(found(&layers, "usr/lib/a"), behind);
        assert!(matches!(found(&layers, "usr/lib"), Found::Present(_)));
        let layers = [tar().file("usr/lib", b""), base];
        assert_eq!(found(&layers, "usr/lib/a"), Found::Behind { path, target: None });
    }

    #[test]
    fn directories_may_be_there_without_being_described() {
        let base = tar().directory("usr", 0o711).directory("usr/lib", 0o700);
        let above = tar().file("usr/lib/a", b"a");
        let Found::Present(entry) = found(&[above.clone(), base], "usr/lib") else {
            panic!("the directory is described below");
        };
        assert_eq!(entry.mode, 0o700);
        assert_eq!(found(&[above], "usr/lib"), Found::Implied);
    }
}
