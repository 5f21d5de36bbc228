//! A thousand images at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use osguard_registry::descriptor::Descriptor;
use osguard_testkit::registry::Registry;
use serde_json::json;

use crate::client::Repository;
use crate::hook::{Hook, TOKEN, until};

const IMAGES: usize = 1000;

/// How much the hook may take for them: more than a few at once would need, and less than all.
const MEMORY_BYTES: u64 = 128 << 20;

/// The registry is the one in this process, which is fast, and does not tell what happens in it;
/// the notifications all come at the same time.
#[test]
fn a_thousand_images_are_signed_once_each_in_bounded_memory() {
    let registry = Registry::start().unwrap();
    let repository = Repository::open(&registry.host(), "team/app");
    let images: Vec<_> = (0..IMAGES).map(|number| repository.push(&format!("v{number}"))).collect();
    let directory = tempfile::tempdir().unwrap();
    let hook = Hook::start(directory.path(), &registry.host());
    std::thread::scope(|scope| {
        for images in images.chunks(IMAGES / 20) {
            scope.spawn(|| images.iter().for_each(|image| notify(hook.address, image)));
        }
    });
    until("all are signed", || hook.jobs("signed") == IMAGES as u64);
    until("nothing is left to do", || hook.is_idle());
    assert_eq!((hook.jobs("failed"), hook.jobs("already-signed")), (0, 0));
    assert_eq!(hook.log("signed").len(), IMAGES);
    let memory = hook.peak_memory_bytes();
    assert!(memory < MEMORY_BYTES, "{memory} bytes");
    assert_eq!(registry.manifests("team/app").len(), 2 * IMAGES);
    for image in &images {
        assert_eq!(repository.signatures(image), 1);
    }
}

/// Tells of a push, as a registry does.
fn notify(hook: SocketAddr, image: &Descriptor) {
    let body = json!({ "events": [{
        "action": "push",
        "target": {
            "mediaType": image.media_type, "digest": image.digest, "repository": "team/app",
        },
    }] })
    .to_string();
    let request = format!(
        "POST /notifications HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\
         Content-Type: application/vnd.docker.distribution.events.v1+json\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(hook).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
