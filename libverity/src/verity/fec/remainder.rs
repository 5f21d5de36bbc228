//! Remainders of many code words at once: what encodes, and what tells whether a word is right.

use super::gf256::{divide, multiply, power_of_alpha};
use super::{CODE_WORD_BYTES, Roots};

/// Divides polynomials by the generator of the code, g(x) = (x − α⁰)(x − α¹)…, one coefficient
/// after the other.
///
/// A remainder has up to 24 bytes, which lie in one to three words, the coefficient of the highest
/// power on top. What a step subtracts depends on one byte only, and comes from a table. With two
/// roots, the usual number, it takes no table: the processor works on 16 words at once and more.
pub(super) enum Remainders {
    /// For 2 roots.
    Pair,
    /// For up to 8 roots.
    One(Table<1>),
    /// For up to 16 roots.
    Two(Table<2>),
    /// For up to 24 roots.
    Three(Table<3>),
}

impl Remainders {
    pub(super) fn new(roots: Roots) -> Self {
        match roots.count() {
            2 => Self::Pair,
            0..=8 => Self::One(Table::new(roots)),
            9..=16 => Self::Two(Table::new(roots)),
            _ => Self::Three(Table::new(roots)),
        }
    }

    /// Works out the remainders of as many words side by side as `remainders` has room for, each
    /// of them one byte for every root, the highest power first.
    ///
    /// `read_row` fills its buffer with the next byte of each word, and is called for as many bytes
    /// as a code word has besides its parity.
    pub(super) fn of_rows<E>(
        &self,
        remainders: &mut [u8],
        read_row: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Pair => pairs(remainders, read_row),
            Self::One(table) => table.of_rows(remainders, read_row),
            Self::Two(table) => table.of_rows(remainders, read_row),
            Self::Three(table) => table.of_rows(remainders, read_row),
        }
    }
}

/// Works out the remainders for two roots from the values of the words at both of them.
///
/// The remainder p₀x + p₁ has the values of the whole polynomial at 1 and at α, which is that of the
/// message, times x² for the two coefficients that are still to come.
fn pairs<E>(
    remainders: &mut [u8],
    mut read_row: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let words = remainders.len() / 2;
    let mut row = vec![0; words];
    let (mut at_one, mut at_alpha) = (vec![0; words], vec![0; words]);
    for number in 0..CODE_WORD_BYTES - 2 {
        read_row(number, &mut row)?;
        for ((byte, at_one), at_alpha) in row.iter().zip(&mut at_one).zip(&mut at_alpha) {
            *at_one ^= byte;
            *at_alpha = times_alpha(*at_alpha) ^ byte;
        }
    }
    let alpha = power_of_alpha(1);
    for ((pair, at_one), at_alpha) in remainders.chunks_exact_mut(2).zip(at_one).zip(at_alpha) {
        let at_alpha = multiply(at_alpha, power_of_alpha(2));
        pair[0] = divide(at_one ^ at_alpha, 1 ^ alpha);
        pair[1] = at_one ^ pair[0];
    }
    Ok(())
}

/// Multiplies by α without a table or a branch.
fn times_alpha(byte: u8) -> u8 {
    let carry = (byte.cast_signed() >> 7).cast_unsigned();
    byte << 1 ^ carry & 0x1d
}

/// Holds, for each byte, its product with all coefficients of the generator but the highest.
pub(super) struct Table<const WORDS: usize> {
    roots: usize,
    products: Box<[[u64; WORDS]; 256]>,
}

impl<const WORDS: usize> Table<WORDS> {
    fn new(roots: Roots) -> Self {
        let roots = roots.count();
        let generator = generator(roots);
        let mut products = Box::new([[0; WORDS]; 256]);
        for (byte, product) in (0..=255).zip(products.iter_mut()) {
            for (place, coefficient) in generator[1..].iter().enumerate() {
                let shift = 56 - place % 8 * 8;
                product[place / 8] |= u64::from(multiply(byte, *coefficient)) << shift;
            }
        }
        Self { roots, products }
    }

    fn of_rows<E>(
        &self,
        remainders: &mut [u8],
        mut read_row: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let words = remainders.len() / self.roots;
        let mut row = vec![0; words];
        let mut states = vec![[0; WORDS]; words];
        for number in 0..CODE_WORD_BYTES - self.roots {
            read_row(number, &mut row)?;
            self.take(&row, &mut states);
        }
        for (remainder, state) in remainders.chunks_exact_mut(self.roots).zip(&states) {
            for (bytes, word) in remainder.chunks_mut(8).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes()[..bytes.len()]);
            }
        }
        Ok(())
    }

    /// Takes the next coefficient of every word.
    fn take(&self, row: &[u8], states: &mut [[u64; WORDS]]) {
        for (state, byte) in states.iter_mut().zip(row) {
            let quotient = (state[0] >> 56) as u8 ^ byte;
            let product = &self.products[usize::from(quotient)];
            for (place, product) in product.iter().enumerate() {
                let from_below = if place + 1 < WORDS { state[place + 1] >> 56 } else { 0 };
                state[place] = (state[place] << 8 | from_below) ^ product;
            }
        }
    }
}

/// Multiplies the generator out; its coefficients start with that of the highest power, which is 1.
fn generator(roots: usize) -> Vec<u8> {
    let mut coefficients = vec![1];
    for root in 0..roots {
        coefficients.push(0);
        for place in (1..coefficients.len()).rev() {
            coefficients[place] ^= multiply(coefficients[place - 1], power_of_alpha(root));
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::verity::fec::gf256::evaluate;

    #[test]
    fn a_word_with_its_remainder_is_zero_at_every_root() {
        for count in Roots::MIN..=Roots::MAX {
            let roots = Roots::try_from(count).unwrap();
            let count = roots.count();
            let byte = |word: usize, row: usize| (word * 37 + row * row * 11 + row / 3) as u8;
            let mut remainders = vec![0; 5 * count];
            Remainders::new(roots)
                .of_rows(&mut remainders, |row, bytes| {
                    bytes.iter_mut().enumerate().for_each(|(word, out)| *out = byte(word, row));
                    Ok::<(), Infallible>(())
                })
                .unwrap();
            for (word, remainder) in remainders.chunks(count).enumerate() {
                let message = (0..CODE_WORD_BYTES - count).map(|row| byte(word, row));
                let mut polynomial: Vec<u8> = message.chain(remainder.iter().copied()).collect();
                polynomial.reverse();
                for root in 0..count {
                    assert_eq!(evaluate(&polynomial, power_of_alpha(root)), 0, "{count} {root}");
                }
            }
        }
    }
}
