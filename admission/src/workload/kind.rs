//! Which kinds of objects start containers, and where they say of what image.

/// Is a place in an object: the members on the way to it.
pub(super) type Place = &'static [&'static str];

/// Says where an object has the specification of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is a list of objects.
    List,
    /// It is a kind that is not known: every place is looked at in which a known kind has one.
    Unknown,
    /// It is there.
    Workload(&'static [Place]),
}

impl Shape {
    /// Returns the shape of a kind.
    pub(super) fn of(api_version: &str, kind: &str) -> Self {
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = KINDS.iter().find(|known| known.0 == group && known.1 == kind);
        match known {
            Some((_, _, places)) => Self::Workload(places),
            None if is_listed(group, kind) => Self::List,
            None => Self::Unknown,
        }
    }

    /// Returns the places that are looked at.
    pub(super) fn places(self) -> &'static [Place] {
        match self {
            Self::List => &[],
            Self::Unknown => &[POD, POD_TEMPLATE, WORKLOAD, CRON_JOB],
            Self::Workload(places) => places,
        }
    }
}

/// Tells whether it is `List`, `PodList`, `DeploymentList` and so on.
fn is_listed(group: &str, kind: &str) -> bool {
    let is_known = |item| KINDS.iter().any(|known| known.0 == group && known.1 == item);
    match kind.strip_suffix("List") {
        Some("") => group.is_empty(),
        Some(item) => is_known(item),
        None => false,
    }
}

/// The group, the kind, and where the specification of the pods is.
///
/// Source: Kubernetes API reference, "Workload Resources".
const KINDS: [(&str, &str, &[Place]); 9] = [
    ("", "Pod", &[POD]),
    ("", "PodTemplate", &[POD_TEMPLATE]),
    ("", "ReplicationController", &[WORKLOAD]),
    ("apps", "DaemonSet", &[WORKLOAD]),
    ("apps", "Deployment", &[WORKLOAD]),
    ("apps", "ReplicaSet", &[WORKLOAD]),
    ("apps", "StatefulSet", &[WORKLOAD]),
    ("batch", "CronJob", &[CRON_JOB]),
    ("batch", "Job", &[WORKLOAD]),
];

const POD: Place = &["spec"];
const POD_TEMPLATE: Place = &["template", "spec"];
const WORKLOAD: Place = &["spec", "template", "spec"];
const CRON_JOB: Place = &["spec", "jobTemplate", "spec", "template", "spec"];

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
        assert_eq!(Shape::of("example.com/v1", "List"), Shape::Unknown);
        assert_eq!(Shape::of("example.com/v1", "WaitingList"), Shape::Unknown);
        assert_eq!(Shape::of("example.com/v1", "Deployment"), Shape::Unknown);
        assert_eq!(Shape::Unknown.places().len(), 4);
    }
}
