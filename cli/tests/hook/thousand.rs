//! A thousand images at once.

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;

use crate::client::Repository;
use crate::forwarder::Forwarder;
use crate::hook::{Hook, TOKEN, until};

const IMAGES: usize = 1000;

/// How much the hook may take for them: more than a few at once would need, and less than all.
const MEMORY_BYTES: u64 = 160 << 20;

#[test]
fn a_thousand_images_are_signed_once_each_in_bounded_memory() {
    let forwarder = Forwarder::start();
    let registry = DockerRegistry::builder().notify(&forwarder.url(), TOKEN);
    let Some(registry) = or_skip(registry.start()) else { return };
    // Nobody listens yet: the registry keeps what it has to tell, and tells it all at once.
    let images: Vec<_> = std::thread::scope(|scope| {
        let push = |pusher: usize| {
            let repository = Repository::open(registry.host(), "team/app");
            let names = (0..IMAGES / 4).map(move |number| format!("{pusher}-{number}"));
            names.map(|name| repository.push(&name)).collect::<Vec<_>>()
        };
        let pushers: Vec<_> = (0..4).map(|pusher| scope.spawn(move || push(pusher))).collect();
        pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect()
    });
    let directory = tempfile::tempdir().unwrap();
    let hook = Hook::start(directory.path(), registry.host());
    forwarder.lead_to(hook.address);
    until("all are signed", || hook.jobs("signed") == IMAGES as u64);
    until("nothing is left to do", || hook.is_idle());
    assert_eq!((hook.jobs("failed"), hook.jobs("already-signed")), (0, 0));
    let memory = hook.peak_memory_bytes();
    assert!(memory < MEMORY_BYTES, "{memory} bytes");
    let repository = Repository::open(registry.host(), "team/app");
    for image in &images {
        assert_eq!(repository.signatures(image), 1);
    }
}
