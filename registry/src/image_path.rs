//! Paths of files in images, and what a name in a layer means.

use std::fmt;
use std::ops::Bound;

/// Is the path of a file in an image, from its root on: names with `/` between them, none of them
/// empty, `.` or `..`. The root itself has no name.
///
/// Names are opaque bytes: Linux gives them no encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

impl ImagePath {
    /// Parses a path as a user writes it: from the root on, with or without a slash in front.
    ///
    /// # Errors
    ///
    /// Refuses the root, a path with `..`, one with a NUL byte and one of more than
    /// 4096 bytes.
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        let refused = |reason| PathError { path: shown(text), reason };
        if text.len() > MAX_PATH_BYTES {
            return Err(refused("it is longer than 4096 bytes"));
        }
        if text.contains(&0) {
            return Err(refused("it has a NUL byte"));
        }
        if text.split(|byte| *byte == b'/').any(|name| name == b"..") {
            return Err(refused("it leads up with `..`"));
        }
        let path = Self::of_member(text);
        match path.is_root() {
            true => Err(refused("it is the root of the image")),
            false => Ok(path),
        }
    }

    /// Resolves the path of a member of an archive: `..` leads up, and no further than to the root.
    pub fn of_member(path: &[u8]) -> Self {
        let mut names: Vec<&[u8]> = Vec::new();
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        Self(names.join(&b'/'))
    }

    /// Returns the root of all images.
    pub fn root() -> Self {
        Self::default()
    }

    /// Tells whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes, without a slash in front or behind.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the directory that the file is in; that of the root is the root.
    pub fn parent(&self) -> Self {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Self(self.0[..end].to_vec())
    }

    /// Returns the last name.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Returns the file called `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Self {
        match self.is_root() {
            true => Self(name.to_vec()),
            false => Self([&self.0, name].join(&b'/')),
        }
    }

    /// Tells whether the file is in the directory `directory`, or below that.
    pub fn is_beneath(&self, directory: &Self) -> bool {
        if directory.is_root() {
            return !self.is_root();
        }
        self.0.strip_prefix(&*directory.0).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// Returns the range of all paths beneath this directory, in the order of their bytes.
    pub(crate) fn range_beneath(&self) -> (Bound<Self>, Bound<Self>) {
        if self.is_root() {
            return (Bound::Excluded(Self::root()), Bound::Unbounded);
        }
        // The byte behind `/` is `0`.
        let [start, end] = [b"/", b"0"].map(|last| Self([&*self.0, last].concat()));
        (Bound::Included(start), Bound::Excluded(end))
    }

    /// Lists the directories above the file, the lowest first and the root left out.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<> {
        let mut current = self.clone();
        std::iter::from_fn(move || {
            current = current.parent();
            (!current.is_root()).then(|| current.clone())
        })
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}", shown(&self.0))
    }
}

/// Says why a text is no path of a file in an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path of a file in an image: {reason}")]
pub struct PathError {
    /// The text as it was given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Tells apart what the name of a member means for the layers below.
///
/// Source: OCI image specification, `layer.md`, "Whiteouts".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is a file of the image.
    File(ImagePath),
    /// It hides this file of the layers below, with all beneath it.
    Whiteout(ImagePath),
    /// It hides all that the layers below have in this directory.
    Opaque(ImagePath),
    /// It is a file of AUFS's own, and nothing to an image.
    Nothing,
}

impl Meaning {
    /// Returns what a member of this path means.
    pub(crate) fn of_member(path: &[u8]) -> Self {
        let path = ImagePath::of_member(path);
        match path.name().strip_prefix(WHITEOUT) {
            None => Self::File(path),
            Some(b".wh..opq") => Self::Opaque(path.parent()),
            Some(b"") => Self::Nothing,
            Some(name) if name.starts_with(WHITEOUT) => Self::Nothing,
            Some(name) => Self::Whiteout(path.parent().join(name)),
        }
    }
}

/// Returns the path of the member that hides `path`.
pub(crate) fn whiteout_of(path: &ImagePath) -> Vec<u8> {
    let name = [WHITEOUT, path.name()].concat();
    path.parent().join(&name).0
}

fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

const WHITEOUT: &[u8] = b".wh.";

/// The longest path that the kernel takes (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn paths_are_the_same_however_they_are_written() {
        for text in ["usr/bin/x", "/usr/bin/x", "./usr//bin/./x/"] {
            assert_eq!(path(text).as_bytes(), b"usr/bin/x");
        }
        assert_eq!(ImagePath::of_member(b"../a/../../b/c/.."), path("b"));
        for text in ["", "/", "./", "a/../b", "..", "a\0b"] {
            assert!(ImagePath::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(ImagePath::parse(&[b'x'; 4097]).is_err());
    }

    #[test]
    fn what_is_beneath_what() {
        let directory = path("usr/lib");
        assert!(path("usr/lib/x/y").is_beneath(&directory));
        for other in ["usr/lib", "usr/libexec/x", "usr"] {
            assert!(!path(other).is_beneath(&directory), "{other}");
        }
        assert!(directory.is_beneath(&ImagePath::root()));
        assert!(!ImagePath::root().is_beneath(&ImagePath::root()));
        let above: Vec<_> = path("a/b/c").ancestors().collect();
        assert_eq!(above, [path("a/b"), path("a")]);
        assert_eq!(path("a").ancestors().count(), 0);
    }

    #[test]
    fn names_of_whiteouts_mean_what_the_specification_says() {
        let whiteout = |text: &str| Meaning::Whiteout(path(text));
        assert_eq!(Meaning::of_member(b"a/.wh.b"), whiteout("a/b"));
        assert_eq!(Meaning::of_member(b"./.wh.b"), whiteout("b"));
        assert_eq!(Meaning::of_member(b"a/.wh..wh..opq"), Meaning::Opaque(path("a")));
        assert_eq!(Meaning::of_member(b".wh..wh..opq"), Meaning::Opaque(ImagePath::root()));
        assert_eq!(Meaning::of_member(b".wh..wh.plnk"), Meaning::Nothing);
        assert_eq!(Meaning::of_member(b"a.wh.b"), Meaning::File(path("a.wh.b")));
        assert_eq!(whiteout_of(&path("a/b")), b"a/.wh.b");
        assert_eq!(whiteout_of(&path("b")), b".wh.b");
    }
}
