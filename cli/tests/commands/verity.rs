//! `osguard verity`, beside veritysetup where there is one.

use std::ffi::OsStr;

use insta::assert_snapshot;
use osguard_testkit::{command, or_skip};

use crate::environment::{Environment, Ran};

/// Makes a device of 300 blocks, so that its tree has two levels, and formats it.
fn formatted() -> Environment {
    let environment = Environment::new();
    environment.write("data", &contents());
    environment.run(FORMAT).done();
    environment
}

fn contents() -> Vec<u8> {
    (0..300 * 1024_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_device_is_formatted_and_shown() {
    let environment = Environment::new();
    environment.write("data", &contents());
    assert_snapshot!(environment.run(FORMAT), @"
    VERITY header information for hash
    UUID:            	01234567-89ab-4def-8123-456789abcdef
    Hash type:       	1
    Data blocks:     	300
    Data block size: 	4096
    Hash blocks:     	4
    Hash block size: 	4096
    Hash algorithm:  	sha256
    Salt:            	00112233445566778899aabbccddeeff
    Root hash:      	eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af
    Hash device size: 	20480 [bytes]
    ");
    assert_snapshot!(environment.run(["verity", "dump", "hash"]), @"
    VERITY header information for hash
    UUID:            	01234567-89ab-4def-8123-456789abcdef
    Hash type:       	1
    Data blocks:     	300
    Data block size: 	4096
    Hash blocks:     	4
    Hash block size: 	4096
    Hash algorithm:  	sha256
    Salt:            	00112233445566778899aabbccddeeff
    Hash device size: 	20480 [bytes]
    ");
    assert_snapshot!(environment.run(["verity", "dump", "hash", "--output", "json"]), @r#"
    {
      "schema": "osguard.verity.dump.v1",
      "device": "hash",
      "uuid": "01234567-89ab-4def-8123-456789abcdef",
      "hash_type": 1,
      "data_blocks": 300,
      "data_block_size_bytes": 4096,
      "hash_blocks": 4,
      "hash_block_size_bytes": 4096,
      "hash_algorithm": "sha256",
      "salt": "00112233445566778899aabbccddeeff",
      "hash_device_size_bytes": 20480
    }
    "#);
}

/// Scripts cut its output apart, so every space is the same.
#[test]
fn output_is_that_of_veritysetup() {
    let environment = Environment::new();
    environment.write("data", &contents());
    let Some(veritysetup) = or_skip(command::find("veritysetup")) else { return };
    let by_veritysetup = |arguments: &[&str]| {
        environment.ran(environment.program(&veritysetup).args(arguments)).done()
    };
    let expected = by_veritysetup(&FORMAT[1..]);
    let tree = environment.read("hash");
    std::fs::remove_file(environment.path("hash")).unwrap();
    assert_eq!(environment.run(FORMAT).done(), expected);
    assert_eq!(environment.read("hash"), tree);
    let expected = by_veritysetup(&["dump", "hash"]);
    assert_eq!(environment.run(["verity", "dump", "hash"]).done(), expected);
}

#[test]
fn what_is_unchanged_is_verified() {
    let environment = formatted();
    assert_eq!(verify(&environment, [ROOT_HASH]).done(), "");
    assert_snapshot!(verify(&environment, [ROOT_HASH, "--output", "json"]), @r#"
    {
      "schema": "osguard.verity.verify.v1",
      "root_hash": "eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af",
      "data_blocks": 300,
      "faults": 0,
      "faulty_blocks": []
    }
    "#);
    environment.write("root", ROOT_HASH.as_bytes());
    assert_eq!(verify(&environment, ["--root-hash-file", "root"]).done(), "");
}

#[test]
fn every_change_is_found() {
    let environment = formatted();
    let mut data = contents();
    data[4096 * 7] ^= 1;
    data[4096 * 299 + 4095] ^= 1;
    environment.write("data", &data);
    assert_snapshot!(verify(&environment, [ROOT_HASH]), @"
    data block 7 (at byte 28672) is corrupted: its digest is 88b3e102f7786d07f338a0a9b8a6a3532bb4f6e2f1506fed431339dced69ec00, not ed050e73df0e42c798d124965af216998e75e191f8446459680cb2def9eb6ef7
    data block 299 (at byte 1224704) is corrupted: its digest is c287f373822a838038b70ca5150ba2252b78dd57fa978f9decd700be697cc8dd, not 046ab9fe6e2e4f9fd424edba5a77ae52bd21cf16babd4e670a785f37c74fb200
    --- standard error ---
    Error: verification of data failed: 2 blocks are not what the root hash says
    --- exit code 2 ---
    ");
    environment.write("data", &contents());
    let mut tree = environment.read("hash");
    *tree.last_mut().unwrap() ^= 1;
    tree[8192] ^= 1;
    environment.write("hash", &tree);
    assert_snapshot!(verify(&environment, [ROOT_HASH]), @"
    hash block 0 of level 0 (at byte 4096) is corrupted: its digest is f34fd0eab9e3ed4cc0f35cf506421d0840d2b4036188ff7dc099e5c40bf5eacc, not 418457394b2cb41ee30bf71f49f5212c09a0ac907814102207370b7d02c50306
    hash block 2 of level 0 (at byte 12288) is corrupted: its digest is a2ca322f3aed5cb1fe022a566d97a42e6982e7385d53ac3a4c96e086c86309ba, not 76812ee56fc68db397dbbb163661754ab8760125ec78c7145cc11f403e05467a
    --- standard error ---
    Error: verification of data failed: 2 blocks are not what the root hash says
    --- exit code 2 ---
    ");
    assert_snapshot!(verify(&environment, [ROOT_HASH, "--output", "json"]), @r#"
    {
      "schema": "osguard.verity.verify.v1",
      "root_hash": "eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af",
      "data_blocks": 300,
      "faults": 2,
      "faulty_blocks": [
        {
          "kind": "hash",
          "level": 0,
          "index": 0,
          "offset_bytes": 4096,
          "expected": "418457394b2cb41ee30bf71f49f5212c09a0ac907814102207370b7d02c50306",
          "found": "f34fd0eab9e3ed4cc0f35cf506421d0840d2b4036188ff7dc099e5c40bf5eacc"
        },
        {
          "kind": "hash",
          "level": 0,
          "index": 2,
          "offset_bytes": 12288,
          "expected": "76812ee56fc68db397dbbb163661754ab8760125ec78c7145cc11f403e05467a",
          "found": "a2ca322f3aed5cb1fe022a566d97a42e6982e7385d53ac3a4c96e086c86309ba"
        }
      ]
    }
    --- standard error ---
    {
      "schema": "osguard.failure.v1",
      "error": "verification of data failed: 2 blocks are not what the root hash says",
      "hints": [],
      "exit_code": 2
    }
    --- exit code 2 ---
    "#);
}

#[test]
fn another_root_hash_is_not_that_of_the_device() {
    let environment = formatted();
    let other = "0".repeat(64);
    assert_snapshot!(verify(&environment, [&other]), @"
    hash block 0 of level 1 (at byte 0) is corrupted: its digest is eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af, not 0000000000000000000000000000000000000000000000000000000000000000
    --- standard error ---
    Error: verification of data failed: 1 block is not what the root hash says
    --- exit code 1 ---
    ");
    assert_snapshot!(verify(&environment, ["0123"]), @r#"
    --- standard error ---
    Error: "0123" is not a root hash: 40 to 128 hexadecimal digits are expected
    --- exit code 1 ---
    "#);
    assert_snapshot!(verify(&environment, ["no hash"]), @r#"
    --- standard error ---
    Error: "no hash" is not a root hash: 40 to 128 hexadecimal digits are expected
    --- exit code 1 ---
    "#);
}

#[test]
fn data_and_tree_may_share_a_file() {
    let environment = Environment::new();
    environment.write("data", &contents());
    let shared = ["verity", "format", "data", "data", "--salt", "-", "--uuid", UUID];
    let format = |arguments: &[&str]| environment.run(shared.iter().chain(arguments));
    let offset = (300 * 4096).to_string();
    assert_snapshot!(format(&["--hash-offset", &offset]), @"
    VERITY header information for data
    UUID:            	01234567-89ab-4def-8123-456789abcdef
    Hash type:       	1
    Data blocks:     	300
    Data block size: 	4096
    Hash blocks:     	4
    Hash block size: 	4096
    Hash algorithm:  	sha256
    Salt:            	-
    Root hash:      	68a78369e74b5e6df05d95170091781c4ed74ae2676c3a55aca69f4da84d308c
    ");
    assert_eq!(environment.read("data")[..300 * 4096], contents());
    let ran = environment.refused(shared.iter().chain(&[
        "--hash-offset",
        "4096",
        "--data-blocks",
        "300",
    ]));
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: the data area overlaps with the hash area
    Hint: --hash-offset must not lie before the end of the data.
    --- exit code 1 ---
    ");
}

#[test]
fn the_root_hash_is_written_to_a_file() {
    let environment = Environment::new();
    environment.write("data", &contents());
    environment.run(FORMAT.iter().chain(&["--root-hash-file", "root"])).done();
    assert_eq!(environment.read("root"), ROOT_HASH.as_bytes());
}

#[test]
fn a_tree_without_superblock_is_described_by_flags() {
    let environment = Environment::new();
    environment.write("data", &contents());
    let shape = ["--no-superblock", "--salt", "00ff", "--hash", "sha512"];
    let format = ["verity", "format", "data", "hash"];
    let report = environment.run(format.iter().chain(&shape).chain(&["--output", "json"])).json();
    let root_hash = report["root_hash"].as_str().unwrap();
    assert_eq!(verify(&environment, [root_hash].iter().chain(&shape)).done(), "");
    let ran = verify(&environment, [root_hash]);
    assert_snapshot!(ran.naming(root_hash, "<root hash>"), @r#"
    --- standard error ---
    Error: device hash is not a valid VERITY device: there is no verity superblock: it would start with "verity\0\0", not "\xe99\x18~8\x8d-="
    Hint: --hash-offset says where the hash area starts if data precede it, --no-superblock that it has no superblock.
    --- exit code 1 ---
    "#);
}

#[test]
fn what_is_no_device_is_named() {
    let environment = formatted();
    environment.write("junk", &[7; 8192]);
    environment.write("short", b"short");
    assert_snapshot!(environment.refused(["verity", "dump", "nothing"]), @"
    --- standard error ---
    Error: device nothing cannot be used: No such file or directory (os error 2)
    --- exit code 4 ---
    ");
    assert_snapshot!(environment.refused(["verity", "dump", "junk"]), @r#"
    --- standard error ---
    Error: device junk is not a valid VERITY device: there is no verity superblock: it would start with "verity\0\0", not "\x07\x07\x07\x07\x07\x07\x07\x07"
    Hint: --hash-offset says where the hash area starts if data precede it, --no-superblock that it has no superblock.
    --- exit code 1 ---
    "#);
    assert_snapshot!(environment.refused(["verity", "dump", "short"]), @"
    --- standard error ---
    Error: device short is not a valid VERITY device: it ends before a superblock at byte 0 would
    Hint: --hash-offset says where the hash area starts if data precede it, --no-superblock that it has no superblock.
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["verity", "dump", "."]), @"
    --- standard error ---
    Error: device . cannot be used: Is a directory (os error 21)
    --- exit code 4 ---
    ");
    assert_snapshot!(environment.refused(["verity", "verify", "nothing", "hash", ROOT_HASH]), @"
    --- standard error ---
    Error: device nothing cannot be used: No such file or directory (os error 2)
    --- exit code 4 ---
    ");
    assert_snapshot!(environment.refused(["verity", "verify", "data", "junk", ROOT_HASH]), @r#"
    --- standard error ---
    Error: device junk is not a valid VERITY device: there is no verity superblock: it would start with "verity\0\0", not "\x07\x07\x07\x07\x07\x07\x07\x07"
    Hint: --hash-offset says where the hash area starts if data precede it, --no-superblock that it has no superblock.
    --- exit code 1 ---
    "#);
    assert_snapshot!(environment.refused(["verity", "verify", "short", "hash", ROOT_HASH]), @"
    --- standard error ---
    Error: the data end early: less than what is needed follows byte 0
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["verity", "format", "nothing", "new"]), @"
    --- standard error ---
    Error: device nothing cannot be used: No such file or directory (os error 2)
    --- exit code 4 ---
    ");
    assert_snapshot!(environment.refused(["verity", "format", "data", "nowhere/new"]), @"
    --- standard error ---
    Error: device nowhere/new cannot be used: No such file or directory (os error 2)
    --- exit code 4 ---
    ");
    assert_snapshot!(environment.refused(["verity", "format", "short", "new"]), @"
    --- standard error ---
    Error: there is no data: a hash tree covers at least one block
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["verity", "format", "data", "hash", "--salt", "xyz"]), @r#"
    --- standard error ---
    Error: "xyz" is not a salt: an even number of hexadecimal digits, or - for none
    --- exit code 1 ---
    "#);
    let blocks = ["verity", "format", "data", "new", "--data-blocks", "301"];
    assert_snapshot!(environment.refused(blocks), @"
    --- standard error ---
    Error: device data cannot be used: it has 300 blocks, fewer than --data-blocks says
    --- exit code 1 ---
    ");
    let size = ["verity", "format", "data", "new", "--data-block-size", "1000"];
    assert_snapshot!(environment.refused(size), @"
    --- standard error ---
    Error: a block cannot have 1000 bytes, but a power of two from 512 to 524288
    --- exit code 1 ---
    ");
}

/// A data block of 4096 bytes that the content of a file begins in, and one with inodes.
#[test]
fn corrupt_blocks_of_an_erofs_image_are_named_by_their_files() {
    let environment = Environment::new();
    std::fs::create_dir_all(environment.path("tree/bin")).unwrap();
    environment.write("tree/bin/program", &contents()[..20_000]);
    environment.write("tree/bin/other", &[7; 9000]);
    let build = ["layer", "build", "tree", "image", "--output", "json"];
    let facts = environment.run(build).json();
    let root_hash = facts["root_hash"].as_str().unwrap();
    let hash_offset = facts["image_size_bytes"].as_u64().unwrap().to_string();
    let mut image = environment.read("image");
    let needle = &contents()[8192..8192 + 64];
    let place = image.windows(64).position(|window| window == needle).unwrap();
    image[place] ^= 1;
    environment.write("image", &image);
    let verify = ["verity", "verify", "image", "image", root_hash, "--hash-offset", &hash_offset];
    let ran = environment.run(verify);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stdout.contains("; it has byte 8192 of /bin/program\n"), "{ran}");
    let ran = environment.run(verify.iter().chain(&["--output", "json"]));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let block = &report["faulty_blocks"][0];
    assert_eq!(block["file"]["path"], "/bin/program");
    assert_eq!(block["file"]["offset_bytes"], 8192);
}

/// What veritysetup finds repairable is repaired, and what neither can bring back is told.
#[test]
fn corrupt_blocks_are_repaired() {
    let environment = Environment::new();
    environment.write("data", &contents());
    let parity = ["--fec-device", "parity", "--fec-roots", "4"];
    assert_snapshot!(environment.run(FORMAT.iter().chain(&parity)), @"
    VERITY header information for hash
    UUID:            	01234567-89ab-4def-8123-456789abcdef
    Hash type:       	1
    Data blocks:     	300
    Data block size: 	4096
    Hash blocks:     	4
    Hash block size: 	4096
    Hash algorithm:  	sha256
    FEC RS roots:   	4
    FEC blocks:     	8
    Salt:            	00112233445566778899aabbccddeeff
    Root hash:      	eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af
    Hash device size: 	20480 [bytes]
    FEC device size: 	32768 [bytes]
    ");
    let repair = ["verity", "repair", "data", "hash", ROOT_HASH];
    let repaired = || environment.run(repair.iter().chain(&parity));
    assert_snapshot!(repaired(), @"Repaired 0 of 0 corrupt blocks, 0 bytes.");
    let damage = |blocks: &[usize]| {
        let mut data = contents();
        blocks.iter().for_each(|block| data[block * 4096..][..4096].fill(0xee));
        environment.write("data", &data);
    };
    damage(&[10, 12, 14, 16, 21]);
    let ran = verify(&environment, [ROOT_HASH].iter().chain(&parity));
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.stdout.lines().count(), 6, "{ran}");
    assert!(ran.stdout.contains(" repairable errors with FEC device.\n"), "{ran}");
    assert!(repaired().stdout.starts_with("Repaired 5 of 5 corrupt blocks"));
    assert_eq!(environment.read("data"), contents());

    damage(&[10, 12, 14, 16, 18, 21]);
    let ran = repaired();
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stdout.contains("Repaired 1 of 6 corrupt blocks"), "{ran}");
    assert_eq!(ran.stdout.lines().count(), 6, "{ran}");
    let mut expected = contents();
    [10, 12, 14, 16, 18].iter().for_each(|block| expected[block * 4096..][..4096].fill(0xee));
    assert_eq!(environment.read("data"), expected);
    let ran = environment.refused(repair);
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: there is no parity to repair with
    Hint: --fec-device names the file or device with the parity.
    --- exit code 1 ---
    ");
}

fn verify<A: AsRef<OsStr>>(
    environment: &Environment,
    arguments: impl IntoIterator<Item = A>,
) -> Ran {
    let mut command = environment.osguard();
    environment.ran(command.args(["verity", "verify", "data", "hash"]).args(arguments))
}

const FORMAT: [&str; 8] = ["verity", "format", "data", "hash", "--salt", SALT, "--uuid", UUID];
const SALT: &str = "00112233445566778899aabbccddeeff";
const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";
const ROOT_HASH: &str = "eb1cdffff2737887748fb72327f25a923b8b65bfdde6cf174ef85eb4436573af";
