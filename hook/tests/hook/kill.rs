//! A hook that is killed, wherever it is.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::Process;
use crate::client::{envelope, notify, pushed};
use crate::diary;

/// Waits for something that happens sooner or later.
#[track_caller]
pub(crate) fn until(what: &str, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(300), "it does not happen that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills after so many steps of the diary; with two workers, attempts are everywhere between their
/// beginning and the note of their end.
#[test]
fn what_a_killed_hook_has_answered_for_is_signed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let steps = |directory: &Path| -> usize {
        ["begun", "signed"]
            .iter()
            .map(|word| diary::counts(directory, word).values().sum::<usize>())
            .sum()
    };
    let mut names = Vec::new();
    for point in 0..10 {
        let hook = Process::start(directory.path(), Duration::from_millis(10));
        let before = steps(directory.path());
        for number in 0..5 {
            let name = format!("{point} {number}");
            let answer = notify(hook.address, &envelope(&[pushed("team/app", &name)])).unwrap();
            assert_eq!(answer.status, 200);
            names.push(name);
        }
        until("the hook works", || steps(directory.path()) >= before + point);
        hook.kill();
    }
    let hook = Process::start(directory.path(), Duration::ZERO);
    until("all are signed", || diary::signatures(directory.path()) == names.len());
    drop(hook);
    let signed = diary::counts(directory.path(), "signed");
    assert!(signed.values().all(|count| *count == 1), "{signed:?}");
}

/// A notification is being written at the time of each kill, and counts only if it was answered.
#[test]
fn a_notification_that_was_not_answered_can_be_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for point in 0..10 {
        let hook = Process::start(directory.path(), Duration::ZERO);
        let address = hook.address;
        let (sender, receiver) = std::sync::mpsc::channel();
        let sending = std::thread::spawn(move || {
            for number in 0.. {
                let name = format!("{point} {number}");
                let answer = notify(address, &envelope(&[pushed("team/app", &name)]));
                let is_heard = answer.is_ok_and(|answer| answer.status == 200);
                if sender.send((name, is_heard)).is_err() || !is_heard {
                    return;
                }
            }
        });
        let mut sent: Vec<_> = receiver.iter().take(point + 1).collect();
        hook.kill();
        sent.extend(receiver);
        sending.join().unwrap();
        names.extend(sent);
    }
    let hook = Process::start(directory.path(), Duration::ZERO);
    let unheard = names.iter().filter(|(_, is_heard)| !is_heard);
    for (name, _) in unheard {
        let answer = notify(hook.address, &envelope(&[pushed("team/app", name)])).unwrap();
        assert_eq!(answer.status, 200);
    }
    until("all are signed", || diary::signatures(directory.path()) == names.len());
    let signed = diary::counts(directory.path(), "signed");
    assert!(signed.values().all(|count| *count == 1), "{signed:?}");
}
