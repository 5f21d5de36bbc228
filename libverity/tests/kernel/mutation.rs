//! Every field of a message changed, dropped, doubled, moved.

use crate::variants::Variant;

/// Makes all mutations of a message in DER; deep inside, where certificates are, only some.
pub(crate) fn all(name: &str, message: &[u8]) -> Vec<Variant> {
    let tree = Node::parse_all(message);
    let mut variants = vec![
        Variant { name: name.to_owned(), message: message.to_vec() },
        Variant { name: format!("{name}, bytes after it"), message: [message, b"more"].concat() },
    ];
    for length in [1, 2, 10, message.len() / 2, message.len() - 1] {
        let message = message[..length].to_vec();
        variants.push(Variant { name: format!("{name}, {length} bytes of it"), message });
    }
    for path in paths(&tree, &mut Vec::new()) {
        for (what, mutation) in MUTATIONS {
            let mut mutated = tree.clone();
            let in_certificate = path.len() > CERTIFICATES.len()
                && path.starts_with(&CERTIFICATES)
                && tag_at(&tree, &CERTIFICATES) == Some(CERTIFICATES_TAG);
            if in_certificate && !mutation.is_essential() || !apply(&mut mutated, &path, *mutation)
            {
                continue;
            }
            let message = encode_all(&mutated);
            // Writing nothing is no write at all.
            if message.is_empty() {
                continue;
            }
            variants.push(Variant { name: format!("{name}, {what} {path:?}"), message });
        }
    }
    variants
}

#[derive(Clone, Debug)]
struct Node {
    tag: u8,
    contents: Contents,
    /// Writes the length with one byte more than DER allows.
    long_length: bool,
}

#[derive(Clone, Debug)]
enum Contents {
    Bytes(Vec<u8>),
    Nodes(Vec<Node>),
}

impl Node {
    fn parse_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut nodes = Vec::new();
        while let [tag, first, rest @ ..] = bytes {
            let (length, rest) = match first {
                0x81 => (usize::from(rest[0]), &rest[1..]),
                0x82 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
                short => (usize::from(*short), rest),
            };
            let (contents, rest) = rest.split_at(length);
            let contents = match tag & 0x20 {
                0 => Contents::Bytes(contents.to_vec()),
                _ => Contents::Nodes(Self::parse_all(contents)),
            };
            nodes.push(Self { tag: *tag, contents, long_length: false });
            bytes = rest;
        }
        nodes
    }

    fn encode(&self) -> Vec<u8> {
        let contents = match &self.contents {
            Contents::Bytes(bytes) => bytes.clone(),
            Contents::Nodes(nodes) => encode_all(nodes),
        };
        let length = contents.len();
        let [.., high, low] = length.to_be_bytes();
        let header = match (length, self.long_length) {
            (..0x80, false) => vec![self.tag, low],
            (..0x80, true) => vec![self.tag, 0x81, low],
            (..0x100, false) => vec![self.tag, 0x81, low],
            (..0x10000, false) => vec![self.tag, 0x82, high, low],
            (..0x100, true) => vec![self.tag, 0x82, high, low],
            _ => vec![self.tag, 0x83, 0, high, low],
        };
        [header, contents].concat()
    }
}

fn encode_all(nodes: &[Node]) -> Vec<u8> {
    nodes.iter().flat_map(Node::encode).collect()
}

fn paths(nodes: &[Node], above: &mut Vec<usize>) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        above.push(place);
        found.push(above.clone());
        if let Contents::Nodes(children) = &node.contents {
            found.extend(paths(children, above));
        }
        above.pop();
    }
    found
}

fn tag_at(nodes: &[Node], path: &[usize]) -> Option<u8> {
    let (place, below) = path.split_first()?;
    let node = nodes.get(*place)?;
    match &node.contents {
        Contents::Nodes(children) if !below.is_empty() => tag_at(children, below),
        _ => below.is_empty().then_some(node.tag),
    }
}

#[derive(Clone, Copy)]
enum Mutation {
    Double,
    Drop,
    Empty,
    FlipFirst,
    FlipLast,
    LongLength,
    Lengthen,
    OtherClass,
    OtherForm,
    OtherTag,
    Swap,
}

impl Mutation {
    fn is_essential(self) -> bool {
        matches!(self, Self::Drop | Self::Empty | Self::FlipLast)
    }
}

/// Where certificates are in a message, if there are some: the fourth field of its SignedData.
const CERTIFICATES: [usize; 4] = [0, 1, 0, 3];

const CERTIFICATES_TAG: u8 = 0xa0;

const MUTATIONS: &[(&str, Mutation)] = &[
    ("doubled", Mutation::Double),
    ("dropped", Mutation::Drop),
    ("emptied", Mutation::Empty),
    ("first bit flipped in", Mutation::FlipFirst),
    ("last bit flipped in", Mutation::FlipLast),
    ("one byte more in", Mutation::Lengthen),
    ("a longer length of", Mutation::LongLength),
    ("another class of", Mutation::OtherClass),
    ("another form of", Mutation::OtherForm),
    ("another tag of", Mutation::OtherTag),
    ("swapped with the next", Mutation::Swap),
];

/// Changes the node at `path`; returns whether there is such a change of it.
fn apply(nodes: &mut Vec<Node>, path: &[usize], mutation: Mutation) -> bool {
    let (place, below) = (path[0], &path[1..]);
    if !below.is_empty() {
        let Contents::Nodes(children) = &mut nodes[place].contents else { return false };
        return apply(children, below, mutation);
    }
    let is_last = place + 1 == nodes.len();
    let node = &mut nodes[place];
    match (mutation, &mut node.contents) {
        (Mutation::Double, _) => {
            let copy = node.clone();
            nodes.insert(place, copy);
        }
        (Mutation::Drop, _) => {
            nodes.remove(place);
        }
        (Mutation::Swap, _) if is_last => return false,
        (Mutation::Swap, _) => nodes.swap(place, place + 1),
        (Mutation::LongLength, _) => node.long_length = true,
        (Mutation::OtherClass, _) => node.tag ^= 0x40,
        (Mutation::OtherForm, _) => node.tag ^= 0x20,
        (Mutation::OtherTag, _) => node.tag ^= 0x01,
        (Mutation::Empty, contents) => match contents {
            Contents::Bytes(bytes) if bytes.is_empty() => return false,
            Contents::Nodes(children) if children.is_empty() => return false,
            contents => *contents = Contents::Bytes(Vec::new()),
        },
        (Mutation::FlipFirst, Contents::Bytes(bytes)) => match bytes.first_mut() {
            Some(first) => *first ^= 0x80,
            None => return false,
        },
        (Mutation::FlipLast, Contents::Bytes(bytes)) => match bytes.last_mut() {
            Some(last) => *last ^= 0x01,
            None => return false,
        },
        (Mutation::Lengthen, Contents::Bytes(bytes)) => bytes.push(0),
        // What these would do to a constructed element is done to those within it.
        (_, Contents::Nodes(_)) => return false,
    }
    true
}
