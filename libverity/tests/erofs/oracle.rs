//! Images against those that mkfs.erofs makes of the same archive here and now.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use osguard_testkit::or_skip;
use osguard_testkit::tools::ErofsUtils;

use crate::convert::{Failure, UUID_TEXT, full_image, index_image};
use crate::generator;

/// `OSGUARD_EROFS_CASES=FIRST..END` chooses other archives than the first 150.
#[test]
fn random_archives_become_the_images_of_mkfs_erofs() {
    let Some(oracle) = Oracle::or_skip() else { return };
    let cases = std::env::var("OSGUARD_EROFS_CASES").unwrap_or_else(|_| "0..150".to_owned());
    let (first, end) = cases.split_once("..").unwrap();
    let [first, end]: [u64; 2] = [first, end].map(|number| number.parse().unwrap());
    let mut images = 0;
    let mut refusals = BTreeMap::<String, u64>::new();
    for seed in first..end {
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
    assert!(images > end - first, "most archives should have an image");
    for refusal in refusals.keys().filter(|refusal| refusal.starts_with("we alone")) {
        let is_meant = MORE_THAN_MKFS_REFUSES.iter().any(|kind| refusal.contains(kind));
        assert!(is_meant, "{refusal}");
    }
}

/// Runs mkfs.erofs.
struct Oracle {
    version: ErofsUtils,
    directory: tempfile::TempDir,
}

impl Oracle {
    fn or_skip() -> Option<Self> {
        let version = ErofsUtils::V1_9;
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
const MORE_THAN_MKFS_REFUSES: &[&str] =
    &["DirectoryWhiteout", "InodesBeforeMetadata", "OpaqueRoot", "OrphanedParent", "TrailingSlash"];
