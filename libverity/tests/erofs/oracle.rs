//! Images against those that mkfs.erofs makes of the same archive here and now.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use osguard_testkit::or_skip;
use osguard_testkit::tools::ErofsUtils;

use crate::archive::{Archive, Member};
use crate::convert::{
    Failure, UUID, UUID_TEXT, full_image, full_image_and_divergence, index_image,
    index_image_and_divergence,
};
use crate::generator;

#[test]
fn random_archives_become_the_images_of_mkfs_erofs() {
    let Some(oracle) = Oracle::or_skip(ErofsUtils::V1_9) else { return };
    let mut images = 0_usize;
    let mut refusals = BTreeMap::<String, u64>::new();
    for seed in cases() {
        let archive = generator::archive(seed);
        for (mode, ours) in [(FULL, full_image(&archive[..])), (INDEX, index_image(&archive[..]))] {
            match (ours, oracle.image(mode, &archive)) {
                (Ok((ours, _)), theirs) if theirs.as_ref() == Ok(&ours) => images += 1,
                (Ok((ours, _)), theirs) => {
                    let message = theirs.as_ref().err().map_or("the images differ", |text| text);
                    let kept = keep(seed, &archive, &ours, theirs.as_deref().unwrap_or_default());
                    panic!("archive {seed}, {}: {message}; see {}", mode[0], kept.display());
                }
                (Err(failure), theirs) => {
                    let who = if theirs.is_ok() { "we alone refuse" } else { "both refuse" };
                    *refusals.entry(format!("{who}: {}", kind(&failure))).or_default() += 1;
                }
            }
        }
    }
    eprintln!("{images} images are identical; {refusals:#?}");
    assert!(images > cases().len(), "most archives should have an image");
    for refusal in refusals.keys().filter(|refusal| refusal.starts_with("we alone")) {
        let is_meant = MORE_THAN_MKFS_REFUSES.iter().any(|kind| refusal.contains(kind));
        assert!(is_meant, "{refusal}");
    }
}

#[test]
fn archives_without_divergence_become_the_images_of_mkfs_erofs_1_8() {
    let Some(oracle) = Oracle::or_skip(ErofsUtils::V1_8) else { return };
    let [mut alike, mut divergent] = [0_usize; 2];
    for seed in cases() {
        let archive = generator::archive(seed);
        let full = full_image_and_divergence(&archive[..]);
        let index = index_image_and_divergence(&archive[..]);
        for (mode, made) in [(FULL, full), (INDEX, index)] {
            match made {
                Ok((mut ours, false)) => {
                    if mode == INDEX {
                        remove_checksum(&mut ours);
                    }
                    alike += 1;
                    let theirs = oracle.image(mode, &archive);
                    if theirs.as_ref() != Ok(&ours) {
                        let kept =
                            keep(seed, &archive, &ours, theirs.as_deref().unwrap_or_default());
                        panic!("archive {seed}: {:?}; see {}", theirs.err(), kept.display());
                    }
                }
                Ok((_, true)) => divergent += 1,
                Err(_) => {}
            }
        }
    }
    eprintln!("{alike} images are identical, {divergent} are known to diverge");
    assert!(alike * 5 > cases().len());
}

#[test]
fn the_numbering_follows_a_root_far_behind() {
    let Some(oracle) = Oracle::or_skip(ErofsUtils::V1_9) else { return };
    let mut archive = Archive::default();
    for number in 0..130 {
        // Neither the root nor a file fits into the first block, and the root starts beyond 2 MiB.
        archive.push(&Member {
            path: format!("root-entry-{number:03}").into(),
            typeflag: b'0',
            xattrs: vec![(b"user.a".into(), vec![b'v'; 3000])],
            content: vec![number; 30_000],
            ..Member::default()
        });
    }
    let archive = archive.finish();
    let (ours, image) = full_image(&archive[..]).unwrap();
    assert_ne!(
        image.superblock_block(UUID)[1024 + 40..][..4],
        [0; 4],
        "the numbering starts later"
    );
    assert!(oracle.image(FULL, &archive) == Ok(ours));
}

/// Returns the numbers of the archives to try: `OSGUARD_EROFS_CASES=FIRST..END`, or the first 150 and
/// those that found something once.
fn cases() -> Vec<u64> {
    match std::env::var("OSGUARD_EROFS_CASES") {
        Ok(cases) => {
            let (first, end) = cases.split_once("..").unwrap();
            (first.parse().unwrap()..end.parse().unwrap()).collect()
        }
        Err(_) => (0..150).chain(GNU_DIRECTORIES).collect(),
    }
}

/// Runs mkfs.erofs.
struct Oracle {
    version: ErofsUtils,
    directory: tempfile::TempDir,
}

impl Oracle {
    fn or_skip(version: ErofsUtils) -> Option<Self> {
        or_skip(version.mkfs())?;
        Some(Self { version, directory: tempfile::tempdir().unwrap() })
    }

    fn image(&self, mode: &[&str], archive: &[u8]) -> Result<Vec<u8>, String> {
        let image = self.directory.path().join("image");
        let mut mkfs = self.version.mkfs().unwrap();
        mkfs.args(mode).args(["--aufs", "--quiet", "-T0", "--mkfs-time", "-U", UUID_TEXT]);
        run(mkfs.arg(&image), archive)?;
        Ok(std::fs::read(image).unwrap())
    }
}

fn run(command: &mut Command, input: &[u8]) -> Result<(), String> {
    let mut child = command
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails early does not read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Takes out what erofs-utils 1.8 leaves out of every image that points into an archive.
fn remove_checksum(image: &mut [u8]) {
    image[1024 + 4..1024 + 8].fill(0);
    image[1024 + 8] &= !1;
}

/// Names the reason without its particulars.
fn kind(failure: &Failure) -> String {
    let text = match failure {
        Failure::Erofs(error) => format!("{error:?}"),
        Failure::Tar(error) => format!("{error:?}"),
    };
    let reason = text.split_once("reason: ").map_or(&text[..], |(_, reason)| reason);
    reason.split([' ', '{', ',', '(']).next().unwrap_or_default().to_owned()
}

fn keep(seed: u64, archive: &[u8], ours: &[u8], theirs: &[u8]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("erofs-{seed}"));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, bytes) in [("archive.tar", archive), ("ours.img", ours), ("theirs.img", theirs)] {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    directory
}

const FULL: &[&str] = &["--tar=f", "-Enoinline_data", "-b4096", "--sort=none"];
const INDEX: &[&str] = &["--tar=i", "-b4096", "--sort=none"];
/// Have directories with GNU long names that end in a slash, where names are whiteouts or files.
const GNU_DIRECTORIES: [u64; 4] = [207, 579, 3082, 9502];
const MORE_THAN_MKFS_REFUSES: &[&str] =
    &["DirectoryWhiteout", "OpaqueRoot", "OrphanedParent", "TrailingSlash"];
