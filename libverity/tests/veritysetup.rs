//! Hash areas against those of `veritysetup`: the same bytes, each accepted by the other.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use libverity::verity::{
    Algorithm, BlockSize, FaultyBlock, HashArea, HashTree, HashType, Header, Parameters, Salt,
    Superblock, TreeBuilder, Verifier,
};
use osguard_testkit::command::{command, run};
use osguard_testkit::{Error, or_skip};
use tempfile::TempDir;
use uuid::Uuid;

#[test]
fn verity_hash_files_are_byte_identical() {
    for case in cases() {
        let Some(theirs) = or_skip(case.format_by_veritysetup(&[])) else { return };
        let tree = case.tree();
        let mut ours = Vec::new();
        HashArea::separate(tree.geometry(), Header::Superblock)
            .write_to(&tree, UUID, &mut ours)
            .unwrap();
        assert_eq!(tree.root_hash(), &theirs.root_hash, "{case:?}");
        assert!(ours == fs::read(&theirs.hash_path).unwrap(), "{case:?}");
    }
}

#[test]
fn verity_hash_files_without_superblock_are_byte_identical() {
    for case in cases() {
        let Some(theirs) = or_skip(case.format_by_veritysetup(&["--no-superblock"])) else {
            return;
        };
        let tree = case.tree();
        let mut ours = Vec::new();
        HashArea::separate(tree.geometry(), Header::None).write_to(&tree, UUID, &mut ours).unwrap();
        assert_eq!(tree.root_hash(), &theirs.root_hash, "{case:?}");
        assert!(ours == fs::read(&theirs.hash_path).unwrap(), "{case:?}");
    }
}

#[test]
fn verity_images_with_an_appended_tree_are_byte_identical() {
    for case in cases() {
        let files = TempDir::new().unwrap();
        let tree = case.tree();
        let mut ours = case.data();
        let area = HashArea::append(ours.len() as u64, &tree, Header::Superblock, UUID, &mut ours)
            .unwrap();

        let image = files.path().join("image");
        fs::write(&image, case.data()).unwrap();
        let offset = format!("--hash-offset={}", area.hash_offset_bytes());
        let blocks = format!("--data-blocks={}", case.data_blocks);
        let options = [offset.as_str(), blocks.as_str()];
        let Some(root_hash) = or_skip(case.format(&image, &image, &options)) else { return };
        assert_eq!(tree.root_hash(), &root_hash, "{case:?}");
        assert!(ours == fs::read(&image).unwrap(), "{case:?}");
    }
}

#[test]
fn verity_images_of_ours_are_accepted_by_veritysetup() {
    for case in cases() {
        let files = TempDir::new().unwrap();
        let image = files.path().join("image");
        let tree = case.tree();
        let mut file = fs::File::create(&image).unwrap();
        file.write_all(&case.data()).unwrap();
        let area = HashArea::append(
            tree.geometry().data_bytes(),
            &tree,
            Header::Superblock,
            UUID,
            &mut file,
        )
        .unwrap();
        let offset = format!("--hash-offset={}", area.hash_offset_bytes());
        if or_skip(verify(&image, &image, tree.root_hash(), &[&offset])).is_none() {
            return;
        }
    }
}

#[test]
fn verity_images_of_veritysetup_are_accepted_by_us() {
    for case in cases() {
        let Some(theirs) = or_skip(case.format_by_veritysetup(&[])) else { return };
        let hash_file = fs::read(&theirs.hash_path).unwrap();
        let superblock = Superblock::parse(hash_file[..512].try_into().unwrap()).unwrap();
        assert_eq!(superblock.uuid, UUID, "{case:?}");
        assert_eq!(superblock.parameters, case.parameters, "{case:?}");
        assert_eq!(superblock.data_blocks, case.data_blocks, "{case:?}");

        let verifier =
            Verifier::new(&superblock.parameters, superblock.data_blocks, &theirs.root_hash)
                .unwrap();
        let area = HashArea::separate(verifier.geometry(), Header::Superblock);
        let tree = &mut &hash_file[area.tree_offset_bytes() as usize..];
        let faults = verifier
            .verify(&mut case.data().as_slice(), tree, |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(faults, 0, "{case:?}");
        assert!(tree.is_empty(), "{case:?}");
    }
}

#[test]
fn verity_faults_are_where_veritysetup_finds_them() {
    let case = Case {
        parameters: Parameters::with_salt(Salt::try_from(&[3; 32][..]).unwrap()),
        data_blocks: 130,
    };
    let Some(theirs) = or_skip(case.format_by_veritysetup(&[])) else { return };
    for index in [0, 127, 129] {
        let mut data = case.data();
        data[index * 4096 + 99] ^= 4;
        fs::write(&theirs.data_path, &data).unwrap();
        let Err(Error::Command { message, .. }) =
            verify(&theirs.data_path, &theirs.hash_path, &theirs.root_hash, &[])
        else {
            panic!("veritysetup does not find the fault in block {index}");
        };

        let verifier = Verifier::new(&case.parameters, 130, &theirs.root_hash).unwrap();
        let hash_file = fs::read(&theirs.hash_path).unwrap();
        let mut faults = Vec::new();
        verifier
            .verify(&mut data.as_slice(), &mut &hash_file[4096..], |fault| {
                faults.push(fault);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].block, FaultyBlock::Data { index: index as u64 });
        let place = format!("position {}.", faults[0].offset_bytes);
        assert!(message.contains(&place), "{message:?} should name {place}");
    }
}

/// Is one tree to be made by both.
#[derive(Debug)]
struct Case {
    parameters: Parameters,
    data_blocks: u64,
}

impl Case {
    fn data(&self) -> Vec<u8> {
        let bytes = self.data_blocks * u64::from(self.parameters.data_block_size.bytes());
        (0..bytes).map(|place| (place / 257) as u8).collect()
    }

    fn tree(&self) -> HashTree {
        let mut builder = TreeBuilder::new(&self.parameters);
        builder.update(&self.data());
        builder.finish().unwrap()
    }

    fn format_by_veritysetup(&self, options: &[&str]) -> Result<Formatted, Error> {
        let files = TempDir::new().unwrap();
        let data_path = files.path().join("data");
        let hash_path = files.path().join("hash");
        fs::write(&data_path, self.data()).unwrap();
        let root_hash = self.format(&data_path, &hash_path, options)?;
        Ok(Formatted { _files: files, data_path, hash_path, root_hash })
    }

    fn format(&self, data: &Path, hash: &Path, options: &[&str]) -> Result<RootHash, Error> {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, salt } =
            &self.parameters;
        let output = run(command("veritysetup")?
            .arg("format")
            .arg(format!("--format={}", hash_type.number()))
            .arg(format!("--hash={algorithm}"))
            .arg(format!("--data-block-size={data_block_size}"))
            .arg(format!("--hash-block-size={hash_block_size}"))
            .arg(format!("--salt={salt}"))
            .args(options)
            .args(uuid_option(options))
            .args([data, hash]))?;
        let output = String::from_utf8(output).unwrap();
        let root_hash = output
            .lines()
            .find_map(|line| line.strip_prefix("Root hash:"))
            .unwrap_or_else(|| panic!("veritysetup names no root hash: {output}"));
        Ok(root_hash.trim().parse().unwrap())
    }
}

/// Is what `veritysetup` made.
struct Formatted {
    _files: TempDir,
    data_path: PathBuf,
    hash_path: PathBuf,
    root_hash: RootHash,
}

/// Gives four algorithms and each hash type with every pair of block sizes, and to each a number of
/// blocks and a salt, so that all meet: trees of 0 to 4 levels, full and hardly begun.
fn cases() -> Vec<Case> {
    let block_sizes = [
        (512, 512),
        (512, 4096),
        (1024, 2048),
        (4096, 512),
        (4096, 4096),
        (4096, 16_384),
        (65_536, 1024),
        (524_288, 524_288),
    ];
    let salts: [&[u8]; 4] = [&[], &[0; 32], &[0xa7; 64], &[0x5c; 256]];
    let block_counts = [1, 2, 8, 9, 129, 257, 513];
    let mut cases = Vec::new();
    for algorithm in ALGORITHMS {
        for hash_type in [HashType::ChromeOs, HashType::Normal] {
            for (data_block_bytes, hash_block_bytes) in block_sizes {
                let number = cases.len();
                let most_blocks = u64::from(MAX_DATA_BYTES / data_block_bytes);
                // Without a tree, `veritysetup` ends the file at 4096 bytes even if a hash block
                // is longer. Ours fills the block, so that the hash start lies on the device.
                let least_blocks = if hash_block_bytes > 4096 { 2 } else { 1 };
                cases.push(Case {
                    parameters: Parameters {
                        hash_type,
                        algorithm,
                        data_block_size: BlockSize::try_from(data_block_bytes).unwrap(),
                        hash_block_size: BlockSize::try_from(hash_block_bytes).unwrap(),
                        salt: Salt::try_from(salts[number / 3 % salts.len()]).unwrap(),
                    },
                    data_blocks: block_counts[number % block_counts.len()]
                        .clamp(least_blocks, most_blocks),
                });
            }
        }
    }
    cases
}

fn verify(data: &Path, hash: &Path, root_hash: &RootHash, options: &[&str]) -> Result<(), Error> {
    run(command("veritysetup")?
        .arg("verify")
        .args(options)
        .args([data, hash])
        .arg(root_hash.to_string()))
    .map(drop)
}

/// A tree without superblock has no place for a UUID, and `veritysetup` refuses one.
fn uuid_option(options: &[&str]) -> Option<impl AsRef<OsStr>> {
    (!options.contains(&"--no-superblock")).then(|| format!("--uuid={UUID}"))
}

const UUID: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_0fed_cba9_8765_4321);

/// One of each length of digest; the others differ in nothing that matters here.
const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Sha224, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

/// Keeps the cases with large blocks quick.
const MAX_DATA_BYTES: u32 = 4 * 1024 * 1024;
