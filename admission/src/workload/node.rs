//! Objects of Kubernetes, without all that has nothing to do with images.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Is a value within an object. Only the members that [`MEMBERS`] lists are kept: of an object of
/// 3 MiB that is a few kilobytes.
#[derive(Debug)]
pub(super) enum Node<L> {
    List(Vec<L>),
    /// In the order of the text.
    Map(Vec<(&'static str, L)>),
    Null,
    /// A number or a truth value, where nothing is one.
    Other,
    Text(String),
}

/// Is a node with the line on which it stands, if that is known.
pub(super) trait Located: Sized {
    fn node(&self) -> &Node<Self>;
    fn line(&self) -> Option<u64>;
}

/// Is a node of a YAML document.
#[derive(Debug)]
pub(super) struct InText(Spanned<Node<Self>>);

/// Is a node of a request, whose lines nobody sees.
#[derive(Debug)]
pub(super) struct InMemory(Node<Self>);

impl Located for InText {
    fn node(&self) -> &Node<Self> {
        &self.0.value
    }

    fn line(&self) -> Option<u64> {
        Some(self.0.referenced.line()).filter(|&line| line > 0)
    }
}

impl Located for InMemory {
    fn node(&self) -> &Node<Self> {
        &self.0
    }

    fn line(&self) -> Option<u64> {
        None
    }
}

impl<'de> Deserialize<'de> for InText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for InMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::deserialize(deserializer).map(Self)
    }
}

impl<'de, L: Deserialize<'de>> Deserialize<'de> for Node<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor(PhantomData))
    }
}

struct NodeVisitor<L>(PhantomData<L>);

impl<'de, L: Deserialize<'de>> Visitor<'de> for NodeVisitor<L> {
    type Value = Node<L>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of Kubernetes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(&'static str, L)> = Vec::new();
        while let Some(Member(member)) = map.next_key()? {
            match member {
                // Two readers could see two images.
                Some(name) if members.iter().any(|(known, _)| *known == name) => {
                    return Err(serde::de::Error::duplicate_field(name));
                }
                Some(name) => members.push((name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Node::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Node::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }
}

/// Is the name of a member, if it is one that is kept.
struct Member(Option<&'static str>);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(Member(MEMBERS.into_iter().find(|member| *member == name)))
    }
}

/// The members on the ways to names of images, to what an object is called, and to where a pod may
/// run.
const MEMBERS: [&str; 23] = [
    "apiVersion",
    "containers",
    "ephemeralContainers",
    "generateName",
    "image",
    "imagePullSecrets",
    "initContainers",
    "items",
    "jobTemplate",
    "kind",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "metadata",
    "name",
    "namespace",
    "nodeName",
    "nodeSelector",
    "reference",
    "serviceAccountName",
    "spec",
    "template",
    "volumes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_nothing_to_do_with_images_is_not_kept() {
        let text = r#"{"kind":"Pod","status":{"kind":"x"},"spec":{"containers":[{"image":"a","env":[{"name":"b"}]}]}}"#;
        let InMemory(Node::Map(members)) = serde_json::from_str(text).unwrap() else { panic!() };
        assert_eq!(members.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["kind", "spec"]);
    }

    #[test]
    fn members_that_occur_twice_are_an_error() {
        let twice = r#"{"spec":{"containers":[{"image":"a","image":"b"}]}}"#;
        assert!(serde_json::from_str::<InMemory>(twice).is_err());
        assert!(serde_saphyr::from_str::<InText>(twice).is_err());
    }
}
