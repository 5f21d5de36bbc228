//! Notifications: what a distribution registry tells of.

use std::fmt;

use libverity::digest::{Digest, DigestError};
use osguard_registry::media_type::MediaType;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::repository::{RepositoryError, Target};

/// Parses the body of a notification, an envelope of events.
///
/// ```json
/// {"events": [{"action": "push", "target": {"repository": "team/app", "digest": "sha256:…",
///   "mediaType": "application/vnd.oci.image.manifest.v1+json", "tag": "v1"}}]}
/// ```
///
/// Fields that are not listed here are passed over, above all those that name hosts and URLs: where
/// the registry is is not for a notification to say. An event whose facts make no sense is
/// [`Meaning::Malformed`] and hides no other one: a registry sends a refused envelope again and
/// again, and nothing behind it.
///
/// Source: distribution, `docs/content/about/notifications.md` and `notifications/event.go`.
///
/// # Errors
///
/// Returns an error if the document is no envelope, or has more than [`MAX_EVENTS`] events.
pub fn parse(body: &[u8]) -> Result<Vec<Event>, NotificationError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(NotificationError::TooLong);
    }
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|source| NotificationError::Json { source })?;
    let Events(events) = envelope.events;
    // The limit is looked at here and not by serde, whose errors have no types.
    if events.len() > MAX_EVENTS {
        return Err(NotificationError::TooManyEvents);
    }
    Ok(events.into_iter().map(EventDocument::into_event).collect())
}

/// Tells whether a `Content-Type` is that of notifications.
pub fn is_media_type(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type))
}

/// Is one thing that happened in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// What that means here.
    pub meaning: Meaning,
}

/// Tells what was done to something in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It was deleted.
    Delete,
    /// It was made available in another repository.
    Mount,
    /// Anything else.
    Other,
    /// It was read.
    Pull,
    /// It was written.
    Push,
}

impl Action {
    fn new(text: &str) -> Self {
        match text {
            "delete" => Self::Delete,
            "mount" => Self::Mount,
            "pull" => Self::Pull,
            "push" => Self::Push,
            _ => Self::Other,
        }
    }

    /// Returns the action as notifications have it; all that are not known have one name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Mount => "mount",
            Self::Other => "other",
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

/// Tells what an event means for signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Something is gone, and with it its signatures.
    Deleted(Target),
    /// The event cannot be what it says it is.
    Malformed(EventError),
    /// Nothing: the registry was read, or a blob or tag was written.
    Nothing,
    /// A manifest or index was pushed.
    Pushed(Target),
    /// A list of what is attached to a manifest was pushed.
    Referrers(Target),
}

/// Says why a document is no notification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotificationError {
    /// The document is not JSON, or a field is not what it must be.
    #[error("the notification is not valid: {source}")]
    Json {
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// The document is too long.
    #[error("the notification has more than {MAX_BODY_BYTES} bytes")]
    TooLong,
    /// There are too many events.
    #[error("the notification has more than {MAX_EVENTS} events")]
    TooManyEvents,
}

/// Says why an event is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The digest is none, or of an algorithm that is not supported.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A field is missing.
    #[error("the event's target has no {field}")]
    Missing {
        /// The name of the field.
        field: &'static str,
    },
    /// The repository's name is none.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// The longest notification, in bytes. An event has about 800, and registries send one or a few.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// The most events of one notification.
pub const MAX_EVENTS: usize = 1000;

/// The media types of notifications: `EventsMediaType` of distribution up to 2.6, and since.
const MEDIA_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.events.v1+json",
    "application/vnd.docker.distribution.events.v2+json",
];

#[derive(Deserialize)]
struct Envelope {
    events: Events,
}

/// Holds no more than [`MAX_EVENTS`] and one, however many there are.
struct Events(Vec<EventDocument>);

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Events;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Events, A::Error> {
                let mut events = Vec::new();
                while events.len() <= MAX_EVENTS {
                    match items.next_element()? {
                        Some(event) => events.push(event),
                        None => return Ok(Events(events)),
                    }
                }
                while items.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Events(events))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

#[derive(Deserialize)]
struct EventDocument {
    action: String,
    #[serde(default)]
    target: Option<TargetDocument>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetDocument {
    media_type: Option<String>,
    digest: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
}

impl EventDocument {
    fn into_event(self) -> Event {
        let action = Action::new(&self.action);
        let target = self.target.unwrap_or_default();
        let meaning = match action {
            Action::Push => target.pushed(),
            Action::Delete => target.deleted(),
            Action::Mount | Action::Other | Action::Pull => Ok(Meaning::Nothing),
        };
        Event { action, meaning: meaning.unwrap_or_else(Meaning::Malformed) }
    }
}

impl TargetDocument {
    fn pushed(self) -> Result<Meaning, EventError> {
        let media_type = self.media_type.as_deref().filter(|text| !text.is_empty());
        let media_type = MediaType::new(
            media_type.ok_or(EventError::Missing { field: "mediaType" })?.to_owned(),
        );
        if !media_type.is_manifest() && !media_type.is_index() {
            return Ok(Meaning::Nothing);
        }
        let is_referrers =
            media_type.is_index() && self.tag.as_deref().is_some_and(is_of_referrers);
        let target = self.into_target()?;
        Ok(if is_referrers { Meaning::Referrers(target) } else { Meaning::Pushed(target) })
    }

    fn deleted(self) -> Result<Meaning, EventError> {
        // Where a tag goes, the manifest stays.
        if self.digest.as_deref().is_none_or(str::is_empty) {
            return Ok(Meaning::Nothing);
        }
        self.into_target().map(Meaning::Deleted)
    }

    fn into_target(self) -> Result<Target, EventError> {
        let repository = self.repository.ok_or(EventError::Missing { field: "repository" })?;
        let digest = self.digest.ok_or(EventError::Missing { field: "digest" })?;
        Ok(Target { repository: repository.parse()?, digest: digest.parse::<Digest>()? })
    }
}

/// Tells the tag under which registries without the referrers API keep the list of all that is
/// attached to a manifest.
///
/// Source: OCI distribution specification, "Referrers Tag Schema".
fn is_of_referrers(tag: &str) -> bool {
    tag.strip_prefix("sha256-").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn target() -> Target {
        Target { repository: "team/app".parse().unwrap(), digest: Digest::of(b"manifest") }
    }

    fn event(action: &str, changes: Value) -> Value {
        let mut target = json!({
            "mediaType": MediaType::OCI_MANIFEST.as_str(),
            "digest": target().digest,
            "repository": "team/app",
            "url": "http://elsewhere.example/v2/team/app/manifests/sha256:00",
        });
        for (field, value) in changes.as_object().unwrap() {
            target[field] = value.clone();
        }
        json!({ "id": "1", "action": action, "target": target, "actor": {}, "new": [1] })
    }

    fn meaning(event: Value) -> Meaning {
        let body = json!({ "events": [event] }).to_string();
        parse(body.as_bytes()).unwrap().remove(0).meaning
    }

    #[test]
    fn what_distribution_sends_is_understood() {
        let body = include_bytes!("../../testdata/notifications/distribution-2.8.json");
        let events = parse(body).unwrap();
        let [blob, manifest, pull, deleted, untagged] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((blob.action, &blob.meaning), (Action::Push, &Meaning::Nothing));
        let Meaning::Pushed(target) = &manifest.meaning else { panic!("{manifest:?}") };
        assert_eq!(target.repository.as_str(), "team/app");
        assert_eq!((pull.action, &pull.meaning), (Action::Pull, &Meaning::Nothing));
        assert_eq!(deleted.meaning, Meaning::Deleted(target.clone()));
        assert_eq!((untagged.action, &untagged.meaning), (Action::Delete, &Meaning::Nothing));
    }

    #[test]
    fn only_pushes_of_manifests_and_indexes_count() {
        for media_type in [
            MediaType::OCI_MANIFEST,
            MediaType::OCI_INDEX,
            MediaType::DOCKER_MANIFEST,
            MediaType::DOCKER_INDEX,
        ] {
            let pushed = event("push", json!({ "mediaType": media_type.as_str() }));
            assert_eq!(meaning(pushed), Meaning::Pushed(target()));
        }
        for media_type in [
            "application/octet-stream",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ] {
            assert_eq!(
                meaning(event("push", json!({ "mediaType": media_type }))),
                Meaning::Nothing
            );
        }
        for action in ["pull", "mount", "PUSH", ""] {
            assert_eq!(meaning(event(action, json!({}))), Meaning::Nothing);
        }
        assert_eq!(meaning(event("delete", json!({}))), Meaning::Deleted(target()));
        let tag_is_gone = event("delete", json!({ "digest": null, "tag": "v1" }));
        assert_eq!(meaning(tag_is_gone), Meaning::Nothing);
    }

    #[test]
    fn lists_of_referrers_are_told_by_their_tag() {
        let tag = target().digest.to_string().replace(':', "-");
        let index = MediaType::OCI_INDEX;
        let with = |media_type: &MediaType, tag: &str| {
            meaning(event("push", json!({ "mediaType": media_type.as_str(), "tag": tag })))
        };
        assert_eq!(with(&index, &tag), Meaning::Referrers(target()));
        assert_eq!(with(&index, "v1"), Meaning::Pushed(target()));
        assert_eq!(with(&index, &format!("{tag}.sig")), Meaning::Pushed(target()));
        // Whoever gives an image such a tag still gets it signed.
        assert_eq!(with(&MediaType::OCI_MANIFEST, &tag), Meaning::Pushed(target()));
    }

    #[test]
    fn an_event_that_makes_no_sense_hides_no_other() {
        for changes in [
            json!({ "mediaType": null }),
            json!({ "digest": null }),
            json!({ "digest": "" }),
            json!({ "digest": format!("sha512:{}", "0".repeat(128)) }),
            json!({ "digest": "sha256:../../x" }),
            json!({ "repository": null }),
            json!({ "repository": "../x" }),
            json!({ "repository": "team/app@sha256:00" }),
        ] {
            let body = json!({ "events": [event("push", changes), event("push", json!({}))] });
            let events = parse(body.to_string().as_bytes()).unwrap();
            assert!(matches!(events[0].meaning, Meaning::Malformed(_)), "{body}");
            assert_eq!(events[1].meaning, Meaning::Pushed(target()));
        }
        let without_target = json!({ "action": "push" });
        assert!(matches!(meaning(without_target), Meaning::Malformed(_)));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let many = |count: usize| {
            format!("{{\"events\":[{}]}}", vec![r#"{"action":"pull"}"#; count].join(","))
        };
        assert_eq!(parse(many(MAX_EVENTS).as_bytes()).unwrap().len(), MAX_EVENTS);
        let error = |body: &str| parse(body.as_bytes()).unwrap_err();
        assert!(matches!(error(&many(MAX_EVENTS + 1)), NotificationError::TooManyEvents));
        assert!(matches!(error(&many(MAX_EVENTS + 10)), NotificationError::TooManyEvents));
        assert!(matches!(error(&" ".repeat(MAX_BODY_BYTES + 1)), NotificationError::TooLong));
        let deep = format!(r#"{{"events":{}"#, "[".repeat(100_000));
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"events":null}"#,
            r#"{"events":{}}"#,
            r#"{"events":[1]}"#,
            r#"{"events":[{}]}"#,
            r#"{"events":[{"action":1}]}"#,
            r#"{"events":[],"events":[]}"#,
            r#"{"events":[]} x"#,
            r#"{"events":[{"action":"pull","target":[]}]"#,
            &deep,
        ] {
            assert!(matches!(error(body), NotificationError::Json { .. }), "{body:.80}");
        }
    }

    #[test]
    fn media_types_of_both_versions_are_taken() {
        for text in MEDIA_TYPES {
            assert!(is_media_type(text) && is_media_type(&format!("{text}; charset=utf-8")));
        }
        for text in ["", "application/json", "application/vnd.docker.distribution.events.v3+json"] {
            assert!(!is_media_type(text), "{text}");
        }
    }
}
