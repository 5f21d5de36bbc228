//! What is answered to whom.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use osguard_hook::hook::{Hook, HookError, Settings};
use osguard_hook::queue::Limits;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::child::settings;
use crate::client::{AUTHORIZATION, CONTENT_TYPE, envelope, exchange, get, notify, post, pushed};
use crate::diary::{self, Diary};
use crate::kill::until;

/// Is a hook in this process.
struct Running {
    directory: TempDir,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        Self::with(|settings| settings, |diary| diary)
    }

    fn with(
        settings: impl FnOnce(Settings) -> Settings,
        diary: impl FnOnce(Diary) -> Diary,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(self::settings(directory.path()));
        let diary = diary(Diary::open(directory.path()));
        let hook = Hook::open(settings, Arc::new(diary)).unwrap();
        let address = hook.address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let stop = async { drop(stopped.await) };
            hook.run(stop, std::future::pending()).unwrap();
        });
        Self { directory, address, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = get(self.address, "/metrics", "").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Stops the hook and waits for its end.
    fn stop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn only_the_registry_is_heard() {
    let hook = Running::start();
    let body = envelope(&[pushed("team/app", "a")]).to_string();
    for headers in [
        "".to_owned(),
        "Authorization: Bearer the-token-of-the-test\r\n".to_owned(),
        "Authorization: Basic dGhlLXRva2VuLW9mLXRoZS10ZXN0cw==\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
    ] {
        let answer =
            post(hook.address, &format!("{headers}{CONTENT_TYPE}"), body.as_bytes()).unwrap();
        assert_eq!(answer.status, 401, "{headers}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        assert_eq!(get(hook.address, "/failed", &headers).status, 401);
    }
    assert_eq!(hook.metric(r#"osguard_hook_requests_refused_total{reason="unauthorized"}"#), 4);
    let good = post(hook.address, &format!("{AUTHORIZATION}{CONTENT_TYPE}"), body.as_bytes());
    assert_eq!(good.unwrap().status, 200);
}

#[test]
fn what_is_no_notification_is_refused() {
    let hook = Running::start();
    let post = |headers: &str, body: &[u8]| {
        post(hook.address, &format!("{AUTHORIZATION}{headers}"), body).unwrap().status
    };
    assert_eq!(post(CONTENT_TYPE, b"{\"events\":"), 400);
    assert_eq!(post(CONTENT_TYPE, b"\xff\x00"), 400);
    assert_eq!(post(CONTENT_TYPE, b""), 400);
    assert_eq!(post("Content-Type: application/json\r\n", b"{\"events\":[]}"), 415);
    assert_eq!(post("", b"{\"events\":[]}"), 415);
    assert_eq!(post(CONTENT_TYPE, &vec![b' '; (1 << 20) + 1]), 413);
    let event = r#"{"action":"pull"}"#;
    let many = format!(r#"{{"events":[{}]}}"#, vec![event; 1001].join(","));
    assert_eq!(post(CONTENT_TYPE, many.as_bytes()), 413);
    assert_eq!(post(CONTENT_TYPE, b"{\"events\":[]}"), 200);
    // The sender does not say how long it is.
    let mut chunked = format!(
        "POST /notifications HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n{AUTHORIZATION}{CONTENT_TYPE}\
         Transfer-Encoding: chunked\r\n\r\n200000\r\n"
    )
    .into_bytes();
    chunked.resize(chunked.len() + 0x20_0000, b' ');
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(exchange(hook.address, &chunked).unwrap().status, 413);
    let headers = format!("X: {}\r\n", "x".repeat(100_000));
    assert!(
        exchange(
            hook.address,
            format!("GET /healthz HTTP/1.1\r\nHost: hook\r\n{headers}\r\n").as_bytes()
        )
        .is_ok_and(|answer| answer.status == 431)
    );
    assert_eq!(exchange(hook.address, b"\x16\x03\x01 garbage\r\n\r\n").unwrap().status, 400);
    assert_eq!(get(hook.address, "/notifications", "").status, 405);
    assert_eq!(get(hook.address, "/", "").status, 404);
    assert_eq!(get(hook.address, "/healthz", "").status, 200);
    assert_eq!(hook.metric(r#"osguard_hook_queue{state="waiting"}"#), 0);
}

#[test]
fn only_pushes_to_allowed_repositories_are_signed() {
    let hook = Running::start();
    let mut pull = pushed("team/app", "pulled");
    pull["action"] = "pull".into();
    let mut blob = pushed("team/app", "blob");
    blob["target"]["mediaType"] = "application/octet-stream".into();
    let mut referrers = pushed("team/app", "referrers");
    referrers["target"]["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    referrers["target"]["tag"] = format!("sha256-{}", "0".repeat(64)).into();
    let mut malformed = pushed("team/app", "malformed");
    malformed["target"]["digest"] = "sha256:00".into();
    let events = [
        pushed("team/app", "a"),
        pushed("team", "b"),
        pushed("other/app", "c"),
        pushed("team/secret", "d"),
        pushed("team/app/debug", "e"),
        pushed("../team/app", "f"),
        pull,
        blob,
        referrers,
        malformed,
    ];
    assert_eq!(notify(hook.address, &envelope(&events)).unwrap().status, 200);
    until("both are signed", || hook.metric(r#"osguard_hook_jobs_total{result="signed"}"#) == 2);
    let begun: Vec<_> = diary::counts(hook.path(), "begun").into_keys().collect();
    assert!(begun[0].starts_with("team/app/debug@") && begun[1].starts_with("team/app@"));
    assert_eq!(begun.len(), 2, "{begun:?}");
    let event = |action: &str, result: &str| {
        hook.metric(&format!(r#"osguard_hook_events_total{{action="{action}",result="{result}"}}"#))
    };
    assert_eq!(event("push", "queued"), 2);
    assert_eq!(event("push", "not-allowed"), 3);
    assert_eq!(event("push", "malformed"), 2);
    assert_eq!(event("push", "ignored"), 2);
    assert_eq!(event("pull", "ignored"), 1);
}

#[test]
fn what_fails_is_tried_again_and_given_up_in_the_end() {
    let hook = Running::with(|settings| settings, |diary| Diary { failures: 3, ..diary });
    notify(hook.address, &envelope(&[pushed("team/app", "a")])).unwrap();
    until("it is signed", || !diary::counts(hook.path(), "signed").is_empty());
    assert_eq!(diary::counts(hook.path(), "begun").into_values().collect::<Vec<_>>(), [4]);
    assert_eq!(hook.metric(r#"osguard_hook_jobs_total{result="retried"}"#), 3);

    let impatient = |mut settings: Settings| {
        settings.backoff.give_up_after = std::time::Duration::ZERO;
        settings
    };
    let hook = Running::with(impatient, |diary| Diary { failures: 3, ..diary });
    notify(hook.address, &envelope(&[pushed("team/app", "a")])).unwrap();
    until("it is given up", || hook.metric(r#"osguard_hook_queue{state="failed"}"#) == 1);
    assert_eq!(hook.metric(r#"osguard_hook_jobs_total{result="failed"}"#), 1);
    let answer = get(hook.address, "/failed", AUTHORIZATION);
    let report: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(report["schema"], "osguard.hook.failed.v1");
    assert_eq!(report["failed"][0]["repository"], "team/app");
    assert_eq!(report["failed"][0]["attempts"], 1);
    assert_eq!(report["failed"][0]["reason"], "the registry is away");
}

#[test]
fn a_full_queue_tells_the_registry_to_come_again() {
    let hook = Running::with(
        |settings| Settings { limits: Limits { pending: 1, ..settings.limits }, ..settings },
        |diary| diary,
    );
    let events = [pushed("team/app", "a"), pushed("team/app", "b")];
    let answer = notify(hook.address, &envelope(&events)).unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    assert_eq!(hook.metric(r#"osguard_hook_requests_refused_total{reason="queue-full"}"#), 1);
    assert_eq!(notify(hook.address, &envelope(&events[..1])).unwrap().status, 200);
}

#[test]
fn a_hook_that_is_stopped_finishes_what_has_begun() {
    let mut hook = Running::with(
        |settings| settings,
        |diary| Diary { half: std::time::Duration::from_millis(300), ..diary },
    );
    let events: Vec<_> = (0..10).map(|number| pushed("team/app", &number.to_string())).collect();
    notify(hook.address, &envelope(&events)).unwrap();
    until("two have begun", || diary::counts(hook.path(), "begun").len() == 2);
    hook.stop();
    let signed = diary::counts(hook.path(), "signed");
    assert_eq!(diary::counts(hook.path(), "begun"), signed);
    assert!(signed.len() < 10, "{signed:?}");

    let rest = settings(hook.path());
    let hook_again = Hook::open(rest, Arc::new(Diary::open(hook.path()))).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        hook_again.run(async { drop(stopped.await) }, std::future::pending()).unwrap();
    });
    until("all are signed", || diary::counts(hook.path(), "signed").len() == 10);
    drop(stop);
    thread.join().unwrap();
    assert!(diary::counts(hook.path(), "begun").values().all(|count| *count == 1));
}

#[test]
fn health_and_metrics_are_there_for_everyone() {
    let hook = Running::start();
    assert_eq!(get(hook.address, "/healthz", "").status, 200);
    until("the hook is ready", || get(hook.address, "/readyz", "").status == 200);
    let metrics = get(hook.address, "/metrics", "");
    assert!(metrics.head.contains("content-type: application/openmetrics-text"), "{metrics:?}");
    assert!(metrics.body.ends_with("# EOF\n"), "{metrics:?}");
}

#[test]
fn without_a_token_only_this_machine_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let open = |listen: &str| {
        let settings =
            Settings { listen: listen.parse().unwrap(), token: None, ..settings(directory.path()) };
        Hook::open(settings, Arc::new(Diary::open(directory.path())))
    };
    for listen in ["0.0.0.0:0", "[::]:0"] {
        assert!(matches!(open(listen), Err(HookError::Unprotected { .. })), "{listen}");
    }
    assert!(open("127.0.0.1:0").is_ok());
}
