//! Requests.

use serde::Deserialize;

use crate::workload::Object;

/// Is a request as it comes. What is not needed is skipped, whatever it is.
///
/// Source: Kubernetes, `staging/src/k8s.io/api/admission/v1/types.go`.
#[derive(Debug)]
pub struct Review {
    /// The request.
    pub request: Request,
}

/// Asks whether something may be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Tells it from all other requests.
    pub uid: String,
    /// The kind of the object.
    pub kind: GroupVersionKind,
    /// The part of the object that is meant, such as `ephemeralcontainers`.
    pub sub_resource: Option<String>,
    /// The name of the object, if it has one yet.
    pub name: Option<String>,
    /// The namespace, as the API server knows it; whoever makes an object has no say in it.
    pub namespace: Option<String>,
    /// What is to be done.
    pub operation: Operation,
    /// The object as it is to be; not there when it is deleted.
    pub object: Option<Object>,
    /// The object as it was.
    pub old_object: Option<Object>,
}

/// Names a kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind {
    /// The group, empty for the core.
    #[serde(default)]
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// Says what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Something is made.
    Create,
    /// Something is changed.
    Update,
    /// Something is deleted.
    Delete,
    /// Something is connected to, a pod's console for example.
    Connect,
}

impl Review {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// Returns why it is none. There is no identifier then by which it could be answered.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReviewError> {
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|source| ReviewError::Json { source })?;
        if envelope.api_version != API_VERSION || envelope.kind != KIND {
            let short = |text: String| text.chars().take(MAX_SHOWN).collect();
            return Err(ReviewError::Version {
                api_version: short(envelope.api_version),
                kind: short(envelope.kind),
            });
        }
        let request = envelope.request.ok_or(ReviewError::NoRequest)?;
        let is_identifier = !request.uid.is_empty()
            && request.uid.len() <= MAX_UID_BYTES
            && request.uid.bytes().all(|byte| byte.is_ascii_graphic());
        match is_identifier {
            true => Ok(Self { request }),
            false => Err(ReviewError::Identifier),
        }
    }
}

/// Says why some bytes are no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// It has no identifier, or one that is none.
    #[error("request.uid is not an identifier")]
    Identifier,
    /// It is not JSON, or lacks something.
    #[error("it is not valid: {source}")]
    Json {
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// It is an answer, or empty.
    #[error("there is no request in it")]
    NoRequest,
    /// It is something else, or of another version.
    #[error("it is {kind:?} of {api_version:?}, not {KIND:?} of {API_VERSION:?}")]
    Version {
        /// The version that it names.
        api_version: String,
        /// The kind that it names.
        kind: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
pub(super) const KIND: &str = "AdmissionReview";

/// UIDs have 36 bytes.
const MAX_UID_BYTES: usize = 128;

const MAX_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: &str, to: &str) -> String {
        let text = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{
            "uid":"705ab4f5-6393-11e8-b7cc-42010a800002","kind":{"group":"","version":"v1","kind":"Pod"},
            "operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod"},"oldObject":null,"new":[{}]}}"#;
        assert!(text.contains(change), "{change}");
        text.replace(change, to)
    }

    #[test]
    fn requests_are_read_and_unknown_fields_skipped() {
        let review = Review::parse(request("CREATE", "UPDATE").as_bytes()).unwrap();
        assert_eq!(review.request.operation, Operation::Update);
        assert_eq!(review.request.kind.kind, "Pod");
        assert!(review.request.object.is_some() && review.request.old_object.is_none());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "{\"apiVersion\":".to_owned(),
            request("admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
            request("AdmissionReview", "SubjectAccessReview"),
            request("\"request\"", "\"response\""),
            request("\"uid\"", "\"id\""),
            request("705ab4f5-6393-11e8-b7cc-42010a800002", ""),
            request("705ab4f5-6393-11e8-b7cc-42010a800002", "a b"),
            request("705ab4f5-6393-11e8-b7cc-42010a800002", &"a".repeat(1000)),
            request("CREATE", "PATCH"),
            request("\"kind\":\"Pod\"}", "\"kind\":7}"),
            request("{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", &format!("{{\"spec\":{deep}}}")),
            request("\"CREATE\"", "\"CREATE\",\"operation\":\"DELETE\""),
        ] {
            assert!(Review::parse(text.as_bytes()).is_err(), "{text:.100}");
        }
    }

    #[test]
    fn objects_of_three_mebibytes_are_read() {
        let annotation = "x".repeat(3 << 20);
        let object = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"annotations":{{"a":"{annotation}"}}}},"spec":{{"containers":[{{"image":"a"}}]}}}}"#
        );
        let text = request(r#"{"apiVersion":"v1","kind":"Pod"}"#, &object);
        let review = Review::parse(text.as_bytes()).unwrap();
        assert_eq!(review.request.object.unwrap().workloads().unwrap()[0].images.len(), 1);
    }
}
