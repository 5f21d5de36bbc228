//! No log makes the reader panic, whichever lines it holds, and whatever is read can be explained without an escape
//! sequence in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_policy::audit::container::ContainerId;
use osguard_policy::audit::context::Context;
use osguard_policy::audit::event::{Assembler, Event, PENDING_LIMIT};
use osguard_policy::audit::explain::explain;
use osguard_policy::audit::reader::{Next, Reader};
use osguard_policy::audit::record::Content;
use osguard_policy::audit::suggest::Suggestions;
use osguard_policy::evaluate::Evaluator;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::parse;
use osguard_policy::vocabulary::{Action, Operation};

fuzz_target!(|log: &[u8]| {
    let mut reader = Reader::new(log);
    let mut assembler = Assembler::default();
    let mut suggestions = Suggestions::default();
    loop {
        match reader.next_record().expect("bytes can be read") {
            Next::End => break,
            Next::Idle => unreachable!("all bytes are there"),
            Next::Malformed(error) => assert!(!error.to_string().contains('\x1b')),
            Next::Record(record) => {
                assembler.push(record).for_each(|event| look_at(&event, &mut suggestions));
            }
        }
    }
    let waiting: Vec<_> = assembler.flush().collect();
    assert!(waiting.len() <= PENDING_LIMIT);
    waiting.iter().for_each(|event| look_at(event, &mut suggestions));
    let counts = reader.counts();
    assert!(counts.records + counts.too_long <= counts.lines);
    let text = String::from_utf8_lossy(log);
    if let Some(container) = ContainerId::of_cgroup(&text) {
        assert_eq!(container.id.len(), 64);
    }
});

fn look_at(event: &Event, suggestions: &mut Suggestions) {
    let Content::Access(access) = &event.record.content else { return };
    let context = Context::of_record(access);
    let explanation = explain(access, &context, None);
    assert!(!explanation.what.contains(['\x1b', '\n']), "{explanation:?}");
    suggestions.add(access, &context, None);
    for advice in explanation.remedies {
        let Some(rule) = advice.remedy.rule() else { continue };
        // Whatever a log says, nobody is told to allow everything.
        let text = format!("policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n{rule}\n");
        let policy = parse(text.as_bytes(), KernelVersion::V7_2).expect("advice is a rule");
        let nothing = Default::default();
        let decision = Evaluator::new().decide(&policy, Some(Operation::Execute), &nothing);
        assert_eq!(decision.action, Action::Deny, "{rule}");
    }
}
