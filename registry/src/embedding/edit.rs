//! Changing some values in the text of a JSON document, and not one byte of the rest.

use std::fmt;
use std::ops::Range;
use std::str::Utf8Error;

use base64ct::{Base64, Encoding as _};
use libverity::digest::Digest;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::artifact::annotations::Keys;
use crate::manifest::Manifest;

/// Is what an object of annotations is to say.
pub(super) type Annotations = Vec<(&'static str, String)>;

/// Gives the descriptors of the layers their annotations under `keys`; those of a layer for which
/// there is `None` stay.
pub(super) fn annotate_layers(
    manifest: &str,
    annotations: &[Option<Annotations>],
    keys: Keys,
) -> Result<String, EditError> {
    let mut text = Text::new(manifest);
    let Some(layers) = field(manifest, "layers")? else { return Ok(manifest.to_owned()) };
    for (layer, annotations) in elements(layers)?.into_iter().zip(annotations) {
        let Some(annotations) = annotations else { continue };
        let fields = fields(layer.get())?;
        match fields.iter().find(|(key, _)| key == ANNOTATIONS) {
            Some((_, old)) => {
                if let Some(new) = merged(old, annotations, keys)? {
                    text.replace(old, new);
                }
            }
            None => {
                let new = write_object(std::iter::empty(), annotations)?;
                let new = format!(r#","{ANNOTATIONS}":{new}"#);
                // A descriptor has at least its media type, and the last field has no comma behind.
                if let Some((_, last)) = fields.last() {
                    text.insert_behind(last, new);
                }
            }
        }
    }
    Ok(text.edited())
}

/// Gives the entries of an index the digests, sizes and contents of their successors.
pub(super) fn replace_children<'a>(
    index: &str,
    successor: &dyn Fn(&Digest) -> Option<&'a Manifest>,
) -> Result<String, EditError> {
    let mut text = Text::new(index);
    let Some(entries) = field(index, "manifests")? else { return Ok(index.to_owned()) };
    let successor_of = |old: &RawValue| -> Result<Option<&'a Manifest>, EditError> {
        let old: String = serde_json::from_str(old.get())?;
        Ok(old.parse().ok().and_then(|old| successor(&old)))
    };
    for entry in elements(entries)? {
        let fields = fields(entry.get())?;
        let find = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        if let Some(old) = find("digest")
            && let Some(new) = successor_of(old)?
        {
            text.replace(old, serde_json::to_string(&new.digest())?);
            if let Some(size) = find("size") {
                text.replace(size, new.bytes().len().to_string());
            }
            if let Some(data) = find("data").filter(|data| data.get() != NULL) {
                text.replace(data, format!("\"{}\"", Base64::encode_string(new.bytes())));
            }
        }
        let annotations = find(ANNOTATIONS).filter(|annotations| annotations.get() != NULL);
        let Some(annotations) = annotations else { continue };
        for (key, value) in self::fields(annotations.get())? {
            if key == REFERENCE_DIGEST
                && let Some(new) = successor_of(value)?
            {
                text.replace(value, serde_json::to_string(&new.digest())?);
            }
        }
    }
    Ok(text.edited())
}

/// Returns the object of annotations with those under `keys` replaced, or `None` if it has just
/// those.
fn merged(
    old: &RawValue,
    annotations: &Annotations,
    keys: Keys,
) -> Result<Option<String>, EditError> {
    let fields = if old.get() == NULL { Vec::new() } else { fields(old.get())? };
    let (replaced, kept): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(key, _)| keys.contains(key));
    let is_there = |(key, value): &(&str, String)| {
        replaced.iter().any(|(old_key, old)| {
            old_key == key
                && serde_json::from_str::<String>(old.get()).is_ok_and(|old| old == *value)
        })
    };
    if replaced.len() == annotations.len() && annotations.iter().all(is_there) {
        return Ok(None);
    }
    write_object(kept.into_iter(), annotations).map(Some)
}

fn write_object<'a>(
    kept: impl Iterator<Item = (String, &'a RawValue)>,
    added: &Annotations,
) -> Result<String, EditError> {
    let mut fields = Vec::new();
    for (key, value) in kept {
        fields.push(format!("{}:{}", serde_json::to_string(&key)?, value.get()));
    }
    for (key, value) in added {
        fields.push(format!("{}:{}", serde_json::to_string(key)?, serde_json::to_string(value)?));
    }
    Ok(format!("{{{}}}", fields.join(",")))
}

fn field<'a>(object: &'a str, name: &str) -> Result<Option<&'a RawValue>, EditError> {
    let fields = fields(object)?;
    Ok(fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}

/// Returns the fields of an object in their order, with the very text of their values.
fn fields(object: &str) -> Result<Vec<(String, &RawValue)>, EditError> {
    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            Ok(fields)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(object);
    let fields = deserializer.deserialize_map(Fields)?;
    deserializer.end()?;
    Ok(fields)
}

fn elements(array: &RawValue) -> Result<Vec<&RawValue>, EditError> {
    Ok(serde_json::from_str(array.get())?)
}

/// Collects changes of a text; each is for another part of it, and they come in order.
struct Text<'a> {
    text: &'a str,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, changes: Vec::new() }
    }

    fn replace(&mut self, old: &'a RawValue, new: String) {
        self.changes.push((self.range(old), new));
    }

    fn insert_behind(&mut self, value: &'a RawValue, new: String) {
        let end = self.range(value).end;
        self.changes.push((end..end, new));
    }

    /// Returns where a value stands that was read from the text and not copied.
    fn range(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.get().len()
    }

    fn edited(mut self) -> String {
        // The fields of an object are in any order.
        self.changes.sort_by_key(|(range, _)| range.start);
        let mut edited = String::with_capacity(self.text.len());
        let mut position = 0;
        for (range, new) in self.changes {
            edited.push_str(&self.text[position..range.start]);
            edited.push_str(&new);
            position = range.end;
        }
        edited.push_str(&self.text[position..]);
        edited
    }
}

/// Says why a document cannot be edited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not JSON, or some part of it is not what it must be.
    #[error("it is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not even text.
    #[error("it is not UTF-8: {0}")]
    Utf8(Utf8Error),
}

const ANNOTATIONS: &str = "annotations";
const NULL: &str = "null";

/// By this annotation BuildKit names the image that a statement in the same index is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// What is known nowhere, in spellings that no writer would choose.
    const ODD: &str = r#""odd" : [ 1.0, -0, 1E+2, 123456789012345678901234567890, "\u0041\/", {"b":1,"a":2,"a":3} ]"#;

    fn annotations(value: &str) -> Option<Annotations> {
        Some(vec![
            ("org.osguard.root-hash", value.to_owned()),
            ("org.osguard.signature", "MAE=".to_owned()),
        ])
    }

    fn annotated(manifest: &str, layers: &[Option<Annotations>]) -> String {
        annotate_layers(manifest, layers, Keys::Osguard).unwrap()
    }

    #[test]
    fn descriptors_without_annotations_get_them_at_their_end() {
        let manifest = format!(
            "{{\n  {ODD},\n  \"layers\": [\n    {{\n      \"size\": 1,\n      {ODD}\n    }},\n    {{ \"size\": 2 }}\n  ],\n  \"x\":1\n}}\n"
        );
        let new =
            r#","annotations":{"org.osguard.root-hash":"one","org.osguard.signature":"MAE="}"#;
        let expected = manifest
            .replacen(&format!("{ODD}\n    }}"), &format!("{ODD}{new}\n    }}"), 1)
            .replace("\"size\": 2 }", &format!("\"size\": 2{} }}", new.replace("one", "two")));
        let edited = annotated(&manifest, &[annotations("one"), annotations("two")]);
        assert_eq!(edited, expected);
        assert_eq!(annotated(&edited, &[annotations("one"), annotations("two")]), edited);
        assert_eq!(annotated(&manifest, &[None, None]), manifest);
        let second = annotated(&manifest, &[None, annotations("two")]);
        assert!(!second.contains("one") && second.contains("two"), "{second}");
    }

    #[test]
    fn other_annotations_stay() {
        let new = r#""org.osguard.root-hash":"one","org.osguard.signature":"MAE=""#;
        for (old, expected) in [
            ("null".to_owned(), format!("{{{new}}}")),
            ("{ }".to_owned(), format!("{{{new}}}")),
            (
                r#"{ "z" : "\u00e9" , "k\"" : "" }"#.to_owned(),
                format!(r#"{{"z":"\u00e9","k\"":"",{new}}}"#),
            ),
            // Stale ones, one of them twice and one of a fact that is not known now.
            (
                r#"{"org.osguard.signature":"MAA=","a":"b","org.osguard.signature":"MAB=","org.osguard.signer":"00"}"#
                    .to_owned(),
                format!(r#"{{"a":"b",{new}}}"#),
            ),
            (
                r#"{"io.katacontainers.dm-verity.root-hash":"00"}"#.to_owned(),
                format!(r#"{{"io.katacontainers.dm-verity.root-hash":"00",{new}}}"#),
            ),
            // The same in another order and spelling.
            (
                r#"{"org.osguard.signature":"\u004dAE=", "a":"b", "org.osguard.root-hash":"one"}"#
                    .to_owned(),
                r#"{"org.osguard.signature":"\u004dAE=", "a":"b", "org.osguard.root-hash":"one"}"#
                    .to_owned(),
            ),
        ] {
            let manifest = |annotations: &str| {
                format!(r#"{{"layers":[{{"annotations" : {annotations} ,"size":1}}]}}"#)
            };
            let edited = annotated(&manifest(&old), &[annotations("one")]);
            assert_eq!(edited, manifest(&expected));
            assert_eq!(annotated(&edited, &[annotations("one")]), edited);
        }
    }

    #[test]
    fn names_of_fields_may_be_escaped() {
        let manifest = r#"{"l\u0061yers":[{"\u0061nnotations":{"a":"b"}}]}"#;
        assert_eq!(
            annotated(manifest, &[annotations("one")]),
            r#"{"l\u0061yers":[{"\u0061nnotations":{"a":"b","org.osguard.root-hash":"one","org.osguard.signature":"MAE="}}]}"#
        );
    }

    #[test]
    fn entries_of_an_index_follow_what_they_point_to() {
        let old = Digest::of(b"old");
        let other = Digest::of(b"other");
        let new = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
        let new = Manifest::parse(None, new).unwrap();
        let successor = |digest: &Digest| (*digest == old).then_some(&new);
        let (new_digest, data) = (new.digest(), Base64::encode_string(new.bytes()));
        let index = |digest: &Digest, size: &str, data: &str| {
            format!(
                r#"{{ {ODD}, "manifests" : [
  {{"size":{size} , "digest":"{digest}", {ODD}, "annotations":null, "data":{data}}},
  {{"digest":"{other}","size":7,"data":"b3RoZXI=","annotations":{{"a":"{old}","vnd.docker.reference.digest": "{digest}"}}}},
  {{"digest":"{other}","size":7,"annotations":{{"vnd.docker.reference.digest":"{other}"}}}},
  {{"digest":"{other}","size":7,"annotations":{{"vnd.docker.reference.digest":"?"}}}},
  {{"digest":"{digest}","size":{size},"data":null}}
], "annotations":{{"vnd.docker.reference.digest":"{old}"}}, "subject":{{"digest":"{old}"}} }}"#
            )
        };
        let before = index(&old, "3", "\"b2xk\"");
        let after = index(&new_digest, "34", &format!("\"{data}\""));
        assert_eq!(replace_children(&before, &successor).unwrap(), after);
        assert_eq!(replace_children(&after, &successor).unwrap(), after);
    }

    #[test]
    fn what_is_no_such_document_is_refused() {
        for text in ["", "[]", "{", r#"{"layers":{}}"#, r#"{"layers":[1]}"#, r#"{"layers":[]}x"#] {
            let edited = annotate_layers(text, &[annotations("one")], Keys::Osguard);
            assert!(matches!(edited, Err(EditError::Json(_))), "{text}");
        }
        assert!(replace_children(r#"{"manifests":[{"digest":1}]}"#, &|_| None).is_err());
    }

    /// Any JSON with any white space in it.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                (proptest::collection::vec(inner.clone(), 0..4), "[ \n\t]{0,2}")
                    .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(","))),
                (proptest::collection::vec(("[a-z]{1,3}", inner), 0..4), "[ \r\n]{0,2}").prop_map(
                    |(fields, space)| {
                        let fields: Vec<_> = fields
                            .iter()
                            .map(|(key, value)| format!("{space}\"{key}\"{space}:{value}"))
                            .collect();
                        format!("{{{}{space}}}", fields.join(","))
                    }
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_else_changes(
            odd in proptest::collection::vec(json(), 3),
            old in proptest::option::of(proptest::collection::btree_map("[a-z.]{1,5}", any::<String>(), 0..3)),
            count in 1..4_usize,
        ) {
            let old = serde_json::to_string_pretty(&old).unwrap();
            let layer = format!(r#"{{"odd":{},"annotations":{old},"size":1}}"#, odd[0]);
            let layers = vec![layer; count].join(" , ");
            let manifest = format!(r#"{{"odd":{},"layers":[{layers}],"even":{}}}"#, odd[1], odd[2]);
            let wanted = vec![annotations("one"); count];
            let edited = annotated(&manifest, &wanted);
            prop_assert_eq!(&annotated(&edited, &wanted), &edited);

            // Without the new annotations, it means what it meant.
            let mut document: Value = serde_json::from_str(&edited).unwrap();
            for layer in document["layers"].as_array_mut().unwrap() {
                let map = layer["annotations"].as_object_mut().unwrap();
                prop_assert_eq!(map.remove("org.osguard.root-hash"), Some("one".into()));
                prop_assert_eq!(map.remove("org.osguard.signature"), Some("MAE=".into()));
                if old == "null" {
                    prop_assert!(map.is_empty());
                    layer["annotations"] = Value::Null;
                }
            }
            prop_assert_eq!(document, serde_json::from_str::<Value>(&manifest).unwrap());
            // And what surrounds the layers is what it was, byte for byte.
            let around = |text: &str| {
                let start = text.find("\"layers\":").unwrap();
                let end = text.rfind("],\"even\":").unwrap();
                (text[..start].to_owned(), text[end..].to_owned())
            };
            prop_assert_eq!(around(&edited), around(&manifest));
        }
    }
}
