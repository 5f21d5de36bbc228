//! What a program or library in the form ELF asks for.

use std::io::{self, Read, Seek};

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

/// Is what an ELF file asks for, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// For which processors it is.
    pub(super) target: Target,
    /// The program that loads it (`PT_INTERP`).
    pub(super) interpreter: Option<Vec<u8>>,
    /// The libraries that it is linked with (`DT_NEEDED`).
    pub(super) libraries: Vec<Vec<u8>>,
    /// Where its own libraries are looked for (`DT_RUNPATH`), split at colons.
    pub(super) runpath: Vec<Vec<u8>>,
    /// Where its libraries and theirs are looked for (`DT_RPATH`), split at colons.
    pub(super) rpath: Vec<Vec<u8>>,
}

/// Tells machines apart: a library is taken only by programs of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_64_bit: bool,
    /// `e_machine`.
    pub(super) machine: u16,
}

impl Needs {
    /// Reads the headers of a file that starts with [`MAGIC`]; `None` where they make no sense.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be read.
    pub(super) fn read(mut content: impl Read + Seek) -> io::Result<Option<Self>> {
        let mut identification = [0; 5];
        content.rewind()?;
        content.read_exact(&mut identification)?;
        let content = ReadCache::new(content);
        // What is no such file after all, or a damaged one, asks for nothing that the kernel would map.
        Ok(match identification[4] {
            elf::ELFCLASS32 => Self::of::<elf::FileHeader32<Endianness>, _>(&content),
            elf::ELFCLASS64 => Self::of::<elf::FileHeader64<Endianness>, _>(&content),
            _ => None,
        })
    }

    fn of<'a, H, R>(data: R) -> Option<Self>
    where
        H: FileHeader<Endian = Endianness>,
        R: ReadRef<'a>,
    {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let target = Target { is_64_bit: header.is_type_64(), machine: header.e_machine(endian) };
        let mut needs = Self {
            target,
            interpreter: None,
            libraries: Vec::new(),
            runpath: Vec::new(),
            rpath: Vec::new(),
        };
        if header.phnum(endian, data).ok()? > MAX_SEGMENTS {
            return None;
        }
        let segments = header.program_headers(endian, data).ok()?;
        for segment in segments {
            let size_bytes: u64 = segment.p_filesz(endian).into();
            match segment.p_type(endian) {
                elf::PT_INTERP if size_bytes <= MAX_PATH_BYTES => {
                    let path = segment.interpreter(endian, data).ok()?;
                    needs.interpreter = path.map(<[u8]>::to_vec);
                }
                elf::PT_DYNAMIC if size_bytes <= MAX_DYNAMIC_BYTES => {
                    let entries = segment.dynamic(endian, data).ok()?.unwrap_or_default();
                    needs.add::<H, R>(segments, entries, endian, data);
                }
                _ => {}
            }
        }
        Some(needs)
    }

    fn add<'a, H, R>(
        &mut self,
        segments: &[H::ProgramHeader],
        entries: &[H::Dyn],
        endian: Endianness,
        data: R,
    ) where
        H: FileHeader<Endian = Endianness>,
        R: ReadRef<'a>,
    {
        let value = |tag: u32| {
            let mut entries = entries.iter().filter(|entry| entry.tag32(endian) == Some(tag));
            entries.next().map(|entry| entry.d_val(endian).into())
        };
        let strings: Option<u64> = value(elf::DT_STRTAB);
        let Some(strings) = strings.and_then(|address| offset::<H>(segments, endian, address))
        else {
            return;
        };
        let text = |entry: &H::Dyn| {
            let start = strings.checked_add(entry.d_val(endian).into())?;
            let end = start.checked_add(MAX_PATH_BYTES)?.min(data.len().ok()?);
            data.read_bytes_at_until(start..end, 0).ok().map(<[u8]>::to_vec)
        };
        for entry in entries {
            let list = match entry.tag32(endian) {
                Some(elf::DT_NEEDED) if self.libraries.len() < MAX_LIBRARIES => {
                    self.libraries.extend(text(entry));
                    continue;
                }
                Some(elf::DT_RPATH) => &mut self.rpath,
                Some(elf::DT_RUNPATH) => &mut self.runpath,
                Some(elf::DT_NULL) => break,
                _ => continue,
            };
            let text = text(entry).unwrap_or_default();
            let paths = text.split(|byte| *byte == b':').filter(|path| !path.is_empty());
            list.extend(paths.map(<[u8]>::to_vec).take(MAX_SEARCH_PATHS - list.len()));
        }
    }
}

/// Finds where in the file lies what is mapped to `address`.
fn offset<H: FileHeader<Endian = Endianness>>(
    segments: &[H::ProgramHeader],
    endian: Endianness,
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let start: u64 = segment.p_vaddr(endian).into();
        let within = address.checked_sub(start)?;
        let size_bytes: u64 = segment.p_filesz(endian).into();
        let file_offset: u64 = segment.p_offset(endian).into();
        (within < size_bytes).then(|| file_offset.checked_add(within)).flatten()
    })
}

/// Is how a file of this form starts.
pub(super) const MAGIC: &[u8; 4] = b"\x7fELF";

/// More segments than any linker makes, and little enough memory: 56 bytes each.
const MAX_SEGMENTS: usize = 4096;
/// `PATH_MAX`.
const MAX_PATH_BYTES: u64 = 4096;
/// The dynamic section of a program that needs a thousand libraries has 20 KiB.
const MAX_DYNAMIC_BYTES: u64 = 1 << 20;
/// Each is looked for in each directory, and a browser needs 150.
const MAX_LIBRARIES: usize = 1024;
const MAX_SEARCH_PATHS: usize = 32;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn this_test_asks_for_the_c_library() {
        let program = std::env::current_exe().unwrap();
        let needs = Needs::read(File::open(program).unwrap()).unwrap().unwrap();
        assert!(needs.interpreter.is_some_and(|path| path.starts_with(b"/lib")));
        let named = |start: &[u8]| needs.libraries.iter().any(|name| name.starts_with(start));
        assert!(named(b"libc.so") || named(b"libc.musl"), "{:?}", needs.libraries);
        assert!(needs.target.is_64_bit);
    }

    #[test]
    fn damaged_files_ask_for_nothing_and_break_nothing() {
        let program = std::env::current_exe().unwrap();
        let mut head = vec![0; 8192];
        File::open(program).unwrap().read_exact(&mut head).unwrap();
        for cut in [5, 6, 52, 63, 64, 100, 4096, 8192] {
            let _ = Needs::read(Cursor::new(&head[..cut])).unwrap();
        }
        for place in 4..head.len().min(1024) {
            let mut damaged = head.clone();
            damaged[place] ^= 0xff;
            let _ = Needs::read(Cursor::new(damaged)).unwrap();
        }
        assert!(Needs::read(Cursor::new(b"\x7fEL")).is_err());
    }
}
