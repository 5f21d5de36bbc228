//! `pkcs11:` URIs (RFC 7512).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Names a private key in a token, and the module through which it is reached.
///
/// | attribute | in | means |
/// |---|---|---|
/// | `token`, `serial`, `manufacturer`, `model` | path | what the token says of itself |
/// | `slot-id` | path | the number of the token's slot |
/// | `object` | path | the key's label |
/// | `id` | path | the key's identifier, bytes |
/// | `type` | path | `private`, or absent |
/// | `module-path` | query | the module's file |
/// | `module-name` | query | the module's name, without `lib` and `.so` |
/// | `pin-source` | query | the file with the PIN in its first line |
///
/// `pin-value` is refused, since arguments are no place for secrets, and so are the attributes that
/// would be ignored otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    text: String,
    /// What the token has to say of itself.
    pub token: TokenAttributes,
    /// The key's label.
    pub object: Option<String>,
    /// The key's identifier.
    pub id: Option<Vec<u8>>,
    /// The module's file.
    pub module_path: Option<PathBuf>,
    /// The module's name.
    pub module_name: Option<String>,
    /// The file with the PIN.
    pub pin_source: Option<PathBuf>,
}

/// Says which token is meant; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenAttributes {
    /// The token's label.
    pub label: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The number of its slot.
    pub slot_id: Option<u64>,
}

impl Uri {
    /// With what such a URI begins.
    pub const SCHEME: &str = "pkcs11:";

    fn set(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        let attribute = || name.to_owned();
        let fill = |place: &mut Option<String>| {
            let text = percent_decode_str(value).decode_utf8();
            let text = text.map_err(|_| UriError::NotText { attribute: attribute() })?;
            put(place, name, text.into_owned())
        };
        match name {
            "token" => fill(&mut self.token.label),
            "manufacturer" => fill(&mut self.token.manufacturer),
            "model" => fill(&mut self.token.model),
            "serial" => fill(&mut self.token.serial),
            "object" => fill(&mut self.object),
            "module-name" => fill(&mut self.module_name),
            "id" => put(&mut self.id, name, percent_decode_str(value).collect()),
            "slot-id" => {
                let number = value.parse();
                let number =
                    number.map_err(|_| UriError::NotANumber { value: value.to_owned() })?;
                put(&mut self.token.slot_id, name, number)
            }
            "type" if value == "private" => Ok(()),
            "type" => Err(UriError::Type { value: value.to_owned() }),
            "module-path" => put(&mut self.module_path, name, absolute(name, value)?),
            "pin-source" => {
                let value = value.strip_prefix("file:").unwrap_or(value);
                put(&mut self.pin_source, name, absolute(name, value)?)
            }
            "pin-value" => Err(UriError::PinValue),
            _ => Err(UriError::Unknown { attribute: attribute() }),
        }
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix(Self::SCHEME).ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.split(';').filter(|attribute| !attribute.is_empty());
        let query = query.split('&').filter(|attribute| !attribute.is_empty());
        let mut uri = Self::default();
        for (attribute, is_query) in
            path.map(|part| (part, false)).chain(query.map(|part| (part, true)))
        {
            let (name, value) = attribute
                .split_once('=')
                .ok_or_else(|| UriError::NoValue { attribute: attribute.to_owned() })?;
            // RFC 7512 has them in one of both places, and other programs look nowhere else.
            if QUERY.contains(&name) != is_query && !matches!(name, "pin-value") {
                let place = if is_query { "before the ?" } else { "behind the ?" };
                if QUERY.contains(&name) || PATH.contains(&name) {
                    return Err(UriError::Misplaced { attribute: name.to_owned(), place });
                }
            }
            uri.set(name, value)?;
        }
        uri.text = text.to_owned();
        Ok(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Says why a text is no URI of a private key in a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// A path depends on where the program runs.
    #[error("the attribute {attribute} of a pkcs11: URI is an absolute path, and not {value:?}")]
    NotAbsolute {
        /// The attribute.
        attribute: String,
        /// Its value.
        value: String,
    },
    /// An attribute stands in the wrong part of the URI.
    #[error("the attribute {attribute} of a pkcs11: URI stands {place}")]
    Misplaced {
        /// The attribute.
        attribute: String,
        /// Where it should stand.
        place: &'static str,
    },
    /// `slot-id` is no number.
    #[error("the attribute slot-id of a pkcs11: URI is a number, and not {value:?}")]
    NotANumber {
        /// What it is.
        value: String,
    },
    /// An attribute that is text is none.
    #[error("the attribute {attribute} of a pkcs11: URI is not UTF-8")]
    NotText {
        /// The attribute.
        attribute: String,
    },
    /// There is an attribute without `=`.
    #[error("a pkcs11: URI has NAME=VALUE between semicolons, and not {attribute:?}")]
    NoValue {
        /// What there is.
        attribute: String,
    },
    /// The PIN is in the URI itself.
    #[error("a PIN in an argument (pin-value) can be read by everybody on the machine")]
    PinValue,
    /// An attribute is there twice.
    #[error("a pkcs11: URI has the attribute {attribute} twice")]
    Repeated {
        /// The attribute.
        attribute: String,
    },
    /// It begins otherwise.
    #[error("it does not begin with pkcs11:")]
    Scheme,
    /// It names another object than a private key.
    #[error("the pkcs11: URI names an object of the type {value:?}; what signs is type=private")]
    Type {
        /// The type.
        value: String,
    },
    /// An attribute is not known, and ignoring it might choose another key.
    #[error("the attribute {attribute:?} of a pkcs11: URI is not known here")]
    Unknown {
        /// The attribute.
        attribute: String,
    },
}

fn put<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), UriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Repeated { attribute: name.to_owned() }),
    }
}

fn absolute(name: &str, value: &str) -> Result<PathBuf, UriError> {
    let refused = || UriError::NotAbsolute { attribute: name.to_owned(), value: value.to_owned() };
    let path = percent_decode_str(value).decode_utf8().map_err(|_| refused())?;
    let path = PathBuf::from(path.into_owned());
    if path.is_absolute() { Ok(path) } else { Err(refused()) }
}

/// What stands behind the question mark.
const QUERY: [&str; 3] = ["module-name", "module-path", "pin-source"];

/// What stands before it.
const PATH: [&str; 8] =
    ["id", "manufacturer", "model", "object", "serial", "slot-id", "token", "type"];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> UriError {
        text.parse::<Uri>().unwrap_err()
    }

    #[test]
    fn every_attribute_that_is_honoured_is_read() {
        let text = "pkcs11:token=The%20token;serial=42;manufacturer=M;model=v2;slot-id=7;\
                    object=release;id=%01%ff;type=private?module-path=/lib/m.so&\
                    module-name=softhsm2&pin-source=file:/run/pin";
        let uri: Uri = text.parse().unwrap();
        let token = TokenAttributes {
            label: Some("The token".into()),
            manufacturer: Some("M".into()),
            model: Some("v2".into()),
            serial: Some("42".into()),
            slot_id: Some(7),
        };
        assert_eq!(uri.token, token);
        assert_eq!(uri.object.as_deref(), Some("release"));
        assert_eq!(uri.id, Some(vec![1, 0xff]));
        assert_eq!(uri.module_path, Some("/lib/m.so".into()));
        assert_eq!(uri.module_name.as_deref(), Some("softhsm2"));
        assert_eq!(uri.pin_source, Some("/run/pin".into()));
        assert_eq!(uri.to_string(), text);
        assert_eq!("pkcs11:".parse::<Uri>().unwrap().token, TokenAttributes::default());
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (text, part) in [
            ("pkcs11:object=a?pin-value=1234", "can be read by everybody"),
            ("pkcs11:object=a;pin-value=1234", "can be read by everybody"),
            ("pkcs11:object=a;type=cert", "type=private"),
            ("pkcs11:object=a;colour=red", "\"colour\""),
            ("pkcs11:object=a;library-version=3", "not known"),
            ("pkcs11:object=a;object=b", "twice"),
            ("pkcs11:object", "NAME=VALUE"),
            ("pkcs11:slot-id=x", "a number"),
            ("pkcs11:object=%ff", "not UTF-8"),
            ("pkcs11:?module-path=m.so", "absolute path"),
            ("pkcs11:?pin-source=|cat", "absolute path"),
            ("pkcs11:module-path=/m.so", "behind the ?"),
            ("pkcs11:?object=a", "before the ?"),
            ("object=a", "begin with pkcs11:"),
        ] {
            let error = refused(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
