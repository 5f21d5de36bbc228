//! Numbers in the fields of a tar header: octal digits, or GNU's base 256.

/// Says that a field does not hold a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotANumber;

/// Reads `field` as octal digits: any spaces, then digits up to a NUL, a space or the end of the
/// field. Spaces alone are zero; what follows the NUL or space is not looked at.
///
/// # Errors
///
/// Refuses a field that is empty (all NUL), has a sign or other characters, or exceeds an `i64`.
pub(super) fn parse_octal(field: &[u8]) -> Result<i64, NotANumber> {
    let spaces = field.iter().take_while(|&&byte| byte == b' ').count();
    let text = &field[spaces..];
    let end = text.iter().position(|byte| matches!(byte, b'\0' | b' ')).unwrap_or(text.len());
    if end == 0 {
        let blank = spaces > 0 && text.iter().all(|byte| matches!(byte, b'\0' | b' '));
        return if blank { Ok(0) } else { Err(NotANumber) };
    }
    let mut value: i64 = 0;
    for &digit in &text[..end] {
        if !matches!(digit, b'0'..=b'7') {
            return Err(NotANumber);
        }
        value = value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or(NotANumber)?;
    }
    Ok(value)
}

/// Reads `field` as octal digits, or as a big-endian two's complement number where its first
/// byte is `0x80` (not negative) or `0xff` (negative).
///
/// GNU tar writes numbers that the octal digits cannot hold in this form ("Basic Tar Format").
///
/// # Errors
///
/// As [`parse_octal`]; and refuses numbers that an `i64` cannot hold.
pub(super) fn parse_octal_or_binary(field: &[u8]) -> Result<i64, NotANumber> {
    match field.first() {
        Some(0x80) => parse_binary(&field[1..], 0x00),
        Some(0xff) => parse_binary(&field[1..], 0xff),
        _ => parse_octal(field),
    }
}

/// Reads a big-endian number of which all bytes but the last eight must equal `sign`.
fn parse_binary(bytes: &[u8], sign: u8) -> Result<i64, NotANumber> {
    let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
    let mut value = [sign; 8];
    value[8 - low.len()..].copy_from_slice(low);
    let value = i64::from_be_bytes(value);
    let keeps_its_sign = (value < 0) == (sign == 0xff);
    if high.iter().all(|&byte| byte == sign) && keeps_its_sign {
        Ok(value)
    } else {
        Err(NotANumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_of_every_writer_are_read() {
        assert_eq!(parse_octal(b"0000644\0"), Ok(0o644));
        assert_eq!(parse_octal(b"   644 \0"), Ok(0o644));
        assert_eq!(parse_octal(b"77777777"), Ok(0o77777777));
        assert_eq!(parse_octal(b"644\0junk"), Ok(0o644));
        assert_eq!(parse_octal(b"644 junk"), Ok(0o644));
        assert_eq!(parse_octal(b"       \0"), Ok(0), "spaces alone are zero");
    }

    #[test]
    fn what_is_no_octal_number_is_refused() {
        for field in [
            &b"\0\0\0\0\0\0\0\0"[..],
            b"",
            b"\x000644\0",
            b"0000648\0",
            b"-000644\0",
            b"+000644\0",
            b"\t000644\0",
            b"0x00644\0",
            b"  \0junk\0",
            b"7777777777777777777777\0",
        ] {
            assert_eq!(parse_octal(field), Err(NotANumber), "{}", field.escape_ascii());
        }
    }

    #[test]
    fn octal_numbers_reach_to_the_largest_i64() {
        assert_eq!(parse_octal(b"777777777777777777777"), Ok(i64::MAX));
        assert_eq!(parse_octal(b"1000000000000000000000"), Err(NotANumber));
    }

    #[test]
    fn binary_numbers_carry_their_sign() {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[11] = 5;
        assert_eq!(parse_octal_or_binary(&field), Ok(5));
        assert_eq!(parse_octal_or_binary(&[0xff; 12]), Ok(-1));
        assert_eq!(parse_octal_or_binary(b"\x80\0\0\0\0\x01\0\0"), Ok(65536));
        assert_eq!(parse_octal_or_binary(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
    }

    #[test]
    fn binary_numbers_beyond_an_i64_are_refused() {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[4] = 0x80;
        assert_eq!(parse_octal_or_binary(&field), Err(NotANumber), "2^63");
        field[4] = 0;
        field[3] = 1;
        assert_eq!(parse_octal_or_binary(&field), Err(NotANumber), "2^64");
        let mut field = [0xff; 12];
        field[4] = 0x7f;
        assert_eq!(parse_octal_or_binary(&field), Err(NotANumber), "-2^63 - 1");
        field[0] = 0x81;
        assert_eq!(parse_octal_or_binary(&field), Err(NotANumber), "neither mark");
    }
}
