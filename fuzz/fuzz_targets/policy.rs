//! No text makes the parser or the linter panic, and every place that they name is in the text. The
//! canonical form of what is taken is its own canonical form and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_policy::evaluate::{Decision, Evaluator, Facts, FsVerity, Volume};
use osguard_policy::format::format;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::lint::Linter;
use osguard_policy::syntax::{DigestValue, Policy, Statement, parse};
use osguard_policy::vocabulary::{Action, Operation};

fuzz_target!(|text: &[u8]| {
    for kernel in KernelVersion::ALL {
        for finding in Linter::new(kernel).lint(text) {
            let span = finding.span.unwrap_or_default();
            assert!(span.start <= span.end && span.end <= text.len(), "{finding:?}");
            assert!(!finding.show("policy", text).to_string().contains('\x1b'));
        }
        let Ok(policy) = parse(text, kernel) else {
            assert!(format(text, kernel).is_err());
            continue;
        };
        let Ok(formatted) = format(text, kernel) else {
            assert!(text.contains(&0), "only a NUL byte keeps a policy from having a form");
            continue;
        };
        assert_eq!(format(&formatted, kernel).as_ref(), Ok(&formatted));
        let again = parse(&formatted, kernel).expect("the canonical form is taken");
        assert_eq!(again.header.name.value, policy.header.name.value);
        assert_eq!(again.header.version.value, policy.header.version.value);
        for facts in interesting(&policy) {
            for operation in kernel.operations().iter().copied().map(Some).chain([None]) {
                assert_eq!(decided(&again, operation, &facts), decided(&policy, operation, &facts));
            }
        }
    }
});

fn decided(policy: &Policy, operation: Option<Operation>, facts: &Facts) -> Action {
    let Decision { action, .. } = Evaluator::new().decide(policy, operation, facts);
    action
}

/// Makes files that the rules of a policy tell apart.
fn interesting(policy: &Policy) -> Vec<Facts> {
    let unknown = DigestValue { algorithm: b"none".to_vec(), bytes: vec![1] };
    let mut digests = vec![unknown];
    for statement in &policy.statements {
        let Statement::Rule(rule) = statement else { continue };
        digests.extend(rule.properties.iter().filter_map(|one| one.value.digest().cloned()));
    }
    digests.truncate(16);
    let mut all = vec![Facts::default(), Facts { is_in_initramfs: true, ..Facts::default() }];
    for digest in digests {
        for is_signed in [false, true] {
            let volume = Some(Volume { root_hash: digest.clone(), is_signed });
            let fs_verity = Some(FsVerity { digest: digest.clone(), is_signed });
            all.push(Facts { volume: volume.clone(), ..Facts::default() });
            all.push(Facts { fs_verity: fs_verity.clone(), ..Facts::default() });
            all.push(Facts { volume, fs_verity, ..Facts::default() });
        }
    }
    all
}
