//! Images as mkfs.erofs of erofs-utils 1.9.4 makes them.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::sync::OnceLock;

use libverity::digest::Digest;
use libverity::erofs::ErofsError;
use libverity::layer::{ExpectedLayer, ImageFile, LayerError, Profile, convert};
use osguard_testkit::command::run;
use osguard_testkit::debian::{Packages, Suite, Tree};
use osguard_testkit::or_skip;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::archives::archive;

#[test]
fn layers_become_the_images_of_mkfs_erofs() {
    let Some(erofs_utils) = erofs_utils() else { return };
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let directory = tempfile::tempdir().unwrap();
    let alike = Cell::new(0);
    runner
        .run(&archive(24), |archive| {
            let archive = archive.bytes();
            let theirs = image_of_mkfs(erofs_utils, directory.path(), &archive);
            match (image_of_layer(&archive), theirs) {
                (Ok(ours), Some(theirs)) => {
                    alike.set(alike.get() + 1);
                    prop_assert!(ours == theirs, "the images differ");
                }
                (Ok(_), None) => prop_assert!(false, "mkfs.erofs refuses the archive"),
                (Err(error), Some(_)) => prop_assert!(is_refused_here(&error), "{error:?}"),
                (Err(_), None) => {}
            }
            Ok(())
        })
        .unwrap();
    assert!(alike.get() >= 32, "only {} archives became images", alike.get());
}

/// Tells whether an archive that mkfs.erofs takes is refused on purpose.
fn is_refused_here(error: &LayerError) -> bool {
    match error {
        LayerError::Tar { .. } => true,
        LayerError::Erofs { source } => matches!(
            source,
            ErofsError::DirectoryWhiteout { .. }
                | ErofsError::OpaqueRoot { .. }
                | ErofsError::OrphanedParent { .. }
                | ErofsError::WhiteoutName { .. }
                | ErofsError::WhiteoutWithContent { .. }
        ),
        _ => false,
    }
}

fn image_of_layer(archive: &[u8]) -> Result<Vec<u8>, LayerError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = ImageFile::new(file.as_file()).unwrap();
    let profiles = [Profile::ContainerdFullV1];
    let layer = convert(archive, &ExpectedLayer::default(), &profiles, &mut sink)?;
    let mut image = fs::read(file.path()).unwrap();
    image.truncate(usize::try_from(layer.image_size_bytes).unwrap());
    Ok(image)
}

/// Makes an image by mkfs.erofs; `None` where it fails.
fn image_of_mkfs(erofs_utils: &Tree, directory: &Path, archive: &[u8]) -> Option<Vec<u8>> {
    let (input, output) = (directory.join("layer.tar"), directory.join("layer.erofs"));
    fs::write(&input, archive).unwrap();
    File::create(&output).unwrap();
    let digest = Digest::of(archive);
    let uuid = Profile::ContainerdFullV1.uuid(digest, digest).to_string();
    let mut mkfs = erofs_utils.command("usr/bin/mkfs.erofs").unwrap();
    mkfs.args(["--tar=f", "--aufs", "--quiet", "-Enoinline_data", "-b4096", "-T0"])
        .args(["--mkfs-time", "--sort=none", "-U", &uuid])
        .args([&output, &input]);
    run(&mut mkfs).ok()?;
    Some(fs::read(&output).unwrap())
}

fn erofs_utils() -> Option<&'static Tree> {
    static TREE: OnceLock<Option<Tree>> = OnceLock::new();
    TREE.get_or_init(|| {
        or_skip(Tree::unpacked("erofs-utils", Suite::Sid, Packages::Whole("erofs-utils")))
    })
    .as_ref()
}
