//! Arithmetic in the field of 256 elements in which the code works.
//!
//! Bytes are polynomials over GF(2) modulo x⁸ + x⁴ + x³ + x² + 1 (0x11d), and α = x = 2 generates
//! all but zero: α²⁵⁵ = 1.
//!
//! Source: `init_rs(8, 0x11d, 0, 1, roots)` in the kernel's `drivers/md/dm-verity-fec.c`.

/// Multiplies.
pub(super) fn multiply(one: u8, other: u8) -> u8 {
    if one == 0 || other == 0 {
        return 0;
    }
    EXPONENTIALS
        [usize::from(LOGARITHMS[usize::from(one)]) + usize::from(LOGARITHMS[usize::from(other)])]
}

/// Divides.
///
/// # Panics
///
/// Panics if the divisor is 0.
pub(super) fn divide(dividend: u8, divisor: u8) -> u8 {
    assert_ne!(divisor, 0, "a division by zero");
    if dividend == 0 {
        return 0;
    }
    let logarithm = 255 + usize::from(LOGARITHMS[usize::from(dividend)])
        - usize::from(LOGARITHMS[usize::from(divisor)]);
    EXPONENTIALS[logarithm]
}

/// Returns α to the power of `exponent`.
pub(super) fn power_of_alpha(exponent: usize) -> u8 {
    EXPONENTIALS[exponent % 255]
}

/// Evaluates a polynomial, whose coefficients start with the constant, at `place`.
pub(super) fn evaluate(coefficients: &[u8], place: u8) -> u8 {
    coefficients.iter().rev().fold(0, |value, coefficient| multiply(value, place) ^ coefficient)
}

/// Has α to the power of its index, twice over, so that sums of two logarithms need no remainder.
const EXPONENTIALS: [u8; 512] = {
    let mut exponentials = [0; 512];
    let mut power = 1;
    let mut exponent = 0;
    while exponent < exponentials.len() {
        exponentials[exponent] = power as u8;
        power <<= 1;
        if power & 0x100 != 0 {
            power ^= 0x11d;
        }
        exponent += 1;
    }
    exponentials
};

/// Has the exponent of α for each index but 0.
const LOGARITHMS: [u8; 256] = {
    let mut logarithms = [0; 256];
    let mut exponent = 0;
    while exponent < 255 {
        logarithms[EXPONENTIALS[exponent] as usize] = exponent as u8;
        exponent += 1;
    }
    logarithms
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplication_is_that_of_polynomials() {
        let by_hand = |one: u8, other: u8| {
            let product = (0..8)
                .filter(|bit| other >> bit & 1 == 1)
                .fold(0, |sum, bit| sum ^ u16::from(one) << bit);
            (8..15).rev().fold(product, |rest, bit| match rest >> bit & 1 {
                0 => rest,
                _ => rest ^ 0x11d << (bit - 8),
            }) as u8
        };
        for one in 0..=255 {
            for other in 0..=255 {
                let product = multiply(one, other);
                assert_eq!(product, by_hand(one, other), "{one} {other}");
                if other != 0 {
                    assert_eq!(divide(product, other), one, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn every_element_but_zero_is_a_power_of_alpha() {
        let mut powers: Vec<u8> = (0..255).map(power_of_alpha).collect();
        powers.sort_unstable();
        assert!(powers.into_iter().eq(1..=255));
        assert_eq!(power_of_alpha(255), 1);
    }
}
