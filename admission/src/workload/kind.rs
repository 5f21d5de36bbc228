//! Which kinds of objects start containers, and where they say of what image.

/// Says where an object has the specification of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is a list of objects.
    List,
    /// It is a kind that is not known: every place is looked at in which a known kind has one.
    Unknown,
    /// It is at the end of these members.
    Workload(&'static [&'static str]),
}

impl Shape {
    /// Returns the shape of a kind.
    pub(super) fn of(api_version: &str, kind: &str) -> Self {
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = KINDS.iter().find(|known| known.0 == group && known.1 == kind);
        match known {
            Some((_, _, path)) => Self::Workload(path),
            None if kind == "List" || (kind.ends_with("List") && is_listed(group, kind)) => {
                Self::List
            }
            None => Self::Unknown,
        }
    }

    /// Returns the places that are looked at.
    pub(super) fn places(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::List => &[],
            Self::Unknown => &PLACES,
            Self::Workload(path) => PLACES
                .iter()
                .position(|place| *place == path)
                .and_then(|number| PLACES.get(number..=number))
                .unwrap_or_default(),
        }
    }
}

/// Tells whether it is `PodList`, `DeploymentList` and so on.
fn is_listed(group: &str, kind: &str) -> bool {
    let item = kind.strip_suffix("List").unwrap_or_default();
    KINDS.iter().any(|known| known.0 == group && known.1 == item)
}

/// The group, the kind, and where the specification of the pods is.
///
/// Source: Kubernetes API reference, "Workload Resources".
const KINDS: [(&str, &str, &[&str]); 9] = [
    ("", "Pod", POD),
    ("", "PodTemplate", POD_TEMPLATE),
    ("", "ReplicationController", WORKLOAD),
    ("apps", "DaemonSet", WORKLOAD),
    ("apps", "Deployment", WORKLOAD),
    ("apps", "ReplicaSet", WORKLOAD),
    ("apps", "StatefulSet", WORKLOAD),
    ("batch", "CronJob", CRON_JOB),
    ("batch", "Job", WORKLOAD),
];

/// All places.
const PLACES: [&[&str]; 4] = [POD, POD_TEMPLATE, WORKLOAD, CRON_JOB];

const POD: &[&str] = &["spec"];
const POD_TEMPLATE: &[&str] = &["template", "spec"];
const WORKLOAD: &[&str] = &["spec", "template", "spec"];
const CRON_JOB: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_group_and_name() {
        assert_eq!(Shape::of("v1", "Pod").places(), [POD]);
        assert_eq!(Shape::of("apps/v1", "Deployment").places(), [WORKLOAD]);
        assert_eq!(Shape::of("apps/v1beta2", "Deployment").places(), [WORKLOAD]);
        assert_eq!(Shape::of("batch/v1", "CronJob").places(), [CRON_JOB]);
        assert_eq!(Shape::of("v1", "List"), Shape::List);
        assert_eq!(Shape::of("apps/v1", "DeploymentList"), Shape::List);
        assert_eq!(Shape::of("example.com/v1", "WaitingList"), Shape::Unknown);
        assert_eq!(Shape::of("example.com/v1", "Deployment"), Shape::Unknown);
        assert_eq!(Shape::Unknown.places().len(), 4);
    }
}
