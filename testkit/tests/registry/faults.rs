//! Each fault does what it says, once it should and no longer.

use std::thread;
use std::time::{Duration, SystemTime};

use osguard_testkit::digest::sha256;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};

use crate::client::Client;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Starts a registry that holds `hello` in the repository `a`; returns the blob's target as well.
fn started() -> (Registry, Client, String) {
    let registry = Registry::start().expect("a registry");
    let target = format!("/v2/a/blobs/{}", registry.put_blob("a", b"hello").expect("a blob"));
    let client = Client::connect(&registry);
    (registry, client, target)
}

#[test]
fn a_fault_happens_to_the_right_requests_and_ends() {
    let (registry, mut client, target) = started();
    let unavailable = registry.fault(
        Fault::new()
            .method("GET")
            .path_contains("/blobs/")
            .after(1)
            .times(2)
            .answer(Answer::status(503)),
    );
    let large = registry
        .fault(Fault::new().always().body_longer_than(4).before_body().answer(Answer::status(413)));
    let statuses: Vec<u16> = (0..5).map(|_| client.get(&target).status).collect();
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert_eq!(client.send("HEAD", &target, &[], b"").status, 200);
    let upload = client
        .send("POST", "/v2/a/blobs/uploads/", &[], b"")
        .header("Location")
        .unwrap_or_default()
        .to_owned();
    assert_eq!(client.send("PATCH", &upload, &[], b"1234").status, 202);
    assert_eq!(client.send("PATCH", &upload, &[], b"12345").status, 413);
    assert_eq!((unavailable.count(), large.count()), (2, 1));
    assert_eq!(registry.requests().last().expect("a request").received_bytes, 0);
}

#[test]
fn faults_happen_in_their_order_and_can_be_cleared() {
    let (registry, mut client, target) = started();
    registry.fault(Fault::new().answer(Answer::status(401)));
    registry.fault(Fault::new().times(2).answer(Answer::status(500)));
    registry.fault(Fault::new().always().answer(Answer::status(429)));
    let statuses: Vec<u16> = (0..4).map(|_| client.get(&target).status).collect();
    assert_eq!(statuses, [401, 500, 500, 429]);
    registry.clear_faults();
    assert_eq!(client.get(&target).status, 200);
}

#[test]
fn answers_say_what_they_are_told_to() {
    let (registry, mut client, target) = started();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    registry.fault(Fault::new().answer(Answer::error(403, "DENIED", "no").retry_after_seconds(2)));
    registry.fault(Fault::new().answer(Answer::status(429).retry_after_date(date)));
    registry.fault(Fault::new().answer(Answer::status(200).repeat(b' ', 1_000_000)));
    let denied = client.get(&target);
    assert_eq!((denied.status, denied.code().as_str()), (403, "DENIED"));
    assert_eq!(denied.header("Retry-After"), Some("2"));
    let later = client.get(&target);
    assert_eq!(later.header("Retry-After"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(client.get(&target).body == b" ".repeat(1_000_000));
}

#[test]
fn headers_are_changed_and_taken_away() {
    let (registry, mut client, target) = started();
    registry.fault(Fault::new().header("docker-content-digest", "sha256:0"));
    registry.fault(Fault::new().without_header("Docker-Content-Digest").status(203));
    let wrong = client.get(&target);
    assert_eq!(
        (wrong.header("Docker-Content-Digest"), wrong.text().as_str()),
        (Some("sha256:0"), "hello")
    );
    let without = client.get(&target);
    assert_eq!((without.status, without.header("Docker-Content-Digest")), (203, None));
}

#[test]
fn pages_have_no_end() {
    let (registry, mut client, _) = started();
    let referrers = format!("/v2/a/referrers/{}", sha256(b""));
    let link = format!("<{referrers}?page={{count}}>; rel=\"next\"");
    registry.fault(Fault::new().always().path_contains("/referrers/").header("Link", &link));
    for count in 0..3 {
        let page = client.get(&referrers);
        assert_eq!((page.status, page.header("Content-Type")), (200, Some(INDEX)));
        let link = format!("<{referrers}?page={count}>; rel=\"next\"");
        assert_eq!(page.header("Link"), Some(link.as_str()));
    }
}

#[test]
fn clients_are_sent_elsewhere() {
    let (registry, mut client, target) = started();
    let other = Registry::start().expect("another registry");
    registry.fault(Fault::new().method("POST").answer(Answer::redirect_to(307, &other)));
    registry.fault(Fault::new().answer(Answer::redirect(301, "https://other.example/")));
    let post = client.send("POST", "/v2/a/blobs/uploads/?mount=x", &[], b"");
    let location = format!("{}/v2/a/blobs/uploads/?mount=x", other.url());
    assert_eq!((post.status, post.header("Location")), (307, Some(location.as_str())));
    assert_eq!(client.get(&target).header("Location"), Some("https://other.example/"));
}

#[test]
fn requests_are_done_as_if_they_were_others() {
    let (registry, mut client, target) = started();
    let digest = target.rsplit('/').next().expect("a digest");
    registry.fault(Fault::new().query_contains("mount=").without_parameter("mount"));
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(client.send("POST", &mount, &[], b"").status, 202);
    assert_eq!(client.send("POST", &mount, &[], b"").status, 201);
    let subject = registry.put_manifest("a", None, INDEX, b"{}");
    registry.fault(Fault::new().always().rewrite_path("/manifests/sha256-", "/manifests/sha256:"));
    let fallback = client.get(&format!("/v2/a/manifests/{}", subject.replace(':', "-")));
    assert_eq!((fallback.status, fallback.text().as_str()), (200, "{}"));
}

#[test]
fn tags_are_immutable() {
    let refusal = Answer::error(400, "TAG_INVALID", "the tag is immutable");
    let registry = Registry::builder().immutable_tags(refusal).start().expect("a registry");
    let mut client = Client::connect(&registry);
    let mut put = |contents: &[u8]| {
        let typed = [("Content-Type", "application/json")];
        client.send("PUT", "/v2/a/manifests/v1", &typed, contents)
    };
    assert_eq!(put(b"{}").status, 201);
    assert_eq!(put(b"{}").status, 201);
    assert_eq!(put(b"[]").code(), "TAG_INVALID");
    assert_eq!(registry.manifest("a", "v1").expect("a manifest").contents, b"{}");
}

#[test]
fn answers_are_cut() {
    let (registry, _, target) = started();
    let get = |fault: Fault| {
        registry.fault(fault);
        let mut client = Client::connect(&registry);
        client.write(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        String::from_utf8(client.rest()).expect("text")
    };
    let cut = get(Fault::new().cut_after(2));
    assert!(cut.contains("Content-Length: 5\r\n") && cut.ends_with("\r\n\r\nhe"), "{cut}");
    let cut = get(Fault::new().chunked().cut_after(2));
    assert!(cut.ends_with("\r\n\r\n2\r\nhe\r\n"), "{cut}");
    assert_eq!(get(Fault::new().no_answer()), "");
    let short = get(Fault::new().declare_length(9));
    assert!(short.contains("Content-Length: 9\r\n") && short.ends_with("\r\n\r\nhello"), "{short}");
    let long = get(Fault::new().append(3));
    assert!(long.contains("Content-Length: 5\r\n") && long.ends_with("\r\n\r\nhello+++"), "{long}");
    let open = get(Fault::new().append(1).until_closed());
    assert!(!open.contains("Content-Length") && open.ends_with("\r\n\r\nhello+"), "{open}");
    let wrong = get(Fault::new().flip_bit_at(1).until_closed());
    assert!(wrong.ends_with("\r\n\r\nhdllo"), "{wrong}");
}

#[test]
fn chunks_are_whole() {
    let (registry, mut client, target) = started();
    registry.fault(Fault::new().chunked());
    client.write(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(client.head().header("Transfer-Encoding"), Some("chunked"));
    let chunks = b"5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(client.read(chunks.len()), chunks);
    assert_eq!(client.get(&target).status, 200);
}

#[test]
fn large_bodies_are_made_while_they_are_sent() {
    let (registry, mut client, _) = started();
    let length: u64 = 1 << 30;
    registry.fault(Fault::new().answer(Answer::status(200).repeat(0, length)).until_closed());
    client.write(b"GET /v2/a/manifests/v1 HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().header("Content-Length"), None);
    assert_eq!(client.count_rest(), length);
}

#[test]
fn uploads_are_cut() {
    let (registry, mut client, _) = started();
    let upload = client
        .send("POST", "/v2/a/blobs/uploads/", &[], b"")
        .header("Location")
        .unwrap_or_default()
        .to_owned();
    registry.fault(Fault::new().method("PATCH").cut_upload_after(3));
    client.write(format!("PATCH {upload} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").as_bytes());
    assert!(client.rest().is_empty());
    let request = registry.requests().pop().expect("a request");
    assert_eq!((request.received_bytes, request.status), (3, None));
    let status = Client::connect(&registry).get(&upload);
    assert_eq!(status.header("Range"), Some("0-2"));
}

#[test]
fn a_stalled_answer_waits_for_the_client() {
    let (registry, mut client, target) = started();
    registry.fault(Fault::new().stall_after(2));
    client.write(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(client.head().header("Content-Length"), Some("5"));
    assert_eq!(client.read(2), b"he");
    assert!(client.is_silent());
    drop(registry);
    assert!(client.rest().is_empty());
}

#[test]
fn requests_wait_at_gates() {
    let (registry, _, target) = started();
    let (before, after) = (Gate::new(), Gate::opening_at(2));
    registry.fault(Fault::new().times(2).hold(&before).hold_answer(&after));
    let statuses = thread::scope(|scope| {
        let gets = [(); 2].map(|()| scope.spawn(|| Client::connect(&registry).get(&target).status));
        before.wait_for(2);
        registry.delete_blob("a", &target[target.len() - 71..]);
        assert!(gets.iter().all(|get| !get.is_finished()));
        before.release();
        gets.map(|get| get.join().expect("an answer"))
    });
    assert_eq!(statuses, [404, 404]);
}

#[test]
fn a_held_answer_is_of_the_time_before() {
    let (registry, _, target) = started();
    let gate = Gate::new();
    registry.fault(Fault::new().hold_answer(&gate));
    let status = thread::scope(|scope| {
        let get = scope.spawn(|| Client::connect(&registry).get(&target).status);
        gate.wait_for(1);
        registry.delete_blob("a", &target[target.len() - 71..]);
        gate.release();
        get.join().expect("an answer")
    });
    assert_eq!(status, 200);
}

#[test]
fn the_end_of_the_registry_ends_all_waiting() {
    let (registry, _, target) = started();
    let gate = Gate::new();
    registry.fault(Fault::new().hold(&gate));
    registry.fault(Fault::new().delay(Duration::from_secs(3600)));
    let mut clients = [(); 2].map(|()| Client::connect(&registry));
    for client in &mut clients {
        client.write(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
    }
    gate.wait_for(1);
    drop(registry);
    for mut client in clients {
        client.rest();
    }
}
