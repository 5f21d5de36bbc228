use std::time::{Duration, Instant};

use libverity::digest::Digest;
use tempfile::TempDir;

use super::*;

fn target(name: &str) -> Target {
    Target { repository: "team/app".parse().unwrap(), digest: Digest::of(name.as_bytes()) }
}

fn pushed(name: &str) -> Change {
    Change::Pushed(target(name))
}

fn deleted(name: &str) -> Change {
    Change::Deleted(target(name))
}

fn failure(reason: &str) -> Verdict {
    Verdict::Failed { reason: reason.to_owned() }
}

const DONE: Verdict = Verdict::Done { made: None };

/// Waits longer than any test takes.
const NEVER: Duration = Duration::from_secs(3000);

struct Test {
    directory: TempDir,
    limits: Limits,
    queue: Option<Queue>,
}

impl Test {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = Some(Queue::open(directory.path(), limits).unwrap());
        Self { directory, limits, queue }
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.queue = None;
        self.queue = Some(Queue::open(self.directory.path(), self.limits).unwrap());
    }

    fn notify(&self, changes: &[Change]) -> Result<Vec<Noted>, QueueError> {
        block_on(self.queue().notify(changes.to_vec()))
    }

    /// Takes and begins the job that is due, of which there must be one.
    fn begin(&self) -> Job {
        let job = self.queue().take().unwrap();
        self.queue().begin(job, NEVER).unwrap().unwrap()
    }

    fn finish(&self, job: Job, verdict: Verdict) {
        self.queue().finish(job, verdict).unwrap();
    }

    fn waiting(&self) -> usize {
        self.queue().counts().waiting
    }

    fn failed(&self) -> Vec<(Target, u32, String)> {
        let failed = block_on(self.queue().failed(100)).unwrap();
        failed.into_iter().map(|failed| (failed.target, failed.attempts, failed.reason)).collect()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn what_was_noted_survives_and_comes_in_order() {
    let mut test = Test::new();
    let names = ["c", "a", "b"];
    test.notify(&names.map(pushed)).unwrap();
    test.notify(&[pushed("d")]).unwrap();
    test.reopen();
    assert_eq!(test.queue().counts(), Counts { waiting: 4, running: 0, failed: 0 });
    for name in ["c", "a", "b", "d"] {
        let job = test.begin();
        assert_eq!((job.target.clone(), job.failures), (target(name), 0));
        test.finish(job, DONE);
    }
    test.reopen();
    assert_eq!(test.queue().counts(), Counts::default());
}

#[test]
fn a_target_is_pending_once_and_fresh_for_a_while() {
    let mut test = Test::new();
    let noted = test.notify(&[pushed("a"), pushed("a"), pushed("b")]).unwrap();
    assert_eq!(noted, [Noted::Queued, Noted::Duplicate, Noted::Queued]);
    let job = test.begin();
    assert_eq!(test.notify(&[pushed("a")]).unwrap(), [Noted::Duplicate]);
    test.finish(job, DONE);
    assert_eq!(test.notify(&[pushed("a")]).unwrap(), [Noted::Duplicate]);
    assert_eq!(test.waiting(), 1);
    test.limits.fresh = Duration::ZERO;
    test.reopen();
    assert_eq!(test.notify(&[pushed("a")]).unwrap(), [Noted::Queued]);
    let other = Target { repository: "team/other".parse().unwrap(), ..target("b") };
    assert_eq!(test.notify(&[Change::Pushed(other)]).unwrap(), [Noted::Queued]);
    assert_eq!(test.waiting(), 3);
}

#[test]
fn an_attempt_that_ended_the_process_is_not_the_next_one_again() {
    let mut test = Test::new();
    test.notify(&[pushed("a"), pushed("b")]).unwrap();
    assert_eq!(test.begin().target, target("a"));
    test.reopen();
    assert_eq!(test.waiting(), 2);
    let next = test.begin();
    assert_eq!((next.target.clone(), next.failures), (target("b"), 0));
    test.finish(next, Verdict::Retry(NEVER));
    test.notify(&[pushed("c")]).unwrap();
    let job = test.queue().take().unwrap();
    test.queue().begin(job, Duration::ZERO).unwrap();
    test.reopen();
    let again = test.begin();
    assert_eq!((again.target.clone(), again.failures), (target("c"), 1));
}

#[test]
fn what_is_to_be_done_again_waits_for_its_time() {
    let mut test = Test::new();
    test.notify(&[pushed("a"), pushed("b")]).unwrap();
    let job = test.begin();
    test.finish(job, Verdict::Retry(NEVER));
    let job = test.begin();
    assert_eq!(job.target, target("b"));
    test.finish(job, Verdict::Retry(Duration::from_millis(200)));
    test.reopen();
    assert_eq!(test.waiting(), 2);
    let started = Instant::now();
    let job = test.begin();
    assert_eq!((job.target.clone(), job.failures), (target("b"), 1));
    test.finish(job, Verdict::Retry(Duration::from_millis(200)));
    let job = test.begin();
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!((job.target.clone(), job.failures), (target("b"), 2));
}

#[test]
fn failures_are_remembered_until_the_next_push() {
    let mut test = Test::new();
    for name in ["a", "b"] {
        test.notify(&[pushed(name)]).unwrap();
        let job = test.begin();
        test.finish(job, Verdict::Retry(Duration::ZERO));
        let job = test.begin();
        test.finish(job, failure(&format!("no layers in {name}")));
    }
    test.reopen();
    assert_eq!(test.queue().counts(), Counts { waiting: 0, running: 0, failed: 2 });
    let first = (target("b"), 2, "no layers in b".to_owned());
    let second = (target("a"), 2, "no layers in a".to_owned());
    assert_eq!(test.failed(), [first, second.clone()]);
    assert_eq!(test.notify(&[pushed("b")]).unwrap(), [Noted::Queued]);
    assert_eq!(test.failed(), [second]);
    assert_eq!(test.queue().counts(), Counts { waiting: 1, running: 0, failed: 1 });
}

#[test]
fn a_full_queue_takes_all_of_a_notification_or_nothing() {
    let mut test = Test::with(Limits { pending: 3, ..Limits::default() });
    test.notify(&[pushed("a"), pushed("b")]).unwrap();
    let full = QueueError::Full { limit: 3 };
    assert_eq!(test.notify(&[pushed("c"), pushed("d")]).unwrap_err(), full);
    assert_eq!(test.waiting(), 2);
    assert_eq!(
        test.notify(&[pushed("a"), pushed("c"), pushed("b")]).unwrap(),
        [Noted::Duplicate, Noted::Queued, Noted::Duplicate]
    );
    assert_eq!(test.notify(&[pushed("d")]).unwrap_err(), full);
    assert_eq!(test.notify(&[pushed("a")]).unwrap(), [Noted::Duplicate]);
    test.reopen();
    let job = test.begin();
    test.finish(job, DONE);
    assert_eq!(test.notify(&[pushed("d")]).unwrap(), [Noted::Queued]);
}

#[test]
fn what_was_made_is_not_looked_at() {
    let test = Test::new();
    for (name, is_told_before) in [("a", true), ("b", false)] {
        test.notify(&[pushed(name)]).unwrap();
        let job = test.begin();
        let made = format!("signature of {name}");
        if is_told_before {
            assert_eq!(test.notify(&[pushed(&made)]).unwrap(), [Noted::Queued]);
        }
        test.finish(job, Verdict::Done { made: Some(target(&made)) });
        assert_eq!(test.queue().counts(), Counts::default());
        assert_eq!(test.notify(&[pushed(&made)]).unwrap(), [Noted::Duplicate]);
    }
}

#[test]
fn an_index_becomes_what_it_lists() {
    let mut test = Test::new();
    test.notify(&["done", "failed", "pending", "index"].map(pushed)).unwrap();
    let job = test.begin();
    test.finish(job, DONE);
    let job = test.begin();
    test.finish(job, failure("no layers"));
    let job = test.begin();
    test.finish(job, Verdict::Retry(NEVER));
    let job = test.begin();
    assert_eq!(job.target, target("index"));
    let parts = ["done", "failed", "pending", "new", "new"].map(target);
    test.finish(job, Verdict::Split(parts.to_vec()));
    test.reopen();
    assert_eq!(test.queue().counts(), Counts { waiting: 3, running: 0, failed: 0 });
    let names = [test.begin().target, test.begin().target];
    assert_eq!(names, [target("failed"), target("new")]);
    assert_eq!(test.notify(&[pushed("index")]).unwrap(), [Noted::Duplicate]);
}

#[test]
fn an_index_without_room_for_its_parts_stays() {
    let test = Test::with(Limits { pending: 2, ..Limits::default() });
    test.notify(&[pushed("index")]).unwrap();
    let job = test.begin();
    let parts = vec![target("a"), target("b")];
    let error = test.queue().finish(job, Verdict::Split(parts)).unwrap_err();
    assert_eq!(error, QueueError::Full { limit: 2 });
    assert_eq!(test.queue().counts(), Counts { waiting: 1, running: 0, failed: 0 });
}

#[test]
fn what_is_deleted_is_forgotten() {
    let mut test = Test::new();
    test.notify(&["done", "failed", "waiting"].map(pushed)).unwrap();
    let job = test.begin();
    test.finish(job, DONE);
    let job = test.begin();
    test.finish(job, failure("no layers"));
    let noted = test.notify(&["done", "failed", "waiting", "unknown"].map(deleted)).unwrap();
    assert_eq!(noted, [Noted::Forgotten; 4]);
    assert_eq!(test.queue().counts(), Counts::default());
    test.reopen();
    assert_eq!(test.queue().counts(), Counts::default());
    assert_eq!(test.notify(&[pushed("done")]).unwrap(), [Noted::Queued]);
}

#[test]
fn what_is_deleted_and_pushed_during_an_attempt_is_attempted_again() {
    let test = Test::new();
    test.notify(&[pushed("a")]).unwrap();
    let job = test.begin();
    test.notify(&[deleted("a"), pushed("a")]).unwrap();
    assert_eq!(test.queue().counts(), Counts { waiting: 0, running: 1, failed: 0 });
    test.finish(job, failure("it is gone"));
    assert_eq!(test.queue().counts(), Counts { waiting: 1, running: 0, failed: 0 });
    let job = test.begin();
    assert_eq!(job.failures, 0);
    test.finish(job, DONE);
    assert_eq!(test.queue().counts(), Counts::default());

    // Deleted only, before the attempt and during it.
    test.notify(&[pushed("b")]).unwrap();
    let job = test.queue().take().unwrap();
    test.notify(&[deleted("b")]).unwrap();
    assert_eq!(test.queue().begin(job, NEVER).unwrap(), None);
    test.notify(&[pushed("c")]).unwrap();
    let job = test.begin();
    test.notify(&[deleted("c")]).unwrap();
    test.finish(job, failure("it is gone"));
    assert_eq!(test.queue().counts(), Counts::default());
}

#[test]
fn memory_of_the_past_is_bounded() {
    let test = Test::with(Limits { remembered: 3, ..Limits::default() });
    for (kind, verdict) in [("done", DONE), ("failed", failure("no layers"))] {
        for number in 0..10 {
            test.notify(&[pushed(&format!("{kind} {number}"))]).unwrap();
            let job = test.begin();
            test.finish(job, verdict.clone());
            // Times have milliseconds, and what is older is forgotten first.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let failed: Vec<_> = test.failed().into_iter().map(|(target, ..)| target).collect();
    assert_eq!(failed, ["failed 9", "failed 8", "failed 7"].map(target));
    for number in 0..10 {
        let expected = if number < 7 { Noted::Queued } else { Noted::Duplicate };
        assert_eq!(test.notify(&[pushed(&format!("done {number}"))]).unwrap(), [expected]);
    }
}

#[test]
fn callers_at_once_share_transactions_and_get_their_own_answers() {
    let test = Test::new();
    let notify = |caller: usize| {
        let test = &test;
        move || test.notify(&[pushed(&format!("{}", caller % 50)), pushed("all")]).unwrap()
    };
    let noted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|caller| scope.spawn(notify(caller))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(noted.iter().filter(|noted| **noted == Noted::Queued).count(), 51);
    assert_eq!(test.waiting(), 51);
}

#[test]
fn closing_ends_waiting_and_keeps_what_is_out() {
    let mut test = Test::new();
    test.notify(&[pushed("a"), pushed("b")]).unwrap();
    let job = test.begin();
    let waits = std::thread::scope(|scope| {
        let taken = test.begin();
        let waiting = scope.spawn(|| test.queue().take());
        test.queue().close();
        test.finish(taken, DONE);
        waiting.join().unwrap()
    });
    assert_eq!(waits, None);
    test.finish(job, DONE);
    test.reopen();
    assert_eq!(test.queue().counts(), Counts::default());
}

#[test]
fn one_process_at_a_time_has_the_queue() {
    let test = Test::new();
    let error = Queue::open(test.directory.path(), test.limits).unwrap_err();
    assert!(matches!(&error, QueueError::Store { .. }), "{error}");
    assert!(error.to_string().contains("queue.redb cannot be used: "), "{error}");
}

#[test]
fn what_is_no_queue_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("queue.redb"), vec![b'x'; 1 << 16]).unwrap();
    let error = Queue::open(directory.path(), Limits::default()).unwrap_err();
    assert!(matches!(error, QueueError::Store { .. }), "{error}");
    let file = directory.path().join("queue.redb");
    let error = Queue::open(&file, Limits::default()).unwrap_err();
    assert!(matches!(error, QueueError::Directory { .. }), "{error}");
}

#[test]
fn a_clock_that_was_wrong_delays_nothing_for_long() {
    let mut test = Test::new();
    test.notify(&["done", "waiting"].map(pushed)).unwrap();
    let job = test.begin();
    test.finish(job, DONE);
    let job = test.begin();
    test.finish(job, Verdict::Retry(Duration::ZERO));
    test.queue = None;
    let store = Store::open(test.directory.path(), test.limits).unwrap();
    let later = store::UnixMillis::now().plus(Duration::from_secs(10 * 365 * 24 * 3600));
    store
        .write(|tables| {
            tables.set_done(&target("done"), later)?;
            let waiting = tables.pending(&target("waiting"))?.unwrap();
            tables.set_pending(&target("waiting"), store::Pending { due: later, ..waiting })
        })
        .unwrap();
    let longest = schedule::LONGEST_WAIT;
    let wait = Schedule::new(store.pending().unwrap(), 0).first_wait().unwrap();
    assert!(wait <= longest, "{wait:?}");
    drop(store);
    test.reopen();
    assert_eq!(test.notify(&[pushed("done")]).unwrap(), [Noted::Queued]);
}
