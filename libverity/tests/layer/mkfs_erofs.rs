//! Images as mkfs.erofs of erofs-utils 1.9.4 makes them; and where no divergence is reported, as
//! 1.8.6 does.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;

use libverity::digest::Digest;
use libverity::erofs::ErofsError;
use libverity::layer::{ExpectedLayer, ImageFile, LayerError, Profile, convert};
use libverity::tar::Divergences;
use osguard_testkit::command::run;
use osguard_testkit::or_skip;
use osguard_testkit::tools::ErofsUtils;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRng, TestRunner};
use uuid::Uuid;

use crate::archives::{archive, damaged_archive};

#[test]
fn layers_become_the_images_of_mkfs_erofs() {
    let archives = archive(8).prop_map(|archive| archive.bytes());
    let Some(outcomes) = compare_with_mkfs(&archives) else { return };
    assert!(outcomes.alike >= 32 && outcomes.alike_in_1_8 >= 16, "{outcomes:?}");
}

#[test]
fn damaged_layers_become_the_images_of_mkfs_erofs_or_are_refused() {
    let Some(outcomes) = compare_with_mkfs(&damaged_archive(4)) else { return };
    assert!(outcomes.alike >= 32 && outcomes.refused >= 32, "{outcomes:?}");
}

/// Counts what became of archives.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    alike: u32,
    alike_in_1_8: u32,
    refused: u32,
}

/// Makes images of generated archives here and there; `None` where mkfs.erofs is missing.
///
/// They are the same archives every time; `PROPTEST_CASES` asks for more of them than 256.
fn compare_with_mkfs(archives: &impl Strategy<Value = Vec<u8>>) -> Option<Outcomes> {
    for version in ErofsUtils::ALL {
        or_skip(version.mkfs())?;
    }
    let directory = tempfile::tempdir().unwrap();
    let outcomes = Cell::new(Outcomes::default());
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let compared = TestRunner::new_with_rng(config, rng).run(archives, |archive| {
        let theirs = |version| image_of_mkfs(version, directory.path(), &archive);
        let mut counts = outcomes.get();
        match image_of_layer(&archive) {
            Ok((ours, divergences)) => {
                prop_assert!(theirs(ErofsUtils::V1_9).as_ref() == Some(&ours), "1.9 differs");
                // Index images have random archives of their own in the tests of the writer.
                if counts.alike.is_multiple_of(4) {
                    let index = index_of_mkfs(directory.path(), &archive);
                    prop_assert!(index_of_layer(&archive) == index, "1.9 has another index");
                }
                counts.alike += 1;
                if divergences.is_empty() {
                    prop_assert!(theirs(ErofsUtils::V1_8).as_ref() == Some(&ours), "1.8 differs");
                    counts.alike_in_1_8 += 1;
                }
            }
            Err(error) => {
                let is_refused_there = theirs(ErofsUtils::V1_9).is_none();
                prop_assert!(is_refused_there || is_refused_here(&error), "{error:?}");
                counts.refused += 1;
            }
        }
        outcomes.set(counts);
        Ok(())
    });
    if let Err(TestError::Fail(reason, archive)) = compared {
        let file = std::env::temp_dir().join("differs.tar");
        fs::write(&file, archive).unwrap();
        panic!("{reason}: see {}", file.display());
    }
    eprintln!("{:?}", outcomes.get());
    Some(outcomes.get())
}

/// Tells whether an archive that mkfs.erofs takes is refused on purpose.
fn is_refused_here(error: &LayerError) -> bool {
    match error {
        LayerError::Tar { .. } => true,
        LayerError::Erofs { source } => matches!(
            source,
            ErofsError::DirectoryWhiteout { .. }
                // Only as a directory; the original then takes it for the root itself.
                | ErofsError::OpaqueRoot { .. }
                | ErofsError::OrphanedParent { .. }
                | ErofsError::WhiteoutName { .. }
                | ErofsError::WhiteoutWithContent { .. }
        ),
        _ => false,
    }
}

/// Makes the image of a layer, and says where erofs-utils 1.8 makes another.
fn image_of_layer(blob: &[u8]) -> Result<(Vec<u8>, Divergences), LayerError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = ImageFile::new(file.as_file(), &std::env::temp_dir()).unwrap();
    let profiles = [Profile::ContainerdFullV1];
    let layer = convert(blob, &ExpectedLayer::default(), &profiles, &mut sink)?;
    let mut image = fs::read(file.path()).unwrap();
    image.truncate(usize::try_from(layer.images[0].image_size_bytes).unwrap());
    Ok((image, layer.divergences))
}

/// Makes the image that points into `archive`, with the archive behind it.
fn index_of_layer(archive: &[u8]) -> Option<Vec<u8>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = ImageFile::new(file.as_file(), &std::env::temp_dir()).unwrap();
    let profiles = [Profile::ContainerdIndexV1];
    let layer = convert(archive, &ExpectedLayer::default(), &profiles, &mut sink).ok()?;
    let mut image = fs::read(file.path()).unwrap();
    image.truncate(usize::try_from(layer.images[0].image_size_bytes).unwrap());
    Some(image)
}

/// Makes an image by mkfs.erofs; `None` where it fails.
fn image_of_mkfs(version: ErofsUtils, directory: &Path, archive: &[u8]) -> Option<Vec<u8>> {
    let digest = Digest::of(archive);
    let uuid = Profile::ContainerdFullV1.uuid(digest, digest);
    mkfs(version, directory, archive, &["--tar=f", "-Enoinline_data"], uuid)
}

/// Makes an image that points into `archive` by mkfs.erofs, and puts the archive behind it.
fn index_of_mkfs(directory: &Path, archive: &[u8]) -> Option<Vec<u8>> {
    let digest = Digest::of(archive);
    let uuid = Profile::ContainerdIndexV1.uuid(digest, digest);
    let mut image = mkfs(ErofsUtils::V1_9, directory, archive, &["--tar=i"], uuid)?;
    image.extend_from_slice(archive);
    image.resize(image.len().next_multiple_of(512), 0);
    Some(image)
}

/// Makes an image by mkfs.erofs with some of the options that a profile stands for.
pub(crate) fn mkfs(
    version: ErofsUtils,
    directory: &Path,
    archive: &[u8],
    options: &[&str],
    uuid: Uuid,
) -> Option<Vec<u8>> {
    let (input, output) = (directory.join("layer.tar"), directory.join("layer.erofs"));
    fs::write(&input, archive).unwrap();
    File::create(&output).unwrap();
    let mut mkfs = version.mkfs().unwrap();
    mkfs.env_remove("SOURCE_DATE_EPOCH")
        .args(options)
        .args(["--aufs", "--quiet", "-b4096", "-T0", "--mkfs-time", "--sort=none", "-U"])
        .arg(uuid.to_string())
        .args([&output, &input]);
    run(&mut mkfs).ok()?;
    Some(fs::read(&output).unwrap())
}
