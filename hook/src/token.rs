//! The shared secret by which the registry shows who it is.

use std::fmt;

use libverity::digest::Digest;
use subtle::ConstantTimeEq as _;

/// Is the secret that the registry sends with every notification.
///
/// Only its SHA-256 is kept. Comparing two of those takes the same time wherever the tokens differ
/// and however long they are.
///
/// Source: RFC 6750, section 2.1, "Authorization Request Header Field".
#[derive(Clone)]
pub struct Token(Digest);

impl Token {
    /// Takes the contents of a file or variable; blanks and line ends around the token are no part
    /// of it.
    ///
    /// # Errors
    ///
    /// Returns an error if the token is shorter than [`MIN_TOKEN_BYTES`], longer than
    /// [`MAX_TOKEN_BYTES`], or has characters that a header does not carry.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let token = text.trim_ascii();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(TokenError::TooShort { found: token.len() });
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Character);
        }
        Ok(Self(Digest::of(token)))
    }

    /// Tells whether the value of an `Authorization` header carries this token.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(SCHEME.len()) else {
            return false;
        };
        let matches = Digest::of(token.trim_ascii_start()).as_bytes().ct_eq(self.0.as_bytes());
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(matches)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Says why a text is no token. The text itself is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is a character in it that a header does not carry.
    #[error("the token has characters other than printable ASCII without blanks")]
    Character,
    /// There is too much of it.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// There is too little of it to keep anyone out.
    #[error("the token has {found} bytes, and {MIN_TOKEN_BYTES} are the least")]
    TooShort {
        /// How many bytes there are.
        found: usize,
    },
}

/// The shortest token: 16 bytes of base64 are 96 bits that nobody guesses.
pub const MIN_TOKEN_BYTES: usize = 16;

/// The longest token; servers and proxies take headers of 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 4096;

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::parse(b"  0123456789abcdef\n").unwrap();
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(token.is_in(right.as_bytes()), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer0123456789abcdef",
            "Bearer 0123456789abcdef ",
        ] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn weak_and_unusable_tokens_are_refused_without_being_repeated() {
        let error = |text: &[u8]| Token::parse(text).unwrap_err();
        assert_eq!(error(b" \n"), TokenError::TooShort { found: 0 });
        assert_eq!(error(b"0123456789abcde"), TokenError::TooShort { found: 15 });
        assert_eq!(error(b"0123456789 abcdef"), TokenError::Character);
        assert_eq!(error("0123456789abcdef\u{e4}".as_bytes()), TokenError::Character);
        assert_eq!(error(&[b'a'; MAX_TOKEN_BYTES + 1]), TokenError::TooLong);
        let token = Token::parse(b"0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
