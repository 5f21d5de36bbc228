//! Extended attributes as libarchive writes them: `LIBARCHIVE.xattr.NAME=VALUE`, where the name is
//! percent-encoded and the value is base 64, with or without padding.
//!
//! Source: libarchive, `tar(5)`, "Pax Interchange Format".

/// Undoes the percent-encoding of an attribute's name; a `%` without two hexadecimal digits
/// stands for itself.
pub(super) fn decode_name(encoded: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if first == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            name.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            name.push(first);
            rest = tail;
        }
    }
    name
}

/// Undoes the base 64 of an attribute's value, or returns `None` where it is none: foreign
/// characters, a length that no encoding has, or bits beyond the last byte that are not zero.
pub(super) fn decode_value(encoded: &[u8]) -> Option<Vec<u8>> {
    let digits = without_padding(encoded);
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut value = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut bit_count) = (0_u32, 0);
    for &digit in digits {
        bits = bits << 6 | base64_digit(digit)?;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            value.push((bits >> bit_count).to_le_bytes()[0]);
            bits &= (1 << bit_count) - 1;
        }
    }
    (bits == 0).then_some(value)
}

/// Cuts one or two `=` off the end of a text whose length is a multiple of four.
fn without_padding(encoded: &[u8]) -> &[u8] {
    if !encoded.len().is_multiple_of(4) {
        return encoded;
    }
    match encoded {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] => digits,
        digits => digits,
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value.to_le_bytes()[0])
}

fn base64_digit(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_decoded() {
        assert_eq!(decode_name(b"user.plain"), b"user.plain");
        assert_eq!(decode_name(b"user.%41%3d%e2"), b"user.A=\xe2");
        assert_eq!(decode_name(b"user.100%"), b"user.100%");
        assert_eq!(decode_name(b"user.%4"), b"user.%4");
        assert_eq!(decode_name(b"user.%zz%41"), b"user.%zzA");
    }

    #[test]
    fn values_are_decoded_with_and_without_padding() {
        // RFC 4648, section 10.
        for (encoded, value) in [
            (&b""[..], &b""[..]),
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"Zg", b"f"),
            (b"Zm8", b"fo"),
            (b"Zm9vYg", b"foob"),
            (b"+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(decode_value(encoded).as_deref(), Some(value));
        }
    }

    #[test]
    fn what_is_no_base_64_is_refused() {
        for encoded in
            [&b"Z"[..], b"Zm9vY", b"Zh==", b"Zm9=", b"Zh", b"Zm 9", b"Z===", b"-_-_", b"Zg="]
        {
            assert_eq!(decode_value(encoded), None, "{}", encoded.escape_ascii());
        }
    }
}
