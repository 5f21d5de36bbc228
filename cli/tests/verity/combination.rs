//! Combinations of all that can be asked for, made from a number.

use libverity::verity::{
    Algorithm, BlockSize, Geometry, HashArea, HashType, Header, Parameters, Salt,
};

/// Is one set of arguments for `format`, and what follows from it.
#[derive(Debug)]
pub(crate) struct Combination {
    pub(crate) parameters: Parameters,
    pub(crate) data_blocks: u64,
    /// How long the data file is.
    pub(crate) data_bytes: usize,
    pub(crate) header: Header,
    pub(crate) area: HashArea,
    pub(crate) hash_file: &'static str,
    pub(crate) parity: Option<Parity>,
    root_hash_file: bool,
}

/// Says where parity is to be.
#[derive(Debug)]
pub(crate) struct Parity {
    pub(crate) roots: u64,
    pub(crate) file: &'static str,
    pub(crate) offset: u64,
}

impl Combination {
    /// Makes the combination of this number, always the same.
    pub(crate) fn new(number: u64) -> Self {
        let random = &mut Random::new(number);
        let algorithm = match random.below(3) {
            0 => Algorithm::Sha256,
            _ => random.pick(&BOTH_HAVE),
        };
        let data_block_bytes = random.pick(&BLOCK_SIZES);
        let hash_block_bytes =
            if random.below(2) == 0 { data_block_bytes } else { random.pick(&BLOCK_SIZES) };
        let parameters = Parameters {
            hash_type: random.pick(&[HashType::Normal, HashType::ChromeOs]),
            algorithm,
            data_block_size: BlockSize::try_from(data_block_bytes).unwrap(),
            hash_block_size: BlockSize::try_from(hash_block_bytes).unwrap(),
            salt: salt(random),
        };
        let data_blocks = data_blocks(random, &parameters);
        let geometry = Geometry::new(&parameters, data_blocks).unwrap();
        let header = random.pick(&[Header::Superblock, Header::Superblock, Header::None]);
        let mut data_bytes = geometry.data_bytes() as usize;
        if random.below(4) == 0 {
            data_bytes += random.pick(&[1, 511, 512, 4096, 9999]);
        }
        let hash_file = random.pick(&["hash", "hash", "data"]);
        let grain = match header {
            Header::Superblock => 512,
            Header::None => u64::from(hash_block_bytes),
        };
        let least = if hash_file == "data" { geometry.data_bytes() } else { 0 };
        let offset = least
            + match random.below(10) {
                0 => (4 << 30) + random.below(1 << 20),
                1..=4 => random.below(40_000),
                _ => 0,
            };
        let area = HashArea::at(offset.next_multiple_of(grain), &geometry, header).unwrap();
        // Without a tree, veritysetup 2.8 reads past the end.
        let has_tree = area.end_bytes() > area.tree_offset_bytes();
        let has_one_size = data_block_bytes == hash_block_bytes;
        let parity = (has_one_size && has_tree && random.below(2) == 0)
            .then(|| parity(random, &area, hash_file, data_block_bytes));
        let root_hash_file = random.below(4) == 0;
        Self {
            parameters,
            data_blocks,
            data_bytes,
            header,
            area,
            hash_file,
            parity,
            root_hash_file,
        }
    }

    /// Returns what `format` is given.
    pub(crate) fn format(&self) -> Vec<String> {
        let mut arguments = vec!["format".to_owned(), "data".to_owned(), self.hash_file.to_owned()];
        arguments.extend(self.shape());
        arguments.extend(self.place());
        if self.header == Header::Superblock {
            arguments.push("--uuid=01234567-89ab-4def-8123-456789abcdef".to_owned());
        }
        if self.root_hash_file {
            arguments.push("--root-hash-file=root".to_owned());
        }
        arguments.extend(self.error_correction());
        arguments
    }

    /// Returns what `verify` is given for this root hash, and `repair` as well.
    pub(crate) fn verify(&self, action: &str, root_hash: &str) -> Vec<String> {
        let words = [action, "data", self.hash_file, root_hash];
        let mut arguments: Vec<_> = words.map(str::to_owned).to_vec();
        if self.header == Header::None {
            arguments.extend(self.shape());
        }
        arguments.extend(self.place());
        arguments
    }

    /// Returns the flags of the parity.
    pub(crate) fn error_correction(&self) -> Vec<String> {
        let Some(Parity { roots, file, offset }) = &self.parity else { return Vec::new() };
        vec![
            format!("--fec-device={file}"),
            format!("--fec-roots={roots}"),
            format!("--fec-offset={offset}"),
        ]
    }

    fn shape(&self) -> Vec<String> {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, salt } =
            &self.parameters;
        vec![
            format!("--format={}", hash_type.number()),
            format!("--hash={algorithm}"),
            format!("--data-block-size={data_block_size}"),
            format!("--hash-block-size={hash_block_size}"),
            format!("--salt={salt}"),
            format!("--data-blocks={}", self.data_blocks),
        ]
    }

    fn place(&self) -> Vec<String> {
        let mut arguments = vec![format!("--hash-offset={}", self.area.hash_offset_bytes())];
        if self.header == Header::None {
            arguments.push("--no-superblock".to_owned());
        }
        arguments
    }
}

/// Gives a number of blocks at which a level begins or ends, or any.
fn data_blocks(random: &mut Random, parameters: &Parameters) -> u64 {
    let digests = parameters.hash_block_size.bytes() as usize / parameters.algorithm.digest_bytes();
    let per_block = 1_u64 << digests.ilog2();
    let any = 1 + random.below(700);
    let blocks = random.pick(&[
        1,
        2,
        per_block - 1,
        per_block,
        per_block + 1,
        2 * per_block,
        per_block * per_block - 1,
        per_block * per_block,
        per_block * per_block + 1,
        any,
        any,
    ]);
    blocks.clamp(1, (MAX_DATA_BYTES / parameters.data_block_size.bytes()).max(1).into())
}

fn salt(random: &mut Random) -> Salt {
    let any = random.below(257);
    let length = random.pick(&[0, 1, 32, 32, 64, 255, 256, any]);
    let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
    Salt::try_from(bytes.as_slice()).unwrap()
}

fn parity(random: &mut Random, area: &HashArea, hash_file: &str, block_bytes: u32) -> Parity {
    let any = 2 + random.below(23);
    let roots = random.pick(&[2, 2, 3, 8, 9, 16, 17, 24, any]);
    let end = area.end_bytes();
    // veritysetup reads up to the parity, so that nothing may lie between.
    if hash_file == "hash" && random.below(4) == 0 && end.is_multiple_of(block_bytes.into()) {
        return Parity { roots, file: "hash", offset: end };
    }
    let far = (4 << 30) + 512 * random.below(1000);
    let offset = random.pick(&[0, 0, 0, 512, 4096, 512 * 77, far]);
    Parity { roots, file: "parity", offset }
}

/// Is a source of numbers that are the same on every machine (SplitMix64 of Steele, Lea and Flood).
pub(crate) struct Random(u64);

impl Random {
    /// Starts a source whose numbers have nothing to do with those of the next one.
    pub(crate) fn new(seed: u64) -> Self {
        let mut start = Self(seed);
        Self(start.below(u64::MAX))
    }

    /// Returns a number from 0 up to `end`, which is not one of them.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

const BLOCK_SIZES: [u32; 9] = [512, 512, 1024, 2048, 4096, 4096, 8192, 65_536, 524_288];

const MAX_DATA_BYTES: u32 = 1 << 20;

/// The algorithms that OpenSSL has, and by that veritysetup.
const BOTH_HAVE: [Algorithm; 14] = [
    Algorithm::Blake2b512,
    Algorithm::Blake2s256,
    Algorithm::Ripemd160,
    Algorithm::Rmd160,
    Algorithm::Sha1,
    Algorithm::Sha224,
    Algorithm::Sha256,
    Algorithm::Sha384,
    Algorithm::Sha512,
    Algorithm::Sha3_224,
    Algorithm::Sha3_256,
    Algorithm::Sha3_384,
    Algorithm::Sha3_512,
    Algorithm::Sm3,
];
