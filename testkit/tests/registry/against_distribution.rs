//! Where distribution knows an answer, ours is the same.

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;
use serde_json::json;

use crate::client::{Answer, Client};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const UNKNOWN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// The hash of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Is what of an answer has to be the same.
const HEADERS: [&str; 6] = [
    "Accept-Ranges",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Docker-Content-Digest",
    "Range",
];

/// Sends a course of requests and returns what is to be compared of the answers.
struct Course {
    client: Client,
    host: String,
    answers: Vec<String>,
}

impl Course {
    fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = self.client.send(method, target, headers, body);
        let mut text = format!("{method} {target}: {}", answer.status);
        if answer.status >= 400 {
            let code = if answer.body.starts_with(b"{") { answer.code() } else { "-".to_owned() };
            text.push_str(&format!(" {code}"));
        } else {
            for name in HEADERS {
                let value = answer.header(name).unwrap_or("-").trim_end_matches("; charset=utf-8");
                text.push_str(&format!(" {name}={value}"));
            }
            text.push_str(&format!(" {}", answer.text().trim()));
        }
        self.answers.push(text);
        answer
    }

    fn run(mut self) -> Vec<String> {
        let get = [("Accept", MANIFEST), ("Accept", INDEX)];
        self.send("GET", "/v2/", &[], b"");
        self.send("GET", "/v2/a/tags/list", &[], b"");
        self.send("GET", &format!("/v2/a/blobs/{UNKNOWN}"), &[], b"");
        self.send("GET", &format!("/v2/a/referrers/{UNKNOWN}"), &[], b"");
        self.send("GET", "/v2/a/manifests/v1", &get, b"");
        self.upload();
        let blob = format!("/v2/a/blobs/{HELLO}");
        self.send("HEAD", &blob, &[], b"");
        self.send("GET", &blob, &[], b"");
        self.send("GET", &blob, &[("Range", "bytes=1-2")], b"");
        self.send("GET", &format!("/v2/b/blobs/{HELLO}"), &[], b"");
        self.send("POST", &format!("/v2/b/blobs/uploads/?mount={HELLO}&from=a"), &[], b"");
        self.send("GET", &format!("/v2/b/blobs/{HELLO}"), &[], b"");
        self.push();
        self.send("DELETE", &blob, &[], b"");
        self.send("GET", &blob, &[], b"");
        self.answers
    }

    fn upload(&mut self) {
        for (digest, contents) in [(UNKNOWN, "hello"), (HELLO, "lo")] {
            let started = self.client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
            let mut upload = self.location(&started);
            if contents == "lo" {
                let patched =
                    self.client.send("PATCH", &upload, &[("Content-Range", "0-2")], b"hel");
                self.answers.push(format!("{} {:?}", patched.status, patched.header("Range")));
                upload = self.location(&patched);
            }
            let target = format!("{upload}&digest={digest}");
            let put = self.client.send("PUT", &target, &[], contents.as_bytes());
            let code = if put.status < 400 { String::new() } else { put.code() };
            let stored = put.header("Docker-Content-Digest").map(str::to_owned);
            self.answers.push(format!("{} {stored:?} {code}", put.status));
        }
    }

    fn push(&mut self) {
        let manifest = |digest: &str| {
            let of = |kind| json!({ "mediaType": kind, "digest": digest, "size": 5 });
            let config = of("application/vnd.oci.image.config.v1+json");
            let layer = of("application/vnd.oci.image.layer.v1.tar");
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] })
                .to_string()
        };
        let child = json!({ "mediaType": MANIFEST, "digest": UNKNOWN, "size": 5 });
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] }).to_string();
        let accept = [("Accept", MANIFEST), ("Accept", INDEX)];
        for (target, kind, contents) in [
            ("/v2/a/manifests/v1", MANIFEST, manifest(UNKNOWN)),
            ("/v2/a/manifests/v1", INDEX, index),
            ("/v2/a/manifests/v1", MANIFEST, "no JSON".to_owned()),
            (&format!("/v2/a/manifests/{UNKNOWN}"), MANIFEST, manifest(HELLO)),
            ("/v2/a/manifests/v1", MANIFEST, manifest(HELLO)),
            ("/v2/a/manifests/v2", MANIFEST, manifest(HELLO)),
        ] {
            self.send("PUT", target, &[("Content-Type", kind)], contents.as_bytes());
        }
        self.send("GET", "/v2/a/manifests/v1", &accept, b"");
        self.send("HEAD", "/v2/a/manifests/v1", &accept, b"");
        self.tags();
        let digest = osguard_testkit::digest::sha256(manifest(HELLO).as_bytes());
        self.send("GET", &format!("/v2/a/manifests/{digest}"), &accept, b"");
        self.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], b"");
        self.send("GET", "/v2/a/manifests/v1", &accept, b"");
        self.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], b"");
        self.tags();
    }

    /// No tags are an empty list or none.
    fn tags(&mut self) {
        let answer = self.client.get("/v2/a/tags/list");
        let tags = answer.json()["tags"].as_array().cloned().unwrap_or_default();
        self.answers.push(format!("tags: {} {tags:?}", answer.status));
    }

    /// Returns the target of a `Location`, which may name the host.
    fn location(&self, answer: &Answer) -> String {
        let location = answer.header("Location").expect("a location");
        location.strip_prefix(&format!("http://{}", self.host)).unwrap_or(location).to_owned()
    }
}

#[test]
fn distribution_answers_the_same() {
    let Some(distribution) = or_skip(DockerRegistry::start()) else { return };
    let ours = Registry::builder().without_referrers_api().start().expect("a registry");
    let run = |host: &str| {
        let client = Client::connect_to(host);
        Course { client, host: host.to_owned(), answers: Vec::new() }.run()
    };
    assert_eq!(run(&ours.host()), run(distribution.host()));
}
