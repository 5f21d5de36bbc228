//! What the distribution specification 1.1 asks for, request by request.

use std::sync::Barrier;
use std::thread;

use osguard_testkit::registry::Registry;
use serde_json::{Value, json};

use crate::client::Client;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const UNKNOWN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// The hash of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn started() -> (Registry, Client) {
    let registry = Registry::start().expect("a registry");
    let client = Client::connect(&registry);
    (registry, client)
}

/// Makes a manifest of one blob.
fn manifest(blob: &str, more: Value) -> Vec<u8> {
    let descriptor = json!({ "mediaType": "text/plain", "digest": blob, "size": 5 });
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor,
        "layers": [descriptor],
    });
    let more = more.as_object().cloned().unwrap_or_default();
    manifest.as_object_mut().expect("an object").extend(more);
    manifest.to_string().into_bytes()
}

#[test]
fn it_is_a_registry() {
    let (_registry, mut client) = started();
    assert_eq!(client.get("/v2/").status, 200);
    assert_eq!(client.get("/").status, 404);
    assert_eq!(client.get("/v2/Capitals/manifests/v1").code(), "NAME_INVALID");
    assert_eq!(client.send("POST", "/v2/", &[], b"x").code(), "UNSUPPORTED");
}

#[test]
fn blobs_are_read_whole_and_in_parts_and_deleted() {
    let (registry, mut client) = started();
    let digest = registry.put_blob("app", b"hello").unwrap();
    assert_eq!(digest, HELLO);
    let target = format!("/v2/app/blobs/{digest}");
    let whole = client.get(&target);
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"hello".as_slice()));
    assert_eq!(whole.header("Docker-Content-Digest"), Some(HELLO));
    let head = client.send("HEAD", &target, &[], b"");
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("5")));
    let part = client.send("GET", &target, &[("Range", "bytes=1-3")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, b"ell".as_slice()));
    assert_eq!(part.header("Content-Range"), Some("bytes 1-3/5"));
    let beyond = client.send("GET", &target, &[("Range", "bytes=5-")], b"");
    assert_eq!((beyond.status, beyond.header("Content-Range")), (416, Some("bytes */5")));
    assert_eq!(client.get("/v2/app/blobs/sha256:x").code(), "DIGEST_INVALID");
    assert_eq!(client.get(&format!("/v2/other/blobs/{digest}")).code(), "BLOB_UNKNOWN");
    assert_eq!(client.send("DELETE", &target, &[], b"").status, 202);
    assert_eq!(client.send("DELETE", &target, &[], b"").code(), "BLOB_UNKNOWN");
    assert_eq!(client.get(&target).status, 404);
}

#[test]
fn blobs_are_uploaded_in_every_way() {
    let (registry, mut client) = started();
    // At once.
    let at_once =
        client.send("POST", &format!("/v2/a/blobs/uploads/?digest={HELLO}"), &[], b"hello");
    assert_eq!(at_once.status, 201);
    assert_eq!(at_once.header("Location"), Some(format!("/v2/a/blobs/{HELLO}").as_str()));
    // In a POST and a PUT.
    let location = |client: &mut Client, repository: &str| {
        let started = client.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(started.status, 202);
        started.header("Location").expect("a location").to_owned()
    };
    let upload = location(&mut client, "b");
    assert_eq!(client.send("PUT", &format!("{upload}&digest={HELLO}"), &[], b"hello").status, 201);
    // In chunks, of which the last comes with the PUT.
    let upload = location(&mut client, "c");
    let first = client.send("PATCH", &upload, &[("Content-Range", "0-1")], b"he");
    assert_eq!((first.status, first.header("Range")), (202, Some("0-1")));
    assert_eq!(client.send("PATCH", &upload, &[("Content-Range", "3-4")], b"lo").status, 416);
    let status = client.get(&upload);
    assert_eq!((status.status, status.header("Range")), (204, Some("0-1")));
    assert_eq!(client.send("PATCH", &upload, &[], b"ll").status, 202);
    let last =
        client.send("PUT", &format!("{upload}&digest={HELLO}"), &[("Content-Range", "4-4")], b"o");
    assert_eq!(last.status, 201);
    assert_eq!(client.get(&upload).code(), "BLOB_UPLOAD_UNKNOWN");
    // By a mount, or not.
    let mount = |client: &mut Client, from: &str| {
        let target = format!("/v2/d/blobs/uploads/?mount={HELLO}&from={from}");
        client.send("POST", &target, &[], b"")
    };
    assert_eq!(mount(&mut client, "nowhere").status, 202);
    assert_eq!(mount(&mut client, "a").status, 201);
    for repository in ["a", "b", "c", "d"] {
        assert_eq!(client.get(&format!("/v2/{repository}/blobs/{HELLO}")).text(), "hello");
    }
    assert_eq!((registry.blobs(), registry.open_uploads()), (vec![HELLO.to_owned()], 1));
}

#[test]
fn uploads_are_refused_and_cancelled() {
    let (registry, mut client) = started();
    let target = format!("/v2/a/blobs/uploads/?digest={UNKNOWN}");
    assert_eq!(client.send("POST", &target, &[], b"hello").code(), "DIGEST_INVALID");
    let started = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let upload = started.header("Location").expect("a location");
    assert_eq!(client.send("PUT", upload, &[], b"hello").code(), "DIGEST_INVALID");
    let (bare, _) = upload.split_once('?').expect("a parameter");
    assert_eq!(client.send("PATCH", bare, &[], b"hello").code(), "BLOB_UPLOAD_INVALID");
    let elsewhere = upload.replace("/a/", "/b/");
    assert_eq!(client.send("PATCH", &elsewhere, &[], b"hello").code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(registry.open_uploads(), 1);
    assert_eq!(client.send("DELETE", upload, &[], b"").status, 204);
    assert_eq!((registry.open_uploads(), registry.blobs().len()), (0, 0));
}

#[test]
fn manifests_are_kept_as_they_came() {
    let (registry, mut client) = started();
    let digest = registry.put_blob("a", b"hello").unwrap();
    let contents = manifest(&digest, json!({}));
    let typed = [("Content-Type", MANIFEST)];
    let put = client.send("PUT", "/v2/a/manifests/v1", &typed, &contents);
    assert_eq!((put.status, put.header("OCI-Subject")), (201, None));
    let digest = put.header("Docker-Content-Digest").expect("a digest").to_owned();
    for reference in ["v1", &digest] {
        let target = format!("/v2/a/manifests/{reference}");
        let got = client.get(&target);
        assert_eq!((got.status, &got.body), (200, &contents));
        assert_eq!(got.header("Content-Type"), Some(MANIFEST));
        assert_eq!(got.header("Docker-Content-Digest"), Some(digest.as_str()));
        assert_eq!(client.send("HEAD", &target, &[], b"").status, 200);
    }
    assert_eq!(registry.manifest("a", "v1").expect("a manifest").contents, contents);
    let by_digest = format!("/v2/a/manifests/{digest}");
    assert_eq!(client.send("PUT", &by_digest, &typed, &contents).status, 201);
    assert_eq!(client.send("DELETE", "/v2/a/manifests/v1", &[], b"").status, 202);
    assert_eq!(client.get("/v2/a/manifests/v1").code(), "MANIFEST_UNKNOWN");
    assert_eq!(client.send("DELETE", &by_digest, &[], b"").status, 202);
    assert_eq!(client.get(&by_digest).code(), "MANIFEST_UNKNOWN");
}

#[test]
fn manifests_are_refused() {
    let (registry, mut client) = started();
    let blob = registry.put_blob("a", b"hello").unwrap();
    let mut code = |target: &str, media_type: &str, contents: &[u8]| {
        client.send("PUT", target, &[("Content-Type", media_type)], contents).code()
    };
    let good = manifest(&blob, json!({}));
    let target = "/v2/a/manifests/v1";
    let index = json!({ "manifests": [{ "digest": UNKNOWN }] }).to_string().into_bytes();
    assert_eq!(code(target, MANIFEST, &manifest(UNKNOWN, json!({}))), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(code(target, INDEX, &index), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(code("/v2/b/manifests/v1", MANIFEST, &good), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(code(&format!("/v2/a/manifests/{UNKNOWN}"), MANIFEST, &good), "DIGEST_INVALID");
    assert_eq!(code("/v2/a/manifests/-v1", MANIFEST, &good), "TAG_INVALID");
    assert_eq!(code(target, INDEX, &good), "MANIFEST_INVALID");
    assert_eq!(code(target, "", &good), "MANIFEST_INVALID");
    assert_eq!(code(target, MANIFEST, b"no JSON"), "MANIFEST_INVALID");
    assert_eq!(code(target, MANIFEST, b"{}"), "MANIFEST_INVALID");
    assert_eq!(code(target, MANIFEST, &vec![b' '; (4 << 20) + 1]), "SIZE_INVALID");
    assert!(registry.tags("a").is_empty());
}

#[test]
fn tags_come_in_pages() {
    let registry = Registry::builder().page_size(2).start().unwrap();
    let mut client = Client::connect(&registry);
    assert_eq!(client.get("/v2/a/tags/list").code(), "NAME_UNKNOWN");
    for tag in ["c", "B", "a", "d", "e"] {
        registry.put_manifest("a", Some(tag), MANIFEST, b"{}");
    }
    let mut pages = Vec::new();
    let mut target = "/v2/a/tags/list?n=7".to_owned();
    loop {
        let page = client.get(&target);
        assert_eq!(page.json()["name"], "a");
        pages.push(page.json()["tags"].to_string());
        let Some(link) = page.header("Link") else { break };
        target = next(link);
    }
    assert_eq!(pages, [r#"["B","a"]"#, r#"["c","d"]"#, r#"["e"]"#]);
    assert_eq!(client.get("/v2/a/tags/list?n=0").json()["tags"], json!([]));
    assert_eq!(client.get("/v2/a/tags/list?n=1&last=a").json()["tags"], json!(["c"]));
}

/// Reads the target of `<TARGET>; rel="next"`.
fn next(link: &str) -> String {
    let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    target.expect("a link to the next page").to_owned()
}

#[test]
fn referrers_are_found_filtered_and_in_pages() {
    let registry = Registry::builder().page_size(2).start().unwrap();
    let mut client = Client::connect(&registry);
    let blob = registry.put_blob("a", b"hello").unwrap();
    let subject = json!({ "mediaType": MANIFEST, "digest": UNKNOWN, "size": 1 });
    for number in 0..5 {
        let kind = if number == 3 { "application/odd" } else { "application/x+y" };
        let about = json!({
            "subject": subject, "artifactType": kind, "annotations": { "number": number.to_string() },
        });
        let typed = [("Content-Type", MANIFEST)];
        let put = client.send(
            "PUT",
            &format!("/v2/a/manifests/{number}"),
            &typed,
            &manifest(&blob, about),
        );
        assert_eq!((put.status, put.header("OCI-Subject")), (201, Some(UNKNOWN)));
    }
    let mut all = |mut target: String| {
        let (mut numbers, mut filters) = (String::new(), Vec::new());
        loop {
            let page = client.get(&target);
            assert_eq!((page.status, page.header("Content-Type")), (200, Some(INDEX)));
            filters.extend(page.header("OCI-Filters-Applied").map(str::to_owned));
            for descriptor in page.json()["manifests"].as_array().expect("a list") {
                assert_eq!(descriptor["mediaType"], MANIFEST);
                numbers += descriptor["annotations"]["number"].as_str().expect("a number");
            }
            numbers += ".";
            let Some(link) = page.header("Link") else { return (numbers, filters.len()) };
            target = next(link);
        }
    };
    let target = format!("/v2/a/referrers/{UNKNOWN}");
    assert_eq!(all(target.clone()), ("01.23.4.".to_owned(), 0));
    assert_eq!(all(format!("{target}?artifactType=application/x%2By")), ("01.24.".to_owned(), 2));
    assert_eq!(all(format!("{target}?artifactType=none")), (".".to_owned(), 1));
    assert_eq!(all(target.replace("/a/", "/b/")), (".".to_owned(), 0));
    assert_eq!(client.get("/v2/a/referrers/x").code(), "DIGEST_INVALID");
    // The type of what has none of its own is that of its configuration.
    let typed = [("Content-Type", MANIFEST)];
    let contents = manifest(&blob, json!({ "subject": { "digest": HELLO } }));
    assert_eq!(client.send("PUT", "/v2/a/manifests/untyped", &typed, &contents).status, 201);
    let found = client.get(&format!("/v2/a/referrers/{HELLO}")).json();
    assert_eq!(found["manifests"][0]["artifactType"], "text/plain");
}

#[test]
fn the_referrers_api_can_be_left_out() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let mut client = Client::connect(&registry);
    let blob = registry.put_blob("a", b"hello").unwrap();
    let contents = manifest(&blob, json!({ "subject": { "digest": UNKNOWN } }));
    let put = client.send("PUT", "/v2/a/manifests/v1", &[("Content-Type", MANIFEST)], &contents);
    assert_eq!((put.status, put.header("OCI-Subject")), (201, None));
    assert_eq!(client.get(&format!("/v2/a/referrers/{UNKNOWN}")).status, 404);
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let (registry, mut client) = started();
    let expecting = |target: &str| {
        format!("POST {target} HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    };
    client.write(expecting(&format!("/v2/a/blobs/uploads/?digest={HELLO}")).as_bytes());
    assert_eq!(client.head().status, 100);
    client.write(b"hello");
    assert_eq!(client.answer(false).status, 201);
    client.write(expecting("/v2/A/blobs/uploads/").as_bytes());
    let refused = client.answer(false);
    assert_eq!((refused.status, refused.header("Connection")), (400, Some("close")));
    assert_eq!(registry.requests()[1].received_bytes, 0);
}

#[test]
fn a_refused_body_neither_loses_the_answer_nor_is_taken_for_a_request() {
    let (registry, mut client) = started();
    let small = b"GET /smuggled HTTP/1.1\r\n\r\n";
    assert_eq!(client.send("POST", "/v2/A/blobs/uploads/", &[], small).status, 400);
    assert_eq!(client.get("/v2/").status, 200);
    let large = vec![0; 16 << 20];
    assert_eq!(client.send("POST", "/v2/A/blobs/uploads/", &[], &large).status, 400);
    assert!(client.rest().is_empty());
    assert_eq!(registry.requests().len(), 3);
}

#[test]
fn requests_are_written_down() {
    let (registry, mut client) = started();
    client.get("/v2/a/tags/list?n=%31");
    client.send("POST", &format!("/v2/a/blobs/uploads/?digest={HELLO}"), &[("X", "y")], b"hello");
    let requests = registry.requests();
    let [tags, upload] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((tags.method.as_str(), tags.path.as_str()), ("GET", "/v2/a/tags/list"));
    assert_eq!((tags.parameter("n").as_deref(), tags.status), (Some("1"), Some(404)));
    assert_eq!((upload.header("x"), upload.received_bytes), (Some("y"), 5));
    registry.forget_requests();
    client.get("/v2/");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_client_that_speaks_tls_is_told_at_once() {
    let (_registry, mut client) = started();
    // The start of a ClientHello; whoever waits for a line's end waits for the client to give up.
    client.write(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    assert_eq!(client.answer(false).status, 400);
}

#[test]
fn many_push_at_once() {
    let registry = Registry::start().unwrap();
    let writers = 32;
    let all_ready = Barrier::new(writers);
    thread::scope(|scope| {
        for number in 0..writers {
            let (registry, all_ready) = (&registry, &all_ready);
            scope.spawn(move || {
                let mut client = Client::connect(registry);
                all_ready.wait();
                let started = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
                let target = started.header("Location").expect("a location").to_owned();
                let contents = vec![number as u8; 300_000];
                let digest = registry.put_blob("other", &contents).unwrap();
                let put = client.send("PUT", &format!("{target}&digest={digest}"), &[], &contents);
                assert_eq!(put.status, 201);
                let typed = [("Content-Type", MANIFEST)];
                let contents = manifest(&digest, json!({}));
                let put =
                    client.send("PUT", &format!("/v2/a/manifests/{number}"), &typed, &contents);
                assert_eq!(put.status, 201);
            });
        }
    });
    assert_eq!((registry.tags("a").len(), registry.blobs().len()), (writers, writers));
    assert_eq!(registry.open_uploads(), 0);
}

#[test]
fn it_ends_while_connections_are_open() {
    let (registry, mut client) = started();
    client.write(b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf");
    let host = registry.host();
    drop(registry);
    assert!(client.rest().is_empty());
    assert!(std::net::TcpStream::connect(host).is_err());
}
