//! No file makes the search for interpreters and libraries panic, and no file that asks for itself makes it endless.
#![no_main]

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use osguard_policy::simulation::{FileTree, Loader, TreeFile};

fuzz_target!(|content: &[u8]| {
    // Whatever is asked for is there, and is the same file again.
    let tree = OneFile(content);
    let mut loader = Loader::new(&tree);
    let loaded = loader.load(Path::new("/program")).expect("memory can be read");
    assert_eq!(loaded.files[0].path, Path::new("/program"));
    assert_eq!(loader.load(Path::new("/program")).expect("memory can be read"), loaded);
});

struct OneFile<'a>(&'a [u8]);

impl FileTree for OneFile<'_> {
    fn open(&self, path: &Path) -> io::Result<Option<TreeFile<'_>>> {
        Ok(Some(TreeFile { path: path.to_owned(), content: Box::new(Cursor::new(self.0)) }))
    }

    fn names(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["one.conf".into(), "two.conf".into()])
    }
}
