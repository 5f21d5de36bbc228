//! What neither program does, and that both end with the same code.

use osguard_testkit::tools::Veritysetup;

use crate::pair::{Program, Workplace, available};

#[test]
fn what_veritysetup_refuses_is_refused_with_the_same_code() {
    if !available(Veritysetup::OfTheMachine) {
        return;
    }
    let veritysetup = Program::Veritysetup(Veritysetup::OfTheMachine);
    for line in REFUSED.lines() {
        let codes = [Program::Osguard, veritysetup].map(|program| {
            let (place, root_hash) = prepared(veritysetup);
            let line = line.replace("ROOT_HASH", &root_hash);
            place.run(program, &line.split(' ').map(str::to_owned).collect::<Vec<_>>()).code
        });
        assert_eq!(codes[0], codes[1], "{line}");
        assert_ne!(codes[0], Some(0), "{line}");
    }
}

/// Tells one thing that veritysetup 2.6 does and we do not: without the file with the root hash, it
/// verifies nothing and ends with 0.
#[test]
fn a_missing_root_hash_is_no_success() {
    let place = Workplace::new(Program::Osguard);
    place.write("data", &vec![7; 4096 * 9]);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(place.run(Program::Osguard, &words("format data hash")).code, Some(0));
    let said = place.run(Program::Osguard, &words("verify data hash --root-hash-file nothing"));
    assert_eq!(said.code, Some(4), "{said:?}");
}

/// Tells another one: it writes parity over the tree of a hash device that is new.
#[test]
fn parity_is_not_written_over_the_tree() {
    let place = Workplace::new(Program::Osguard);
    place.write("data", &vec![7; 4096 * 300]);
    let format = ["format", "data", "new", "--fec-device=new", "--fec-offset=4096"];
    let said = place.run(Program::Osguard, &format.map(str::to_owned));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("the hash area overlaps with the FEC area"), "{said:?}");
    assert!(!place.path("new").exists());
}

/// Makes a place with data of 300 blocks, their hash area, and damaged data; returns the root hash.
fn prepared(veritysetup: Program) -> (Workplace, String) {
    let place = Workplace::new(veritysetup);
    let mut data: Vec<u8> = (0..300 * 4096).map(|place| (place / 257) as u8).collect();
    place.write("data", &data);
    let format = ["format", "data", "hash", "--salt=-"].map(str::to_owned);
    let said = place.run(veritysetup, &format);
    let root_hash = said.stdout.lines().find_map(|line| line.strip_prefix("Root hash:"));
    place.write("short", &data[..1_000_000]);
    data[10_000] ^= 1;
    place.write("damaged", &data);
    (place, root_hash.unwrap().trim().to_owned())
}

const REFUSED: &str = "\
format nothing new
format data new --salt=xyz
format data new --salt=0
format data new --hash-offset=100
format data new --data-block-size=1000
format data new --data-block-size=256
format data new --hash-block-size=1048576
format data new --data-blocks=301
format data new --format=2
format data new --hash=nonsense
format data new --uuid=nonsense
format data
format data new --bogus
format data data --data-blocks=300
format data data --data-blocks=300 --hash-offset=4096
format data new --fec-device=parity --fec-roots=1
format data new --fec-device=parity --fec-roots=25
format data new --fec-device=parity --fec-offset=100
format data new --fec-device=parity --data-block-size=1024
format data new --fec-device=data --fec-offset=4096
verify data hash
verify data hash abcd
verify data hash 0000000000000000000000000000000000000000000000000000000000000000
verify nothing hash ROOT_HASH
verify data nothing ROOT_HASH
verify data data ROOT_HASH
verify damaged hash ROOT_HASH
verify short hash ROOT_HASH
dump data
dump nothing";
