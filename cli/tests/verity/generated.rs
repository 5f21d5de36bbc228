//! Many combinations of all that can be asked for, each made and checked by both programs.
//!
//! A few dozen of them with each version are enough for every day. `OSGUARD_VERITY_CASES=2100` runs so many
//! over all versions; with `cargo test`, as that takes longer than a test may under nextest.

use std::collections::BTreeMap;

use libverity::verity::fec::{FecLayout, Roots};
use libverity::verity::{Geometry, Header, Superblock};
use osguard_testkit::tools::Veritysetup;

use crate::combination::{Combination, Random};
use crate::pair::{Program, Workplace, available};

#[test]
fn everything_is_as_with_veritysetup_of_the_machine() {
    compare(Veritysetup::OfTheMachine);
}

#[test]
fn everything_is_as_with_veritysetup_2_7() {
    compare(Veritysetup::V2_7);
}

#[test]
fn everything_is_as_with_veritysetup_2_8() {
    compare(Veritysetup::V2_8);
}

fn compare(version: Veritysetup) {
    if !available(version) {
        return;
    }
    let whole: Option<u64> =
        std::env::var("OSGUARD_VERITY_CASES").ok().map(|count| count.parse().unwrap());
    let versions = Veritysetup::ALL.len() as u64;
    let count = whole.map_or(FEW, |whole| whole.div_ceil(versions));
    let first = Veritysetup::ALL.iter().position(|other| *other == version).unwrap() as u64;
    let (mut made, mut repaired, mut unmade) = (0, 0, 0);
    for number in (first..).step_by(versions as usize).take(count as usize) {
        let combination = Combination::new(number);
        let case = Case::new(number, combination, Program::Veritysetup(version));
        let Some(root_hash) = case.format() else {
            unmade += 1;
            continue;
        };
        case.verify(&root_hash);
        made += 1;
        if case.combination.parity.is_some() {
            case.repair(&root_hash);
            repaired += 1;
        }
    }
    println!("{made} combinations, {repaired} with parity; veritysetup makes {unmade} more not");
    assert!(unmade * 5 < made, "{unmade} of {made}");
}

struct Case {
    number: u64,
    combination: Combination,
    data: Vec<u8>,
    ours: Workplace,
    theirs: Workplace,
}

impl Case {
    fn new(number: u64, combination: Combination, veritysetup: Program) -> Self {
        let mut random = Random::new(number);
        let mut data: Vec<u8> =
            (0..combination.data_bytes).map(|place| (place / 257) as u8).collect();
        for _ in 0..100 {
            let place = random.below(data.len() as u64) as usize;
            data[place] = random.below(256) as u8;
        }
        let ours = Workplace::new(Program::Osguard);
        let theirs = Workplace::new(veritysetup);
        ours.write("data", &data);
        theirs.write("data", &data);
        Self { number, combination, data, ours, theirs }
    }

    /// Formats with both, compares all there is, and returns the root hash; `None` where veritysetup
    /// cannot write a superblock: at some offsets in a file that ends there, as no tree follows it.
    fn format(&self) -> Option<String> {
        let Combination { area, hash_file, header, parity, .. } = &self.combination;
        let arguments = self.combination.format();
        let name = format!("{}: {}", self.number, arguments.join(" "));
        let ours = self.ours.run(self.ours.program, &arguments);
        let theirs = self.theirs.run(self.theirs.program, &arguments);
        let is_empty = area.end_bytes() == area.tree_offset_bytes();
        if is_empty && theirs.stderr.contains("Error during update of verity header") {
            assert_eq!(ours.code, Some(0), "{name}: {ours:?}");
            return None;
        }
        assert_eq!(theirs.code, Some(0), "{name}: {theirs:?}");
        assert_eq!(ours.stdout, as_of_2_7(&theirs.stdout), "{name}: {ours:?}");
        assert_eq!(ours.code, theirs.code, "{name}");

        let both = |name: &str, offset: u64| {
            (self.ours.read_from(name, offset), self.theirs.read_from(name, offset))
        };
        let (mut our_area, mut their_area) = both(hash_file, area.hash_offset_bytes());
        // What lay between superblock and tree stays there; ours fills it with zeros.
        let padding = match header {
            Header::None => 0..0,
            Header::Superblock => {
                Superblock::BYTES..(area.tree_offset_bytes() - area.hash_offset_bytes()) as usize
            }
        };
        if let Some(padding) = their_area.get_mut(padding) {
            padding.fill(0);
        }
        if is_empty {
            // Over a single block there is no tree. veritysetup then ends the file at a page; ours
            // fills the hash block, so that the place of the tree lies on the device.
            let header_bytes = if *header == Header::Superblock { Superblock::BYTES } else { 0 };
            our_area.truncate(header_bytes);
            their_area.truncate(header_bytes);
        }
        assert!(our_area == their_area, "{name}: the hash areas differ");
        let data_bytes = self.data.len();
        if *hash_file == "hash" || area.hash_offset_bytes() < 1 << 30 {
            let data_end = data_bytes.min(area.hash_offset_bytes() as usize);
            let end = if *hash_file == "hash" { data_bytes } else { data_end };
            assert!(
                self.ours.read_from("data", 0)[..end] == self.data[..end],
                "{name}: data changed"
            );
        }
        assert_eq!(both("root", 0).0, both("root", 0).1, "{name}: the root hashes differ");
        if let Some(parity) = parity {
            let (ours, theirs) = both(parity.file, parity.offset);
            assert!(ours == theirs, "{name}: the parity differs: {} {}", ours.len(), theirs.len());
        }
        let root_hash = ours.stdout.lines().find_map(|line| line.strip_prefix("Root hash:"));
        Some(root_hash.unwrap().trim().to_owned())
    }

    /// Verifies with each what the other made.
    fn verify(&self, root_hash: &str) {
        let arguments = self.combination.verify("verify", root_hash);
        for (place, program) in
            [(&self.ours, self.theirs.program), (&self.theirs, self.ours.program)]
        {
            let said = place.run(program, &arguments);
            let name = format!("{}: {program:?} {}", self.number, arguments.join(" "));
            assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{name}: {said:?}");
        }
    }

    /// Damages what the parity can bring back, and repairs with each what the other encoded.
    fn repair(&self, root_hash: &str) {
        let Combination { parameters, data_blocks, area, parity, hash_file, .. } =
            &self.combination;
        let parity = parity.as_ref().unwrap();
        let block_bytes = u64::from(parameters.data_block_size.bytes());
        let geometry = Geometry::new(parameters, *data_blocks).unwrap();
        let roots = Roots::try_from(parity.roots as u32).unwrap();
        let layout = FecLayout::new(parameters, &geometry, geometry.hash_blocks(), roots).unwrap();
        let mut random = Random::new(!self.number);
        // Nobody tells veritysetup which blocks are corrupt, so it can bring half as many back.
        let mut in_round = BTreeMap::<u64, u64>::new();
        let mut damages = 0;
        let mut damaged = Vec::new();
        for _ in 0..random.below(12) {
            let block = random.below(*data_blocks);
            let round = in_round.entry(block % layout.rounds()).or_default();
            if *round == parity.roots / 2 || damaged.contains(&block) {
                continue;
            }
            *round += 1;
            damaged.push(block);
            damages += 1;
            let place = block * block_bytes + random.below(block_bytes);
            let difference = 1 + random.below(255) as u8;
            self.ours.damage("data", place, difference);
            self.theirs.damage("data", place, difference);
        }
        // Those behind the tree, if there are any, shift the rounds.
        let covers_more =
            area.end_bytes() != self.hash_device_bytes(hash_file, parity.file, parity.offset);
        if covers_more && damages > 1 {
            return;
        }
        let mut arguments = self.combination.verify("verify", root_hash);
        arguments.extend(self.combination.error_correction());
        let name = format!("{}: {}", self.number, arguments.join(" "));
        let found = format!("Found {damages} repairable errors with FEC device.");
        for (place, program) in
            [(&self.ours, self.theirs.program), (&self.theirs, self.ours.program)]
        {
            let said = place.run(program, &arguments);
            assert_eq!(said.code, Some(0), "{name}, {program:?}: {said:?}");
            let says_so = said.stdout.contains(&found) || said.stderr.contains(&found);
            assert!(says_so || damages == 0, "{name}, {program:?}: {found:?}, {said:?}");
        }
        let mut arguments = self.combination.verify("repair", root_hash);
        arguments.extend(self.combination.error_correction());
        let said = self.theirs.run(Program::Osguard, &arguments);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        let whole = &self.data[..geometry.data_bytes() as usize];
        if *hash_file == "hash" || area.hash_offset_bytes() < 1 << 30 {
            assert!(
                self.theirs.read_from("data", 0)[..whole.len()] == *whole,
                "{name}: not repaired"
            );
        }
    }

    fn hash_device_bytes(&self, hash_file: &str, parity_file: &str, parity_offset: u64) -> u64 {
        if hash_file == parity_file {
            return parity_offset;
        }
        std::fs::metadata(self.ours.path(hash_file)).unwrap().len()
    }
}

/// Takes out what 2.8 writes and its predecessors do not: units of block sizes, and a full stop.
fn as_of_2_7(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().collect();
    if let Some(first) = lines.first_mut() {
        *first = first.trim_end_matches('.');
    }
    let line = |line: &&str| match line.contains("block size:") {
        true => format!("{}\n", line.trim_end_matches(" [bytes]")),
        false => format!("{line}\n"),
    };
    lines.iter().map(line).collect()
}

/// Few enough for every day, and enough that each kind of flag comes up.
const FEW: u64 = 40;
