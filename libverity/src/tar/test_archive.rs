//! Archives for tests, made byte by byte.

use super::BLOCK_BYTES;

/// Makes one header block; every field can be set to any bytes before the checksum is put in.
#[derive(Clone)]
pub(crate) struct HeaderBlock([u8; BLOCK_BYTES]);

impl HeaderBlock {
    /// Begins with a plain header: mode 0644, everything else zero.
    pub(crate) fn new(name: &str, typeflag: u8) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[156] = typeflag;
        Self(block)
            .set(100, b"0000644\0")
            .set(108, b"0000000\0")
            .set(116, b"0000000\0")
            .set(124, b"00000000000\0")
            .set(136, b"00000000000\0")
            .set(257, b"ustar\x0000")
            .set(329, b"0000000\0")
            .set(337, b"0000000\0")
    }

    pub(crate) fn set(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn size(self, size_bytes: usize) -> Self {
        self.set(124, format!("{size_bytes:011o}\0").as_bytes())
    }

    pub(crate) fn block(mut self) -> [u8; BLOCK_BYTES] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().copied().map(u32::from).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Puts an archive together.
#[derive(Clone, Default)]
pub(crate) struct TestArchive(Vec<u8>);

impl TestArchive {
    pub(crate) fn header(mut self, header: HeaderBlock) -> Self {
        self.0.extend(header.block());
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.header(HeaderBlock::new(name, b'0').size(content.len())).payload(content)
    }

    /// Adds an extension header: `x`, `g`, `L` or `K`.
    pub(crate) fn extension(self, typeflag: u8, payload: &[u8]) -> Self {
        self.header(HeaderBlock::new("extension", typeflag).size(payload.len())).payload(payload)
    }

    /// Adds a PAX header (`x` or `g`) of these records.
    pub(crate) fn pax(self, typeflag: u8, records: &[(&str, &[u8])]) -> Self {
        let payload: Vec<u8> =
            records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        self.extension(typeflag, &payload)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Returns the archive with its two zero blocks.
    pub(crate) fn ended(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK_BYTES]).0
    }

    pub(crate) fn unended(self) -> Vec<u8> {
        self.0
    }
}

/// Makes one PAX record with the length that counts itself.
pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}
