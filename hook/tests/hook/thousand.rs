//! A thousand pushes at once.

use std::time::Duration;

use crate::child::Process;
use crate::client::{envelope, notify, pushed};
use crate::diary;
use crate::kill::until;

/// How much a hook with a thousand notifications may take: a few megabytes are the test's own.
const MEMORY_BYTES: u64 = 64 << 20;

#[test]
fn a_thousand_notifications_at_once_are_signed_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let hook = Process::start(directory.path(), Duration::ZERO);
    let send = |thread: usize| {
        for number in 0..25 {
            let name = format!("{thread} {number}");
            // Registries tell again what they are not sure was heard.
            for _ in 0..2 {
                let answer = notify(hook.address, &envelope(&[pushed("team/app", &name)]));
                assert_eq!(answer.unwrap().status, 200);
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..40 {
            scope.spawn(move || send(thread));
        }
    });
    until("all are signed", || diary::counts(directory.path(), "signed").len() == 1000);
    let begun = diary::counts(directory.path(), "begun");
    assert_eq!(begun.len(), 1000);
    assert!(begun.values().all(|count| *count == 1), "{begun:?}");
    let memory = hook.peak_memory_bytes();
    assert!(memory < MEMORY_BYTES, "{memory} bytes");
}
