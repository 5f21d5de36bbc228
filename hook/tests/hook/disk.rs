//! A disk that fails for a while.

use std::time::Duration;

use crate::child::Process;
use crate::client::{envelope, get, notify, pushed};
use crate::diary;
use crate::kill::until;

#[test]
fn what_cannot_be_written_is_left_to_the_registry_until_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let hook = Process::start(directory.path(), Duration::ZERO);
    let push =
        |name: &str| notify(hook.address, &envelope(&[pushed("team/app", name)])).unwrap().status;
    let signed = || diary::counts(directory.path(), "signed").len();
    assert_eq!(push("a"), 200);
    until("it is signed", || signed() == 1);
    let is_idle = || {
        let metrics = get(hook.address, "/metrics", "").body;
        let none = |state| metrics.contains(&format!("osguard_hook_queue{{state=\"{state}\"}} 0"));
        none("waiting") && none("running")
    };
    until("nothing is left to write", is_idle);

    hook.limit_files(Some(16 << 10));
    for _ in 0..3 {
        assert_eq!(push("b"), 503);
    }
    assert_eq!(get(hook.address, "/healthz", "").status, 200);
    hook.limit_files(None);
    assert_eq!(push("b"), 200);
    assert_eq!(push("c"), 200);
    until("they are signed", || signed() == 3);
    until("nothing is left to write", is_idle);
    hook.kill();

    let hook = Process::start(directory.path(), Duration::ZERO);
    let answer = notify(hook.address, &envelope(&[pushed("team/app", "d")])).unwrap();
    assert_eq!(answer.status, 200);
    until("it is signed", || signed() == 4);
    let begun = diary::counts(directory.path(), "begun");
    assert!(begun.values().all(|count| *count == 1), "{begun:?}");
}
