//! JSON objects of which a few fields change and all others stay as they were written.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Error;
use serde_json::value::{RawValue, to_raw_value};

/// Is a JSON object with its fields in their order, each with the very text of its value.
///
/// An object that has a field twice is refused: two readers could see two values.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonObject {
    fields: Vec<(String, Box<RawValue>)>,
}

impl JsonObject {
    /// Parses a document.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes)
    }

    /// Reads a field; `None` if it is not there, or `null`.
    pub(crate) fn field<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map_or(Ok(None), |(_, value)| serde_json::from_str(value.get()))
    }

    /// Gives a field a value, at its place or behind all others.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let value = to_raw_value(value)?;
        match self.fields.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Removes the fields whose names `is_unwanted` accepts, and tells whether there were any.
    pub(crate) fn remove(&mut self, is_unwanted: impl Fn(&str) -> bool) -> bool {
        let before = self.fields.len();
        self.fields.retain(|(key, _)| !is_unwanted(key));
        self.fields.len() != before
    }

    /// Returns the object as a document without white space between its fields.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self)
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = JsonObject;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
                let mut names = std::collections::BTreeSet::new();
                let mut object = JsonObject::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(key.clone()) {
                        return Err(A::Error::custom(format_args!(
                            "the field {key:?} is there twice"
                        )));
                    }
                    object.fields.push((key, value));
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_as_it_was_written() {
        let text = r#"{ "z":1e400, "a": {"y" : 12345678901234567890123, "b":[ ]}, "n":null }"#;
        let mut object = JsonObject::parse(text.as_bytes()).unwrap();
        assert_eq!(object.field::<u8>("n").unwrap(), None);
        assert_eq!(object.field::<u8>("missing").unwrap(), None);
        assert!(object.field::<u8>("a").is_err());
        object.set("n", &[1, 2]).unwrap();
        object.set("new", &"x").unwrap();
        let expected =
            r#"{"z":1e400,"a":{"y" : 12345678901234567890123, "b":[ ]},"n":[1,2],"new":"x"}"#;
        assert_eq!(object.to_bytes().unwrap(), expected.as_bytes());
        assert!(object.remove(|key| key == "z" || key == "new"));
        assert!(!object.remove(|key| key == "z"));
        assert_eq!(object.field::<Vec<u8>>("n").unwrap(), Some(vec![1, 2]));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", "{", "{}x"] {
            assert!(JsonObject::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
