//! Errors in one code word: which bytes are wrong, and by how much.

use super::gf256::{divide, evaluate, multiply, power_of_alpha};
use super::{CODE_WORD_BYTES, Roots};

/// Finds the errors in code words from their remainders alone.
pub(super) struct Decoder {
    roots: usize,
}

/// Is a byte of a code word that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongByte {
    /// Its place in the word; those from `CODE_WORD_BYTES` less the roots on are parity.
    pub(super) place: u8,
    /// What is to be added, which is subtracted, to have it right.
    pub(super) difference: u8,
}

impl Decoder {
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots: roots.count() }
    }

    /// Finds the fewest wrong bytes that explain `remainder`, which is that of the word and not all
    /// zeros; `erasures` are places that are known to be wrong. Returns `None` if there are more of
    /// them than the parity can tell apart: twice the errors and the erasures together at most as
    /// many as there are roots.
    ///
    /// It is the algorithm of Berlekamp and Massey, started with the erasures, followed by those of
    /// Chien for the places and Forney for the values (Blahut, Theory and Practice of Error Control
    /// Codes, 1983, chapters 7 and 9).
    pub(super) fn wrong_bytes(&self, remainder: &[u8], erasures: &[u8]) -> Option<Vec<WrongByte>> {
        if erasures.len() > self.roots {
            return None;
        }
        let syndromes = self.syndromes(remainder);
        let locator = self.locator(&syndromes, erasures);
        let degree = locator.iter().rposition(|&coefficient| coefficient != 0)?;
        let places = if degree == erasures.len() {
            erasures.to_vec()
        } else {
            let places: Vec<u8> = (0..CODE_WORD_BYTES as u8)
                .filter(|&place| evaluate(&locator[..=degree], inverse_locator(place)) == 0)
                .collect();
            if places.len() != degree {
                return None;
            }
            places
        };
        let evaluator = self.evaluator(&syndromes, &locator);
        // The derivative has the odd coefficients, each one power lower.
        let derivative: Vec<u8> = locator[1..]
            .iter()
            .enumerate()
            .map(|(power, &coefficient)| if power.is_multiple_of(2) { coefficient } else { 0 })
            .collect();
        let wrong_byte = |place: u8| {
            let inverse = inverse_locator(place);
            let slope = evaluate(&derivative, inverse);
            if slope == 0 {
                return None;
            }
            let value = divide(evaluate(&evaluator, inverse), slope);
            Some(WrongByte { place, difference: divide(value, inverse) })
        };
        let mut wrong_bytes: Vec<_> = places.into_iter().map(wrong_byte).collect::<Option<_>>()?;
        wrong_bytes.retain(|byte| byte.difference != 0);
        self.explains(&wrong_bytes, &syndromes).then_some(wrong_bytes)
    }

    /// Tells whether the syndromes are those of these wrong bytes: where there are more errors than
    /// can be told apart, the algorithm may end with any bytes.
    fn explains(&self, wrong_bytes: &[WrongByte], syndromes: &[u8]) -> bool {
        syndromes.iter().enumerate().all(|(root, &syndrome)| {
            let term = |byte: &WrongByte| {
                let power = (CODE_WORD_BYTES - 1 - usize::from(byte.place)) * root;
                multiply(byte.difference, power_of_alpha(power))
            };
            wrong_bytes.iter().fold(0, |sum, byte| sum ^ term(byte)) == syndrome
        })
    }

    /// Evaluates the remainder at the roots of the generator, where it is what the errors are.
    fn syndromes(&self, remainder: &[u8]) -> Vec<u8> {
        let at = |root: u8| {
            remainder.iter().fold(0, |value, coefficient| multiply(value, root) ^ coefficient)
        };
        (0..self.roots).map(|root| at(power_of_alpha(root))).collect()
    }

    /// Builds the polynomial whose roots are the inverse locators of all wrong bytes.
    fn locator(&self, syndromes: &[u8], erasures: &[u8]) -> Vec<u8> {
        let mut locator = vec![0; self.roots + 1];
        locator[0] = 1;
        for (count, &place) in erasures.iter().enumerate() {
            for power in (1..=count + 1).rev() {
                locator[power] ^= multiply(locator[power - 1], locator_of(place));
            }
        }
        let mut former = locator.clone();
        let mut errors = erasures.len();
        for step in erasures.len()..self.roots {
            let discrepancy = (0..=step)
                .fold(0, |sum, power| sum ^ multiply(locator[power], syndromes[step - power]));
            former.rotate_right(1);
            former[0] = 0;
            if discrepancy == 0 {
                continue;
            }
            let mut next = locator.clone();
            for (coefficient, correction) in next.iter_mut().zip(&former) {
                *coefficient ^= multiply(discrepancy, *correction);
            }
            if 2 * errors <= step + erasures.len() {
                errors = step + 1 + erasures.len() - errors;
                former = locator.iter().map(|&value| divide(value, discrepancy)).collect();
            }
            locator = next;
        }
        locator
    }

    fn evaluator(&self, syndromes: &[u8], locator: &[u8]) -> Vec<u8> {
        let coefficient = |power: usize| {
            (0..=power).fold(0, |sum, low| sum ^ multiply(syndromes[power - low], locator[low]))
        };
        (0..self.roots).map(coefficient).collect()
    }
}

/// Returns α to the power that belongs to a place: the first byte has the highest.
fn locator_of(place: u8) -> u8 {
    power_of_alpha(CODE_WORD_BYTES - 1 - usize::from(place))
}

fn inverse_locator(place: u8) -> u8 {
    power_of_alpha(usize::from(place) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the remainder of a word that is zero but for these bytes.
    fn remainder(roots: Roots, wrong: &[WrongByte]) -> Vec<u8> {
        let mut remainder = vec![0; roots.count()];
        let read_row = |row: usize, bytes: &mut [u8]| {
            bytes[0] = wrong
                .iter()
                .filter(|byte| usize::from(byte.place) == row)
                .map(|byte| byte.difference)
                .sum();
            Ok::<(), std::convert::Infallible>(())
        };
        crate::verity::fec::remainder::Remainders::new(roots)
            .of_rows(&mut remainder, read_row)
            .unwrap();
        for byte in wrong {
            if let Some(place) =
                usize::from(byte.place).checked_sub(CODE_WORD_BYTES - roots.count())
            {
                remainder[place] ^= byte.difference;
            }
        }
        remainder
    }

    proptest! {
        #[test]
        fn as_many_wrong_bytes_as_the_parity_can_tell_apart_are_found(
            roots in Roots::MIN..=Roots::MAX,
            places in proptest::collection::hash_set(0_u8..255, 1..=24),
            differences in proptest::collection::vec(1_u8..=255, 24),
            known in 0_usize..=24,
        ) {
            let roots = Roots::try_from(roots).unwrap();
            let mut wrong: Vec<_> = places
                .into_iter()
                .zip(differences)
                .map(|(place, difference)| WrongByte { place, difference })
                .collect();
            let known = known.min(wrong.len()).min(roots.count());
            wrong.truncate(known + (roots.count() - known) / 2);
            let known = known.min(wrong.len());
            let erasures: Vec<u8> = wrong[..known].iter().map(|byte| byte.place).collect();
            let mut found = Decoder::new(roots).wrong_bytes(&remainder(roots, &wrong), &erasures).unwrap();
            found.sort_by_key(|byte| byte.place);
            wrong.sort_by_key(|byte| byte.place);
            prop_assert_eq!(found, wrong);
        }

        /// Whatever is found does explain the remainder; more errors than that give another word.
        #[test]
        fn what_is_found_always_leads_to_a_code_word(
            roots in Roots::MIN..=Roots::MAX,
            bytes in proptest::collection::vec(any::<u8>(), 24),
            erasures in proptest::collection::hash_set(0_u8..255, 0..=26),
        ) {
            let roots = Roots::try_from(roots).unwrap();
            let erasures: Vec<u8> = erasures.into_iter().collect();
            let given = &bytes[..roots.count()];
            if let Some(found) = Decoder::new(roots).wrong_bytes(given, &erasures) {
                prop_assert_eq!(remainder(roots, &found), given);
            }
        }
    }
}
