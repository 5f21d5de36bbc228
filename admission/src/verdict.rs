//! What is said of an image.

use std::fmt;

use libverity::digest::Digest;
use osguard_policy::trust::Standing;
use serde::Serialize;

/// Is what is said of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageVerdict {
    /// The manifest or index that the name has led to, if that is known.
    pub digest: Option<Digest>,
    /// The verdict in one word.
    pub reason: Reason,
    /// What was found, for people; at most [`MAX_DETAILS`] sentences of [`MAX_DETAIL_BYTES`] each.
    pub details: Vec<String>,
}

impl ImageVerdict {
    /// Says `reason`, with everything that belongs to it.
    pub fn new(
        digest: Option<Digest>,
        reason: Reason,
        details: impl IntoIterator<Item = String>,
    ) -> Self {
        let details =
            details.into_iter().take(MAX_DETAILS).map(|detail| shortened(&detail)).collect();
        Self { digest, reason, details }
    }
}

impl fmt::Display for ImageVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason.words())?;
        match self.details.is_empty() {
            true => Ok(()),
            false => write!(formatter, ": {}", self.details.join("; ")),
        }
    }
}

/// Says why an image passes or does not. The names are fixed: metrics, logs and reports have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The name is none.
    BadName,
    /// A trusted signer signed other content.
    ContentDiffers,
    /// The registry wants other credentials, or those that there are cannot be used.
    Credentials,
    /// The answer did not come in time.
    Deadline,
    /// Something in this program or its machine failed.
    Internal,
    /// The trust configuration trusts nobody for the repository.
    NoScope,
    /// A node that the pod may run on would not take it, or nothing is known of such a node.
    Node,
    /// There is no such image, or none for the platforms of the nodes.
    NotFound,
    /// The name has no digest, and one is required.
    NotPinned,
    /// A layer has no signature.
    NotSigned,
    /// No signature is valid and by a trusted signer.
    NotTrusted,
    /// Too much is being looked up already.
    Overloaded,
    /// The signatures are for nodes that convert layers by another profile.
    Profile,
    /// The kernel would take it, and the trust configuration does not: revoked, expired, too few.
    Refused,
    /// The registry cannot be reached, or fails.
    Registry,
    /// Everything is signed, and so by those who are trusted.
    Signed,
    /// The trust configuration says that nothing is to be verified.
    Skipped,
    /// The registry asks to slow down.
    Throttled,
    /// The image or its signatures are damaged, hostile or of a kind that is not supported.
    Unreadable,
}

/// Says what follows from a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The image may start.
    Pass,
    /// It may not.
    Refuse,
    /// Nobody knows at the moment; it may not, unless the policy says otherwise.
    Unavailable,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 19] = [
        Self::BadName,
        Self::ContentDiffers,
        Self::Credentials,
        Self::Deadline,
        Self::Internal,
        Self::NoScope,
        Self::Node,
        Self::NotFound,
        Self::NotPinned,
        Self::NotSigned,
        Self::NotTrusted,
        Self::Overloaded,
        Self::Profile,
        Self::Refused,
        Self::Registry,
        Self::Signed,
        Self::Skipped,
        Self::Throttled,
        Self::Unreadable,
    ];

    /// Returns what follows.
    ///
    /// A registry that does not let us in is no registry that is away: whoever chooses the image could
    /// choose such a one.
    pub fn effect(self) -> Effect {
        match self {
            Self::Signed | Self::Skipped => Effect::Pass,
            Self::Deadline | Self::Overloaded | Self::Registry | Self::Throttled => {
                Effect::Unavailable
            }
            Self::BadName
            | Self::ContentDiffers
            | Self::Credentials
            | Self::Internal
            | Self::NoScope
            | Self::Node
            | Self::NotFound
            | Self::NotPinned
            | Self::NotSigned
            | Self::NotTrusted
            | Self::Profile
            | Self::Refused
            | Self::Unreadable => Effect::Refuse,
        }
    }

    /// Returns the name, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadName => "bad-name",
            Self::ContentDiffers => "content-differs",
            Self::Credentials => "credentials",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
            Self::NoScope => "no-scope",
            Self::Node => "node",
            Self::NotFound => "not-found",
            Self::NotPinned => "not-pinned",
            Self::NotSigned => "not-signed",
            Self::NotTrusted => "not-trusted",
            Self::Overloaded => "overloaded",
            Self::Profile => "profile",
            Self::Refused => "refused",
            Self::Registry => "registry",
            Self::Signed => "signed",
            Self::Skipped => "skipped",
            Self::Throttled => "throttled",
            Self::Unreadable => "unreadable",
        }
    }

    /// Returns the reason in words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::BadName => "this is no name of an image",
            Self::ContentDiffers => "the content is not what was signed",
            Self::Credentials => "the registry does not let osguard in",
            Self::Deadline => "the answer did not come in time",
            Self::Internal => "osguard failed",
            Self::NoScope => "nobody is trusted for this repository",
            Self::Node => "a node of this cluster would not take it",
            Self::NotFound => "there is no such image",
            Self::NotPinned => "the image has no digest, and the policy requires one",
            Self::NotSigned => "not signed",
            Self::NotTrusted => "no signature is valid and trusted",
            Self::Overloaded => "too many images are being looked up",
            Self::Profile => "the signatures are not for the nodes of this cluster",
            Self::Refused => "refused by the trust configuration",
            Self::Registry => "the registry failed",
            Self::Signed => "signed",
            Self::Skipped => "not verified, as the trust configuration has it",
            Self::Throttled => "the registry asks to slow down",
            Self::Unreadable => "the image cannot be read",
        }
    }
}

impl From<Standing> for Reason {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Signed => Self::Signed,
            Standing::Skipped => Self::Skipped,
            Standing::Refused => Self::Refused,
            Standing::ContentDiffers => Self::ContentDiffers,
            Standing::NotTrusted => Self::NotTrusted,
            Standing::NotSigned => Self::NotSigned,
        }
    }
}

/// Cuts a text that may quote something from outside, and takes out what would break a line.
fn shortened(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut short: String = text.chars().map(clean).take(MAX_DETAIL_BYTES).collect();
    while short.len() > MAX_DETAIL_BYTES {
        short.pop();
    }
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// How many sentences are kept for one image.
pub const MAX_DETAILS: usize = 4;

/// How long each may be.
pub const MAX_DETAIL_BYTES: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_signed_or_skipped_passes() {
        let passing = Reason::ALL.iter().filter(|reason| reason.effect() == Effect::Pass);
        assert_eq!(passing.collect::<Vec<_>>(), [&Reason::Signed, &Reason::Skipped]);
        for reason in Reason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.name());
        }
    }

    #[test]
    fn details_are_cut() {
        let details = (0..10).map(|_| "ä\n".repeat(1000));
        let verdict = ImageVerdict::new(None, Reason::Registry, details);
        assert_eq!(verdict.details.len(), MAX_DETAILS);
        assert!(verdict.details.iter().all(|detail| detail.len() <= MAX_DETAIL_BYTES + 3));
        assert!(!verdict.to_string().contains('\n'));
    }
}
