//! Answers.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use serde::Serialize;

use super::request::{API_VERSION, KIND};

/// Is an answer as it is sent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewAnswer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

impl ReviewAnswer {
    /// Wraps a response.
    pub fn new(response: Response) -> Self {
        Self { api_version: API_VERSION, kind: KIND, response }
    }
}

/// Says whether something may be done.
///
/// Source: Kubernetes, `staging/src/k8s.io/api/admission/v1/types.go`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The identifier of the request.
    pub uid: String,
    /// Whether it may.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What whoever asked is told besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What goes into the audit log, under the name of the webhook.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audit_annotations: BTreeMap<&'static str, String>,
    /// Of what kind the patch is.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// What is to be changed, in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

/// Says why something may not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The HTTP status that the user's request is answered with.
    pub code: u16,
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// Is one change of an object (RFC 6902): another value for a member that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Patch {
    op: &'static str,
    path: String,
    value: String,
}

impl Patch {
    /// Replaces what is at a JSON pointer.
    pub fn replace(path: String, value: String) -> Self {
        Self { op: "replace", path, value }
    }
}

impl Response {
    /// Allows the request.
    pub fn allow(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
            patch_type: None,
            patch: None,
        }
    }

    /// Refuses the request.
    pub fn deny(uid: &str, message: &str) -> Self {
        let message = shortened(message, MAX_MESSAGE_BYTES);
        let status = Status { code: 403, reason: "Forbidden", message };
        Self { allowed: false, status: Some(status), ..Self::allow(uid) }
    }

    /// Adds a line to the audit log.
    #[must_use]
    pub fn annotate(mut self, key: &'static str, value: &str) -> Self {
        self.audit_annotations.insert(key, shortened(value, MAX_MESSAGE_BYTES));
        self
    }

    /// Tells whoever asked.
    #[must_use]
    pub fn warn(mut self, warning: &str) -> Self {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(shortened(warning, MAX_WARNING_BYTES));
        }
        self
    }

    /// Changes the object.
    #[must_use]
    pub fn patch(mut self, patches: &[Patch]) -> Self {
        // Texts cannot fail to be written.
        if let Ok(json) = serde_json::to_vec(patches)
            && !patches.is_empty()
        {
            self.patch_type = Some("JSONPatch");
            self.patch = Some(Base64::encode_string(&json));
        }
        self
    }
}

/// Cuts a text, and takes out what would break a header: warnings travel in one.
fn shortened(text: &str, limit: usize) -> String {
    let mut short = String::new();
    for letter in text.chars() {
        if short.len() + letter.len_utf8() > limit - '…'.len_utf8() {
            short.push('…');
            break;
        }
        short.push(if letter.is_control() { ' ' } else { letter });
    }
    short
}

/// What is said of a refusal; `kubectl` shows all of it.
const MAX_MESSAGE_BYTES: usize = 4096;

/// The API server cuts each warning at 256 letters and leaves out what goes beyond 4,096 in all.
const MAX_WARNING_BYTES: usize = 256;
const MAX_WARNINGS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_form_of_the_api() {
        let denied = ReviewAnswer::new(Response::deny("7", "no\nno").annotate("mode", "enforce"));
        assert_eq!(
            serde_json::to_value(denied).unwrap(),
            serde_json::json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {
                    "uid": "7", "allowed": false,
                    "status": { "code": 403, "reason": "Forbidden", "message": "no no" },
                    "auditAnnotations": { "mode": "enforce" },
                },
            })
        );
        let patches = [Patch::replace("/spec/containers/0/image".to_owned(), "a@b".to_owned())];
        let patched = serde_json::to_value(Response::allow("7").patch(&patches)).unwrap();
        let patch = Base64::decode_vec(patched["patch"].as_str().unwrap()).unwrap();
        assert_eq!(
            String::from_utf8(patch).unwrap(),
            r#"[{"op":"replace","path":"/spec/containers/0/image","value":"a@b"}]"#
        );
        assert_eq!(patched["patchType"], "JSONPatch");
        assert_eq!(
            serde_json::to_value(Response::allow("7").patch(&[])).unwrap().get("patch"),
            None
        );
    }

    #[test]
    fn texts_are_cut() {
        let mut response = Response::deny("7", &"ä".repeat(10_000));
        for _ in 0..100 {
            response = response.warn(&"ä\r\n".repeat(1000));
        }
        assert!(response.status.unwrap().message.len() <= MAX_MESSAGE_BYTES);
        assert!(response.warnings.iter().all(|text| text.len() <= MAX_WARNING_BYTES));
        assert!(response.warnings.iter().map(String::len).sum::<usize>() <= 4096);
    }
}
