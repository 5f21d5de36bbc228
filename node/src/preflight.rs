//! What has to be in order before a node enforces: whatever is amiss here stops containers, or the node, afterwards.
//!
//! Three things are looked at together. The kernel has to be able to enforce. The policy has to deny what nobody signed, and
//! nothing that this machine has in use. And containerd has to reach osguard, which alone gives it layers that run.

use std::os::unix::net::UnixStream;

use osguard_policy::evaluate::Evaluator;
use osguard_policy::simulation::{Actor, Simulation, simulate};
use osguard_policy::syntax::Policy;

use crate::doctor::{
    Check, Finding, KERNEL_CHECKS, Machine, RUNTIME_CHECKS, Severity, Unchecked,
    containerd_addresses, judge_policy,
};
use crate::host_uses::host_uses;

/// Is one thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, which does not change.
    pub name: &'static str,
    /// What is right where nothing was found, a sentence without its full stop.
    pub title: &'static str,
    /// What was found, or why it could not be looked at. What is critical has to be mended first.
    pub outcome: Result<Vec<Finding>, Unchecked>,
}

/// Looks at everything that a node with `policy` in force needs. Nothing is changed.
pub fn preflight(machine: &Machine, policy: &Policy) -> Vec<Step> {
    let mut steps: Vec<Step> = KERNEL_CHECKS.iter().map(|check| step(check, machine)).collect();
    steps.push(Step {
        name: "policy-text",
        title: "The policy denies what nobody signed",
        outcome: Ok(judge_policy(policy)),
    });
    steps.push(Step {
        name: "host",
        title: "The policy denies nothing that this machine has in use",
        outcome: on_this_machine(machine, policy),
    });
    steps.extend(RUNTIME_CHECKS.iter().map(|check| obstacles(step(check, machine))));
    steps.push(Step {
        name: "snapshotter",
        title: "osguard answers where containerd looks for it",
        outcome: snapshotter(machine),
    });
    steps
}

fn step(check: &Check, machine: &Machine) -> Step {
    Step { name: check.name, title: check.title, outcome: check.run(machine) }
}

/// What is a warning for a node that enforces nothing stops containers on one that does.
fn obstacles(step: Step) -> Step {
    let severity =
        |found: Severity| if found == Severity::Warning { Severity::Critical } else { found };
    let outcome = step.outcome.map(|findings| {
        let raised = |finding: Finding| Finding { severity: severity(finding.severity), ..finding };
        findings.into_iter().map(raised).collect()
    });
    Step { outcome, ..step }
}

fn on_this_machine(machine: &Machine, policy: &Policy) -> Result<Vec<Finding>, Unchecked> {
    let config = machine.kernel_config().ok();
    let evaluator = config.as_ref().map_or_else(Evaluator::new, Evaluator::with_config);
    let uses = host_uses().map_err(|error| Unchecked::error(&error))?.uses;
    Ok(denials(&simulate(policy, evaluator, uses)))
}

fn denials(simulation: &Simulation) -> Vec<Finding> {
    let denied = simulation.denied.iter().map(|denied| {
        let what = format!("the policy would deny {}", denied.object);
        (what, denied.is_vital, &denied.actors)
    });
    let undecided = simulation.undecided.iter().map(|undecided| {
        let what = format!(
            "whether the policy would deny {} is not known: it {}",
            undecided.object, undecided.reason
        );
        (what, undecided.is_vital, &undecided.actors)
    });
    let mut all: Vec<_> = denied.chain(undecided).collect();
    // The vital ones come first, and stay when the list is cut.
    all.sort_by_key(|(_, is_vital, _)| !is_vital);
    let more = all.len().saturating_sub(SHOWN);
    let mut findings: Vec<_> = all
        .into_iter()
        .take(SHOWN)
        .map(|(what, is_vital, actors)| {
            let actors: Vec<_> = actors.iter().take(SHOWN_ACTORS).map(Actor::to_string).collect();
            let severity = if is_vital { Severity::Critical } else { Severity::Warning };
            Finding {
                severity,
                what: format!("{what}, for {}", actors.join(", ")),
                remedy: "put it on a signed volume, or do without it".to_owned(),
            }
        })
        .collect();
    if more > 0 {
        findings.push(Finding {
            severity: Severity::Warning,
            what: format!("{more} more objects would be denied"),
            remedy: "`osguard policy simulate POLICY --host --all` shows them".to_owned(),
        });
    }
    findings
}

fn snapshotter(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let unreachable = |address: String| match UnixStream::connect(&address) {
        Ok(_) => None,
        Err(error) => Some(Finding {
            severity: Severity::Critical,
            what: format!(
                "nobody answers at {address}, where containerd looks for osguard: {}",
                error.kind()
            ),
            remedy: "`systemctl enable --now osguard-node`, and see what it says".to_owned(),
        }),
    };
    Ok(containerd_addresses(machine)?.into_iter().filter_map(unreachable).collect())
}

/// More bury the others.
const SHOWN: usize = 20;
const SHOWN_ACTORS: usize = 3;

#[cfg(test)]
mod tests {
    use osguard_policy::evaluate::Facts;
    use osguard_policy::kernel_version::KernelVersion;
    use osguard_policy::simulation::{Knowledge, Object, Use};
    use osguard_policy::syntax::parse;
    use osguard_policy::vocabulary::Operation;

    use super::*;

    const STRICT: &[u8] = b"policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n\
        op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";

    fn uses(count: usize, is_vital: impl Fn(usize) -> bool) -> Vec<Use> {
        let one = |number: usize| Use {
            operation: Operation::Execute,
            object: Object::File(format!("/opt/{number}").into()),
            knowledge: Knowledge::Known(Facts::default()),
            actor: Actor::Part("containerd"),
            is_vital: is_vital(number),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn vital_denials_are_critical_and_come_first() {
        let policy = parse(STRICT, KernelVersion::V7_2).unwrap();
        let simulation = simulate(&policy, Evaluator::new(), uses(30, |number| number == 29));
        let found = denials(&simulation);
        assert_eq!(found.len(), SHOWN + 1);
        assert_eq!(found[0].severity, Severity::Critical);
        assert_eq!(found[0].what, "the policy would deny /opt/29, for containerd");
        assert_eq!(found[1].severity, Severity::Warning);
        assert_eq!(found[SHOWN].what, "10 more objects would be denied");
        assert!(denials(&simulate(&policy, Evaluator::new(), Vec::new())).is_empty());
    }

    #[test]
    fn warnings_about_the_runtime_are_obstacles() {
        let finding = |severity| Finding { severity, what: "w".into(), remedy: "r".into() };
        let outcome =
            Ok([Severity::Note, Severity::Warning, Severity::Critical].map(finding).to_vec());
        let raised = obstacles(Step { name: "n", title: "t", outcome }).outcome.unwrap();
        let severities: Vec<_> = raised.into_iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Note, Severity::Critical, Severity::Critical]);
    }
}
