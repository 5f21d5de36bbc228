//! Policies made by chance: mostly right, with a few things wrong, always the same for one seed.

/// Makes a policy in which as many things were changed as `changes` says.
pub(crate) fn policy(chance: &mut Chance, changes: usize) -> Vec<u8> {
    let mut lines = vec![vec![words(&["policy_name=", chance.pick(&NAMES)]), version(chance)]];
    if chance.one_in(8) {
        lines.extend(OPERATIONS.map(|operation| {
            vec![b"DEFAULT".to_vec(), words(&["op=", operation]), action(chance)]
        }));
    } else {
        lines.push(vec![b"DEFAULT".to_vec(), action(chance)]);
    }
    for _ in 0..chance.below(5) {
        lines.push(match chance.below(4) {
            0 => vec![b"DEFAULT".to_vec(), operation(chance), action(chance)],
            _ => rule(chance),
        });
    }
    for _ in 0..changes {
        change_words(chance, &mut lines);
    }
    let mut text = Vec::new();
    for line in &lines {
        for (index, word) in line.iter().enumerate() {
            if index > 0 {
                text.extend_from_slice(chance.pick(SPACES));
            }
            text.extend_from_slice(word);
        }
        text.extend_from_slice(chance.pick(LINE_ENDS));
    }
    for _ in 0..changes.saturating_sub(1) {
        change_bytes(chance, &mut text);
    }
    text
}

fn rule(chance: &mut Chance) -> Vec<Vec<u8>> {
    let mut rule = vec![operation(chance)];
    for _ in 0..chance.below(4) {
        rule.push(property(chance));
    }
    rule.push(action(chance));
    rule
}

fn operation(chance: &mut Chance) -> Vec<u8> {
    words(&["op=", chance.pick(&OPERATIONS)])
}

fn action(chance: &mut Chance) -> Vec<u8> {
    words(&["action=", chance.pick(&["ALLOW", "DENY"])])
}

fn version(chance: &mut Chance) -> Vec<u8> {
    let mut number = |highest| chance.below(highest).to_string();
    let version = format!("policy_version={}.{}.{}", number(3), number(300), number(68_000));
    version.into_bytes()
}

fn property(chance: &mut Chance) -> Vec<u8> {
    let name = chance.pick(&PROPERTIES);
    if name.ends_with("signature") || name.starts_with("boot") {
        return words(&[name, "=", chance.pick(&["TRUE", "FALSE"])]);
    }
    let algorithm = chance.pick(&["sha256", "sha512", "sha3-256", "blake2b-512", "md5", ""]);
    let length = [32, 64, 28, 1, 0][chance.below(5)];
    let digits: String = (0..2 * length).map(|_| chance.pick(&HEX_DIGITS)).collect();
    words(&[name, "=", algorithm, ":", &digits])
}

fn words(parts: &[&str]) -> Vec<u8> {
    parts.concat().into_bytes()
}

/// Drops, doubles, swaps, cuts or replaces a word or a line.
fn change_words(chance: &mut Chance, lines: &mut Vec<Vec<Vec<u8>>>) {
    let at = chance.below(lines.len());
    let Some(length) = lines.get(at).map(Vec::len).filter(|&length| length > 0) else { return };
    let word = chance.below(length);
    match chance.below(14) {
        0 => drop(lines[at].remove(word)),
        1 => {
            let doubled = lines[at][word].clone();
            lines[at].insert(word, doubled);
        }
        2 => {
            let other = chance.below(length);
            lines[at].swap(word, other);
        }
        3 if lines.len() > 1 => drop(lines.remove(at)),
        4 => {
            let doubled = lines[at].clone();
            lines.insert(at, doubled);
        }
        5 => {
            let other = chance.below(lines.len());
            lines.swap(at, other);
        }
        6 => {
            let length = chance.below(lines[at][word].len() + 1);
            lines[at][word].truncate(length);
        }
        7 => lines[at][word] = chance.pick(ODD_WORDS).to_vec(),
        8 => lines[at].insert(word, chance.pick(ODD_WORDS).to_vec()),
        9 => lines[at].push(chance.pick(ODD_WORDS).to_vec()),
        10 => lines[at][word].make_ascii_lowercase(),
        11 => lines[at][word].make_ascii_uppercase(),
        12 => {
            let inserted = property(chance);
            lines[at].insert(word, inserted);
        }
        _ => {
            let (byte, place) = (chance.pick(ODD_BYTES), chance.below(lines[at][word].len() + 1));
            lines[at][word].insert(place, byte);
        }
    }
}

/// Changes, drops or inserts a byte.
fn change_bytes(chance: &mut Chance, text: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    let at = chance.below(text.len());
    match chance.below(4) {
        0 => text[at] = chance.pick(ODD_BYTES),
        1 => drop(text.remove(at)),
        2 => text.insert(at, chance.pick(ODD_BYTES)),
        _ => text[at] ^= 1 << chance.below(8),
    }
}

/// Is a sequence of numbers that look like chance (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % limit.max(1)
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }
}

const NAMES: [&str; 12] =
    ["t", "t", "t", "t", "t", "t", "node", "a.b-c", "\u{e4}", "\"t\"", ".", "a/b"];

const OPERATIONS: [&str; 7] =
    ["EXECUTE", "FIRMWARE", "KMODULE", "KEXEC_IMAGE", "KEXEC_INITRAMFS", "POLICY", "X509_CERT"];

const PROPERTIES: [&str; 5] = [
    "boot_verified",
    "dmverity_roothash",
    "dmverity_signature",
    "fsverity_digest",
    "fsverity_signature",
];

const HEX_DIGITS: [&str; 18] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f", "A", "F"];

const SPACES: &[&[u8]] = &[b" ", b" ", b" ", b"\t", b"  ", b" \t "];

const LINE_ENDS: &[&[u8]] =
    &[b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b" \n", b" # a comment\n", b"#\n", b"\xa0\n"];

const ODD_WORDS: &[&[u8]] = &[
    b"DEFAULT",
    b"action=ALLOW",
    b"action=DENY",
    b"action=",
    b"op=EXECUTE",
    b"op=",
    b"op=BPF",
    b"#",
    b"\xa0",
    b"\x0b",
    b"=",
    b"policy_name=u",
    b"policy_version=1.2.3",
    b"policy_version=65536.0.0",
    b"policy_version=+1.00.1",
    b"policy_version=1.2",
    b"dmverity_roothash=sha256:xy",
    b"dmverity_roothash=sha256",
    b"fsverity_digest=:",
    b"boot_verified=TRUE",
    b"boot_verified=\xffTRUE",
];

const ODD_BYTES: &[u8] = b" \t\n\r\x0b\x0c\xa0\0#=:.+-/aZ0\x01\x7f\xff";
