//! The files of an image as `ls` lists them.

use std::io::{self, Write};

use libverity::erofs::{FileKind, ImageSource, Inode, ReadError, Reader, WalkedFile};
use libverity::tar::Timestamp;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// Lists the files of an image while it is printed, because an image may have millions.
pub(super) struct Tree<'a, S> {
    image: &'a Reader<S>,
}

#[derive(Serialize)]
struct FileReport {
    /// Escaped where it is not printable.
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Permissions in octal.
    mode: String,
    /// Type and permissions as `ls` shows them.
    #[serde(skip)]
    mode_text: String,
    links: u32,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    mtime: String,
    inode: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<XattrReport>,
}

#[derive(Serialize)]
struct XattrReport {
    name: String,
    /// In hexadecimal.
    value: String,
}

impl<'a, S: ImageSource> Tree<'a, S> {
    pub(super) fn new(image: &'a Reader<S>) -> Self {
        Self { image }
    }

    /// Writes a line for each file, and one for each attribute below it.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in self.image.walk() {
            let report = file.and_then(|file| self.report(&file)).map_err(io::Error::other)?;
            report.text(out)?;
        }
        Ok(())
    }

    fn report(&self, file: &WalkedFile) -> Result<FileReport, ReadError> {
        let Inode { kind, permissions, links, uid, gid, size_bytes, mtime, nid, .. } = file.inode;
        let target = match kind {
            FileKind::Symlink => Some(escaped(&self.image.symlink_target(file)?)),
            _ => None,
        };
        let xattrs = self.image.xattrs(file)?.into_iter().map(|xattr| XattrReport {
            name: escaped(&xattr.name),
            value: xattr.value.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
        Ok(FileReport {
            path: escaped(file.path.as_bytes()),
            kind: kind_name(kind),
            mode: format!("{permissions:04o}"),
            mode_text: mode_text(kind, permissions),
            links,
            uid,
            gid,
            size_bytes,
            mtime: time(mtime),
            inode: nid,
            target,
            device: match kind {
                FileKind::BlockDevice(device) | FileKind::CharacterDevice(device) => {
                    Some([device.major, device.minor])
                }
                _ => None,
            },
            xattrs: xattrs.collect(),
        })
    }
}

impl<S: ImageSource> Serialize for Tree<'_, S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut files = serializer.serialize_seq(None)?;
        for file in self.image.walk() {
            let report = file.and_then(|file| self.report(&file)).map_err(T::Error::custom)?;
            files.serialize_element(&report)?;
        }
        files.end()
    }
}

impl FileReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { mode_text, links, uid, gid, mtime, path, .. } = self;
        let size = match self.device {
            Some([major, minor]) => format!("{major}, {minor}"),
            None => self.size_bytes.to_string(),
        };
        write!(out, "{mode_text} {links:>3} {uid:>5} {gid:>5} {size:>11} {mtime} {path}")?;
        if let Some(target) = &self.target {
            write!(out, " -> {target}")?;
        }
        if self.kind == WHITEOUT {
            write!(out, " (whiteout)")?;
        }
        writeln!(out)?;
        for XattrReport { name, value } in &self.xattrs {
            writeln!(out, "          {name} = {value}")?;
        }
        Ok(())
    }
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        kind if kind.is_whiteout() => WHITEOUT,
        FileKind::BlockDevice(_) => "block",
        FileKind::CharacterDevice(_) => "character",
        FileKind::Directory => "directory",
        FileKind::Fifo => "fifo",
        FileKind::Regular => "file",
        FileKind::Symlink => "symlink",
    }
}

fn mode_text(kind: FileKind, permissions: u16) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        FileKind::BlockDevice(_) => 'b',
        FileKind::CharacterDevice(_) => 'c',
        FileKind::Directory => 'd',
        FileKind::Fifo => 'p',
        FileKind::Regular => '-',
        FileKind::Symlink => 'l',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = permissions >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (permissions & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    text
}

/// Shows bytes as text: what is not printable, not UTF-8, or a backslash, is escaped.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Shows a time in UTC as RFC 3339 writes it, with a fraction where there is one.
fn time(time: Timestamp) -> String {
    let (days, second) =
        (time.seconds.div_euclid(SECONDS_PER_DAY), time.seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match time.nanoseconds {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Returns year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// Years are counted from March on, so that the leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / (DAYS_PER_ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March to January repeat 31, 30, 31, 30 and 31 days: 153 in five months.
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let (month, next_year) = if months < 10 { (months + 3, 0) } else { (months - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

const WHITEOUT: &str = "whiteout";
const SECONDS_PER_DAY: i64 = 86_400;
/// 400 years.
const DAYS_PER_ERA: i64 = 146_097;
const DAYS_FROM_0000_03_01: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_where_a_terminal_would_not_show_them() {
        for (name, shown) in [
            (&b"/usr/bin/it's \"fine\""[..], "/usr/bin/it's \"fine\""),
            ("/ä/漢".as_bytes(), "/ä/漢"),
            (b"/a\nb\x1b[31m", "/a\\nb\\u{1b}[31m"),
            (b"/\xff\\n", "/\\xff\\\\n"),
            ("/\u{202e}gpj.exe".as_bytes(), "/\\u{202e}gpj.exe"),
        ] {
            assert_eq!(escaped(name), shown);
        }
    }

    #[test]
    fn modes_are_those_of_ls() {
        for (kind, permissions, shown) in [
            (FileKind::Directory, 0o1777, "drwxrwxrwt"),
            (FileKind::Regular, 0o4755, "-rwsr-xr-x"),
            (FileKind::Regular, 0o7000, "---S--S--T"),
            (FileKind::Fifo, 0o640, "prw-r-----"),
            (FileKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(kind, permissions), shown);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // date --utc --date=@… +%FT%TZ
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-62_135_596_801, "0000-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(Timestamp { seconds, nanoseconds: 0 }), shown);
        }
        let half = Timestamp { seconds: 1, nanoseconds: 500_000_000 };
        assert_eq!(time(half), "1970-01-01T00:00:01.500000000Z");
        for seconds in [i64::MIN, i64::MAX] {
            assert!(time(Timestamp { seconds, nanoseconds: 0 }).ends_with('Z'));
        }
    }
}
